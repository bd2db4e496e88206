"""How few layers stand for all of a model's: in which period they repeat, and how many are traced of each stack.

Depths are by the config field that holds them: a text's one or two fields, and a vision tower's dotted one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from advisor.assembly.base_model import build, field_of, layer_fields, stacks, tower_fields
from advisor.tracer.record_step import TraceRequest

MOST: Final = 6
"""Layers of a period of one that are traced where those a method needs turn out to differ."""


def depths_of(asked: TraceRequest) -> tuple[dict[str, int], dict[str, int]]:
    """True depths by config field, and the periods in which layers repeat ({}: a text's do not)."""
    key = _layout(asked)
    if key not in _periods:
        _periods[key] = _layer_periods(asked)
    return layer_fields(asked.spec) | tower_fields(asked.spec), _periods[key]


_periods: dict[str, dict[str, int]] = {}


def cuts_of(
    asked: TraceRequest, fewest: int, full: Mapping[str, int], periods: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Depths to trace instead of the true ones, of the stacks that are cut; the cheapest first.

    A tower is cut where pictures run through it and it is deep enough. Where its layers turn out not to be alike, all
    of them are traced and only the text's are cut.

    Args:
        fewest: layers that the method needs where all are alike.
    """

    def cut(field: str, least: int) -> int:
        """The layers to trace; as many as there are where that spares none."""
        return min(full[field], traced_layers(full[field], periods[field], least) if field in periods else full[field])

    texts = [field for field in full if "." not in field]
    leasts = [least for least in sorted({fewest, MOST}) if all(cut(field, least) < full[field] for field in texts)]
    for least in leasts if asked.workload.images is not None else ():
        towers = [field for field in full if "." in field and cut(field, least) < full[field]]
        depth = {field: cut(field, least) for field in (*texts, *towers)}
        if towers and (_layout(asked), str(depth)) not in _uneven:
            yield depth
    for least in leasts:
        yield {field: cut(field, least) for field in texts}


def found_uneven(asked: TraceRequest, depth: Mapping[str, int]) -> None:
    """Note that a model's tower was found to have unlike layers when cut so: other methods need not try it again."""
    if any("." in field for field in depth):
        _uneven.add((_layout(asked), str(dict(depth))))


_uneven: set[tuple[str, str]] = set()


def _layout(asked: TraceRequest) -> str:
    """What decides which layers a model has."""
    return json.dumps([asked.spec.config, asked.workload.task], sort_keys=True, default=str)


def traced_layers(layers: int, period: int, least: int) -> int:
    """The fewest layers that hold two periods to compare and what stands around them, whole periods less than all.

    Before them a layer of each kind, whose backward pass ends what all of its kind share; so `least` where all are
    alike, and a period more for each two that are asked beyond four where they are not.
    """
    around = (least - 2) // 2
    needed = max(period, around) + 2 * period + around
    if period > 1:
        needed += (least - 4) // 2 * period
    return needed + (layers - needed) % period


def _layer_periods(asked: TraceRequest) -> dict[str, int]:
    """In which period the layers of each stack repeat, by the config field of its depth; a text's are one.

    Without a field whose layers do not repeat or are too few to tell; none of a text's: {}.
    """
    full = layer_fields(asked.spec) | tower_fields(asked.spec)
    model = build(asked.spec, asked.workload, asked.recipe.model_copy(update={"base": "dtype"}))
    found: dict[str, list[int]] = {}
    for path, layers in stacks(model).items():
        field = field_of(path, full)
        if field is not None and len(layers) == full[field]:
            found.setdefault(field, []).append(_period([_signature(layer) for layer in layers]))
    texts = [period for field, periods in found.items() if "." not in field for period in periods]
    if not texts or 0 in texts:
        return {}
    common = {field: max(texts) for field in full if "." not in field}
    return common | {field: max(periods) for field, periods in found.items() if "." in field and 0 not in periods}


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
