"""A storage that fails at any moment, before or after it has done what was asked: every trial still ends once."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from advisor.domain.tuning import Budget
from advisor.training.training_spec import TrainingResult
from advisor.tuner.execution import trial_worker as worker
from advisor.tuner.execution.trial_worker import Worker
from advisor.tuner.storage import heartbeat as alive
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import open_storage, storage_url, transient
from tests.selection import one_in
from tests.tuner.studies import begin, completed, no_settings_twice, states

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:Heartbeat of storage")

TOUCHED = (
    "_create_new_trial",
    "_get_stale_trial_ids",
    "_get_trials",
    "get_study_user_attrs",
    "get_trial",
    "_set_trial_param",
    "record_heartbeat",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
)


class Outage:
    """Decides call by call whether the connection breaks, and whether the work was done by then."""

    def __init__(self, breaks) -> None:
        self.breaks = breaks
        self.calls = 0
        self.broke: Counter[str] = Counter()

    def around(self, name, call):
        def called(*args, **kwargs):
            self.calls += 1
            when = self.breaks(self.calls, name)
            if when == "before":
                self.broke[name] += 1
                raise OperationalError(name, {}, Exception("server closed the connection"))
            result = call(*args, **kwargs)
            if when == "after":
                self.broke[name] += 1
                raise OperationalError(name, {}, Exception("server closed the connection"))
            return result

        return called


@pytest.fixture
def quick(monkeypatch):
    """Trainings of no length, pauses of milliseconds, and dead workers found after a tenth of a second."""

    class Child:
        def __init__(self, job, on_progress, wanted, **_):
            self.job, self.on_progress, self.wanted = job, on_progress, wanted

        def run(self):
            began.append(self.job.number)
            for percent in (50, 100):
                self.on_progress({"percent": percent, "score": 0.5})
                if self.wanted():
                    return TrainingResult(status="interrupted", reason=self.wanted())
            seconds = {"train": 1.0, "total": 1.2}
            return TrainingResult(
                status="complete",
                score=0.5 + self.job.number / 1000,
                metrics={"accuracy": 0.5},
                curve=((50, 0.5), (100, 0.5)),
                seconds=seconds,
            )

    def unknown(*_, **__):
        return SimpleNamespace(
            bytes=None, model_bytes=None, seconds=None, usd=None, limit_bytes=2**40, illegal="", notes=()
        )

    began: list[int] = []
    monkeypatch.setattr(worker, "Child", Child)
    monkeypatch.setattr(worker, "predict", unknown)
    monkeypatch.setattr(worker, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(alive, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(alive, "GRACE_SECONDS", 0.1)
    pause = SimpleNamespace(monotonic=alive.time.monotonic, sleep=lambda _: None)
    monkeypatch.setattr("advisor.tuner.storage.connect.time", pause)

    def unsafe(connection, _):
        # a power failure is not what is tried here, and waiting for the disk is most of the time
        connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", unsafe)
    yield began
    event.remove(Engine, "connect", unsafe)


def run_with(outage, folder, monkeypatch, trials=5, **fields):
    """A study run by one worker whose storage breaks as `outage` says."""
    study = begin(folder, budget=Budget(trials=trials), neighbours=2, **fields)

    def opened(url, **more):
        storage = open_storage(url, **more)
        for name in TOUCHED:
            setattr(storage, name, outage.around(name, getattr(storage, name)))
        return storage

    monkeypatch.setattr(ledger, "open_storage", opened)
    reason = Worker(folder, storage_url(None, folder)).run()
    return study, reason


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("seed", range(3))
def test_a_storage_that_breaks_now_and_then_loses_no_trial_and_repeats_none(tmp_path, quick, monkeypatch, when, seed):
    draw = random.Random(seed)
    outage = Outage(lambda call, name: when if draw.random() < 0.08 else None)
    study, reason = run_with(outage, tmp_path, monkeypatch, max_retries=10)
    assert outage.broke.total() >= 5
    assert reason.endswith("trials were asked for")
    assert len(completed(study)) == 5
    assert not states(study)["RUNNING"]
    no_settings_twice(study)
    # what had been asked for by name was run, whatever broke between asking and drawing
    asked = {t.system_attrs["fixed_params"]["learning_rate"] for t in study.trials if "fixed_params" in t.system_attrs}
    assert asked <= {t.params["learning_rate"] for t in completed(study)}
    assert len(asked) == 5


@pytest.mark.slow
@pytest.mark.parametrize("name", one_in(3, list(TOUCHED)))
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_outage_of_any_one_call_is_waited_for(tmp_path, quick, monkeypatch, name, when):
    """Three failures in a row of one call, as an outage of some seconds brings them."""
    left = [3]

    def breaks(call, called):
        if called != name or not left[0]:
            return None
        left[0] -= 1
        return when

    study, _ = run_with(Outage(breaks), tmp_path, monkeypatch, trials=4, max_retries=10)
    assert left[0] < 3, f"{name} is not called"
    assert len(completed(study)) == 4
    no_settings_twice(study)


def test_an_outage_longer_than_the_grace_period_kills_no_living_worker(tmp_path, monkeypatch):
    """After it every heartbeat is old; workers get the time to beat again before one is taken for dead."""
    study = begin(tmp_path, budget=Budget(trials=1))
    request = study.user_attrs[ledger.REQUEST]
    trial = study.ask()
    trial.set_user_attr(alive.OWNER, {**alive.me(), "host": "elsewhere"})
    now = [1000.0]
    monkeypatch.setattr(alive, "time", SimpleNamespace(monotonic=lambda: now[0]))
    storage = ledger.storage_of(study)
    heartbeat = alive.Heartbeat(storage)
    stale = [{alive_id(trial)}]
    monkeypatch.setattr(storage._backend, "_get_stale_trial_ids", lambda _: list(stale[0]))

    def recovered():
        ledger.recover(study, tmp_path, heartbeat, ledger.TuneRequest.from_document(request))
        return states(study)["RUNNING"] == 0

    assert not recovered()
    now[0] += 15
    heartbeat.away()
    now[0] += 15
    assert not recovered()
    stale[0] = set()
    now[0] += 15
    assert not recovered()
    stale[0] = {alive_id(trial)}
    assert recovered()


def alive_id(trial):
    from advisor.tuner.storage.connect import id_of

    return id_of(trial)


def test_a_worker_ends_a_training_that_another_has_taken_over(tmp_path, quick, monkeypatch):
    study = begin(tmp_path, budget=Budget(trials=1), neighbours=0)
    one = Worker(tmp_path, storage_url(None, tmp_path))
    real = worker.Child.run

    def taken(self):
        if len(quick) == 0:
            trial = study.trials[0]
            ledger.give_up(study, trial, TrainingResult(status="interrupted", reason="its worker died"), retry=True)
        return real(self)

    monkeypatch.setattr(worker.Child, "run", taken)
    one.run()
    assert quick == [0, 1]
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE"]
    no_settings_twice(study)


def test_the_last_worker_stays_while_another_may_lose_its_trial(tmp_path, quick, monkeypatch):
    """The budget is taken up, but by a trial whose worker then dies: it must find someone to run it again."""
    study = begin(tmp_path, budget=Budget(trials=2), neighbours=1)
    other = study.ask()
    assert "learning_rate" not in other.params
    other.set_user_attr(alive.OWNER, {**alive.me(), "host": "elsewhere"})
    one = Worker(tmp_path, storage_url(None, tmp_path))
    idle = one.stop.wait
    waited = []

    def wait(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            ledger.give_up(
                study, study.trials[0], TrainingResult(status="interrupted", reason="its worker died"), retry=True
            )
        return idle(seconds)

    monkeypatch.setattr(one.stop, "wait", wait)
    assert one.run() == "2 trials were asked for"
    assert len(waited) >= 3
    assert [t.state.name for t in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[2].params["learning_rate"] == 1e-2


def test_a_database_that_is_away_when_a_worker_starts_is_waited_for(tmp_path, quick, monkeypatch):
    study = begin(tmp_path, budget=Budget(trials=1))
    away = [2]

    def opened(url, **more):
        if away[0]:
            away[0] -= 1
            return open_storage(f"sqlite:///{tmp_path}/not/there.db")
        return open_storage(url, **more)

    monkeypatch.setattr(ledger, "open_storage", opened)
    Worker(tmp_path, storage_url(None, tmp_path)).run()
    assert away == [0]
    assert len(completed(study)) == 1


def test_a_folder_that_cannot_be_written_is_not_waited_for():
    from advisor.errors import StoreUnavailable
    from advisor.tuner.storage.connect import unreachable

    assert transient(unreachable("sqlite:///x", OSError("gone")))
    assert not transient(StoreUnavailable("the disk is full", path="/x"))
