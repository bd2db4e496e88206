"""Worker processes answer in order, survive a death, and keep a bug to the method it is in."""

from __future__ import annotations

import sys
import threading

import pytest

from advisor.catalog.methods import find_method
from advisor.domain.recommendation import Refusal
from advisor.recommender.recipe_space import make_recipe
from advisor.recommender.recommend_request import checked, resolve
from advisor.recommender.sizing import Estimator, MethodOutcome
from advisor.recommender.workers import pool as crew
from advisor.recommender.workers.pool import fit_all, opening_line

ECHO = """
import json, sys
from advisor.domain.recommendation import Refusal
from advisor.recommender.sizing import MethodOutcome
sys.stdin.readline()
for line in sys.stdin:
    name = json.loads(line)
    if name == "full":
        sys.stderr.write("no more memory")
        sys.exit(7)
    refused = Refusal(method=name, reason="echo", kind="cannot-run")
    print(MethodOutcome(method=name, refusal=refused).model_dump_json(), flush=True)
"""


@pytest.fixture
def question():
    return resolve(checked({"model": "meta-llama/Llama-3.1-8B", "gpu": "H100"}))


@pytest.fixture
def echo(monkeypatch):
    """Workers that answer at once, without an estimator."""
    real = crew.subprocess.Popen
    started = []

    def popen(command, **more):
        assert command[1:] == ["-P", "-m", "advisor.recommender.workers.method_worker"]
        process = real([sys.executable, "-c", ECHO], **more)
        started.append(process)
        return process

    monkeypatch.setattr(crew.subprocess, "Popen", popen)
    monkeypatch.setattr(crew.os, "cpu_count", lambda: 2)
    return started


def test_workers_answer_every_method_in_the_order_asked(question, echo):
    names = ["lora", "full", "dora", "vera", "ia3", "oft", "bitfit", "adalora", "rslora"]
    told, shown = [], []
    found = fit_all(
        question,
        names,
        Estimator(),
        lambda done, total, what: told.append((done, total)),
        lambda outcome: shown.append((outcome, any(process.poll() is None for process in echo))),
    )
    assert list(found) == names
    assert {outcome.method for outcome, _ in shown} == set(names)
    assert all(early for _, early in shown), "each is told while the others are worked out"
    assert all(found[name].method == name for name in names)
    assert told[-1] == (9, 9)
    # two, and a third where the one that died at "full" was still owed work
    assert len(echo) in (2, 3)
    assert all(process.poll() is not None for process in echo)


def test_a_worker_that_dies_costs_its_method_and_no_other(question, echo):
    names = ["lora", "full", "dora", "vera", "ia3"]
    found = fit_all(question, names, Estimator())
    assert found["full"].refusal.kind == "error"
    assert "code 7" in found["full"].refusal.reason
    assert "no more memory" in found["full"].refusal.reason
    assert all(found[name].refusal.reason == "echo" for name in names if name != "full")


def test_an_interruption_leaves_no_worker_running(question, echo, monkeypatch):
    def interrupted(done, total, what):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_all(question, ["lora", "dora", "vera", "ia3"], Estimator(), interrupted)
    assert all(process.poll() is not None for process in echo)


def test_few_methods_are_fitted_here(question, echo, monkeypatch):
    def refuse(asked, name, costs):
        return MethodOutcome(method=name, refusal=Refusal(method=name, reason="here", kind="cannot-run"))

    monkeypatch.setattr(crew, "fit_or_say", refuse)
    assert fit_all(question, ["lora"], Estimator())["lora"].refusal.reason == "here"
    assert not echo


def test_what_is_remembered_is_told_first(question, monkeypatch):
    def refused(name, reason):
        return MethodOutcome(method=name, refusal=Refusal(method=name, reason=reason, kind="cannot-run"))

    monkeypatch.setattr(crew, "fit_or_say", lambda asked, name, costs: refused(name, "worked out"))
    monkeypatch.setattr(crew, "recall", lambda asked: {"ia3": refused("ia3", "remembered")})
    monkeypatch.setattr(crew, "keep", lambda asked, fits: None)
    shown = []
    fit_all(question, ["lora", "dora", "ia3"], Estimator(), on_priced=lambda one: shown.append(one.refusal.reason))
    assert shown == ["remembered", "worked out", "worked out"]


def test_the_real_worker_keeps_stdout_for_answers(question):
    """One process, one method that is refused without a trace: what libraries print must not mix in."""
    worker = crew._Worker("advisor.recommender.workers.method_worker", opening_line(question))
    try:
        answer, reason = worker.ask("no-such-method")
    finally:
        worker.end()
    assert reason == ""
    found = MethodOutcome.model_validate_json(answer)
    assert found.refusal.kind == "cannot-run"
    assert "no-such-method" in found.refusal.reason


def test_a_worker_is_told_the_lengths_of_the_rows(question):
    from advisor.recommender.workers.method_worker import asked_of_us

    workload = question.workload.model_copy(update={"length_quantiles": (10, 20, 30)})
    asked = question.model_copy(update={"workload": workload})
    assert asked_of_us(opening_line(asked)).workload.length_quantiles == (10, 20, 30)


@pytest.mark.parametrize("said", [{}, {"trainer": "hf"}, {"objective": "dpo"}, {"objective": "grpo"}])
def test_a_worker_knows_what_the_user_said_and_what_was_left_open(said):
    """A trainer that nobody named is the objective's own: a worker that took it for asked refused every method."""
    from advisor.recommender.workers.method_worker import asked_of_us

    here = resolve(checked({"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", **said}))
    there = asked_of_us(opening_line(here))
    assert there.request.model_fields_set == here.request.model_fields_set
    assert there == here
    lora = find_method("lora")
    made = [make_recipe(asked, lora, base="dtype", checkpointing=False) for asked in (here, there)]
    assert made[0] == made[1]
    assert made[0].trainer == ("hf" if here.workload.objective == "sft" else "trl")
