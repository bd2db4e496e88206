"""The fit finds what was put into made-up studies, and its cells and scores mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from advisor.catalog.findings.study_files import load_studies
from advisor.domain.findings import Finding, Study
from advisor.literature.quality.features import SIZES_IF_UNKNOWN, SPREAD_OF_OLD, StudyDefaults, StudySetting
from advisor.literature.quality.hierarchical_fit import (
    HeldOutStudy,
    attention_penalty,
    cells_for_fit,
    fit_location,
    fit_spread,
    fit_variances,
    leave_studies_out,
)
from advisor.literature.quality.leave_study_out import (
    MISSED,
    blind,
    coverage,
    intervals_by_study,
    model_pick,
    order_by_study,
    pairwise_order,
    pu_table,
    regret_by_study,
)
from advisor.literature.quality.observations import CLIP, all_cells, cells_of, usual
from advisor.literature.quality.posterior import posterior
from advisor.literature.quality.study_blocks import design, negative_likelihood

TRUE = {"lora": -0.3, "adapter-houlsby": -1.0, "bitfit": -3.0, "prompt-tuning": -8.0}


def finding(method: str, value: float, full: float | None, **changes) -> Finding:
    asked = {
        "table": "T",
        "model": "M",
        "architecture": "decoder",
        "task": "task",
        "task_type": "NLU",
        "samples": 20_000,
        "metric": "accuracy",
        "address": "page 1",
    }
    return Finding(method=method, value=value, full_value=full, **{**asked, **changes})


def made_up(number: int, rng: np.random.Generator) -> Study:
    level = rng.uniform(60, 90)
    rows = [
        finding(method, level + effect + rng.normal(0, 0.3), level, task=f"task {i}", table=f"T{i}")
        for i in range(3)
        for method, effect in TRUE.items()
    ]
    return Study(id=f"made{number}", title="Made up", url="https://example.org", findings=tuple(rows))


@pytest.fixture(scope="module")
def studies() -> list[Study]:
    rng = np.random.default_rng(7)
    return [made_up(number, rng) for number in range(8)]


@pytest.fixture(scope="module")
def left_out(studies: list[Study]) -> list[HeldOutStudy]:
    data = design(cells_for_fit(studies))
    return leave_studies_out(data, fit_variances(data), refit=0)


def test_effects_that_were_put_in_come_out(studies: list[Study]):
    data = design(cells_for_fit(studies))
    location = fit_location(data, fit_variances(data))
    questions = [StudySetting(method, "decoder", "NLU", 20_000) for method in TRUE]
    found = np.sinh(location.predict(questions)[0])
    assert found == pytest.approx(list(TRUE.values()), abs=0.6)


def test_order_is_predicted_out_of_study_when_there_is_one(left_out: list[HeldOutStudy]):
    assert pairwise_order(left_out, told=True, apart=0.5) > 0.95


def test_intervals_of_made_up_studies_hold_nine_in_ten(left_out: list[HeldOutStudy]):
    over_studies, over_rows = coverage(left_out)
    assert over_studies > 0.85
    assert over_rows > 0.85


def test_the_fit_is_deterministic(studies: list[Study]):
    data = design(cells_for_fit(studies))
    again = design(cells_for_fit(list(reversed(studies))))
    assert np.array_equal(fit_variances(data), fit_variances(again))


def test_a_study_with_many_rows_counts_as_one_study():
    """One study says +6 with 60 tables; five say -2 with one each: what is expected is below 0."""
    loud = [finding("lora", 76, 70, table=f"T{i}", task=f"t{i}") for i in range(60)]
    quiet = [
        Study(id=f"q{i}", title="q", url="https://example.org", findings=(finding("lora", 68 - 0.1 * i, 70),))
        for i in range(5)
    ]
    everyone = [Study(id="loud", title="l", url="https://example.org", findings=tuple(loud)), *quiet]
    data = design(cells_for_fit(everyone))
    location = fit_location(data, fit_variances(data))
    assert location.predict([StudySetting("lora", "decoder", "NLU", 20_000)])[0][0] < 0


def study_of(name: str, *rows: Finding) -> Study:
    return Study(id=name, title=name, url="https://example.org", findings=rows)


def test_a_new_study_is_taken_to_be_what_studies_usually_are():
    """One of two studies proposes dora, none lora; the third's rates were not tuned."""
    studies = [
        study_of("a", finding("dora", 71, 70, own_method=True), finding("lora", 70, 70)),
        study_of("b", finding("dora", 71, 70), finding("lora", 70, 70)),
        study_of("c", finding("lora", 70, 70, learning_rate_tuned=False)),
    ]
    found = usual(all_cells(studies))
    # b may be asked of lora alone: that a proposes dora is known. a is half its own, b and c are not.
    assert found == StudyDefaults(own_share=0.5 / 3, untuned_share=1 / 3, proposed=frozenset({"dora"}))
    assert found.own("dora") == 0
    assert found.own("vera") == found.own("lora") == 0.5 / 3
    asked = found.blind(StudySetting("vera", "decoder", "NLU", own=1.0, untuned=1.0))
    assert (asked.own, asked.untuned) == (0.5 / 3, 1 / 3)


def test_nothing_is_usual_where_there_is_no_study():
    assert usual([]) == StudyDefaults(0.0, 0.0, frozenset())


def test_a_left_out_study_does_not_say_what_is_usual():
    """What the blind question assumes of a study comes from the others: its own word is not in it."""
    boastful = study_of("own", finding("dora", 75, 70, own_method=True), finding("lora", 70, 70))
    others = [study_of(f"s{i}", finding("lora", 70 - i, 70), finding("bitfit", 68 - i, 70)) for i in range(4)]
    data = design(cells_for_fit([boastful, *others]))
    left_out = leave_studies_out(data, fit_variances(data), refit=0)
    assert {one.blind.own for one in left_out if one.cell.study == "own"} == {0.0}
    assert {one.cell.question.own for one in left_out if one.cell.study == "own"} == {0.0, 1.0}


def test_an_unknown_size_is_as_doubtful_as_what_the_size_would_change(studies: list[Study]):
    few = [
        study_of(f"few{i}", finding("prompt-tuning", 40 + i, 70, samples=100), finding("lora", 70, 70, samples=100))
        for i in range(4)
    ]
    data = design(cells_for_fit([*studies, *few]))
    location = fit_location(data, fit_variances(data))

    def ask(method: str, samples: int | None) -> tuple[float, float]:
        mean, variance = location.predict([StudySetting(method, "decoder", "NLU", samples)])
        return float(mean[0]), float(variance[0])

    for method in ("prompt-tuning", "lora"):
        known = [ask(method, size)[0] for size in SIZES_IF_UNKNOWN]
        away = np.mean((np.array(known) - ask(method, None)[0]) ** 2)
        assert ask(method, None)[1] == pytest.approx(ask(method, 10**5 // 3)[1] + away, rel=0.2, abs=1e-3)
    assert ask("prompt-tuning", None)[1] > ask("prompt-tuning", 10_000)[1] + 0.01


def test_settings_without_full_fine_tuning_teach_differences_only():
    def shifted(by: float) -> float:
        rows = (finding("lora", 50 + by, None), finding("bitfit", 45 + by, None))
        study = Study(id="s", title="s", url="https://example.org", findings=rows)
        return next(cell.effect for cell in cells_of(study))

    assert shifted(0) == pytest.approx(shifted(40)) == pytest.approx(2.5)


def test_a_lone_method_without_full_fine_tuning_says_nothing():
    study = Study(id="s", title="s", url="https://example.org", findings=(finding("lora", 50, None),))
    assert cells_of(study) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"suspect": True},
        {"copied_from": "an earlier paper"},
        {"aspect": "cost"},
        {"higher_is_better": False},
        {"unit": "nats"},
    ],
)
def test_what_cannot_be_compared_is_not_fitted(changes):
    study = Study(id="s", title="s", url="https://example.org", findings=(finding("lora", 50, 60, **changes),))
    assert all_cells([study]) == []


def test_a_collapse_is_clipped_for_the_mean_and_kept_for_the_spread():
    study = Study(id="s", title="s", url="https://example.org", findings=(finding("lora", 5, 90),))
    (cell,) = cells_of(study)
    assert cell.effect == -CLIP
    assert cell.effects == (-85,)


def test_attention_alone_costs_what_pairs_that_differ_in_targets_lost():
    rows = [
        finding("lora", 70 - lost * attention, None, samples=n, targets="attention" if attention else "all")
        for n, lost in ((100, 16), (1_000, 8), (10_000, 2))
        for attention in (0, 1)
    ]
    study = Study(id="s", title="s", url="https://example.org", findings=tuple(rows))
    at, per_decade, said = attention_penalty(cells_of(study))
    assert said == ("s",)
    assert at < 0
    assert per_decade == pytest.approx(-3.5, abs=0.5)  # half of seven points a decade: one study's word


def test_one_pair_says_no_more_than_it_saw():
    """Half of it, and less for the prior of nothing: dividing by too little would say more than all of it."""
    rows = [
        finding("lora", 70 - 4 * attention, None, samples=10_000, targets="attention" if attention else "all")
        for attention in (0, 1)
    ]
    study = Study(id="s", title="s", url="https://example.org", findings=tuple(rows))
    at, per_decade, _ = attention_penalty(cells_of(study))
    assert -0.5 * 4.0 < at < -0.4 * 4.0
    assert per_decade == 0.0


def test_no_pair_no_penalty():
    assert attention_penalty([]) == (0.0, 0.0, ())


def test_the_stored_coefficients_are_what_the_shipped_studies_give():
    """At the stored variances the closed form gives the stored mean, and no variance wants to move."""
    fit = posterior().fit
    data = design(cells_for_fit(load_studies()))
    log_variances = np.log(np.array(list(fit.variances.values())))
    location = fit_location(data, log_variances)
    assert tuple("|".join(name) for name in location.names) == fit.names
    assert location.mean == pytest.approx(np.array(fit.mean), abs=1e-3)
    _, gradient = negative_likelihood(log_variances, data)
    assert np.abs(gradient).max() < 0.5  # of a likelihood of some 900: the search has stopped


def one(effect: float, guess: float, method: str = "lora", study: str = "s", samples: int = 500) -> HeldOutStudy:
    (cell,) = cells_of(
        Study(
            id=study,
            title="s",
            url="https://example.org",
            findings=(finding(method, 60 + effect, 60, samples=samples),),
        )
    )
    mean = math.asinh(guess)
    return HeldOutStudy(cell, cell.question, mean, 0.0, mean, 0.0)


def test_a_tie_in_prediction_is_half_right_and_a_near_pair_does_not_count():
    cells = [one(3, 0, "lora"), one(-3, 0, "bitfit"), one(-3.4, 1, "vera")]
    assert order_by_study(cells, lambda o: math.sinh(o.mean), with_full=False) == {"s": pytest.approx(0.25)}


def test_full_fine_tuning_takes_part_as_zero():
    assert order_by_study([one(2, 1)], lambda o: math.sinh(o.mean)) == {"s": 1.0}
    assert order_by_study([one(2, -1)], lambda o: math.sinh(o.mean)) == {"s": 0.0}


def test_an_interval_score_is_its_width_and_twenty_times_what_lies_outside():
    inside = [one(0.1 * i, 0, study=f"s{i}") for i in range(-5, 6)]
    (found,) = (value for key, value in intervals_by_study([*inside, one(40, 0, study="far")]).items() if key == "far")
    assert found.inside == 0
    half = found.width / 2
    assert found.score == pytest.approx(found.width + MISSED * (40 - half), rel=0.05)
    (near,) = (value for key, value in intervals_by_study([*inside, one(0, 0, study="near")]).items() if key == "near")
    assert near.inside == 1
    assert near.score == pytest.approx(near.width)


def test_the_pick_is_the_best_expected_effect_and_full_where_all_are_below_it():
    cells = {"lora": [one(3, -1)], "bitfit": [one(5, -2, "bitfit")]}
    assert model_pick(blind)(cells) == "full"
    assert model_pick(blind)(cells | {"vera": [one(-5, 0.5, "vera")]}) == "vera"


def test_a_fit_of_old_keeps_its_own_spread():
    cells = [one(float(i % 7) - 3, 0.0, study=f"s{i % 6}") for i in range(60)]
    assert fit_spread(cells, names=SPREAD_OF_OLD).names == SPREAD_OF_OLD
    assert len(fit_spread(cells, names=SPREAD_OF_OLD).coefficients) == len(SPREAD_OF_OLD)


def test_regret_is_points_lost_against_the_best_of_the_setting():
    cells = [one(3, 0, "lora"), one(5, 0, "bitfit")]
    assert regret_by_study(cells, lambda methods: "lora") == {"s": pytest.approx(2)}
    assert regret_by_study(cells, lambda methods: "full") == {"s": pytest.approx(5)}


def test_the_rule_table_turns_to_full_fine_tuning_above_a_thousand():
    assert pu_table({"lora": [one(0, 0, samples=1_000)]}) == "lora"
    assert pu_table({"lora": [one(0, 0, samples=1_001)]}) == "full"


def test_a_wider_truth_gives_a_wider_spread():
    rng = np.random.default_rng(3)

    def spread(width: float) -> float:
        cells = [one(float(e), 0.0, study=f"s{i % 6}") for i, e in enumerate(rng.normal(0, width, 60))]
        found = fit_spread(cells)
        scale = found.scale([cells[0].blind], np.zeros(1), np.zeros(1))[0]
        return float(scale * (found.quantiles[-3] - found.quantiles[2]))

    narrow, wide = spread(1.0), spread(6.0)
    assert 4 * narrow < wide < 9 * narrow
    assert narrow > 3.29 * 0.8  # 90 % of a normal with SD 1 is 3.29 wide
