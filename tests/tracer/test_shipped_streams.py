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

from advisor.catalog.models import resolve_model
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.workload import Workload
from advisor.tracer import shipped_traces
from advisor.tracer import trace as tracer
from advisor.tracer.library_releases import SHIPPED_WITH, other_series
from advisor.tracer.shipped_traces import shipped_keys, shipped_trace
from tests.selection import one_in

KEYS = sorted(shipped_keys(), key=lambda key: shipped_keys()[key])
NOT_COMPARED = {"key", "versions"}


@cache
def shipped(key: str) -> Trace:
    found = shipped_trace(key)
    assert found is not None, key
    return found


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
    workload = {"model": made.model, "task": told["task"]}
    if told["num_labels"] is not None:
        workload["num_labels"] = told["num_labels"]
    return resolve_model(made.model), Workload.model_validate(workload), recipe


def test_shipped_traces_are_found_by_the_questions_they_answer() -> None:
    for key in KEYS[::7]:
        made = shipped(key)
        assert tracer.trace_key(*question(made), installed=SHIPPED_WITH) == key == made.key, (made.model, made.method)


def test_every_file_is_in_the_index_and_the_index_in_the_files() -> None:
    places = shipped_keys().values()
    assert {place.file for place in places} == {path.name for path in shipped_traces.FOLDER.glob("*.xz")}
    assert sum(path.stat().st_size for path in shipped_traces.FOLDER.iterdir()) < 25 * 2**20


def test_a_file_that_is_cut_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = shipped_keys()[KEYS[0]]
    whole = (shipped_traces.FOLDER / place.file).read_bytes()
    (tmp_path / place.file).write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr(shipped_traces, "FOLDER", tmp_path)
    assert shipped_trace(KEYS[0]) is None
    (tmp_path / place.file).unlink()
    assert shipped_trace(KEYS[0]) is None


def made_again(key: str) -> None:
    """Compare a shipped trace with the one made here."""
    old = shipped(key)
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
    file = "meta-llama--Llama-3.2-1B.jsonl.xz"
    made_again(next(key for key in KEYS if shipped_keys()[key].file == file and shipped(key).method == method))


@pytest.mark.exhaustive
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:8])
def test_every_shipped_trace_is_the_one_made_here(key: str) -> None:
    made_again(key)
