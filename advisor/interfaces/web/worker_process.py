"""A worker process seen from the page: one job at a time, a time limit, and started anew when it has died."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from advisor import processes

MODULE: Final = "advisor.interfaces.web.job_worker"
MOST_SECONDS: Final = 900.0
"""After which a job is given up; the longest question known, all cards for a large model, takes a few minutes."""
MOST_JOBS: Final = 200
"""After which a worker is started anew, so that what libraries keep does not grow for ever."""

Hear = Callable[[Mapping[str, Any]], None]
"""Told what a worker says before its reply: `{"progress": [done, total, what]}`, `{"row": [...], "of": ...}`."""
Reply = dict[str, Any]
"""`{"answer": ...}`, or `{"error": facts}`, `"broken": True` beside it where no question was at fault."""


class WorkerProcess:
    """Not for several threads at a time; `end` may be called from any."""

    def __init__(self, most_seconds: float = MOST_SECONDS) -> None:
        self.most_seconds = most_seconds
        self._process: subprocess.Popen[str] | None = None
        self._jobs = 0
        self._ended = False

    def ask(self, verb: str, arguments: dict[str, Any], hear: Hear) -> Reply:
        """The reply to one job; `hear` is told what comes before it."""
        try:
            process = self._running()
        except OSError as error:
            return broken(f"no worker process could be started: {error}")
        too_long = threading.Event()

        def give_up() -> None:
            too_long.set()
            processes.end_group(process)

        clock = threading.Timer(self.most_seconds, give_up)
        clock.daemon = True
        clock.start()
        try:
            return self._reply(process, verb, arguments, hear, too_long)
        finally:
            clock.cancel()

    def _reply(
        self,
        process: subprocess.Popen[str],
        verb: str,
        arguments: dict[str, Any],
        hear: Hear,
        late: threading.Event,
    ) -> Reply:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            process.stdin.write(json.dumps({"verb": verb, "arguments": arguments}) + "\n")
            process.stdin.flush()
            for line in process.stdout:
                message: Reply = json.loads(line)
                if "answer" in message or "error" in message:
                    return message
                hear(message)
        self._leave()
        if late.is_set():
            return broken(f"this took longer than {self.most_seconds / 60:g} minutes and was given up")
        return broken("the process that worked on this ended; perhaps memory ran out")

    def end(self) -> None:
        """End the process for good, whatever it is doing."""
        self._ended = True
        self._leave()

    def _running(self) -> subprocess.Popen[str]:
        if self._ended:
            raise OSError("the page is being closed")
        if self._process is not None and (self._jobs >= MOST_JOBS or self._process.poll() is not None):
            self._leave()
        if self._process is None:
            self._jobs = 0
            self._process = processes.spawn(
                MODULE,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                extra={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
                text=True,
            )
        self._jobs += 1
        return self._process

    def _leave(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            processes.end_group(process)


def broken(message: str) -> Reply:
    """A failure that is no fault of the question; asked again, it may be answered."""
    return {"error": {"error": "Unanswered", "message": message, "exit_code": 1}, "broken": True}
