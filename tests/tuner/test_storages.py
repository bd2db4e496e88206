"""Storages: each kind runs a study with two workers, a second machine joins, and bad addresses say what is wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest

from advisor.domain.tuning import Budget
from advisor.errors import AdvisorError, BadRequest, MissingExtra, StoreUnavailable
from advisor.tuner.storage import heartbeat as alive
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import open_storage, redact, storage_url, transient, url_to_resume, url_to_store
from tests.tuner.servers import POSTGRES, grpc_server, postgres_server
from tests.tuner.studies import (
    ROOT,
    begin,
    completed,
    ends_well,
    environment,
    no_settings_twice,
    resuming,
    states,
    toy_request,
    until,
)


def test_the_default_is_sqlite_in_the_folder_and_the_environment_replaces_it(tmp_path, monkeypatch):
    assert storage_url(None, tmp_path) == f"sqlite:///{tmp_path / 'study.db'}"
    monkeypatch.setenv("OPTUNA_STORAGE", "journal:/x")
    assert storage_url(None, tmp_path) == "journal:/x"
    assert storage_url("sqlite://", tmp_path) == "sqlite://"


def test_a_study_that_goes_on_is_looked_for_where_it_was_begun(tmp_path, monkeypatch):
    assert url_to_store(storage_url(None, tmp_path), tmp_path) == ""
    assert url_to_resume("", None, tmp_path) == storage_url(None, tmp_path)
    url = "postgresql+psycopg://me@db/optuna"
    assert url_to_resume(url_to_store(url, tmp_path), None, tmp_path) == url
    assert url_to_resume(url_to_store(url, tmp_path), "journal:/y", tmp_path) == "journal:/y"
    secret = "postgresql+psycopg://me:secret@db/optuna"
    assert "secret" not in url_to_store(secret, tmp_path)
    with pytest.raises(BadRequest, match="password is not kept"):
        url_to_resume(url_to_store(secret, tmp_path), None, tmp_path)
    monkeypatch.setenv("OPTUNA_STORAGE", secret)
    assert url_to_resume(url_to_store(secret, tmp_path), None, tmp_path) == secret
    assert url_to_resume(url_to_store(url, tmp_path), None, tmp_path) == url


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_a_study_that_goes_on_and_a_further_worker_or_machine_draw_settings_of_their_own(name):
    request, _ = toy_request(sampler=name)

    def drawn(**session):
        study = optuna.create_study(sampler=ledger.sampler_of(request, **session))
        return study.ask().suggest_float("learning_rate", 1e-5, 1e-1, log=True)

    assert drawn() == drawn()
    sessions = [{}, {"begun": 1}, {"begun": 7}, {"worker": 1}, {"worker": 2}, {"salt": 12345}]
    assert len({drawn(**session) for session in sessions}) == len(sessions)


def test_a_storages_file_is_known_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage_url("sqlite:///x.db", tmp_path) == f"sqlite:///{tmp_path}/x.db"
    assert storage_url("journal:x.log", tmp_path) == f"journal:{tmp_path}/x.log"
    for whole in ("sqlite:////a/x.db", "journal:/a/x.log", "postgresql://u@h/d", "grpc://h:1"):
        assert storage_url(whole, tmp_path) == whole


def test_a_password_is_never_shown():
    url = "postgresql+psycopg://me:secret@db:5432/optuna"
    assert redact(url) == "postgresql+psycopg://me:***@db:5432/optuna"
    with pytest.raises(AdvisorError) as caught:
        open_storage("mysql+nosuchdriver://me:secret@db/x")
    assert "secret" not in str(caught.value) + str(caught.value.facts())


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x", "grpc://host-without-port"])
def test_what_is_no_storage_is_refused_with_the_forms_there_are(url):
    with pytest.raises((BadRequest, MissingExtra)) as caught:
        open_storage(url)
    assert caught.value.hints


def test_a_storage_that_cannot_be_reached_says_so_and_how_to_go_on(tmp_path):
    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        open_storage(f"sqlite:///{tmp_path}/no/such/folder/x.db")
    assert "--resume" in caught.value.hints[0]


@pytest.mark.parametrize(("query", "milliseconds"), [("", 60_000), ("?timeout=0.2", 200)])
def test_sqlite_waits_for_a_lock_as_long_as_its_url_says(tmp_path, query: str, milliseconds: int):
    with open_storage(f"sqlite:///{tmp_path / 'x.db'}{query}").engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == milliseconds


def test_waiting_helps_against_connections_and_not_against_bugs():
    from sqlalchemy.exc import OperationalError, ProgrammingError

    assert transient(OperationalError("x", {}, Exception("database is locked")))
    assert transient(ConnectionResetError())
    assert not transient(ValueError("a bug"))
    assert not transient(ProgrammingError("x", {}, Exception("no such column")))


@pytest.mark.exhaustive
def test_a_journal_file_serves_two_workers(tmp_path):
    url = f"journal:{tmp_path / 'study.journal'}"
    study = begin(tmp_path, url, budget=Budget(trials=4))
    ends_well(resuming(tmp_path, workers=2, storage=url, steps="4", seconds="0.05"))
    assert len(completed(study)) == 4
    no_settings_twice(study)


@pytest.mark.slow
def test_a_dead_workers_trial_in_a_journal_is_found_and_retried(tmp_path):
    """The journal knows no heartbeat: the owner's process is looked for."""
    url = f"journal:{tmp_path / 'study.journal'}"
    study = begin(tmp_path, url, budget=Budget(trials=1))
    trial = study.ask()
    trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    trial.set_user_attr(ledger.OWNER, {**alive.me(), "pid": gone.pid})
    ends_well(resuming(tmp_path, storage=url))
    [done] = completed(study)
    assert done.params["learning_rate"] == trial.params["learning_rate"]
    assert done.number != trial.number


def test_a_worker_of_another_machine_is_dead_once_its_beat_stands_still(tmp_path, monkeypatch):
    study = begin(tmp_path, f"journal:{tmp_path / 'study.journal'}")
    trial = study.ask()
    trial.set_user_attr(ledger.OWNER, {**alive.me(), "host": "elsewhere"})
    heartbeat = alive.Heartbeat(ledger.storage_of(study))
    now = [1000.0]
    monkeypatch.setattr("advisor.tuner.storage.heartbeat.time.monotonic", lambda: now[0])

    def stopped() -> bool:
        return heartbeat.stopped(study.trials[trial.number])

    assert alive.is_dead(study.trials[0].user_attrs[ledger.OWNER]) is None
    assert not stopped()
    now[0] += 50
    assert not stopped()
    trial.set_user_attr(alive.BEAT, 7)
    now[0] += 50
    assert not stopped()
    now[0] += 61
    assert stopped()


@pytest.mark.exhaustive
def test_another_machine_joins_and_takes_its_share(tmp_path):
    """Two folders stand for two machines; they share the storage only."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one, two = tmp_path / "one", tmp_path / "two"
    data = tmp_path / "rows.jsonl"
    from tests.tiny_models import labelled, put_rows

    put_rows(data, labelled(60))
    study = begin(one, url, budget=Budget(trials=8), neighbours=4)
    request = study.user_attrs[ledger.REQUEST]
    request["splits"]["sources"] = {"train": str(data)}
    study.set_user_attr(ledger.REQUEST, request)
    joiner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from advisor.tuner.tune import join; print(join('toy', sys.argv[1], out=sys.argv[2]).stopped)",
            url,
            str(two),
        ],
        env=environment(tmp_path / "home", steps="6", seconds="0.3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    ends_well(resuming(one, storage=url, steps="6", seconds="0.3"))
    assert "8 trials were asked for" in ends_well(joiner)
    assert len(completed(study)) == 8
    no_settings_twice(study)
    here = len((one / "trials" / "started.txt").read_text().splitlines())
    there = len((two / "trials" / "started.txt").read_text().splitlines())
    assert here + there == 8
    assert there >= 1


def test_of_two_that_claim_one_trial_in_the_same_moment_only_one_gets_it(tmp_path):
    """SQLite locks no rows: one worker's claim falls between what the other reads and what it writes."""
    from optuna.trial import TrialState
    from sqlalchemy import event

    url = f"sqlite:///{tmp_path / 'shared.db'}"
    study = begin(tmp_path / "one", url)
    waiting = study.get_trials(states=(TrialState.WAITING,))[0]
    one, other = open_storage(url), open_storage(url)
    claims: list[bool] = []

    def first(connection, cursor, statement, *_):
        if statement.startswith("UPDATE trials") and not claims:
            claims.append(other.set_trial_state_values(waiting._trial_id, TrialState.RUNNING))

    event.listen(one.engine, "before_cursor_execute", first)
    claims.append(one.set_trial_state_values(waiting._trial_id, TrialState.RUNNING))
    assert claims == [True, False]
    begun = one.get_trial(waiting._trial_id)
    assert begun.state == TrialState.RUNNING
    assert begun.datetime_start is not None


def test_a_study_is_not_joined_with_other_rows(tmp_path):
    from advisor.tuner.study_preparation import rebuild
    from tests.tiny_models import labelled, put_rows
    from tests.tuner.studies import toy_request

    request, _ = toy_request()
    other = put_rows(tmp_path / "other.jsonl", labelled(60, seed=5))
    with pytest.raises(BadRequest, match="rows here are not the study's"):
        rebuild(request, tmp_path / "out", {"train": str(other)})
    with pytest.raises(BadRequest, match="this machine has no"):
        rebuild(request, tmp_path / "out", {"train": str(tmp_path / "absent.jsonl")})


def test_a_name_taken_by_a_study_with_another_space_is_refused(tmp_path):
    from advisor.domain.tuning import Dimension
    from tests.tuner.studies import toy_request

    url = f"sqlite:///{tmp_path / 'x.db'}"
    begin(tmp_path / "one", url)
    wider = Dimension(name="learning_rate", kind="float", start=1e-2, low=1e-6, high=1.0, log=True)
    request, _ = toy_request(dimensions=(wider,))
    with pytest.raises(BadRequest, match="'toy' already, with another space"):
        ledger.create(request, url)
    with pytest.raises(BadRequest, match="no study 'absent'") as caught:
        ledger.load("absent", url)
    assert "toy" in caught.value.hints[0]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_dashboards_and_optunas_own_tools_read_the_study(tmp_path):
    url = f"sqlite:///{tmp_path / 'x.db'}"
    begin(tmp_path / "one", url, budget=Budget(trials=2))
    ends_well(resuming(tmp_path / "one", storage=url))
    study = optuna.load_study(study_name="toy", storage=url)
    frame = study.trials_dataframe()
    assert {"number", "value", "params_learning_rate", "state"} <= set(frame.columns)
    assert study.best_trial.params["learning_rate"] > 0


@pytest.fixture
def postgres():
    """A PostgreSQL server of our own on loopback: its URL, and what stops and starts it."""
    if not (POSTGRES / "initdb").exists():
        pytest.skip("no PostgreSQL server installed: apt-get install postgresql")
    pytest.importorskip("psycopg")
    with postgres_server() as server:
        yield server.url(), server.stop, server.start


@pytest.mark.exhaustive
@pytest.mark.parametrize("moment", ["asking", "training"])
def test_postgresql_that_goes_away_loses_no_trial(tmp_path, postgres, moment):
    """Longer than the grace period (scaled down), so that every heartbeat is old when it comes back."""
    url, stop, start = postgres
    study = begin(tmp_path / "one", url, budget=Budget(trials=5), neighbours=3)
    trials = tmp_path / "one" / "trials"
    going = {
        "asking": lambda: states(study)["COMPLETE"] >= 1,
        "training": lambda: list(trials.glob("*/checkpoints/*")),
    }[moment]
    running = resuming(tmp_path / "one", workers=2, storage=url, steps="6", seconds="0.3", grace="3")
    until(going)
    stop()
    time.sleep(6)
    start()
    ends_well(running, 120)
    assert len(completed(study)) == 5
    assert not states(study)["RUNNING"]
    no_settings_twice(study)
    started = Counter((trials / "started.txt").read_text().splitlines())
    assert started.total() == 5, "a trial whose worker lived was run again"


@pytest.mark.exhaustive
def test_postgresql_that_keeps_going_away_loses_no_trial(tmp_path, postgres):
    url, stop, start = postgres
    study = begin(tmp_path / "one", url, budget=Budget(trials=10), neighbours=3)
    running = resuming(tmp_path / "one", workers=2, storage=url, steps="6", seconds="0.2", grace="3")
    until(lambda: states(study)["COMPLETE"] >= 1)
    for pause in (0.3, 0.9, 1.7, 0.6, 1.2):
        stop()
        time.sleep(pause)
        start()
        time.sleep(1.5)
    ends_well(running, 120)
    assert len(completed(study)) == 10
    no_settings_twice(study)


@pytest.mark.exhaustive
def test_a_grpc_proxy_serves_a_study(tmp_path):
    pytest.importorskip("grpc")
    with grpc_server(f"sqlite:///{tmp_path / 'x.db'}") as server:
        study = begin(tmp_path / "one", server.url, budget=Budget(trials=3))
        ends_well(resuming(tmp_path / "one", storage=server.url))
        assert len(completed(study)) == 3
