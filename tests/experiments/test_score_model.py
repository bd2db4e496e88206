"""The joint model of a probe: what trainings teach, what one more is worth, what a curve says of more rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from advisor.experiments.experiment_findings import targets_of
from advisor.experiments.plan import ExperimentPlan, draw
from advisor.experiments.probe_answer import never_moved
from advisor.experiments.probe_points import noise_of, points_of
from advisor.experiments.probe_session import ProbeSession
from advisor.experiments.score_model import Arm, Draws, Effects, Observation, ScoreModel, rows_for_more

SIZES = (50, 100, 200, 400)
METHODS = ("full", "lora", "ia3")


def model(sd: float = 2.0, together: float = 0.5) -> ScoreModel:
    """Three methods whose effects are thought to be 0, and one of them at three times its rate as well."""
    mean, spread = np.zeros((3, 4)), np.full((3, 4), sd)
    spread[0] = 0.0
    correlation = np.full((3, 3), together) + (1 - together) * np.eye(3)
    arms = [*(Arm(name) for name in METHODS), Arm("lora", 3.0)]
    return ScoreModel(arms, Effects(METHODS, SIZES, mean, spread, correlation))


def test_a_training_narrows_its_own_method_most_and_others_by_what_they_share():
    before = model().given([])
    after = model().given([Observation(arm=1, size=400, points=80.0, variance=1.0)])
    assert (after.whole()[1] < before.whole()[1]).all()
    sd = after.whole()[1]
    assert sd[1] < min(sd[0], sd[2], sd[3])
    assert after.whole()[0][1] == pytest.approx(80.0, abs=0.5)


@pytest.mark.parametrize("variance", [0.01, 0.25])
def test_after_a_training_on_all_rows_its_own_noise_is_what_stays_open(variance: float):
    seen = [Observation(arm=1, size=400, points=80.0, variance=variance)]
    assert model(sd=20.0).given(seen).whole()[1][1] == pytest.approx(variance**0.5, rel=0.05)


def test_a_decay_weighs_by_how_likely_it_makes_what_was_seen():
    made = model()
    seen = [Observation(0, 50, 60.0, 1.0), Observation(0, 200, 75.0, 1.0), Observation(1, 100, 70.0, 2.0)]
    places = [made.at(one.arm, one.size) for one in seen]
    points, noise = [one.points for one in seen], np.diag([one.variance for one in seen])
    likely = [
        multivariate_normal.logpdf(points, prior.mean[places], prior.covariance[np.ix_(places, places)] + noise)
        for prior in made.given([]).parts
    ]
    expected = np.exp(np.array(likely) - max(likely))
    assert [part.weight for part in made.given(seen).parts] == pytest.approx(expected / expected.sum(), rel=1e-6)


def test_a_published_power_law_is_found_again_at_eight_times_the_rows():
    curve = {n: 90 - 60 * n**-0.5 for n in SIZES}
    seen = [Observation(0, n, curve[n], 0.05) for n in SIZES[:-1]]
    mean, sd = model().given(seen).whole()
    assert abs(mean[0] - curve[400]) < 1.0
    assert sd[0] < 2.0


def test_more_is_known_of_a_method_after_it_beat_the_others_twice():
    seen = [Observation(i, n, 70.0 + 6.0 * (i == 1), 2.0) for n in (50, 100) for i in range(3)]
    mean, _ = model(sd=4.0).given(seen).whole()
    assert int(np.argmax(mean)) == 1


def test_the_worth_of_a_training_is_never_negative_and_less_where_it_was_made():
    fresh = model().given([Observation(0, 50, 70.0, 2.0)])
    known = model().given([Observation(0, 50, 70.0, 2.0), *(Observation(1, 50, 70.0, 2.0) for _ in range(20))])
    noise = np.full(len(SIZES) * 4, 2.0)
    place = model().at(1, 50)
    for one in (fresh, known):
        gained, narrowed = one.worth(noise)
        assert (gained >= 0).all()
        assert (narrowed >= -1e-9).all()
    assert known.worth(noise)[0][place] < fresh.worth(noise)[0][place]


def test_draws_are_the_same_again_and_scores_within_their_bounds():
    seen = [Observation(0, 50, 97.0, 2.0), Observation(0, 100, 98.0, 2.0)]
    first, second = model().given(seen).draws(), model().given(seen).draws()
    assert np.array_equal(first.scores, second.scores)
    assert first.scores.max() <= 100.0
    assert (first.gains >= 0).all()


def test_rows_for_more_points_are_where_the_curve_is():
    drawn = Draws(np.array([[80.0], [80.0], [99.0]]), np.array([6.0, 0.5, 50.0]), np.array([0.5, 0.5, 0.5]))
    rows = rows_for_more(drawn, 0, 1000, 2.0)
    # the first: b = 6 at decay 0.5, so 2 points more are gained where 6 (1 - r^-0.5) / (8^0.5 - 1) is 2
    assert 6.0 * (1 - (rows[0] / 1000) ** -0.5) / (8**0.5 - 1) == pytest.approx(2.0)
    assert np.isinf(rows[1:]).all()
    flat = Draws(np.array([[80.0]]), np.array([2.0 * (8.0**0.01 - 1) / 0.9]), np.array([0.01]))
    assert rows_for_more(flat, 0, 1000, 2.0) == pytest.approx([1000 * 1e9])


def test_a_loss_becomes_points_that_rise_as_it_falls_and_noise_falls_with_rows():
    assert points_of("loss", 2.0) == 80.0
    assert points_of("perplexity", np.exp(2.0)) == pytest.approx(80.0)
    assert points_of("accuracy", 0.9) == 90.0
    # a row's loss varies by a nat, which is ten points; a share of rows as a binomial one
    for metric, of_a_row in (("loss", 10.0**2), ("accuracy", 100.0**2 * 0.8 * 0.2)):
        by_rows = noise_of(metric, 80.0, 100, 10) - noise_of(metric, 80.0, 100, 20)
        assert by_rows == pytest.approx(of_a_row * (1 / 10 - 1 / 20))
        assert noise_of(metric, 80.0, 1000, 400) < noise_of(metric, 80.0, 100, 400) < noise_of(metric, 80.0, 100, 40)


def test_the_smallest_size_holds_a_row_of_each_class_however_rare():
    rows = [{"text": str(i), "label": "a" if i < 95 else "b"} for i in range(97)]
    rows += [{"text": "rare", "label": "c"}]
    small = draw(rows, 6, 0, labelled=True, every_class=True)
    large = draw(rows, 30, 0, labelled=True, every_class=True)
    assert {row["label"] for row in small} == {"a", "b", "c"}
    assert small == large[:6]


def test_a_metric_that_never_moved_is_told_with_what_would_move():
    said = never_moved("accuracy", [0.7, 0.7, 0.7], 0.7)
    assert "never moved" in said
    assert "commonest label" in said
    assert "--metric loss" in said
    assert never_moved("accuracy", [0.7, 0.71], 0.7) == never_moved("accuracy", [0.7], 0.7) == ""


def test_a_study_tries_rates_below_at_and_above_the_published_one():
    low, published, high = ExperimentPlan.model_fields["rate_factors"].default
    assert low < 1 == published < high


def test_targets_are_told_in_the_words_of_findings():
    assert [targets_of(name) for name in ("attention", "attention-qv", "all-linear", "mlp", "c_proj")] == [
        "attention", "attention", "all", "mlp", "",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "labels", "sizes"),
    [
        (6_400, ("a", "b"), (100, 200, 400, 800, 1_600, 3_200, 6_400)),
        (100, ("a", "b"), (25, 50, 100)),
        (100, tuple("abcdefghijklmnopqrst"), (50, 100)),
        (10, ("a", "b"), (10,)),
    ],
)
def test_sizes_are_all_rows_and_six_halvings_that_hold_two_rows_a_class(rows, labels, sizes):
    asked = SimpleNamespace(request=SimpleNamespace(splits=SimpleNamespace(labels=labels)))
    assert ProbeSession._ladder(asked, rows) == sizes
