"""Runs one training in a process of its own, hears its progress, and ends it when it must."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from advisor import processes, store
from advisor.domain.units import duration, gib
from advisor.errors import DISK_FULL, BadFile
from advisor.training.monitor import PROGRESS, STOP
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.training.training_worker import RESULT

JOB: Final = "job.json"
LOG: Final = "log.txt"
POLL_SECONDS: Final = 0.1
MEMORY_SECONDS: Final = 0.5
"""Between two looks at a trial's memory: each walks the process table."""
GRACE_SECONDS: Final = 60.0
"""Between being asked to stop and being killed: a checkpoint of a large adapter must fit in."""
NEAR_LIMIT: Final = 0.7
"""A process killed from outside while it held this share of its memory is taken for out of memory."""


@dataclass(slots=True)
class Child:
    """One training's process. `on_progress` hears every line; `wanted` is asked whether to go on, with a reason."""

    job: TrainingSpec
    on_progress: Callable[[Mapping[str, Any]], str | None]
    wanted: Callable[[], str | None]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    memory_bytes: int | None = None
    seconds: float | None = None

    def run(self) -> TrainingResult:
        """Start it, follow it to its end, and say how it ended. A killed process is a result too."""
        folder = Path(self.job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in (RESULT, PROGRESS, STOP):
            (folder / name).unlink(missing_ok=True)
        path = store.write(self.job, folder / JOB)
        with open(folder / LOG, "ab") as log:
            process = processes.spawn(
                "advisor.training.training_worker",
                str(path),
                stdout=log,
                stderr=subprocess.STDOUT,
                extra={**QUIET, **self.environment},
            )
        try:
            ended = self._follow(process, folder)
        finally:
            processes.end_group(process)
        return ended or self._verdict(process, folder)

    def _follow(self, process: subprocess.Popen[bytes], folder: Path) -> TrainingResult | None:
        """Until it ends; a result here means that we ended it."""
        began, heard, asked, peak, looked = time.monotonic(), 0, 0.0, 0, 0.0
        self._peak = 0
        while process.poll() is None:
            heard, lines = _new_lines(folder / PROGRESS, heard)
            for line in lines:
                reason = self.on_progress(line)
                if reason:
                    (folder / STOP).write_text(reason, encoding="utf-8")
            now = time.monotonic()
            reason = self.wanted()
            if reason and not asked:
                asked = now
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)
            if asked and now - asked > GRACE_SECONDS:
                return TrainingResult(status="interrupted", reason="did not stop when asked and was killed")
            if self.seconds is not None and now - began > self.seconds:
                return TrainingResult(status="failed", reason=f"ran longer than {duration(self.seconds)} and was ended")
            if now - looked > MEMORY_SECONDS:
                looked, peak = now, max(peak, _resident(process.pid))
            self._peak = peak
            if self.memory_bytes is not None and peak > self.memory_bytes:
                why = f"used {gib(peak)} where {gib(self.memory_bytes)} are allowed, and was ended"
                return TrainingResult(status="oom", reason=why, peak_process_bytes=peak)
            time.sleep(POLL_SECONDS)
        _, lines = _new_lines(folder / PROGRESS, heard)
        for line in lines:
            self.on_progress(line)
        return None

    def _verdict(self, process: subprocess.Popen[bytes], folder: Path) -> TrainingResult:
        """Its own result, or what its death looks like."""
        try:
            return store.read(TrainingResult, folder / RESULT)
        except BadFile:
            pass
        code = process.returncode
        tail = processes.tail(folder / LOG)
        if processes.killed(code) and self.memory_bytes and self._peak > NEAR_LIMIT * self.memory_bytes:
            return TrainingResult(status="oom", reason=f"killed by the system while it held {gib(self._peak)}")
        if code < 0:
            return TrainingResult(status="interrupted", reason=f"killed by signal {-code}")
        if processes.says_disk_full(tail):
            return TrainingResult(status="failed", reason=DISK_FULL)
        return TrainingResult(status="failed", reason=processes.ending(code, tail))

    _peak: int = 0


QUIET: Final = {
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONUNBUFFERED": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


def _new_lines(path: Path, heard: int) -> tuple[int, list[dict[str, Any]]]:
    """Whole lines after byte `heard`, and where to go on; a line still being written waits."""
    try:
        with open(path, "rb") as stream:
            stream.seek(heard)
            text = stream.read()
    except FileNotFoundError:
        return heard, []
    whole = text.rfind(b"\n") + 1
    return heard + whole, [json.loads(line) for line in text[:whole].splitlines()]


def _resident(pid: int) -> int:
    """Resident bytes of the process and its children; 0 once it is gone."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        return sum(p.memory_info().rss for p in family)
    except psutil.Error:
        return 0
