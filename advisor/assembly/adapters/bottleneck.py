"""Bottleneck adapters: down-projection, non-linearity, up-projection, added to a sub-layer's output.

Shapes: x [..., D] hidden states, M bottleneck width. Houlsby et al. 2019 (arXiv:1902.00751) place one after
attention and one after feed-forward; Pfeiffer et al. 2020 (arXiv:2005.00052) one after feed-forward.
The up-projection starts at zero, so that the model starts as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.wrapped_module import Wrapped, adapter_dtype, first_of, place_of, replace, with_first
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

Options = Mapping[str, Any]
ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


class Bottleneck(nn.Module):
    """up(act(down(x))): [..., I] -> [..., O], zero at the start."""

    def __init__(
        self, width_in: int, width_out: int, bottleneck: int, activation: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.down = nn.Linear(width_in, bottleneck, device=device, dtype=dtype)
        self.act = ACTIVATIONS[activation]()
        self.up = nn.Linear(bottleneck, width_out, device=device, dtype=dtype)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(self.act(self.down(x.to(self.down.weight.dtype))))


class SerialAdapter(Wrapped):
    """A sub-layer's last module, then a bottleneck around its output: y + adapter(y)."""

    def __init__(self, inner: nn.Module, adapter: nn.Module) -> None:
        super().__init__(inner)
        self.adapter = adapter

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(*args, **kwargs)
        y = first_of(output)
        return with_first(output, y + self.adapter(y).to(y.dtype))


def serial(model: nn.Module, kinds: tuple[str, ...], options: Options, skip_first: int = 0) -> nn.Module:
    """Put a SerialAdapter after every sub-layer of these kinds, the first `skip_first` blocks left out."""
    for place in list(layers.sublayers(model)):
        if place.kind in kinds and place.index >= skip_first:
            replace(model, place.exit, lambda inner, width=place.width_out: _serial(inner, width, options))
    return model


def _serial(inner: nn.Module, width: int, options: Options) -> SerialAdapter:
    device, dtype = place_of(inner), adapter_dtype(inner)
    made = Bottleneck(width, width, options["bottleneck"], options["activation"], device, dtype)
    return SerialAdapter(inner, made)


def attach_houlsby(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """After attention, cross-attention and feed-forward of every block."""
    return serial(model, ("attention", "cross-attention", "feed-forward"), options)


def attach_pfeiffer(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """After the feed-forward of every block."""
    return serial(model, ("feed-forward",), options)


def attach_adapter_drop(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Pfeiffer adapters in all but the first `dropped` blocks (Rueckle et al. 2021, arXiv:2010.11918).

    Raises:
        IllegalRecipe: no block would keep an adapter.
    """
    count = len(layers.blocks(model))
    if options["dropped"] >= count:
        raise IllegalRecipe(
            f"adapter-drop: {spec.name} has {count} blocks, all would lose their adapter",
            hints=[f"nearest legal choice: dropped {count - 1}"],
            method="adapter-drop",
        )
    return serial(model, ("feed-forward",), options, skip_first=options["dropped"])


class ParallelAdapter(Wrapped):
    """A whole sub-layer held in one module, and a bottleneck beside it: f(x) + scale * adapter(x)."""

    def __init__(self, inner: nn.Module, adapter: nn.Module, scale: float) -> None:
        super().__init__(inner)
        self.adapter, self.scale = adapter, scale

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(x, *args, **kwargs)
        y = first_of(output)
        # some mixtures of experts give [B x S, H] for [B, S, H]
        return with_first(output, y + self.scale * self.adapter(x).to(y.dtype).reshape(y.shape))


class Entry(Wrapped):
    """The first layer of a sub-layer; keeps its input until the sub-layer's Exit takes it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.seen: torch.Tensor | None = None

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self.seen = x
        return self.base_layer(x, *args, **kwargs)


class Exit(Wrapped):
    """The last layer of a sub-layer, the bottleneck of the sub-layer's input added to its output."""

    def __init__(self, inner: nn.Module, adapter: nn.Module, scale: float, entry: Entry) -> None:
        super().__init__(inner)
        self.adapter, self.scale = adapter, scale
        # a tuple, so that the entry is not registered here a second time
        self._entry = (entry,)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(*args, **kwargs)
        x, self._entry[0].seen = self._entry[0].seen, None
        if x is None:
            raise RuntimeError("a parallel adapter's exit ran before its entry")
        y = first_of(output)
        return with_first(output, y + self.scale * self.adapter(x).to(y.dtype))


def parallel(model: nn.Module, kinds: tuple[str, ...], options: Options, scale: float) -> nn.Module:
    """Put a bottleneck beside every sub-layer of these kinds, from its input to its output."""
    for place in list(layers.sublayers(model)):
        if place.kind not in kinds:
            continue
        inner = model.get_submodule(place.exit)
        device, dtype = place_of(inner), adapter_dtype(inner)
        width, middle = place.width_in, options["bottleneck"]
        made = Bottleneck(width, place.width_out, middle, options["activation"], device, dtype)
        if place.entry == place.exit:
            replace(model, place.exit, lambda m, made=made: ParallelAdapter(m, made, scale))
        else:
            entry = Entry(model.get_submodule(place.entry))
            replace(model, place.entry, lambda _, entry=entry: entry)
            replace(model, place.exit, lambda m, made=made, entry=entry: Exit(m, made, scale, entry))
    return model


def attach_parallel(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Beside the feed-forward, and beside attention too with `attention` (He et al. 2022, arXiv:2110.04366)."""
    kinds = ("attention", "cross-attention", "feed-forward") if options.get("attention") else ("feed-forward",)
    return parallel(model, kinds, options, options["scale"])
