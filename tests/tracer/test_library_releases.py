"""Traces are keyed by what changes them: shipped ones answer under patch releases, and say where they cannot."""

from __future__ import annotations

import pytest

from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import Trace
from advisor.domain.workload import Workload
from advisor.tracer import library_releases
from advisor.tracer import trace as tracer
from advisor.tracer.library_releases import ALIKE, LIBRARIES, SHIPPED_WITH, keyed_versions, patch_note, series
from advisor.tracer.shipped_traces import shipped_keys, shipped_trace
from tests.tracer.models import DECODER

QUANTISED = Recipe(method="lora", base="nf4", trainer="trl")
"""A recipe that every library bears on."""


def key(installed: dict[str, str], recipe: Recipe = QUANTISED, workload: Workload | None = None) -> str:
    return tracer.trace_key(DECODER, workload or Workload(model="m"), recipe, installed=installed)


@pytest.mark.exhaustive
def test_the_shipped_traces_were_made_with_the_releases_that_stand_for_their_series() -> None:
    shipped = [shipped_trace(key) for key in shipped_keys()]
    assert len(shipped) > 200
    assert None not in shipped
    for name in LIBRARIES:
        made_with = {one.versions[name] for one in shipped if one is not None and name in one.versions}
        assert made_with == {SHIPPED_WITH[name]}, name


def patched(version: str) -> str:
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 7}"


def next_series(name: str) -> str:
    """The first release of the series after those that were tested."""
    major, minor = ALIKE[name][-1].split(".")
    return f"{major}.{int(minor) + 1}.0"


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_patch_release_has_the_same_key_and_another_series_has_not(name: str) -> None:
    assert key({**SHIPPED_WITH, name: patched(SHIPPED_WITH[name])}) == key(SHIPPED_WITH)
    other = {**SHIPPED_WITH, name: next_series(name)}
    assert key(other) != key(SHIPPED_WITH)
    assert key(other) == key({**other, name: patched(other[name])})


def test_a_series_that_was_tested_has_the_same_key() -> None:
    for name, tested in ALIKE.items():
        assert series(SHIPPED_WITH[name]) in tested
        for one in tested:
            assert key({**SHIPPED_WITH, name: f"{one}.3"}) == key(SHIPPED_WITH), (name, one)


@pytest.mark.parametrize("version", ["2.14.0.dev20261101", "2.14.0rc1", "2.13.0a0"])
def test_a_pre_release_is_no_release_of_its_series(version: str) -> None:
    assert series(version) == version
    assert key({**SHIPPED_WITH, "torch": version}) != key({**SHIPPED_WITH, "torch": "2.14.0"})
    assert key({**SHIPPED_WITH, "torch": version}) != key(SHIPPED_WITH)


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_plain_install_has_no_bitsandbytes_and_asks_for_the_shipped_trace(base: str) -> None:
    recipe = Recipe(method="lora", base=base)  # type: ignore[arg-type]
    others = {k: v for k, v in SHIPPED_WITH.items() if k != "bitsandbytes"}
    assert key(others, recipe) == key(SHIPPED_WITH, recipe)
    assert key({**others, "bitsandbytes": "0.1.0"}, recipe) != key(SHIPPED_WITH, recipe)


def test_a_library_that_does_not_bear_on_a_recipe_is_not_in_its_key() -> None:
    plain = Recipe(method="lora")
    assert set(keyed_versions(plain, SHIPPED_WITH)) == {"torch", "transformers", "peft"}
    assert set(keyed_versions(QUANTISED, SHIPPED_WITH)) == set(LIBRARIES)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "ia3"},
        {"options": {"r": 4}},
        {"dtype": "float16"},
        {"mixed_precision": "bf16"},
        {"prepare_kbit_training": True},
        {"base": "int8"},
        {"optimizer": "sgd"},
        {"gradient_checkpointing": True},
        {"attention": "eager"},
        {"trainer": "loop"},
        {"max_grad_norm": 0.0},
        {"weight_decay": 0.1},
        {"micro_batch_size": 2},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_changes_a_step_changes_the_key(changed: dict) -> None:
    assert key(SHIPPED_WITH, QUANTISED.model_copy(update=changed)) != key(SHIPPED_WITH)


def test_what_changes_no_step_does_not_change_the_key() -> None:
    base = key(SHIPPED_WITH, QUANTISED.model_copy(update={"micro_batch_size": 2}))
    assert base == key(SHIPPED_WITH, QUANTISED.model_copy(update={"micro_batch_size": 64}))
    longer = Workload(model="m", seq_len=77, samples=5)
    assert key(SHIPPED_WITH) == key(SHIPPED_WITH, workload=longer)
    assert key(SHIPPED_WITH) == key(SHIPPED_WITH, QUANTISED.model_copy(update={"learning_rate": 0.5}))


def shipped_question(monkeypatch: pytest.MonkeyPatch) -> tuple[Trace, list[str]]:
    """The notes on a shipped trace, whatever key this machine would ask for."""
    made = shipped_trace(min(shipped_keys()))
    assert made is not None
    monkeypatch.setattr(tracer, "trace_key", lambda *_, **__: made.key)
    recipe = Recipe(method=made.method)
    return made, list(tracer.release_notes(made, DECODER, Workload(model="m"), recipe))


def test_nothing_is_said_where_the_shipped_trace_applies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library_releases, "versions", lambda: SHIPPED_WITH)
    _, notes = shipped_question(monkeypatch)
    assert notes == []


def test_a_patch_release_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {**SHIPPED_WITH, "peft": patched(SHIPPED_WITH["peft"])}
    monkeypatch.setattr(library_releases, "versions", lambda: newer)
    made, notes = shipped_question(monkeypatch)
    assert len(notes) == 1
    assert f"peft {SHIPPED_WITH['peft']} ({newer['peft']} is installed)" in notes[0]
    assert notes == [patch_note(made, Recipe(method="lora"))]


def test_a_series_that_the_shipped_traces_do_not_know_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    newer = {**SHIPPED_WITH, "transformers": next_series("transformers")}
    monkeypatch.setattr(library_releases, "versions", lambda: newer)
    _, notes = shipped_question(monkeypatch)
    assert any("does not apply to transformers" in note and "tested with" in note for note in notes), notes
    assert any("takes longer the first time" in note for note in notes)
