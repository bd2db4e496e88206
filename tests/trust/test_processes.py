"""Every child process of every verb keeps the folder one stands in out of its imports, and ends with its parent."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import advisor
from advisor import processes
from tests.trust.hostile import modules_beside

ROOT = Path(advisor.__file__).parent
CHILDREN = {
    "advisor.catalog.prices.list_reader": (),
    "advisor.recommender.workers.method_worker": (),
    "advisor.recommender.workers.compare_worker": (),
    "advisor.profiler.profiling_worker": ("none.json", "none-either.json"),
    "advisor.profiler.device": (),
    "advisor.interfaces.web.job_worker": (),
    "advisor.training.training_worker": ("none.json",),
    "advisor.tuner.execution.trial_worker": ("none",),
}
"""Every module of ours that is run as a process, with arguments at which it ends soon."""


def test_the_list_of_children_is_whole():
    found = {
        ".".join(["advisor", *path.relative_to(ROOT).with_suffix("").parts])
        for path in ROOT.rglob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert found - {"advisor.__main__", "advisor.interfaces.cli.main"} == set(CHILDREN)


@pytest.mark.parametrize("module", CHILDREN)
def test_a_child_imports_nothing_from_the_folder_one_stands_in(module: str, tmp_path: Path, monkeypatch):
    mark = tmp_path / "mark"
    modules_beside(tmp_path, mark)
    monkeypatch.chdir(tmp_path)
    own = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", *([own] if own else [])]))
    with open(tmp_path / "log", "wb") as log:
        child = processes.spawn(module, *CHILDREN[module], stdout=log, stderr=subprocess.STDOUT)
    assert processes.wait_until(child, 120)
    assert not mark.exists()
    said = processes.tail(tmp_path / "log")
    assert "No module named" not in said
    assert "circular import" not in said


def test_nothing_but_processes_starts_pythons():
    """A law read from the sources: `sys.executable` and Popen are used in one place."""
    for path in ROOT.rglob("*.py"):
        if path.name == "processes.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("subprocess.Popen", "os.system", "os.popen", "os.execv", "os.spawnv"), path
                assert not (called.startswith("multiprocessing") or called.endswith("Process")) or "psutil" in called
            if isinstance(node, ast.List) and node.elts:
                assert ast.unparse(node.elts[0]) != "sys.executable", path


@pytest.mark.parametrize("value", ["", ".", "./", os.pathsep, f".{os.pathsep}/there", "/there"])
def test_pythonpath_stays_but_for_where_one_stands(value: str, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", value)
    entries = processes.environment().get("PYTHONPATH", "").split(os.pathsep)
    assert ("/there" in entries) == ("/there" in value)
    assert not {".", "./"} & set(entries)
    assert entries == [""] or "" not in entries


WAITS = """
import sys, time
from advisor import processes
processes.leave_with_parent()
print("up", flush=True)
time.sleep(300)
"""
STARTS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {waits!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(300)
"""


def test_a_child_leaves_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", STARTS.format(waits=WAITS)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        child = psutil.Process(pid)
        parent.kill()
    until = time.monotonic() + 20
    while time.monotonic() < until and child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("name", processes.ENDINGS)
def test_signals_end_us_as_an_interruption_does(name: str):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with processes.interrupted_by_signals():
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()
        with pytest.raises(KeyboardInterrupt):
            time.sleep(10)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("code", "said", "sentence"),
    [
        (3, "one\ntwo\n\n", "ended with exit code 3: two"),
        (0, "", "ended with exit code 0: it said nothing"),
        (-15, "x", "died of signal SIGTERM: x"),
        (-99, "x", "died of signal 99: x"),
    ],
)
def test_an_ending_is_told_by_code_and_last_words(code: int, said: str, sentence: str):
    assert processes.ending(code, said) == sentence


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("shapes differ"), False),
        (OSError(2, "No such file"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_known_from_whoever_says_so(error, ran_out):
    assert processes.out_of_memory(error) is ran_out
