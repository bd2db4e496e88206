"""What comes before the sampler: from the best so far, one setting at a time, no level twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.tuning import Budget, Dimension
from advisor.tuner.execution.propose import deduplicate_proposal, propose
from advisor.tuner.search.local_moves import SAME, SAMPLER_FROM, EvaluatedSettings, first_trials, next_trial, starts
from advisor.tuner.search.space import METHOD, make_dimensions, start_params, suggest
from advisor.tuner.storage import trials as ledger
from tests.tuner.studies import begin
from tests.tuner.test_space import WORK, start

LORA = make_dimensions([start("lora")], WORK)
BY_KEY = {d.key: d for d in LORA}


def follow(score, count, *, moves=4, near=True, dimensions=LORA):
    """The trials a study would ask for, were `score` what they come to."""
    tried, names = [], []
    while len(tried) < count:
        found = next_trial(dimensions, tried, moves=moves, near=near, draw=str(len(tried)))
        if found is None:
            break
        names.append(found[0])
        tried.append(EvaluatedSettings(found[1], score(found[1])))
    return names, tried


def within(params):
    for key, level in params.items():
        d = BY_KEY[key]
        if not (level in d.choices if d.kind == "choice" else d.low <= level <= d.high):
            return False
    return True


def test_the_recommendation_comes_first_and_then_the_rate_downwards():
    names, tried = follow(lambda _: 0.0, 2)
    assert names[0] == "recommendation"
    assert tried[0].params == start_params(LORA)
    assert tried[1].params["learning_rate"] < tried[0].params["learning_rate"]


def test_a_rate_that_helped_goes_on_the_same_way():
    _, down = follow(lambda p: -p["learning_rate"], 3)
    assert down[2].params["learning_rate"] < down[1].params["learning_rate"] < down[0].params["learning_rate"]
    _, up = follow(lambda p: p["learning_rate"], 4)
    assert up[3].params["learning_rate"] > up[2].params["learning_rate"] > up[0].params["learning_rate"]


def test_a_move_starts_from_the_best_so_far_and_moves_one_setting():
    _, tried = follow(lambda p: -abs(p["effective_batch_size"] - 8) - abs(p["learning_rate"] - 1e-3), 5)
    for i in range(1, 5):
        base = max(tried[:i], key=lambda one: one.score).params
        moved = [k for k, level in tried[i].params.items() if level != base[k]]
        assert len(moved) == 1, moved


@given(seed=st.integers(0, 50), moves=st.integers(0, 8))
@settings(deadline=None, max_examples=30)
def test_every_trial_lies_within_its_ranges_and_no_move_visits_a_level_twice(seed, moves):
    names, tried = follow(lambda p: hash((seed, str(sorted(p.items())))) % 97, SAMPLER_FROM + 8, moves=moves)
    assert all(within(one.params) for one in tried)
    for i, name in enumerate(names):
        if not name.startswith("neighbour: "):
            continue
        key = name.removeprefix("neighbour: ").split()[0]
        level = tried[i].params[key]
        for before in tried[:i]:
            was = before.params[key]
            assert max(was, level) > SAME * min(was, level), (name, was)


def test_failed_and_running_trials_are_not_asked_for_again_and_never_the_best():
    tried = [EvaluatedSettings(start_params(LORA))]
    for _ in range(4):
        found = next_trial(LORA, tried, moves=4, near=False, draw="")
        assert found is not None
        assert all(found[1] != dict(one.params) for one in tried)
        assert len([k for k in found[1] if found[1][k] != tried[0].params[k]]) == 1
        tried.append(EvaluatedSettings(found[1]))


def test_the_sampler_has_the_word_once_it_has_trials_to_learn_from():
    names, _ = follow(lambda _: 0.5, 100)
    assert len(names) == SAMPLER_FROM
    assert names.count("near the best") >= 4
    names, _ = follow(lambda _: 0.5, 100, near=False)
    assert len(names) == 5


def test_steps_near_the_best_leave_what_is_chosen_from_a_list():
    """The next rank or batch is twice or half as much: no small step."""
    names, tried = follow(lambda _: 0.5, SAMPLER_FROM)
    near = [one.params for name, one in zip(names, tried, strict=True) if name == "near the best"]
    assert near
    for d in LORA:
        moved = {one[d.key] for one in near} != {tried[0].params[d.key]}
        assert moved == (d.kind != "choice"), d.key


def test_where_nothing_can_take_a_small_step_the_sampler_has_the_word():
    lists = tuple(d for d in LORA if d.kind == "choice")
    names, _ = follow(lambda _: 0.5, SAMPLER_FROM, moves=1, dimensions=lists)
    assert names[0] == "recommendation"
    assert len(names) == 2


def test_steps_near_the_best_keep_modules_and_differ_by_worker():
    _, tried = follow(lambda _: 0.5, 5)
    one = next_trial(LORA, tried, moves=4, near=True, draw="0/a")
    other = next_trial(LORA, tried, moves=4, near=True, draw="0/b")
    assert one == next_trial(LORA, tried, moves=4, near=True, draw="0/a")
    assert one[1] != other[1]
    assert one[1]["target_modules"] == tried[0].params["target_modules"]
    assert 1 / 4 < one[1]["learning_rate"] / tried[0].params["learning_rate"] < 4


@given(seed=st.integers(0, 200))
def test_a_step_goes_at_most_half_way_to_a_rate_known_to_be_worse(seed):
    base = start_params(LORA)
    at = base["learning_rate"]
    tried = [EvaluatedSettings(base, 1.0)] + [
        EvaluatedSettings({**base, "learning_rate": at * f}, 0.1) for f in (4.0, 0.5)
    ]
    found = next_trial(LORA, tried, moves=0, near=True, draw=str(seed))
    assert found is not None
    assert at * 0.5**0.5 * 0.999 <= found[1]["learning_rate"] <= at * 2 * 1.001


def test_every_method_asked_for_is_tried_as_it_is_recommended():
    dimensions = make_dimensions([start("lora"), start("full"), start("ia3")], WORK)
    assert [params[METHOD] for _, params in starts(dimensions)] == ["lora", "full", "ia3"]
    assert first_trials(dimensions, 0) == ("the recommendation", "full as recommended", "ia3 as recommended")
    # the next moves belong to the method that is ahead, and leave the others' settings out
    tried = [
        EvaluatedSettings(params, score) for (_, params), score in zip(starts(dimensions), (0.1, 0.9, 0.2), strict=True)
    ]
    found = next_trial(dimensions, tried, moves=2, near=False, draw="")
    assert found is not None
    assert found[1][METHOD] == "full"
    assert not any(key.startswith(("lora.", "ia3.")) for key in found[1])


def test_a_plan_names_the_first_trials_that_a_study_without_a_gain_asks_for():
    names, _ = follow(lambda p: float(p == start_params(LORA)), 5, near=False)
    assert first_trials(LORA, 4) == (
        "the recommendation",
        *(name.removeprefix("neighbour: ") for name in names[1:]),
    )


@pytest.mark.parametrize("kind", ["int", "choice", "float"])
def test_a_start_at_the_end_of_its_range_moves_the_other_way(kind):
    choices = (1, 2, 4, 8) if kind == "choice" else ()
    start_at = {"int": 8, "choice": 8, "float": 8.0}[kind]
    bounds = {} if choices else {"low": 1, "high": 8, "log": True}
    one = (Dimension(name="learning_rate", kind=kind, start=start_at, choices=choices, **bounds),)
    names, tried = follow(lambda p: -p["learning_rate"], 2, near=False, dimensions=one)
    assert len(names) == 2
    assert tried[1].params["learning_rate"] < 8


def test_a_study_asks_by_name_and_counts_what_runs_or_waits(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=6), neighbours=2)
    request = ledger.load("toy", f"sqlite:///{tmp_path / 'study.db'}")[1]
    propose(study, request)
    assert len(study.trials) == 1, "the recommendation waits: nothing else is asked for"
    for _ in range(3):
        study.ask()  # begun, its parameters not drawn yet
        propose(study, request)
    rates = [t.system_attrs["fixed_params"]["learning_rate"] for t in study.trials]
    assert len(set(rates)) == len(rates) == 4
    origins = [t.user_attrs[ledger.ORIGIN].split(" ")[0] for t in study.trials]
    assert origins == ["recommendation", "neighbour:", "neighbour:", "near"]


@pytest.mark.parametrize("twins", [2, 3, 7])
def test_machines_that_ask_in_the_same_moment_do_not_train_the_same_settings(tmp_path, twins):
    study = begin(tmp_path, budget=Budget(trials=12), neighbours=2)
    request = ledger.load("toy", f"sqlite:///{tmp_path / 'study.db'}")[1]
    study.ask()
    for _ in range(twins):  # each machine sees nothing waiting, and asks for the same move
        study.enqueue_trial(
            {"learning_rate": 0.02}, user_attrs={ledger.ORIGIN: "neighbour: twin"}, skip_if_exists=False
        )
    asked = [study.ask() for _ in range(twins)]
    kept = [deduplicate_proposal(study, request, trial, f"machine-{i}") for i, trial in enumerate(asked)]
    rates = [trial.suggest_float("learning_rate", 1e-6, 1.0, log=True) for trial in kept]
    assert rates[0] == 0.02, "the first one keeps what it asked for"
    assert len(set(rates)) == twins
    assert [t.number for t in kept] == [t.number for t in asked]


def test_steps_between_levels_known_to_be_worse_are_never_the_same_twice():
    one = (Dimension(name="learning_rate", kind="float", start=0.02, low=1e-6, high=1.0, log=True),)
    tried = [EvaluatedSettings({"learning_rate": rate}, -abs(rate - 0.02)) for rate in (0.02, 0.04, 0.01)]
    steps = [next_trial(one, tried, moves=2, near=True, draw=str(i))[1]["learning_rate"] for i in range(50)]
    assert len(set(steps)) == len(steps)
    assert all(0.01 < rate < 0.04 for rate in steps)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_session_that_goes_on_draws_nothing_that_was_drawn_before(tmp_path, sampler):
    begin(tmp_path, sampler=sampler, neighbours=0)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    rates = []
    for _ in range(3):
        study, request = ledger.load("toy", url)
        for _ in range(4):
            rates.append(suggest(study.ask(), request.dimensions)["learning_rate"])
    assert len(set(rates)) == len(rates)
