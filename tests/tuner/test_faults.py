"""What a study survives: kills of any of its processes, Ctrl-C, a storage or disk that gives out."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from advisor.domain.tuning import Budget
from tests.selection import one_in
from tests.tuner.studies import (
    ROOT,
    begin,
    children,
    completed,
    ends_well,
    environment,
    kill,
    no_settings_twice,
    resuming,
    states,
    until,
)

TRIAL, WORKER = "advisor.training.training_worker", "advisor.tuner.execution.trial_worker"
SLOW = {"steps": "8", "seconds": "0.3"}


@pytest.mark.exhaustive
def test_a_study_runs_to_its_end_and_the_best_is_the_best(tmp_path):
    study = begin(tmp_path)
    assert "DONE" in ends_well(resuming(tmp_path))
    assert states(study)["COMPLETE"] == 4
    first = study.trials[0]
    assert first.params["learning_rate"] == 1e-2
    assert study.best_value == max(t.value for t in completed(study))
    assert (tmp_path / "best" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "study.json").is_file()


@pytest.mark.exhaustive
def test_a_killed_parent_takes_its_processes_along_and_a_resume_repeats_nothing(tmp_path):
    study = begin(tmp_path)
    one = resuming(tmp_path, **SLOW)
    until(lambda: states(study)["COMPLETE"] >= 1)
    until(lambda: children(one, TRIAL))
    below = [*children(one, TRIAL), *children(one, WORKER)]
    kill(one)
    one.wait()
    until(lambda: not any(p.is_running() for p in below), what="its processes end with it")
    done = {t.number: t.value for t in completed(study)}
    ends_well(resuming(tmp_path))
    assert {t.number: t.value for t in completed(study) if t.number in done} == done
    assert len(completed(study)) == 4
    no_settings_twice(study)


@pytest.mark.exhaustive
def test_a_killed_worker_is_started_again_and_its_trial_goes_on_from_its_checkpoint(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=2))
    one = resuming(tmp_path, **SLOW)
    place = tmp_path / "trials" / "0000" / "checkpoints"
    until(lambda: list(place.glob("*/COMMITTED.json")), what="a checkpoint")
    [worker] = children(one, WORKER)
    kill(worker)
    ends_well(one)
    assert len(completed(study)) == 2
    no_settings_twice(study)
    again = next(t for t in completed(study) if t.system_attrs.get("failed_trial") == 0)
    assert again.user_attrs["advisor:outcome"]["resumed_from"] > 0


@pytest.mark.slow
def test_a_killed_trial_is_retried_and_the_study_goes_on(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=2))
    one = resuming(tmp_path, **SLOW)
    [trial] = until(lambda: children(one, TRIAL))
    kill(trial)
    ends_well(one)
    assert len(completed(study)) == 2
    lost = study.trials[0]
    assert lost.state.name == "FAIL"
    assert "killed by signal 9" in lost.user_attrs["advisor:outcome"]["reason"]


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_interrupted_trial_continues(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=2))
    one = resuming(tmp_path, **SLOW)
    place = tmp_path / "trials" / "0000"
    until(lambda: (place / "progress.jsonl").exists() and "percent" in (place / "progress.jsonl").read_text())
    one.send_signal(signal.SIGINT)
    _, err = one.communicate(timeout=60)
    assert one.returncode != 0
    assert "KeyboardInterrupt" in err
    assert study.trials[0].user_attrs["advisor:outcome"]["status"] == "interrupted"
    assert not [t for t in study.trials if t.state.name == "RUNNING"]
    ends_well(resuming(tmp_path))
    again = next(t for t in completed(study) if t.system_attrs.get("failed_trial") == 0)
    assert again.user_attrs["advisor:outcome"]["resumed_from"] > 0
    assert len(completed(study)) == 2


@pytest.mark.exhaustive
def test_ctrl_c_among_the_finalists_ends_soon_and_repeats_none_of_them(tmp_path):
    begin(tmp_path, budget=Budget(trials=2), neighbours=1, final_seeds=3, finalists=2)
    one = resuming(tmp_path, steps="8", seconds="0.2")
    finals = tmp_path / "finals"
    until(lambda: list(finals.glob("*/result.json")), 60, "a finalist trained again")
    done = {p: p.stat().st_mtime_ns for p in finals.glob("*/result.json")}
    one.send_signal(signal.SIGINT)
    _, err = one.communicate(timeout=30)
    assert "KeyboardInterrupt" in err
    ends_well(resuming(tmp_path))
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert len(list(finals.glob("*-seed*/result.json"))) == 4


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_workers_share_the_finals_and_a_killed_one_goes_on_from_its_checkpoint(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=2), neighbours=1, final_seeds=3, finalists=2, threads=None)
    one = resuming(tmp_path, workers=2, steps="8", seconds="0.3")
    finals = tmp_path / "finals"
    until(lambda: len(list(finals.glob("*/checkpoints/*/COMMITTED.json"))) >= 2, 60, "two finalists at a time")
    running = children(one, TRIAL)
    assert len(running) == 2
    assert {p.environ()["OMP_NUM_THREADS"] for p in running} == {str(max(1, os.cpu_count() // 2))}
    kill(running[0])
    ends_well(one)
    results = {path.parent.name: json.loads(path.read_text()) for path in finals.glob("*-seed*/result.json")}
    assert len(results) == 4
    assert {r["status"] for r in results.values()} == {"complete"}
    assert [r["resumed_from"] > 0 for r in results.values()].count(True) == 1
    told = json.loads((tmp_path / "study.json").read_text())
    assert {len(f["scores"]) for f in told["finalists"]} == {3}
    assert len(completed(study)) == 2


@pytest.mark.exhaustive
def test_a_result_written_but_not_told_is_told_later_and_not_trained_again(tmp_path):
    """Power gone between a training's result and its commit to the storage."""
    study = begin(tmp_path, budget=Budget(trials=1))
    one = resuming(tmp_path, **SLOW)
    [worker] = until(lambda: children(one, WORKER))
    until(lambda: children(one, TRIAL))
    # stopped, it cannot tell what its trial comes to
    worker.send_signal(signal.SIGSTOP)
    until(lambda: (tmp_path / "trials" / "0000" / "result.json").exists())
    kill(one)
    kill(worker)
    one.wait()
    assert states(study)["RUNNING"] == 1
    ends_well(resuming(tmp_path))
    assert [t.number for t in completed(study)] == [0]
    started = (tmp_path / "trials" / "started.txt").read_text().splitlines()
    assert len(started) == 1


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_workers_never_run_the_same_trial(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=8), neighbours=4)
    ends_well(resuming(tmp_path, workers=2, steps="4", seconds="0.05"))
    started = (tmp_path / "trials" / "started.txt").read_text().splitlines()
    assert len(started) == len(set(started)) == 8
    assert len(completed(study)) == 8
    assert {t.user_attrs["advisor:owner"]["index"] for t in study.trials if t.state.name == "COMPLETE"} == {0, 1}


@pytest.mark.exhaustive
@pytest.mark.parametrize("fault", one_in(3, ["oom", "bug", "exit"]))
def test_a_trial_that_fails_has_its_reason_and_the_study_ends_with_an_explanation(tmp_path, fault):
    study = begin(tmp_path, budget=Budget(trials=2))
    one = resuming(tmp_path, fault=fault)
    _, err = one.communicate(timeout=60)
    assert "no trial was completed" in err
    reason = {"oom": "no room for 1 TiB", "bug": "ZeroDivisionError: a bug", "exit": "exit code 7"}[fault]
    for trial in study.trials[:2]:
        assert reason in trial.user_attrs["advisor:outcome"]["reason"]
        assert trial.state.name == ("PRUNED" if fault == "oom" else "FAIL")


@pytest.mark.exhaustive
def test_trials_that_all_fail_alike_end_the_search_before_its_budget(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=12))
    _, err = resuming(tmp_path, fault="bug").communicate(timeout=90)
    assert "no trial was completed" in err
    assert (
        study.user_attrs["advisor:stopped"] == "the first 4 trials failed alike: ZeroDivisionError: a bug in a training"
    )
    assert len([t for t in study.trials if t.state.is_finished()]) == 4


@pytest.mark.slow
def test_a_trial_beyond_its_memory_is_ended_before_the_system_ends_us(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=1), memory_bytes=300 * 2**20)
    one = resuming(tmp_path, fault="memory")
    one.communicate(timeout=60)
    outcome = study.trials[0].user_attrs["advisor:outcome"]
    assert outcome["status"] == "oom"
    assert "300 MiB are allowed" in outcome["reason"]
    assert study.trials[0].constraints["ran"] > 0


@pytest.mark.slow
def test_a_trial_beyond_its_time_is_ended(tmp_path):
    study = begin(tmp_path, budget=Budget(trials=1), trial_seconds=2.0)
    one = resuming(tmp_path, steps="100", seconds="0.2")
    one.communicate(timeout=60)
    assert "ran longer than" in study.trials[0].user_attrs["advisor:outcome"]["reason"]


@pytest.mark.exhaustive
def test_a_storage_that_goes_away_for_a_while_loses_nothing(tmp_path):
    """SQLite under another's exclusive lock answers nobody, as a database does that restarts."""
    import sqlite3

    url = f"sqlite:///{tmp_path / 'away.db'}?timeout=0.2"
    study = begin(tmp_path, url, budget=Budget(trials=3))
    one = resuming(tmp_path, storage=url, **SLOW)
    until(lambda: states(study)["COMPLETE"] >= 1)
    lock = sqlite3.connect(tmp_path / "away.db", timeout=10, isolation_level=None)
    until(lambda: _locked(lock))
    time.sleep(6)
    lock.execute("ROLLBACK")
    lock.close()
    ends_well(one)
    assert len(completed(study)) == 3
    no_settings_twice(study)


IMPATIENT = """
import sys
from advisor.interfaces.cli.main import main
from advisor.tuner import tune as door
door.resume.__kwdefaults__["patience_seconds"] = 2.0
main(sys.argv[1:])
"""


@pytest.mark.exhaustive
def test_a_storage_gone_for_longer_than_the_patience_ends_the_search_with_its_reason(tmp_path):
    import sqlite3

    url = f"sqlite:///{tmp_path / 'away.db'}?timeout=0.2"
    study = begin(tmp_path, url, budget=Budget(trials=3))
    one = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "tune", "--resume", str(tmp_path), "--storage", url],
        env=environment(tmp_path / "home", **SLOW),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    until(lambda: states(study)["COMPLETE"] >= 1)
    below = [*children(one, TRIAL), *children(one, WORKER)]
    lock = sqlite3.connect(tmp_path / "away.db", timeout=10, isolation_level=None)
    until(lambda: _locked(lock))
    _, err = one.communicate(timeout=90)
    lock.execute("ROLLBACK")
    lock.close()
    assert one.returncode == 4, err
    told = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(told) == 1
    assert "cannot be reached" in told[0]
    assert "Traceback" not in err
    assert not [p for p in below if p.is_running()]
    ends_well(resuming(tmp_path, storage=url))
    assert len(completed(study)) == 3
    no_settings_twice(study)


def fill(path) -> None:
    """Write until nothing more goes."""
    import errno

    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(descriptor, b"x" * 512)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(descriptor)


def _locked(connection) -> bool:
    import sqlite3

    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return False
    return True


@pytest.mark.exhaustive
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="a small disk is mounted by root only")
def test_a_full_disk_stops_the_search_with_its_reason_and_space_lets_it_go_on(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this system does not let us mount a small disk")
    try:
        url = f"sqlite:///{tmp_path / 'study.db'}"
        study = begin(disk, url, budget=Budget(trials=3))
        one = resuming(disk, storage=url, **SLOW)
        until(lambda: states(study)["COMPLETE"] >= 1)
        fill(disk / "ballast")
        _, err = one.communicate(timeout=90)
        assert one.returncode != 0
        assert "full" in err
        done = {t.number: t.value for t in completed(study)}
        (disk / "ballast").unlink()
        ends_well(resuming(disk, storage=url))
        assert {t.number: t.value for t in completed(study) if t.number in done} == done
        assert len(completed(study)) >= 2
        no_settings_twice(study)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
