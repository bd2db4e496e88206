"""The fit finds what was put into made-up studies, and its cells and scores mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from advisor.catalog.findings.load import load_studies
from advisor.domain.finding import Finding, Study
from advisor.estimator.quality_cells import CLIP, all_cells, cells_of
from advisor.estimator.quality_features import Question
from advisor.estimator.quality_fit import (
    LeftOut,
    _objective,
    attention_penalty,
    cells_for_fit,
    design,
    fit_location,
    fit_spread,
    fit_variances,
    leave_studies_out,
)
from advisor.estimator.quality_model import posterior
from advisor.estimator.quality_scores import coverage, order_by_study, pairwise_order, pu_table, regret_by_study

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
def left_out(studies: list[Study]) -> list[LeftOut]:
    data = design(cells_for_fit(studies))
    return leave_studies_out(data, fit_variances(data), refit=0)


def test_effects_that_were_put_in_come_out(studies: list[Study]):
    data = design(cells_for_fit(studies))
    location = fit_location(data, fit_variances(data))
    questions = [Question(method, "decoder", "NLU", 20_000) for method in TRUE]
    found = np.sinh(location.predict(questions)[0])
    assert found == pytest.approx(list(TRUE.values()), abs=0.6)


def test_order_is_predicted_out_of_study_when_there_is_one(left_out: list[LeftOut]):
    assert pairwise_order(left_out, told=True, apart=0.5) > 0.95


def test_intervals_of_made_up_studies_hold_nine_in_ten(left_out: list[LeftOut]):
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
    assert location.predict([Question("lora", "decoder", "NLU", 20_000)])[0][0] < 0


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
    [{"suspect": True}, {"aspect": "cost"}, {"higher_is_better": False}, {"unit": "nats"}],
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
    groups = list(dict.fromkeys(name[0] for name in data.names))
    of = np.array([groups.index(name[0]) for name in data.names])
    kernels = [data.x[:, of == i] @ data.x[:, of == i].T for i in range(len(groups))] + list(data.blocks)
    _, gradient = _objective(log_variances, data, kernels)
    assert np.abs(gradient).max() < 0.5  # of a likelihood of some 900: the search has stopped


def one(effect: float, guess: float, method: str = "lora", study: str = "s", samples: int = 500) -> LeftOut:
    (cell,) = cells_of(
        Study(
            id=study,
            title="s",
            url="https://example.org",
            findings=(finding(method, 60 + effect, 60, samples=samples),),
        )
    )
    mean = math.asinh(guess)
    return LeftOut(cell, cell.question, mean, 0.0, mean, 0.0)


def test_a_tie_in_prediction_is_half_right_and_a_near_pair_does_not_count():
    cells = [one(3, 0, "lora"), one(-3, 0, "bitfit"), one(-3.4, 1, "vera")]
    assert order_by_study(cells, lambda o: math.sinh(o.mean), with_full=False) == {"s": pytest.approx(0.25)}


def test_full_fine_tuning_takes_part_as_zero():
    assert order_by_study([one(2, 1)], lambda o: math.sinh(o.mean)) == {"s": 1.0}
    assert order_by_study([one(2, -1)], lambda o: math.sinh(o.mean)) == {"s": 0.0}


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
