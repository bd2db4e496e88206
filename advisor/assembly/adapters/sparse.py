"""Sparse updates of the weights: FISH mask (arXiv:2111.09839) and diff pruning (arXiv:2012.07463).

Shapes: W [O, I], K entries of it that are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.wrapped_module import Delta, adapter_dtype, place_of, wrap_linears
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

Options = Mapping[str, Any]


class SparseDelta(Delta):
    """W with K of its entries trained. `chosen` holds their flat positions, random until `choose` is told better."""

    def __init__(self, inner: nn.Module, share: float) -> None:
        super().__init__(inner)
        self.width_in, self.width_out = layers.widths(inner)
        size = self.width_in * self.width_out
        count = max(1, round(share * size))
        self.values = nn.Parameter(torch.zeros(count, device=place_of(inner), dtype=adapter_dtype(inner)))
        # strided, not a permutation: drawing one of every weight takes seconds a layer
        spread = torch.arange(count, device=place_of(inner), dtype=torch.int64) * size // count
        self.register_buffer("chosen", spread)

    def choose(self, scores: torch.Tensor) -> None:
        """Train the entries with the highest scores [O, I]."""
        self.chosen = scores.flatten().topk(len(self.values)).indices

    def delta(self) -> torch.Tensor:
        flat = torch.zeros(self.width_out * self.width_in, device=self.values.device, dtype=self.values.dtype)
        return flat.index_put((self.chosen,), self.values).view(self.width_out, self.width_in)


def attach_fish(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """An equal share of every target's entries; which ones, `choose_by_fisher` decides from data."""
    wrap_linears(model, options["target_modules"], lambda inner: SparseDelta(inner, options["share"]))
    return model


def choose_by_fisher(model: nn.Module, batches: Sequence[Mapping[str, torch.Tensor]]) -> None:
    """Select each layer's entries by the empirical Fisher information: squared gradients summed over batches.

    The published mask takes the highest of the whole model; here each layer keeps its equal share, so that the
    number of entries a layer, and with it memory, is known before.
    """
    wrapped = [m for m in model.modules() if isinstance(m, SparseDelta)]
    weights: list[torch.Tensor] = [m.base_layer.weight for m in wrapped]  # type: ignore[misc]
    totals = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    for weight in weights:
        weight.requires_grad_(True)
    for batch in batches:
        model(**batch).loss.backward()
        for total, weight in zip(totals, weights, strict=True):
            if weight.grad is not None:
                total += weight.grad.float().square()
        model.zero_grad(set_to_none=True)
    for module, weight, total in zip(wrapped, weights, totals, strict=True):
        weight.requires_grad_(False)
        transposed = tuple(total.shape) != (module.width_out, module.width_in)
        module.choose(total.T if transposed else total)


_LOW, _HIGH, _TEMPERATURE = -0.1, 1.1, 2 / 3
"""Stretch and temperature of the hard concrete distribution (Louizos et al. 2018, arXiv:1712.01312, section 2)."""


class _WithPenalty(torch.autograd.Function):
    """Passes the mask on and adds the gradient of `weight` times the expected number of non-zeros to log_alpha."""

    @staticmethod
    def forward(ctx: Any, mask: torch.Tensor, log_alpha: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.save_for_backward(log_alpha)
        ctx.weight = weight
        return mask.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        (log_alpha,) = ctx.saved_tensors
        open_share = torch.sigmoid(log_alpha - _TEMPERATURE * math.log(-_LOW / _HIGH))
        return grads[0], ctx.weight * open_share * (1 - open_share), None


class DiffPruned(Delta):
    """W + z * D: D [O, I] dense, z [O, I] a hard concrete mask whose L0 norm is penalised in its gradient."""

    def __init__(self, inner: nn.Module, penalty: float) -> None:
        super().__init__(inner)
        width_in, width_out = layers.widths(inner)
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.difference = nn.Parameter(torch.zeros(width_out, width_in, **place))
        self.log_alpha = nn.Parameter(torch.full((width_out, width_in), 2.0, **place))
        self.penalty = penalty

    def delta(self) -> torch.Tensor:
        if self.training:
            noise = torch.rand_like(self.log_alpha).clamp(1e-6, 1 - 1e-6)
            raw = (noise.log() - (1 - noise).log() + self.log_alpha) / _TEMPERATURE
        else:
            raw = self.log_alpha
        mask = (torch.sigmoid(raw) * (_HIGH - _LOW) + _LOW).clamp(0, 1)
        return _WithPenalty.apply(mask, self.log_alpha, self.penalty) * self.difference  # type: ignore[no-any-return]


def attach_diff_pruning(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """A dense difference and a learned mask for every target."""
    wrap_linears(model, options["target_modules"], lambda inner: DiffPruned(inner, options["penalty"]))
    return model
