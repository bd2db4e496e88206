"""Methods that edit activations: SSF (arXiv:2210.08823), RED (arXiv:2402.15179), LoReFT and DiReFT (arXiv:2404.03592).

Shapes: B samples, S positions, D hidden width, R rank of an intervention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.wrapped_module import (
    Wrapped,
    adapter_dtype,
    first_of,
    place_of,
    replace,
    with_first,
    wrap_linears,
)
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

Options = Mapping[str, Any]


class ScaleShift(Wrapped):
    """y * scale + shift on a module's output; one and zero at the start."""

    def __init__(self, inner: nn.Module, width: int) -> None:
        super().__init__(inner)
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.scale = nn.Parameter(torch.ones(width, **place))
        self.shift = nn.Parameter(torch.zeros(width, **place))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(*args, **kwargs)
        y = first_of(output)
        return with_first(output, (y * self.scale + self.shift).to(y.dtype))

    def merged(self) -> nn.Module:
        """The inner linear layer with scale and shift in its weight and bias."""
        inner: Any = self.base_layer
        if not layers.is_linear(inner) or not inner.weight.dtype.is_floating_point:
            raise IllegalRecipe("scale and shift merge into unquantised linear layers only")
        scale = self.scale.to(inner.weight.dtype)
        inner.weight.data *= scale if isinstance(inner, Conv1D) else scale[:, None]
        shift = self.shift.to(inner.weight.dtype)
        bias = shift if inner.bias is None else inner.bias.data * scale + shift
        inner.bias = nn.Parameter(bias.detach(), requires_grad=False)
        return inner


def attach_ssf(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """After every linear layer of the blocks."""
    wrap_linears(model, options["target_modules"], lambda inner: ScaleShift(inner, layers.widths(inner)[1]))
    return model


def attach_red(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """After the feed-forward of every block."""
    for place in list(layers.sublayers(model)):
        if place.kind == "feed-forward":
            replace(model, place.exit, lambda inner, width=place.width_out: ScaleShift(inner, width))
    return model


class Intervention(nn.Module):
    """LoReFT: h + R^T (W h + b - R h), R [R, D] with orthonormal rows; DiReFT: h + R^T (W h + b), R free.

    LoReFT keeps R orthonormal by torch's parametrisation, so W = R, b = 0 starts as no change.
    """

    def __init__(self, width: int, rank: int, orthogonal: bool, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.orthogonal = orthogonal
        self.rotate = nn.Linear(width, rank, bias=False, device=device, dtype=dtype)
        self.learned = nn.Linear(width, rank, device=device, dtype=dtype)
        nn.init.zeros_(self.learned.bias)
        if orthogonal:
            nn.init.orthogonal_(self.rotate.weight)
            if device.type != "meta":
                self.learned.weight.data.copy_(self.rotate.weight.data)
            # without trivialization: it would keep a [D, D] buffer a block
            nn.utils.parametrizations.orthogonal(self.rotate, orthogonal_map="householder", use_trivialization=False)
        else:
            nn.init.normal_(self.rotate.weight, std=0.02)
            nn.init.zeros_(self.learned.weight)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        x = h.to(self.learned.weight.dtype)
        basis = self.rotate.weight
        change = self.learned(x) - x @ basis.T if self.orthogonal else self.learned(x)
        return (change @ basis).to(h.dtype)


class EditedBlock(Wrapped):
    """A block whose output is edited at the first and last positions of each sample."""

    def __init__(self, inner: nn.Module, edit: nn.Module, first: int, last: int) -> None:
        super().__init__(inner)
        self.edit, self.first, self.last = edit, first, last

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(*args, **kwargs)
        h = first_of(output)
        length = h.shape[1]
        if length <= self.first + self.last:
            return with_first(output, h + self.edit(h))
        middle = h[:, self.first : length - self.last]
        head, tail = h[:, : self.first], h[:, length - self.last :]
        pieces = [head + self.edit(head)] if self.first else []
        pieces.append(middle)
        pieces += [tail + self.edit(tail)] if self.last else []
        return with_first(output, torch.cat(pieces, dim=1))


def _reft(model: nn.Module, options: Options, orthogonal: bool) -> nn.Module:
    width = next(iter(layers.sublayers(model))).width_in
    if options["rank"] > width:
        raise IllegalRecipe(
            f"rank {options['rank']} is above the hidden width {width}",
            hints=[f"nearest legal choice: rank {width}"],
            rank=options["rank"],
            widest=width,
        )

    def make(inner: nn.Module) -> nn.Module:
        edit = Intervention(width, options["rank"], orthogonal, place_of(inner), adapter_dtype(inner))
        return EditedBlock(inner, edit, options["first_positions"], options["last_positions"])

    for path in list(layers.blocks(model)):
        replace(model, path, make)
    return model


def attach_loreft(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """Low-rank edits with orthonormal rows on the output of every block."""
    return _reft(model, options, orthogonal=True)


def attach_direft(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """LoReFT without the orthogonality and without subtracting the old coordinates: faster."""
    return _reft(model, options, orthogonal=False)
