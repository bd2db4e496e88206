"""Laws of comparing candidates."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.recommender.criteria import chance_better, dominates, has_evidence, why_dominated

numbers = {
    "hours": st.floats(0.1, 100),
    "effect": st.floats(-20, 5),
    "half": st.floats(0, 10),
    "gib": st.floats(1, 70),
    "mergeable": st.booleans(),
}
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quick
@given(one=st.fixed_dictionaries(numbers), other=st.fixed_dictionaries(numbers))
def test_two_candidates_never_dominate_each_other(candidate, one, other):
    a, b = candidate("a", **one), candidate("b", **other)
    assert not (dominates(a, b) and dominates(b, a))


@quick
@given(numbers=st.fixed_dictionaries(numbers))
def test_nothing_dominates_itself(candidate, numbers):
    assert not dominates(candidate("a", **numbers), candidate("b", **numbers))


@quick
@given(*[st.fixed_dictionaries(numbers)] * 3)
def test_dominance_is_transitive(candidate, a, b, c):
    a, b, c = candidate("a", **a), candidate("b", **b), candidate("c", **c)
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@quick
@given(one=st.fixed_dictionaries(numbers), other=st.fixed_dictionaries(numbers))
def test_chances_of_being_better_either_way_add_up_to_one(candidate, one, other):
    a, b = candidate("a", **one), candidate("b", **other)
    assert chance_better(a, b) + chance_better(b, a) == pytest.approx(1)


def test_a_wider_interval_makes_the_same_lead_less_sure(candidate):
    behind = candidate("lora", effect=-2, half=1)
    assert chance_better(candidate("x", effect=0, half=1), behind) > chance_better(
        candidate("x", effect=0, half=8), behind
    )


def test_a_lead_of_one_deviation_is_right_five_times_in_six(candidate):
    one, other = candidate("x", effect=1, half=1.6448536 / 2**0.5), candidate("y", effect=0, half=1.6448536 / 2**0.5)
    assert chance_better(one, other) == pytest.approx(0.8413, abs=1e-3)


def test_without_quality_nothing_is_known_to_be_better(candidate):
    a, b = candidate("a", effect=None), candidate("b", effect=None)
    assert chance_better(a, b) == 0.5
    assert chance_better(candidate("c"), a) == 1.0


def test_merging_counts(candidate):
    assert dominates(candidate("a", mergeable=True), candidate("b", mergeable=False))


def test_full_is_the_yardstick_and_always_has_evidence(candidate):
    assert has_evidence(candidate("full", studies=0))
    assert not has_evidence(candidate("new", studies=0))
    assert has_evidence(candidate("new", studies=1))
    assert not has_evidence(candidate("new", effect=None))
    assert not has_evidence(candidate("full", effect=None))


def test_how_full_the_gpu_is_decides_nothing(candidate):
    roomy, tight = candidate("a", gib=10), candidate("b", gib=70)
    assert not dominates(roomy, tight)
    assert not dominates(tight, roomy)


def test_the_reason_says_how_much_slower_and_worse_and_what_nobody_studied(candidate):
    lora, other = candidate("lora", hours=1), candidate("boft", hours=3, effect=-1)
    assert why_dominated(lora, other) == "no advantage over lora: 200% slower, expected 1.0 points lower"
    assert why_dominated(lora, candidate("new", hours=3, studies=0)).endswith("no study bears on it")


def test_the_reason_says_where_the_ranks_differ(candidate):
    lora, other = candidate("lora", hours=1), candidate("rslora", hours=2)
    assert "at rank 64 instead of 16, 100% slower" in why_dominated(lora, other)
    same = other.model_copy(update={"recipe": other.recipe.model_copy(update={"options": {"rank": 16}})})
    assert "rank" not in why_dominated(lora, same)
