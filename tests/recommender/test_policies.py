"""The policies do what their sentences say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advisor.errors import UnknownName
from advisor.recommender.criteria import expected_effect, training_seconds
from advisor.recommender.policies import CHEAPER_BY, POLICIES, find_policy, near_best

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
methods = st.sampled_from(["lora", "full", "qlora", "dora", "ia3", "prompt-tuning"])
several = st.lists(
    st.fixed_dictionaries(
        {
            "method": methods,
            "hours": st.floats(0.1, 100),
            "effect": st.none() | st.floats(-20, 5),
            "half": st.floats(0, 10),
            "studies": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=7,
    unique_by=lambda c: c["method"],
)


def first(policy, candidates, tolerance=1.0):
    return find_policy(policy).rank(candidates, tolerance).ranked[0].recipe.method


@quick
@given(made=several, tolerance=st.floats(0, 5), policy=st.sampled_from(POLICIES))
def test_every_policy_ranks_every_candidate_once(candidate, made, tolerance, policy):
    candidates = [candidate(**numbers) for numbers in made]
    verdict = policy.rank(candidates, tolerance)
    assert sorted(c.recipe.method for c in verdict.ranked) == sorted(c.recipe.method for c in candidates)
    assert verdict.ranked[0].recipe.method in verdict.because


@quick
@given(made=several, tolerance=st.floats(0, 5), policy=st.sampled_from(POLICIES))
def test_the_order_candidates_come_in_does_not_matter(candidate, made, tolerance, policy):
    candidates = [candidate(**numbers) for numbers in made]
    forth = policy.rank(candidates, tolerance).ranked[0]
    back = policy.rank(candidates[::-1], tolerance).ranked[0]
    assert (training_seconds(forth), expected_effect(forth)) == (training_seconds(back), expected_effect(back))


@quick
@given(made=several, tolerance=st.floats(0, 5))
def test_what_is_near_best_is_within_tolerance_of_it(candidate, made, tolerance):
    near = near_best([candidate(**numbers) for numbers in made], tolerance)
    assert near
    assert max(map(expected_effect, near)) - min(map(expected_effect, near)) <= tolerance or expected_effect(
        near[0]
    ) == -float("inf")


def test_lora_stands_beside_a_slightly_better_full(candidate):
    assert first("balanced", [candidate("full", hours=2), candidate("lora", effect=-0.5)]) == "lora"


def test_lora_yields_where_it_surely_loses(candidate):
    collapsed = candidate("lora", effect=-11, half=6)
    assert first("balanced", [candidate("full", hours=2, half=0), collapsed]) == "full"


def test_lora_stands_where_its_loss_is_not_sure(candidate):
    lora = candidate("lora", effect=-1.5, half=6)
    full = candidate("full", hours=2, half=0)
    assert first("balanced", [full, lora]) == "lora"
    assert "only" in find_policy("balanced").rank([full, lora], 1.0).because


def test_lora_yields_to_what_is_better_and_cheaper_however_unsure(candidate):
    lora = candidate("lora", effect=-1.5, half=20)
    assert first("balanced", [candidate("full", hours=0.9, half=0), lora]) == "full"


def test_no_quality_is_given_up_for_a_few_minutes(candidate):
    made = [candidate("full", hours=0.1), candidate("ia3", hours=0.02, effect=-0.9)]
    assert first("balanced", made) == "full"
    assert first("cheapest", made) == "ia3"
    long = [candidate("full", hours=10), candidate("ia3", hours=2, effect=-0.9)]
    assert first("balanced", long) == "ia3"


def test_a_slightly_cheaper_method_does_not_unseat_lora(candidate):
    rival = candidate("ia3", hours=1 - CHEAPER_BY / 2)
    assert first("balanced", [candidate("lora"), rival]) == "lora"
    assert first("cheapest", [candidate("lora"), rival]) == "ia3"


def test_a_clearly_cheaper_method_as_good_unseats_lora(candidate):
    assert first("balanced", [candidate("lora"), candidate("ia3", hours=1 - CHEAPER_BY * 1.1)]) == "ia3"


def test_a_clearly_cheaper_method_unseats_lora_only_if_nowhere_worse(candidate):
    cheap = {"method": "ia3", "hours": 0.3}
    assert first("balanced", [candidate("lora"), candidate(**cheap, effect=0.1)]) == "ia3"
    assert first("balanced", [candidate("lora"), candidate(**cheap, effect=-0.1)]) == "lora"
    assert first("balanced", [candidate("lora"), candidate(**cheap, mergeable=False)]) == "lora"


def test_a_method_nobody_studied_is_not_chosen_over_a_studied_one(candidate):
    unknown = candidate("new", hours=0.1, effect=3, studies=0)
    known = candidate("lora", effect=-1)
    for policy in POLICIES:
        assert first(policy.name, [unknown, known]) == "lora"
        assert first(policy.name, [unknown]) == "new"


def test_qlora_is_the_incumbent_where_lora_is_not_there(candidate):
    assert first("balanced", [candidate("full", hours=0.9), candidate("qlora", effect=-0.2)]) == "qlora"


def test_a_wider_tolerance_never_makes_the_cheapest_dearer(candidate):
    made = [candidate("full", hours=4), candidate("lora", hours=2, effect=-0.8), candidate("ia3", effect=-3)]
    costs = [training_seconds(find_policy("cheapest").rank(made, t).ranked[0]) for t in (0, 0.5, 1, 2, 4)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[-1]


def test_best_quality_ignores_cost(candidate):
    made = [candidate("full", hours=9, gib=70), candidate("lora", effect=-0.4), candidate("qlora", effect=-0.6)]
    assert first("best-quality", made) == "full"


def test_an_unknown_policy_is_told_the_near_names():
    with pytest.raises(UnknownName, match="balanced"):
        find_policy("balance")


def test_without_quality_no_policy_falls_for_what_is_merely_cheap(candidate):
    blind = [candidate("prompt-tuning", hours=0.1, effect=None), candidate("lora", effect=None)]
    for policy in POLICIES:
        assert first(policy.name, blind) == "lora"
        assert "samples" in policy.rank(blind, 1.0).because
