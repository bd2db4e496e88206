"""Unrolling a compact trace: copies of a layer run where the layers they stand for would."""

from __future__ import annotations

import pytest

from advisor.domain.trace.expand import expand
from advisor.domain.trace.trace_schema import OP, Part, Repeat, Trace


def visited(phase: str, layers: list[int | None], *, period: int = 1, extra: int = 2) -> list[int]:
    """Layers in the order in which an op of each runs, -1 outside any, of a trace that visits `layers` in a phase."""
    event = (OP, 0, 0, 0, -1, -1, 1)
    parts = [
        Part.model_validate(
            {"step": 1, "phase": phase, "stack": None if at is None else "layers", "layer": at, "events": (event,)}
        )
        for at in layers
    ]
    trace = Trace(
        key="k",
        model="m",
        method="lora",
        settings={},
        versions={},
        layers={"layers": 9},
        trainable_parameters=1,
        total_parameters=1,
        names=("mm",),
        dtypes=("bf16",),
        polys=(),
        storages=(),
        stacks=("layers",),
        parts=tuple(parts),
        repeats=(Repeat(stack="layers", first=1, period=period, extra=extra),),
    )
    return expand(trace).op_unit.tolist()


@pytest.mark.parametrize(
    ("phase", "layers", "order"),
    [
        ("forward", [0, 1, 2], [0, 1, 2, 3, 4]),
        ("backward", [2, 1, 0], [4, 3, 2, 1, 0]),
        # an optimizer goes through the layers from the first on, whatever came before it
        ("optimizer", [0, 1, 2], [0, 1, 2, 3, 4]),
        # where ops outside any layer stand between, the neighbours tell no direction: the phase does
        ("forward", [0, None, 1, None, 2], [0, -1, 1, 2, 3, -1, 4]),
        ("backward", [2, None, 1, None, 0], [4, -1, 3, 2, 1, -1, 0]),
        ("clip", [0, None, 1, None, 2], [0, -1, 1, 2, 3, -1, 4]),
    ],
)
def test_copies_run_in_the_direction_of_their_phase(phase: str, layers: list[int | None], order: list[int]):
    assert visited(phase, layers) == order


@pytest.mark.parametrize(("phase", "turned"), [("forward", False), ("backward", True)])
def test_copies_of_a_period_of_two_layers_keep_their_order(phase: str, turned: bool):
    traced, order = [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]
    found = visited(phase, traced[::-1] if turned else list(traced), period=2, extra=1)
    assert found == (order[::-1] if turned else order)
