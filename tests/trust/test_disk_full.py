"""A disk without room: each place that writes is known, leaves nothing half-written, and says so in one sentence."""

from __future__ import annotations

import ast
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import advisor
from advisor import processes, store
from advisor.errors import DISK_FULL, StoreUnavailable
from advisor.estimator.audit import drawn
from advisor.interfaces.cli import main
from advisor.training import training_worker
from advisor.tuner.execution import trial_worker
from advisor.tuner.results import finalists

ROOT = Path(advisor.__file__).parent
WRITES = {
    "write_text", "write_bytes", "save_file", "save_pretrained", "save", "copyfile", "copy2", "copytree", "to_parquet",
    "to_csv", "savefig", "touch", "symlink_to", "NamedTemporaryFile",
}  # fmt: skip
"""Names by which a file comes into being; `open` besides, where its mode says so."""

IN_A_TRAINING = "within a training's process, whose end says that the disk is full; what it left counts as none"
PLACES = {
    "training/monitor.py: tell": IN_A_TRAINING,
    "training/export.py: export": IN_A_TRAINING,
    "training/export.py: _merge": IN_A_TRAINING,
    "training/trainers/loop.py: _save": f"{IN_A_TRAINING}: a checkpoint counts once it is committed",
    "training/training_process.py: run": "a training's log; what the system says ends the worker with that sentence",
    "training/training_process.py: _follow": "asks a training to end; the same",
    "assembly/adapters/serialization.py: save_as_lora": IN_A_TRAINING,
    "assembly/adapters/data_driven_init.py: save_start": "called by `durable`",
    "profiler/measure_run.py: _save": "into a temporary folder, within a measured run, whose profile tells of it",
    "profiler/measure_run.py: _write_checkpoint": "the same",
    "profiler/profiling_process.py: launch": "a log in a temporary folder",
    "tuner/execution/local_runner.py: _start": "a worker's log; the command line says what the system says",
    "interfaces/cli/main.py: _usable_streams": "the null device",
    "catalog/models/hub.py: _reach": "without it the next process asks again",
    "dataset/chat_template.py: __init__": "a pipe",
    "dataset/chat_template.py: _serve": "a pipe",
    "store.py: write_bytes": "called by `durable`",
}
"""Every place that writes and does not go through the store -> why a full disk leaves nothing half-written there."""


def places(path: Path) -> Iterator[str]:
    """The functions of a file that write, but for what `durable` is given to call."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    safe = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "durable"
        for inner in ast.walk(node)
    }
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        own = [n for n in ast.walk(function) if isinstance(n, ast.Call) and id(n) not in safe]
        if any(writes(call) for call in own):
            yield f"{path.relative_to(ROOT).as_posix()}: {function.name}"


def writes(call: ast.Call) -> bool:
    called = ast.unparse(call.func)
    if called in ("open", "os.fdopen", "gzip.open", "io.open"):
        modes = [ast.unparse(a) for a in (*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode"))]
        return any(set("wax+") & set(mode) for mode in modes)
    return called.rpartition(".")[2] in WRITES or called in ("shutil.copy", "json.dump")


def test_every_place_that_writes_is_known():
    found = {place for path in sorted(ROOT.rglob("*.py")) for place in places(path)}
    assert found == set(PLACES)


@pytest.mark.parametrize(
    "line", ["p.write_text(t)", "open(p, 'wb')", "open(p, mode='a')", "save_file(t, p)", "c.save(p)"]
)
def test_the_law_sees_what_writes(line: str):
    (call,) = [node for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Call)]
    assert writes(call)


def no_room(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_is_written_durably_is_whole_or_as_it_was(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        no_room()

    with pytest.raises(OSError, match="No space"):
        store.durable(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_chart_is_whole_or_not_there(tmp_path: Path):
    def save(name: str, format: str) -> None:
        Path(name).write_text("<svg")
        no_room()

    with pytest.raises(StoreUnavailable, match=DISK_FULL):
        drawn(SimpleNamespace(save=save), tmp_path / "plot.svg")
    assert list(tmp_path.iterdir()) == []


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError(
        "[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/1: file write"
    ),
    ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    store.unwritable(Path("x"), OSError(errno.ENOSPC, "No space left on device")),
]


@pytest.mark.parametrize("error", FULL, ids=range(len(FULL)))
def test_a_training_says_that_the_disk_is_full_whichever_library_wrote(error: Exception, monkeypatch):
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr("advisor.training.train.train", fails)
    result = training_worker.run(SimpleNamespace(mode="train"), 0.0)  # type: ignore[arg-type]
    assert (result.status, result.reason) == ("failed", DISK_FULL)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "gone"), RuntimeError("a bug"), ValueError("file write")])
def test_other_failures_are_no_full_disk(error: Exception):
    assert not processes.disk_full(error)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_worker_of_a_search_ends_with_a_sentence(number: int, tmp_path: Path, monkeypatch, capsys):
    def fails(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), str(tmp_path / "job.json"))

    monkeypatch.setattr(trial_worker, "Worker", fails)
    assert trial_worker.main([str(tmp_path)]) == 4
    said = capsys.readouterr().err
    assert said.startswith("Error: cannot write")
    assert "Traceback" not in said


def test_an_adapter_that_found_no_room_is_not_left_half_written(tmp_path: Path, monkeypatch):
    from advisor.training.training_spec import TrainingResult

    def exports(request: Any, job: Any, *_: Any) -> TrainingResult:
        (tmp_path / "best").mkdir()
        (tmp_path / "best" / "adapter_model.safetensors").write_bytes(b"half")
        return TrainingResult(status="failed", reason=DISK_FULL)

    monkeypatch.setattr(finalists, "train_watched", exports)
    monkeypatch.setattr(finalists, "job_of", lambda *_: SimpleNamespace(model_copy=lambda update: None))
    chosen = SimpleNamespace(trial=SimpleNamespace(number=0), weights=tmp_path / "w", seed=0)
    with pytest.raises(StoreUnavailable, match="full") as caught:
        finalists.finish(SimpleNamespace(merge=False), tmp_path, chosen, lambda *_: None)  # type: ignore[arg-type]
    assert not (tmp_path / "best").exists()
    assert f"advisor tune --resume {tmp_path}" in caught.value.hints[0]


def test_a_verb_that_finds_no_room_says_so_and_leaves_nothing(tmp_path: Path, monkeypatch, capsys):
    """The other verbs write through the same door, or in a training."""
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    card = {"name": "MY-CARD", "vendor": "nvidia", "memory_bytes": "24 GiB", "bandwidth_bytes_s": "1008 GB/s"}
    (tmp_path / "card.json").write_text(json.dumps({"schema": "gpu/1", **card}))
    monkeypatch.setattr(os, "fsync", no_room)
    assert main.run(["gpus", "--add", str(tmp_path / "card.json")]) == 4
    said = capsys.readouterr().err
    assert DISK_FULL in said
    assert len([line for line in said.splitlines() if line.startswith("Error:")]) == 1
    assert [p for p in (tmp_path / "home").rglob("*") if p.is_file() and p.name != ".lock"] == []
