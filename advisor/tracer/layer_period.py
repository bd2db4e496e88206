"""In which period a model's layers repeat: one layer of each kind then stands for all."""

from __future__ import annotations

from typing import Any

from advisor.assembly.base_model import build, layer_fields, stacks
from advisor.tracer.record_step import TraceRequest


def layer_period(asked: TraceRequest) -> int:
    """The least common period of a model's stacks; 0: its layers do not repeat, or are too few to tell."""
    full = layer_fields(asked.spec)
    model = build(asked.spec, asked.workload, asked.recipe.model_copy(update={"base": "dtype"}))
    periods = [
        _period([_signature(layer) for layer in layers])
        for path, layers in stacks(model).items()
        if len(layers) in full.values() and "vision" not in path and "visual" not in path
    ]
    return 0 if not periods or 0 in periods else max(periods)


def _signature(layer: Any) -> tuple[Any, ...]:
    told: list[tuple[Any, ...]] = [
        (type(layer).__name__, getattr(layer, "attention_type", None), getattr(layer, "layer_type", None))
    ]
    for name, module in layer.named_modules():
        flags = tuple(
            str(getattr(module, flag, None)) for flag in ("is_sliding", "sliding_window", "layer_type", "use_rope")
        )
        told.append((name, type(module).__name__, flags))
    told.extend((name, tuple(p.shape)) for name, p in layer.named_parameters())
    return tuple(told)


def _period(signatures: list[tuple[Any, ...]]) -> int:
    """The shortest period of a list, 0 when none below a quarter of it; a first layer of its own kind is allowed."""
    if len(signatures) > 6 and len(set(signatures)) == 2 and len(set(signatures[1:])) == 1:
        return 1
    for period in range(1, len(signatures) // 4 + 1):
        if all(signatures[i] == signatures[i + period] for i in range(len(signatures) - period)):
            return period
    return 0
