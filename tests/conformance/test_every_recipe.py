"""No recipe falls over: every method, family, base and checkpointing is answered or refused for a reason in a table.

`pytest -m exhaustive tests/conformance/test_every_recipe.py` asks each method of each family in one way, a piece a
family (`-k llama`): half an hour. With `ADVISOR_WALK=all` it asks in every way, eight pieces a family: hours. The
everyday suite asks what fell over once, and a few of every kind.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from advisor.catalog.methods import methods
from advisor.estimator.estimate import answer
from tests.assembly.small_families import families
from tests.conformance.every_recipe import (
    CRASH,
    REASONS,
    WAYS,
    Case,
    became_of,
    cases,
    explained,
    folder_of,
    record_once,
    share,
)

FAMILIES = {entry.model_type: entry for entry in families()}

SAMPLE = (
    Case("qwen3_5", "lora", "bfloat16", False),
    Case("qwen3_5_moe", "prefix-tuning", "nf4", False),
    Case("qwen3_5", "alora", "nf4", True),
    Case("llama4", "adapter-parallel", "bfloat16", False),
    Case("llama4", "cpt", "bfloat16", False),
    Case("gemma2", "randlora", "nf4", False),
    Case("deberta-v2", "adapter-houlsby", "int8", False),
    Case("mistral", "frod", "float32", True),
    Case("llama", "alora", "int8", False),
    Case("opt", "shadow", "float32", True),
    Case("gemma3", "shadow", "bfloat16", False),
    Case("vit", "embedding-tuning", "bfloat16", False),
    Case("whisper", "lora", "nf4", True),
    Case("gpt2", "full", "float32", False),
    Case("t5", "ia3", "int8", True),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.parametrize("case", SAMPLE, ids=str)
def test_a_recipe_is_answered_or_refused_for_a_reason(case: Case, place: Path) -> None:
    said = became_of(case, folder_of(FAMILIES[case.family], place), record_once)
    assert explained(said), said


@pytest.mark.slow
def test_a_recipe_is_answered_in_full(place: Path) -> None:
    case = Case("qwen2", "ia3", "bfloat16", False)
    assert became_of(case, folder_of(FAMILIES[case.family], place), answer) == ""


def test_the_sample_holds_cases_of_families_and_methods_that_there_are() -> None:
    assert all(case in cases(case.family) for case in SAMPLE)
    assert len(cases("llama")) == len(methods()) * len(WAYS) * 2


def test_a_crash_is_no_reason(place: Path) -> None:
    def falls(_: object) -> None:
        raise AttributeError("'NoneType' object has no attribute 'copy_'\nmore")

    said = became_of(SAMPLE[0], folder_of(FAMILIES["qwen3_5"], place), falls)
    assert said == f"{CRASH} AttributeError: 'NoneType' object has no attribute 'copy_'"
    assert not explained(said)
    assert not explained("it is not a good day for it")
    assert all(REASONS.values())


def test_the_shares_of_a_family_are_all_its_cases_once() -> None:
    for family in ("llama", "qwen3_5"):
        found = [case for number in range(len(WAYS) * 2) for case in share(family, number)]
        assert len(found) == len(set(found))
        assert set(found) == set(cases(family))


SHARES = range(len(WAYS) * 2) if os.environ.get("ADVISOR_WALK") == "all" else range(1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", SHARES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_recipe_is_answered_or_refused_for_a_reason(family: str, number: int, place: Path) -> None:
    folder = folder_of(FAMILIES[family], place)
    became = {case: became_of(case, folder, record_once) for case in share(family, number)}
    unexplained = [f"{case}: {said}" for case, said in became.items() if not explained(said)]
    assert not unexplained, "\n".join([f"{len(unexplained)} of {len(became)}:", *unexplained])
