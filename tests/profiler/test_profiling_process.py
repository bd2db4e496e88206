"""How a run's process may end, and what is kept of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from advisor import store
from advisor.domain.profile import Profile
from advisor.errors import StoreUnavailable
from advisor.profiler import profiling_process as launching
from advisor.profiler.profiling_process import environment, launch, verdict
from tests.profiler.conftest import make_job


@pytest.mark.parametrize(
    ("code", "tail", "timeout", "status", "says"),
    [
        (-9, "", None, "oom", "memory"),
        (-11, "Fatal Python error: Segmentation fault", None, "failed", "SIGSEGV"),
        (-6, "terminate called after throwing an instance of 'std::bad_alloc'", None, "oom", "bad_alloc"),
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", None, "oom", "2 GiB"),
        (1, "a\n\nImportError: no module\n\n", None, "failed", "ImportError: no module"),
        (1, "", None, "failed", "said nothing"),
        (3, "x" * 10_000, None, "failed", "exit code 3"),
        (-15, "whatever", 80.0, "failed", "80 s"),
    ],
)
def test_a_death_without_a_word_becomes_a_status_with_a_reason(code, tail, timeout, status, says):
    found, reason = verdict(code, tail, timeout)
    assert found == status
    assert says in reason
    assert len(reason) <= 400


def child(monkeypatch, program: str) -> None:
    """Let the run's process be this program instead of the measurement."""
    real = subprocess.Popen

    def start(command, **keywords):
        return real([sys.executable, "-c", program, *command[3:]], **keywords)

    monkeypatch.setattr(launching.subprocess, "Popen", start)


def test_a_run_killed_by_the_system_is_kept_as_out_of_memory(monkeypatch, tmp_path, job):
    child(monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    found = launch(job, tmp_path / "a.json", 30)
    assert found.status == "oom"
    assert store.read(Profile, tmp_path / "a.json") == found
    assert (found.id, found.recipe, found.workload) == (job.id, job.recipe, job.workload)


def test_a_crash_keeps_the_last_it_said(monkeypatch, tmp_path, job):
    child(monkeypatch, "import sys; print('before', file=sys.stderr); raise RuntimeError('the kernel broke')")
    found = launch(job, tmp_path / "a.json", 30)
    assert found.status == "failed"
    assert "the kernel broke" in found.reason


def test_a_run_that_takes_too_long_is_ended_with_all_it_started(monkeypatch, tmp_path, job):
    marker = tmp_path / "pid"
    child(
        monkeypatch,
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "own = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(marker)!r}, 'w').write(str(own.pid))\n"
        "time.sleep(600)",
    )
    monkeypatch.setattr(launching, "GRACE_SECONDS", 0.5)
    found = launch(job, tmp_path / "a.json", 2)
    assert found.status == "failed"
    assert "longest" in found.reason
    grandchild = int(marker.read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(grandchild) and psutil.Process(grandchild).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "what the run started is still there"
        time.sleep(0.05)


def test_a_half_written_result_counts_as_none(monkeypatch, tmp_path, job):
    child(monkeypatch, 'import sys; open(sys.argv[2], \'w\').write(\'{"schema": "profile/1", "id":\')')
    assert launch(job, tmp_path / "a.json", 30).status == "failed"


def test_ctrl_c_ends_the_run_and_writes_nothing(monkeypatch, tmp_path, job):
    marker = tmp_path / "pid"
    child(monkeypatch, f"import os, time; open({str(marker)!r}, 'w').write(str(os.getpid())); time.sleep(600)")

    def press() -> None:
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        launch(job, tmp_path / "a.json", 60)
    assert not (tmp_path / "a.json").exists()
    assert not psutil.pid_exists(int(marker.read_text()))


def test_a_run_whose_starter_was_killed_leaves_the_device(tmp_path, job):
    store.write(job, tmp_path / "job.json")
    starter = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            "code = 'import os, time; from advisor.profiler.profiling_worker import _end_with as end;'\n"
            "code += 'end(os.getppid()); time.sleep(600)'\n"
            "print(subprocess.Popen([sys.executable, '-c', code]).pid, flush=True)\n"
            "time.sleep(600)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert starter.stdout is not None
    run = int(starter.stdout.readline())
    time.sleep(3)
    assert psutil.pid_exists(run)
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 20
    while psutil.pid_exists(run) and psutil.Process(run).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the run outlived the process that wanted it"
        time.sleep(0.1)


def test_a_store_that_cannot_be_written_is_said(monkeypatch, tmp_path, job):
    child(monkeypatch, "pass")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable):
        launch(job, tmp_path / "file" / "a.json", 30)


def test_a_run_gets_the_threads_it_was_told():
    told = environment(make_job(campaign={"threads": 3}))
    assert told["OMP_NUM_THREADS"] == "3"
    assert told["HF_HUB_OFFLINE"] == "1"
