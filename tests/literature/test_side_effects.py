"""What a method leaves behind: exact bytes, adapters beside the base, forgetting with its interval or unknown."""

from __future__ import annotations

import pytest

from advisor.domain.units import GIB
from advisor.literature.forgetting import forgetting
from advisor.literature.side_effects import BATCHED, side_effects
from tests.recommender.conftest import make_candidate


def one(method, **changes):
    return make_candidate(method, gib=2.0, limit_gib=10.0).model_copy(
        update={"trainable_parameters": 10**7, "total_parameters": 10**9 + 10**7, **changes}
    )


def test_an_adapter_is_its_parameters_in_the_dtype_it_serves_in():
    found = side_effects(one("lora"))
    assert found.adapter_bytes == 2 * 10**7
    assert found.beside_base == (10 * GIB - 2 * 10**9) // (2 * 10**7)
    in_float32 = one("lora").recipe.model_copy(update={"dtype": "float32", "mixed_precision": None})
    assert side_effects(one("lora", recipe=in_float32)).adapter_bytes == 4 * 10**7


def test_a_quantised_base_takes_what_its_weights_took_in_training():
    found = side_effects(make_candidate("qlora", gib=4.0, limit_gib=10.0, base="nf4"))
    assert found.beside_base == 6 * GIB // 2000


def test_a_base_that_leaves_no_room_leaves_none():
    assert side_effects(one("lora", limit_bytes=GIB)).beside_base == 0


@pytest.mark.parametrize(
    "changes", [{"trainable_parameters": 10**9 + 10**7}, {"gpu_count": 2}, {"sharding": "fsdp"}], ids=str
)
def test_where_it_is_no_question_no_number_is_told(changes):
    assert side_effects(one("lora", **changes)).beside_base is None


def test_a_whole_model_is_its_own_and_needs_no_merging():
    found = side_effects(one("full", trainable_parameters=10**9 + 10**7))
    assert found.merges
    assert found.adapter_bytes == 2 * (10**9 + 10**7)
    assert found.latency.startswith("none")


def test_throughput_has_its_sources_or_is_unknown():
    assert side_effects(one("lora")).throughput == BATCHED
    assert "arXiv" in BATCHED
    assert side_effects(one("dora")).throughput == "unknown"


def test_forgetting_is_that_of_every_study_with_its_interval():
    found = side_effects(one("lora"))
    assert [(a.study, a.kept, a.kept_low, a.lost_high) for a in found.lost] == [
        (f.study, f.kept, f.kept_low, f.lost_high) for f in forgetting("lora") if f.rank is None
    ]
    assert found.lost[0].study == "biderman2024"
    assert side_effects(one("boft")).lost == ()


def test_full_fine_tuning_is_told_by_what_it_lost():
    found = side_effects(one("full")).lost
    assert {a.study for a in found} == {"peft-arena2026"}
    assert all(a.kept is None and a.lost is not None for a in found)


def test_latency_is_what_was_measured_unmerged():
    assert "1.35 times" in side_effects(one("lora")).latency
    assert "times" not in side_effects(one("boft")).latency
