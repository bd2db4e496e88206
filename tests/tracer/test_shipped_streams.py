"""The traces that ship are those that this tracer and the installed libraries make, event for event.

A sample runs every day; all of them: `pytest -m exhaustive tests/tracer/test_shipped_streams.py`. A library that
changes a stream fails here, and the traces are made anew by `benchmarks/ship_traces.py`. It fails too where another
series of a library is installed than they were tested with: they do not apply there, and nobody has compared them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from advisor import store
from advisor.catalog.models import resolve_model
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.workload import Workload
from advisor.tracer import trace as tracer
from advisor.tracer.library_releases import SHIPPED_WITH, other_series
from tests.selection import one_in

FILES = sorted(tracer.SHIPPED.glob("*.json.gz"))
NOT_COMPARED = {"key", "versions"}


@cache
def shipped(path: Path) -> Trace:
    return store.read(Trace, path)


def question(made: Trace) -> tuple[ModelSpec, Workload, Recipe]:
    """What a trace answers, out of its settings."""
    told = made.settings
    recipe = Recipe(
        method=made.method,
        options=json.loads(told["options"]),
        micro_batch_size=2 if told["padded"] else 1,
        dtype=told["dtype"],
        autocast=told["autocast"],
        base=told["base"],
        optimizer=told["optimizer"],
        gradient_checkpointing=told["gradient_checkpointing"],
        attention=told["attention"],
        trainer=told["trainer"],
        max_grad_norm=1.0 if told["clipping"] else 0.0,
        weight_decay=0.1 if told["weight_decay"] else 0.0,
    )
    return resolve_model(made.model), Workload(model=made.model, task=told["task"]), recipe


@pytest.mark.parametrize("path", one_in(5, FILES), ids=lambda path: path.name[:8])
def test_a_shipped_trace_is_found_by_the_question_it_answers(path: Path) -> None:
    made = shipped(path)
    assert path.name == f"{made.key}.json.gz"
    assert tracer.trace_key(*question(made), installed=SHIPPED_WITH) == made.key, f"{made.model}, {made.method}"


def made_again(path: Path) -> None:
    """Compare a shipped trace with the one made here."""
    old = shipped(path)
    if unlike := other_series(question(old)[2]):
        pytest.fail(
            f"not compared: {', '.join(unlike)}; name the series in ALIKE, and leave it there if all of these pass"
        )
    new = tracer.make_trace(*question(old), key=old.key)
    before, now = ({**one.model_dump(exclude=NOT_COMPARED), "assumptions": set(one.assumptions)} for one in (old, new))
    unlike = [name for name in before if before[name] != now[name]]
    assert not unlike, f"{old.model}, {old.method}: {', '.join(unlike)} differ; make the shipped traces anew"


@pytest.mark.slow
@pytest.mark.parametrize("method", one_in(3, ["lora", "qlora", "full"]))
def test_a_shipped_trace_is_the_one_made_here(method: str) -> None:
    """One of each kind of step that costs seconds: a low-rank adapter, one on nf4, and full fine-tuning."""
    made_again(next(p for p in FILES if (shipped(p).model, shipped(p).method) == ("meta-llama/Llama-3.2-1B", method)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.name[:8]}")
def test_every_shipped_trace_is_the_one_made_here(path: Path) -> None:
    made_again(path)
