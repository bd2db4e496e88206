"""The search: pruning, several seeds and objectives, constraints, budgets, when to stop, what is chosen."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from advisor.domain.quantity import Quantity
from advisor.domain.tuning import Budget
from advisor.errors import BadRequest, DoesNotFit, StoreUnavailable, UnknownName
from advisor.training.metrics import chances_of_best
from advisor.training.training_spec import TrainingResult
from advisor.tuner.budget import (
    FINALS_SHARE,
    budget_left,
    budget_spent_reason,
    finals_afforded,
    make_plan,
    past_of,
    plateau_reason,
)
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.results.finalists import choose
from advisor.tuner.search.samplers_and_pruners import make_pruner, make_sampler, noise_of
from advisor.tuner.storage import trials as ledger
from advisor.tuner.trial_cost import FinishedTrials, Prediction, _time, limit_bytes, tokens_of
from tests.selection import one_in
from tests.tuner.studies import begin, completed, ends_well, resuming, toy_request

RATE = optuna.distributions.FloatDistribution(1e-5, 1e-1, log=True)
BEGAN = datetime(2026, 1, 1, 12)


def finished(value, *, at=0.0, seconds=10.0, rate=1e-3, result=None):
    trial = create_trial(
        value=value, params={"learning_rate": rate}, distributions={"learning_rate": RATE}, state=TrialState.COMPLETE
    )
    trial.datetime_start = BEGAN + timedelta(seconds=at)
    trial.datetime_complete = trial.datetime_start + timedelta(seconds=seconds)
    if result is not None:
        trial.user_attrs[ledger.OUTCOME] = ledger.outcome(result)
    return trial


spans = st.lists(st.tuples(st.floats(0, 1000), st.floats(0.1, 100)), min_size=1, max_size=20)


@given(spans)
def test_wall_clock_is_never_more_than_the_sum_nor_less_than_the_longest(parts):
    wall, total = ledger.busy_seconds([finished(0.5, at=a, seconds=s) for a, s in parts])
    assert wall <= total + 1e-3
    assert wall >= max(s for _, s in parts) - 1e-3
    assert total == pytest.approx(sum(s for _, s in parts), abs=1e-3)


def test_what_was_refused_before_its_launch_or_waits_still_takes_no_time():
    refused = finished(0.5, at=100, seconds=50)
    refused.user_attrs[ledger.OUTCOME] = {"reason": f"{ledger.NOT_LAUNCHED}memory", "status": "infeasible"}
    waiting = finished(0.5)
    waiting.datetime_start = None
    assert ledger.busy_seconds([finished(0.5, seconds=10), refused, waiting]) == (10.0, 10.0)


def test_a_pruned_trial_teaches_of_the_share_it_ran():
    request, _ = toy_request()
    done, pruned = (
        TrainingResult(status=status, score=0.5, curve=((share, 0.5),), seconds={"total": 10.0, "train": 8.0})
        for status, share in (("complete", 100), ("pruned", 25))
    )
    whole, part = past_of(request, [finished(0.5, result=done), finished(0.5, result=pruned)])
    assert whole.tokens > 0
    assert part.tokens == pytest.approx(whole.tokens / 4)
    assert (whole.train_seconds, whole.other_seconds) == (8.0, 2.0)


def test_the_next_trial_takes_what_finished_ones_trained_a_token_and_all_they_did_besides():
    request, _ = toy_request()
    tokens = tokens_of(request, request.workload)
    past = [FinishedTrials(tokens / 2, 4.0, other, None, None, None) for other in (5.0, 6.0, 20.0)]
    said = _time(request, request.workload, None, past)
    assert said is not None
    assert said.mid == pytest.approx(2 * 4.0 + 6.0)


def test_hours_and_money_are_counted_by_what_ran():
    request, _ = toy_request(budget=Budget(seconds=100, usd=1.0, usd_per_hour=36.0))
    trials = [finished(0.5, at=0, seconds=30), finished(0.6, at=10, seconds=30)]
    seconds, usd = budget_left(request, trials)
    assert seconds == pytest.approx(60)
    assert usd == pytest.approx(1 - 60 / 3600 * 36)
    assert budget_spent_reason(request, trials) is None
    assert "USD is spent" in budget_spent_reason(request, [*trials, finished(0.5, at=20, seconds=60)])
    dear, _ = toy_request(budget=Budget(seconds=40))
    assert "budget of 40 s is spent" in budget_spent_reason(dear, trials)


def test_a_plan_turns_hours_into_trials_and_says_what_binds(monkeypatch):
    known = Prediction(None, Quantity.around(100.0, 0.1, 0.1, "s", "modelled", "told"), None, 1)
    monkeypatch.setattr("advisor.tuner.budget.predict", lambda *_: known)
    plan = make_plan(toy_request(budget=Budget(seconds=1000, trials=50))[0], workers=2)
    assert (plan.trials, plan.bound_by) == (20, "hours")
    assert plan.seconds.mid == pytest.approx(1000)
    plan = make_plan(toy_request(budget=Budget(usd=1.0, usd_per_hour=3.6, trials=50))[0])
    assert (plan.trials, plan.bound_by) == (10, "usd")
    assert plan.usd.mid == pytest.approx(1.0)
    plan = make_plan(toy_request(budget=Budget(seconds=1000, trials=3))[0])
    assert (plan.trials, plan.bound_by, len(plan.first)) == (3, "trials", 3)


def test_a_plan_counts_the_trainings_after_the_search(monkeypatch):
    known = Prediction(None, Quantity.around(100.0, 0.1, 0.1, "s", "modelled", "told"), None, 1)
    monkeypatch.setattr("advisor.tuner.budget.predict", lambda *_: known)

    def said(workers=1, **fields):
        plan = make_plan(toy_request(**fields)[0], workers=workers)
        return [note for note in plan.notes if "finalists" in note]

    asked = {"budget": Budget(trials=9), "finalists": 3, "final_seeds": 3}
    assert said(**asked)[0].startswith("6 trainings are the finalists' with other seeds, at the end: about 10 m")
    assert said(2, **asked)[0].endswith("about 5 m of all")
    assert "2 trainings" in said(**asked | {"budget": Budget(trials=2), "final_seeds": 2})[0]
    assert said(**asked | {"final_seeds": 1}) == []
    assert said(**asked | {"budget": Budget(trials=1)}) == []


FINALS = {"finalists": 3, "final_seeds": 3}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seeds", [1, 2])
def test_the_price_of_a_plan_is_of_its_trials_and_its_finals_on_however_many_workers(monkeypatch, workers, seeds):
    known = Prediction(None, Quantity.around(100.0, 0.1, 0.1, "s", "modelled", "told"), None, 1)
    monkeypatch.setattr("advisor.tuner.budget.predict", lambda *_: known)
    asked = {"budget": Budget(trials=9, usd_per_hour=36.0), "seeds": seeds}
    plan = make_plan(toy_request(**asked, **FINALS)[0], workers=workers)
    # 9 trials of so many seeds, and the two other seeds of three finalists, each 100 s at a cent a second
    assert plan.usd.mid == pytest.approx(9 * seeds + 6)
    assert make_plan(toy_request(**asked)[0], workers=workers).usd.mid == pytest.approx(9 * seeds)


@given(budget=st.floats(50, 20000), seeds=st.integers(1, 3), workers=st.integers(1, 4))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_in_hours_holds_trials_and_finals(budget, seeds, workers, monkeypatch):
    known = Prediction(None, Quantity.around(100.0, 0.1, 0.1, "s", "modelled", "told"), None, 1)
    monkeypatch.setattr("advisor.tuner.budget.predict", lambda *_: known)
    plan = make_plan(toy_request(budget=Budget(seconds=budget), seeds=seeds, **FINALS)[0], workers=workers)
    # trainings are indivisible: of the trials as of the finals, some workers may wait for one
    assert plan.seconds.mid <= max(budget, 100 * seeds) + 200 * seeds
    assert plan.trials * 100 * seeds / workers >= (1 - FINALS_SHARE) * budget - 100 * seeds


def ran(trained, **budget):
    """A request with finals, and trials of 10 seconds one after the other."""
    request, _ = toy_request(budget=Budget(**budget), **FINALS)
    result = TrainingResult(status="complete", score=0.5, seconds={"total": 10.0})
    trials = [finished(0.5 + i / 100, at=10 * i, result=result) for i in range(trained // 10)]
    for number, trial in enumerate(trials):
        trial.number = number
    return request, trials


@pytest.mark.parametrize(
    ("trained", "budget", "afforded"),
    [
        (100, {"seconds": 160}, (3, 3)),
        (100, {"seconds": 159.5}, (3, 3)),
        (100, {"seconds": 145}, (2, 3)),
        (100, {"seconds": 131}, (3, 2)),
        (100, {"seconds": 125}, (2, 2)),
        (100, {"seconds": 110}, (1, 1)),
        (100, {"seconds": 60}, (1, 1)),
        (100, {"usd": 1.6, "usd_per_hour": 36.0}, (3, 3)),
        (100, {"usd": 1.3, "usd_per_hour": 36.0, "seconds": 1000}, (3, 2)),
        (100, {"trials": 3}, (3, 3)),
        (10, {"trials": 1}, (1, 1)),
    ],
)
def test_finals_are_what_the_rest_of_the_budget_pays_for(trained, budget, afforded):
    request, trials = ran(trained, **budget)
    assert finals_afforded(request, trials, min(3, len(trials))) == afforded


def test_the_search_keeps_back_what_its_finals_take_but_no_more_than_a_third():
    request, trials = ran(100, seconds=170)
    assert budget_left(request, trials)[0] == pytest.approx(70 - 170 / 3)
    request, trials = ran(100, seconds=400)
    assert budget_left(request, trials)[0] == pytest.approx(300 - 60)
    request, trials = ran(100, usd=4.0, usd_per_hour=36.0)
    assert budget_left(request, trials)[1] == pytest.approx(3.0 - 0.6)
    assert budget_spent_reason(*ran(100, seconds=150)) == "the budget of 2 m is spent, but for what the finals take"


def test_fewer_finals_than_asked_for_are_told(tmp_path):
    request, trials = ran(100, seconds=131)
    trained = []

    def train(_, jobs, heard):
        for job in jobs:
            trained.append((job.number, job.seed))
            place = Path(job.folder)
            place.mkdir(parents=True)
            (place / "weights.safetensors").write_text("w")
            heard(job, TrainingResult(status="complete", score=0.4))
        return []

    chosen = choose(request, tmp_path, trials, train=train, said=lambda _: None)
    assert sorted(trained) == [(7, 1000), (8, 1000), (9, 1000)]
    assert chosen.notes == (
        "finalists: 3 with 2 seeds each instead of 3 with 3 seeds each; the budget pays for no more",
    )


def test_a_plan_that_cannot_know_the_time_says_so(monkeypatch):
    monkeypatch.setattr("advisor.tuner.budget.predict", lambda *_: Prediction(None, None, None, 1))
    plan = make_plan(toy_request(budget=Budget(seconds=1000))[0])
    assert plan.trial is None
    assert any("not known before the first" in note for note in plan.notes)
    plan = make_plan(toy_request(budget=Budget(seconds=1000), **FINALS)[0])
    assert "6 trainings are the finalists' with other seeds, at the end" in plan.notes


@pytest.mark.parametrize("budget", [{}, {"usd": 5.0}, {"trials": 0}, {"seconds": -1.0}])
def test_a_budget_without_bounds_or_price_is_refused(budget):
    with pytest.raises(ValueError, match=r"budget|greater"):
        Budget(**budget)


def test_a_flat_search_ends_with_what_more_would_cost_and_a_rising_one_goes_on():
    request, _ = toy_request(budget=Budget(trials=1000, usd_per_hour=36.0), patience=5)
    flat = [finished(0.9, at=10 * i) for i in range(9)]
    assert "as many again would cost 50 s, 0.50 USD" in plateau_reason(request, flat)
    rising = [finished(0.1 * i, at=10 * i) for i in range(9)]
    assert plateau_reason(request, rising) is None
    assert plateau_reason(request, flat[:6]) is None
    early = [finished(value, at=10 * i) for i, value in enumerate([0.1, 0.2, 0.3, 0.4, 0.5, *[0.9] * 7])]
    assert plateau_reason(request, early), "what counts is what the last trials gained, not the first"
    late = [finished(value, at=10 * i) for i, value in enumerate([0.5] * 5 + [0.6, 0.7, 0.8, 0.9, 0.95])]
    assert plateau_reason(request, late) is None


@given(value=st.floats(0, 1), rows=st.integers(1, 10**5))
def test_noise_falls_with_rows_and_is_never_0(value, rows):
    here, more = noise_of("accuracy", value, rows), noise_of("accuracy", value, rows * 4)
    assert 0 < more <= here <= 0.5 or rows == 1
    assert math.isfinite(here)


def test_unknown_samplers_and_pruners_list_the_known():
    with pytest.raises(UnknownName, match="hyperbnd"):
        make_pruner("hyperbnd", (50, 100), 1)
    with pytest.raises(UnknownName, match="annealing"):
        make_sampler("annealing", 0, 3)


@pytest.mark.parametrize("name", ["tpe", "gp", "random"])
def test_every_sampler_repeats_itself_with_its_seed(name):
    def draw():
        study = optuna.create_study(sampler=make_sampler(name, 3, 3))
        study.optimize(lambda t: (t.suggest_float("x", 0, 1) - 0.3) ** 2, n_trials=6)
        return [t.params["x"] for t in study.trials]

    assert draw() == draw()


@pytest.mark.exhaustive
@pytest.mark.parametrize("pruner", one_in(2, ["median", "hyperband"]))
def test_a_hopeless_trial_is_pruned_on_its_way(tmp_path, pruner):
    study = begin(tmp_path, pruner=pruner, budget=Budget(trials=7), neighbours=0)
    for rate in (1e-3, 1.1e-3, 1.2e-3, 9e-4, 1e-5, 1e-1):
        study.enqueue_trial({"learning_rate": rate})
    ends_well(resuming(tmp_path, steps="8", seconds="0.25"))
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    assert all(t.user_attrs[ledger.OUTCOME]["steps"] < 8 for t in pruned)
    rates = {round(t.params["learning_rate"], 5) for t in pruned}
    assert {1e-5, 1e-1} <= rates
    assert not {1e-2, 1e-3, 1.1e-3} & rates


@pytest.mark.exhaustive
def test_wilcoxon_compares_seeds_and_a_trial_is_their_mean(tmp_path):
    study = begin(tmp_path, pruner="wilcoxon", seeds=3, budget=Budget(trials=2), neighbours=1)
    ends_well(resuming(tmp_path))
    first = completed(study)[0]
    assert sorted(first.intermediate_values) == [0, 1, 2]
    assert first.value == pytest.approx(sum(first.intermediate_values.values()) / 3)
    assert len(set(first.intermediate_values.values())) == 3


@pytest.mark.exhaustive
def test_several_objectives_give_a_front_and_no_pruning(tmp_path):
    study = begin(tmp_path, objectives=("quality", "time", "memory"), budget=Budget(trials=3))
    ends_well(resuming(tmp_path))
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert all(len(t.values) == 3 for t in completed(study))
    from advisor import store
    from advisor.domain.tuning import TunedStudy

    told = store.read(TunedStudy, tmp_path / "study.json")
    assert set(told.pareto) == {t.number for t in study.best_trials}


@pytest.mark.slow
def test_what_cannot_fit_is_never_launched(tmp_path):
    """Settings whose predicted time exceeds what is left are refused, and cost nothing."""
    request, _ = toy_request(budget=Budget(trials=3, seconds=1e-3))
    study = begin(tmp_path, budget=Budget(trials=3, seconds=1000))
    ends_well(resuming(tmp_path))
    from advisor.tuner.execution import trial_worker as worker

    one = worker.Worker(tmp_path, f"sqlite:///{tmp_path / 'study.db'}")
    one.request = request.model_copy(update={"budget": Budget(trials=9, seconds=30.0)})
    long = Prediction(None, Quantity.around(1e4, 0.1, 0.1, "s", "modelled", "told"), None, 1)
    assert one._constraints(long)["time"] > 0
    assert "predicted time is" in one._refusal(long)
    big = Prediction(Quantity.around(2.0, 0, 0, "B", "modelled", "told"), None, None, 1)
    assert one._constraints(big)["memory"] == pytest.approx(1.0)
    illegal = Prediction(None, None, None, 1, illegal="rank above the width")
    assert one._refusal(illegal) == "rank above the width"
    trial = study.ask()
    trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
    before = len(ledger.billable_trials(study.trials))
    one.refuse(trial, one._refusal(long))
    assert len(ledger.billable_trials(study.trials)) == before - 1


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=5), min_size=2, max_size=4))
def test_chances_of_being_best_add_up(scores):
    chances = chances_of_best([[[(score, 1.0)] for score in seeds] for seeds in scores], higher=True)
    assert sum(chances) == pytest.approx(1)
    assert all(0 <= c <= 1 for c in chances)


def test_luck_is_not_crowned(tmp_path, monkeypatch):
    """A trial that won by one lucky seed loses to the one that is better on average."""
    request, _ = toy_request(final_seeds=3, finalists=2)
    lucky, steady = finished(0.95, rate=1e-2), finished(0.93, rate=1e-3)
    lucky.number, steady.number = 0, 1
    for number in (0, 1):
        place = tmp_path / "trials" / f"{number:04d}"
        place.mkdir(parents=True)
        (place / "weights.safetensors").write_text("w")
    again = {0: 0.80, 1: 0.92}

    def train(_, jobs, heard):
        results = [TrainingResult(status="complete", score=again[job.number]) for job in jobs]
        for job, result in zip(jobs, results, strict=True):
            heard(job, result)
        return results

    chosen = choose(request, tmp_path, [lucky, steady], train=train, said=lambda _: None)
    assert chosen.trial.number == 1
    assert chosen.finalists[0].better > 0.7


def test_a_score_that_chose_is_not_held_against_scores_that_did_not(tmp_path):
    """The clock ended the finals before the first finalist's other seed: its own flattering score must not win."""
    from advisor.tuner.results.finalists import _compared

    request, _ = toy_request(finalists=2)
    first, second = finished(0.95), finished(0.94)
    first.number, second.number = 0, 1
    both = {
        (0, 1): TrainingResult(status="complete", score=0.90),
        (1, 1): TrainingResult(status="complete", score=0.93),
    }
    assert [f.number for f in _compared(request, [first, second], both)] == [1, 0]
    found = _compared(request, [first, second], {(1, 1): both[1, 1]})
    assert {f.number: f.mean for f in found} == {0: 0.95, 1: 0.94}, "like with like: the search's own scores"


def test_settings_that_break_with_another_seed_do_not_win_and_are_told(tmp_path):
    request, _ = toy_request(final_seeds=3, finalists=2)
    brittle, steady = finished(0.95, rate=1e-2), finished(0.90, rate=1e-3)
    brittle.number, steady.number = 0, 1
    broken = TrainingResult(status="failed", reason="diverged: the loss became nan")
    standing = []

    def train(_, jobs, heard):
        results = [
            broken if job.number == 0 and job.seed > 1500 else TrainingResult(status="complete", score=0.9)
            for job in jobs
        ]
        for job, result in zip(jobs, results, strict=True):
            place = Path(job.folder)
            place.mkdir(parents=True)
            (place / "weights.safetensors").write_text("w")
            heard(job, result)
        return results

    chosen = choose(request, tmp_path, [brittle, steady], train=train, said=standing.append)
    assert chosen.trial.number == 1
    assert chosen.notes == ("trial 0 with seed 2 of the finals failed: diverged: the loss became nan",)
    assert [len(f.scores) for f in sorted(chosen.finalists, key=lambda f: f.number)] == [2, 3]
    assert len(standing) == 4
    assert standing[-1] == chosen.finalists


def test_a_full_disk_among_the_finals_is_told_and_no_choice_is_made(tmp_path):
    request, _ = toy_request(final_seeds=2, finalists=2)
    trials = [finished(0.9), finished(0.8)]
    trials[1].number = 1

    def train(_, jobs, heard):
        heard(jobs[0], TrainingResult(status="failed", reason="the disk is full"))
        raise AssertionError("went on")

    with pytest.raises(StoreUnavailable, match="is full"):
        choose(request, tmp_path, trials, train=train, said=lambda _: None)


def test_a_seat_is_a_gpu_of_its_own_or_a_share_of_the_cores(monkeypatch):
    monkeypatch.setattr("advisor.tuner.execution.resources.os.cpu_count", lambda: 9)
    request, _ = toy_request(threads=None)
    assert [ResourceSlot(i, 2).threads(request) for i in range(2)] == [4, 4]
    assert ResourceSlot(0, 20).threads(request) == 1
    assert ResourceSlot(1, 2).environment(request, 4)["OMP_NUM_THREADS"] == "4"
    assert ResourceSlot(1, 2).environment(request, 4)["CUDA_VISIBLE_DEVICES"] == ""
    on_gpu = request.model_copy(update={"hardware": object()})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [ResourceSlot(i, 2).environment(on_gpu, None) for i in range(2)] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert ResourceSlot(1, 2).environment(on_gpu, None) == {"CUDA_VISIBLE_DEVICES": "5"}
    assert ResourceSlot(0, 1).environment(on_gpu, None) == {}


def test_a_search_for_a_gpu_never_trains_on_the_cpu_instead(tmp_path):
    request, _ = toy_request()
    recipe, place = request.starts[0].recipe, tmp_path / "t"
    assert request.job(0, place, tmp_path, recipe, request.workload).device == "cpu"
    on_gpu = request.model_copy(update={"hardware": object()})
    assert on_gpu.job(0, place, tmp_path, recipe, request.workload).device == "cuda"


def test_workers_share_the_memory_that_is_free_and_never_more():
    request, _ = toy_request()
    one, four = limit_bytes(request), limit_bytes(request, 4)
    # memory in use changes between two looks
    assert four == pytest.approx(one / 4, rel=0.2)
    capped, _ = toy_request(memory_bytes=10**6)
    assert limit_bytes(capped, 4) == 10**6


def test_a_study_without_a_completed_trial_explains_itself(tmp_path):
    request, _ = toy_request()
    with pytest.raises(DoesNotFit, match="no trial was completed"):
        choose(request, tmp_path, [], train=lambda *_: [], said=lambda _: None)


def test_equal_scores_are_told_apart_by_their_loss():
    request, _ = toy_request()
    worse = finished(0.9, result=TrainingResult(status="complete", score=0.9, metrics={"loss": 0.5}))
    better = finished(0.9, result=TrainingResult(status="complete", score=0.9, metrics={"loss": 0.2}))
    worse.number, better.number = 0, 1
    assert [t.number for t in ledger.best_first(request, [worse, better])] == [1, 0]


def test_quality_must_be_an_objective_and_pruning_goes_with_one_only(tmp_path):
    from advisor.tuner.study_preparation import _fitting_pruner

    assert _fitting_pruner(Budget(trials=8), ("quality",), 1) == "median"
    assert _fitting_pruner(Budget(trials=64), ("quality",), 1) == "hyperband"
    assert _fitting_pruner(Budget(trials=8), ("quality",), 3) == "wilcoxon"
    assert _fitting_pruner(Budget(trials=8), ("quality", "time"), 1) == "none"


def test_a_finished_folder_is_not_overwritten(tmp_path, tiny_bert):
    from advisor.tuner.tune import tune
    from tests.tiny_models import labelled, put_rows

    data = put_rows(tmp_path / "d.jsonl", labelled(30))
    out = tmp_path / "out"
    out.mkdir()
    (out / "study.json").write_text("{}")
    with pytest.raises(BadRequest, match="holds a finished study"):
        tune(tiny_bert.weights, str(data), gpu="cpu", out=str(out), method="lora")
