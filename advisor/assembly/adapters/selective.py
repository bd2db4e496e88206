"""Selective methods: some of the model's own parameters are trained, nothing or almost nothing is added.

Full fine-tuning (all), BitFit (arXiv:2106.10199, biases), partial fine-tuning (last blocks, head, embeddings).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.wrapped_module import Wrapped, adapter_dtype, place_of, replace
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Options = Mapping[str, Any]


def attach_full(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """Every floating-point parameter requires gradients."""
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.dtype.is_floating_point)
    return model


class AddedBias(Wrapped):
    """A linear layer without bias and a trained one, zero at the start. Shapes: bias [O]."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        width = layers.widths(inner)[1]
        self.added_bias = nn.Parameter(torch.zeros(width, device=place_of(inner), dtype=adapter_dtype(inner)))

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = self.base_layer(x, *args, **kwargs)
        return out + self.added_bias.to(out.dtype)

    def merged(self) -> nn.Module:
        """The inner layer with this bias as its own."""
        like: Any = self.base_layer.weight
        dtype: torch.dtype = like.dtype if like.dtype.is_floating_point else self.added_bias.dtype
        self.base_layer.bias = nn.Parameter(self.added_bias.detach().to(dtype), requires_grad=False)
        return self.base_layer


def attach_bitfit(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """Train every bias; with `add_missing`, linear layers of the blocks that have none get one at zero."""
    if options["add_missing"]:
        for path in layers.linears(model):
            if getattr(model.get_submodule(path), "bias", None) is None:
                replace(model, path, AddedBias)
    found = False
    for name, parameter in model.named_parameters():
        if name.rpartition(".")[2] in ("bias", "added_bias"):
            parameter.requires_grad_(True)
            found = True
    if not found:
        raise IllegalRecipe(
            f"bitfit: {spec.name} has no bias to train",
            hints=["nearest legal choice: add_missing = true, or layernorm-tuning"],
            method="bitfit",
        )
    return model


def attach_partial(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Train the last `blocks` blocks and what follows them (final norm, head); of an encoder-decoder, the decoder's.

    Raises:
        IllegalRecipe: more blocks than the model has.
    """
    inside = layers.blocks(model)
    if options["blocks"] > len(inside):
        raise IllegalRecipe(
            f"partial: {spec.name} has {len(inside)} blocks, {options['blocks']} asked for",
            hints=[f"nearest legal choice: blocks {len(inside)}, or full"],
            method="partial",
        )
    last = list(inside)[-options["blocks"] :]
    for path in last:
        inside[path].requires_grad_(True)
    for path in layers.norms(model):
        if not any(path.startswith(f"{block}.") for block in inside) and "embed" not in path:
            model.get_submodule(path).requires_grad_(True)
    return model


def attach_head_only(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Train only the output layer: the classification head, or the language-model head where it is untied.

    Raises:
        IllegalRecipe: the model has no head of its own (tied to the embeddings).
    """
    names = layers.heads(model)
    if not names and hasattr(model, "lm_head"):
        tied = model.get_input_embeddings().weight is model.lm_head.weight  # type: ignore[operator,union-attr]
        names = [] if tied else ["lm_head"]
    if not names:
        raise IllegalRecipe(
            f"linear-probe: {spec.name} has no output layer apart from its embeddings",
            hints=["nearest legal choice: partial (the last blocks), or a classification task"],
            method="linear-probe",
        )
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    return model


def attach_embeddings(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Train the token embeddings (and the output layer, where it is tied to them)."""
    embeddings = cast("nn.Embedding", cast("PreTrainedModel", model).get_input_embeddings())
    embeddings.weight.requires_grad_(True)
    return model


def attach_cross_attention(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Train the decoder's attention over the encoder (Gheini et al. 2021, arXiv:2104.08771)."""
    for path, (_, kind) in layers.linears(model).items():
        if kind == "cross-attention":
            model.get_submodule(path).requires_grad_(True)
    return model
