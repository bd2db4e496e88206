"""How much data a target needs: made-up learning curves are found again, and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.errors import BadRequest
from advisor.literature.data_scale import MOST_SAMPLES, data_needed, quality_curve


def power_law(ceiling: float, amount: float, decay: float, sizes: tuple[int, ...]) -> dict[int, float]:
    return {n: ceiling - amount * n**-decay for n in sizes}


@given(
    ceiling=st.floats(0.75, 0.95), decay=st.floats(0.15, 0.8), first=st.floats(0.35, 0.6), factor=st.floats(2.0, 20.0)
)
@settings(max_examples=60, deadline=None)
def test_a_true_power_law_lies_in_its_own_interval(ceiling, decay, first, factor):
    sizes = (100, 200, 400, 800, 1_600)
    amount = (ceiling - first) * 100**decay
    pilot = power_law(ceiling, amount, decay, sizes)
    wanted = 1_600 * factor
    target = ceiling - amount * wanted**-decay
    found = data_needed(pilot, target)
    assert found.samples is not None
    assert found.samples.low <= wanted <= found.samples.high
    later = data_needed(pilot, target).at_sizes[3_200]
    truth = ceiling - amount * 3_200**-decay
    assert later.low <= truth <= later.high


@pytest.mark.parametrize("spread", [None, 0.002, 0.03])
def test_points_and_fractions_give_the_same_samples(spread):
    fractions = data_needed({100: 0.61, 400: 0.68}, 0.75, seeds_spread=spread)
    points = data_needed({100: 61, 400: 68}, 75, seeds_spread=spread and 100 * spread)
    assert fractions.samples is not None
    assert points.samples is not None
    assert fractions.samples.mid == pytest.approx(points.samples.mid)
    assert points.ceiling.mid == pytest.approx(100 * fractions.ceiling.mid)


def test_more_pilots_narrow_the_interval():
    def width(sizes: tuple[int, ...]) -> float:
        needed = data_needed(power_law(0.9, 1.2, 0.3, sizes), 0.78).samples
        assert needed is not None
        return needed.high / needed.low

    assert width((100, 200, 400, 800, 1_600, 3_200)) < width((100, 200))


def test_a_target_already_reached_needs_no_more():
    found = data_needed({100: 0.61, 400: 0.68}, 0.6)
    assert found.samples is not None
    assert found.samples.mid <= 400
    assert "already" in found.says


def test_a_flat_curve_does_not_promise_what_more_data_will_not_bring():
    found = data_needed({100: 0.70, 1_000: 0.70, 10_000: 0.70}, 0.9)
    assert found.samples is None
    assert found.chance < 0.5
    assert "not reachable" in found.says


def test_a_higher_target_needs_more_samples():
    needs = [data_needed({100: 0.61, 400: 0.68, 1_600: 0.73}, target).samples for target in (0.74, 0.76, 0.78)]
    mids = [need.mid for need in needs if need is not None]
    assert len(mids) == 3
    assert mids == sorted(mids)
    assert all(need.high <= 10 * MOST_SAMPLES for need in needs if need is not None)


@pytest.mark.parametrize(
    ("pilot", "target", "says"),
    [
        ({100: 0.6}, 0.7, "two or more"),
        ({}, 0.7, "two or more"),
        ({0: 0.5, 100: 0.6}, 0.7, "at least 1"),
        ({100: 0.6, 400: 68}, 0.75, "fractions beside percentages"),
        ({100: 0.6, 400: 0.68}, 75, "fractions beside percentages"),
        ({100: 0.6, 400: 680}, 0.75, "0-1 or in 0-100"),
        ({100: -0.6, 400: 0.68}, 0.75, "0-1 or in 0-100"),
        ({100: float("nan"), 400: 0.68}, 0.75, "0-1 or in 0-100"),
        ({100: 0.6, 400: 0.68}, float("nan"), "0-1 or in 0-100"),
        ({100: 0.6, 400: 0.68}, -0.1, "0-1 or in 0-100"),
        ({100: 0.6, 10**11: 0.7}, 0.9, "at most"),
    ],
)
def test_pilots_that_cannot_be_read_are_refused(pilot, target, says):
    with pytest.raises(BadRequest, match=says):
        data_needed(pilot, target)


def test_a_score_where_lower_is_better_is_refused():
    with pytest.raises(BadRequest, match="lower is better"):
        data_needed({100: 0.4, 400: 0.3}, 0.2, higher_is_better=False)


def test_the_curve_answers_at_every_size_asked():
    points = quality_curve("lora", architecture="decoder", model_parameters=10**9, task_type="math", sizes=(10, 10**6))
    assert [point.samples for point in points] == [10, 10**6]


def test_the_curve_says_when_usual_epochs_are_too_few_steps():
    few, many = quality_curve(
        "prompt-tuning", architecture="decoder", model_parameters=10**9, task_type="math", sizes=(50, 10**6)
    )
    assert "steps to converge" in few.warning
    assert few.steps is not None
    assert few.steps.value > 3 * 50 / 16
    assert few.steps.sources
    assert many.warning == ""


@pytest.mark.parametrize("spread", [0.0, -0.01, float("nan"), 5.0])
def test_a_spread_over_seeds_that_is_none_is_refused(spread):
    with pytest.raises(BadRequest, match="spread"):
        data_needed({100: 0.6, 400: 0.68}, 0.75, seeds_spread=spread)


def test_falling_scores_widen_and_say_so():
    falling = data_needed({100: 0.68, 400: 0.61}, 0.75)
    assert falling.samples is None
    assert "fall" in falling.says
    rising = data_needed({100: 0.61, 400: 0.68}, 0.75)
    assert falling.at_sizes[800].high - falling.at_sizes[800].low > rising.at_sizes[800].high - rising.at_sizes[800].low


@given(
    st.dictionaries(st.integers(1, 10**9), st.floats(0, 1), min_size=2, max_size=5),
    st.floats(0, 1),
)
@settings(max_examples=80, deadline=None)
def test_any_lawful_pilot_has_an_ordered_answer(pilot, target):
    found = data_needed(pilot, target)
    assert 0 <= found.chance <= 1
    for score in (found.ceiling, *found.at_sizes.values()):
        assert 0 <= score.low <= score.mid <= score.high <= 1.0001
    if max(pilot.values()) >= target:
        assert found.samples is not None
        assert found.samples.mid <= 1.000001 * min(n for n, score in pilot.items() if score >= target)


def test_a_curve_at_no_samples_is_refused():
    with pytest.raises(BadRequest):
        quality_curve("lora", architecture="decoder", model_parameters=None, task_type="math", sizes=(0,))
