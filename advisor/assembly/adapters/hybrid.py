"""Mixtures: MAM (arXiv:2110.04366: prefix, parallel adapter), UniPELT (arXiv:2110.07577: gated LoRA, prefix, adapter).

The prefix is peft's own. Shapes: B samples, S positions, D hidden width, H heads of width C, P prefix tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.bottleneck import Bottleneck, parallel
from advisor.assembly.adapters.wrapped_module import (
    Wrapped,
    adapter_dtype,
    first_of,
    place_of,
    replace,
    trained,
    with_first,
    wrap_linears,
)
from advisor.catalog.models.tasks import PEFT_TASK_TYPES
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

Options = Mapping[str, Any]


def _with_prefix(model: nn.Module, workload: Workload, tokens: int) -> nn.Module:
    """peft's prefix tuning on a model that already carries trained adapters, which stay trained."""
    from peft import PrefixTuningConfig, get_peft_model

    ours = {id(parameter) for parameter in trained(model).values()}
    config = PrefixTuningConfig(task_type=PEFT_TASK_TYPES[workload.task], num_virtual_tokens=tokens)  # type: ignore[arg-type]
    attached: nn.Module = get_peft_model(model, config)  # type: ignore[arg-type]
    for parameter in attached.parameters():
        if id(parameter) in ours:
            parameter.requires_grad_(True)
    return attached


def attach_mam(model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options) -> nn.Module:
    """A prefix for attention, a scaled parallel adapter for the feed-forward."""
    parallel(model, ("feed-forward",), options, options["scale"])
    return _with_prefix(model, workload, options["virtual_tokens"])


class Gate(nn.Module):
    """sigmoid(w . x + b), averaged over positions: one number a sample, [B, S, D] -> [B, 1, 1]."""

    def __init__(self, width: int, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.weigh = nn.Linear(width, 1, device=device, dtype=dtype)
        nn.init.normal_(self.weigh.weight, std=0.02)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.weigh(x.to(self.weigh.weight.dtype))).mean(dim=1, keepdim=True)


class GatedLora(Wrapped):
    """A query or value projection with a low-rank update, weighed by a gate of the layer's input."""

    def __init__(self, inner: nn.Module, rank: int, alpha: float) -> None:
        super().__init__(inner)
        width_in, width_out = layers.widths(inner)
        place: dict[str, Any] = {"device": place_of(inner), "dtype": adapter_dtype(inner)}
        self.a = nn.Parameter(torch.empty(rank, width_in, **place))
        self.b = nn.Parameter(torch.zeros(width_out, rank, **place))
        nn.init.kaiming_uniform_(self.a, a=5**0.5)
        self.gate = Gate(width_in, **place)
        self.scale = alpha / rank

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = self.base_layer(x, *args, **kwargs)
        wide = x.to(self.a.dtype)
        return out + (self.gate(wide) * self.scale * (wide @ self.a.T @ self.b.T)).to(out.dtype)


class GatedAdapter(Wrapped):
    """A feed-forward's last module, then a bottleneck weighed by a gate."""

    def __init__(self, inner: nn.Module, adapter: nn.Module, gate: Gate) -> None:
        super().__init__(inner)
        self.adapter, self.gate = adapter, gate

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.base_layer(*args, **kwargs)
        y = first_of(output)
        return with_first(output, y + (self.gate(y) * self.adapter(y)).to(y.dtype))


class GatedPrefix(Wrapped):
    """An attention module whose prefix, keys and values [B, H, P, C], is weighed by a gate of its input."""

    def __init__(self, inner: nn.Module, gate: Gate) -> None:
        super().__init__(inner)
        self.gate = gate

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        # by transformers 5.24 it is called `cache`
        cache = kwargs.get("past_key_values", kwargs.get("cache"))
        cache = getattr(cache, "self_attention_cache", cache)
        held = getattr(cache, "layers", None)
        index = getattr(self.base_layer, "layer_idx", None)
        if held and index is not None and index < len(held) and getattr(held[index], "keys", None) is not None:
            weight = self.gate(x).unsqueeze(1)
            place = held[index]
            place.keys = (place.keys * weight).to(place.keys.dtype)
            place.values = (place.values * weight).to(place.values.dtype)
        return self.base_layer(*args, **kwargs)


def attach_unipelt(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, options: Options
) -> nn.Module:
    """Gated LoRA on query and value, a gated bottleneck after the feed-forward, a gated prefix."""
    places = list(layers.sublayers(model))
    for place in places:
        inner = model.get_submodule(place.exit)
        device, dtype = place_of(inner), adapter_dtype(inner)
        if place.kind == "feed-forward":
            width = place.width_out
            made = Bottleneck(width, width, options["bottleneck"], options["activation"], device, dtype)
            gate = Gate(width, device, dtype)
            replace(model, place.exit, lambda m, made=made, gate=gate: GatedAdapter(m, made, gate))
        elif place.kind == "attention" and not (workload.task == "seq2seq" and "encoder" in place.block.split(".")):
            # peft gives an encoder-decoder's prefix to its decoder only
            whole = place.entry.rpartition(".")[0]
            gate = Gate(place.width_in, device, dtype)
            replace(model, whole, lambda m, gate=gate: GatedPrefix(m, gate))
    wrap_linears(model, "attention-qv", lambda m: GatedLora(m, options["rank"], options["alpha"]))
    return _with_prefix(model, workload, options["virtual_tokens"])
