"""The workers of this machine: started, watched, started again when killed, asked to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from advisor.errors import AdvisorError, StoreUnavailable
from advisor.tuner.process import last_line
from advisor.tuner.storage import PATIENCE_SECONDS

POLL_SECONDS: Final = 0.5
VIEW_SECONDS: Final = 1.0
MOST_RESTARTS: Final = 5
"""Of one worker; one that keeps dying has a cause that another start does not cure."""
END_SECONDS: Final = 90.0


@dataclass(slots=True)
class Crew:
    """Worker processes on one study's folder. `watch` is called each poll, for a view of what goes on."""

    folder: Path
    url: str
    workers: int
    watch: Callable[[], None] = lambda: None
    patience: float = PATIENCE_SECONDS
    salt: int = 0
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _restarts: dict[int, int] = field(default_factory=dict)

    def run(self) -> str:
        """Until every worker has ended by itself; says why the search ended.

        Raises:
            AdvisorError: a worker ended in an error of ours (storage away, disk full).
            KeyboardInterrupt: passed on after all workers have left cleanly.
        """
        (self.folder / "workers").mkdir(parents=True, exist_ok=True)
        before = terminated_like_interrupted()
        viewed = 0.0
        for index in range(self.workers):
            self._start(index)
        try:
            while self._running:
                self._look()
                if time.monotonic() - viewed > VIEW_SECONDS:
                    viewed = time.monotonic()
                    self.watch()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.end()
            raise
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
        return last_line(self._log(0, "out"))

    def end(self) -> None:
        """Ask every worker to leave: its trial checkpoints and goes back into the study."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + END_SECONDS
        for process in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def pids(self) -> list[int]:
        """Of the workers that run."""
        return [process.pid for process in self._running.values()]

    def _look(self) -> None:
        for index, process in list(self._running.items()):
            code = process.poll()
            if code is None:
                continue
            del self._running[index]
            if code == 0:
                continue
            said = self._log(index, "err").read_text(encoding="utf-8", errors="replace").strip()
            if code in (1, 2, 3, 4):
                self.end()
                raise _error(code, said, self.folder)
            self._restarts[index] = self._restarts.get(index, 0) + 1
            if self._restarts[index] > MOST_RESTARTS:
                self.end()
                raise AdvisorError(f"worker {index} died {MOST_RESTARTS} times", cause=said[-300:], code=code)
            self._start(index)

    def _start(self, index: int) -> None:
        command = [sys.executable, "-m", "advisor.tuner.worker", str(self.folder), "--storage", self.url]
        command += ["--index", str(index), "--share", str(self.workers), "--patience", str(self.patience)]
        command += ["--salt", str(self.salt)]
        with open(self._log(index, "out"), "ab") as out, open(self._log(index, "err"), "wb") as err:
            self._running[index] = subprocess.Popen(
                command, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True, env=dict(os.environ)
            )

    def _log(self, index: int, stream: str) -> Path:
        return self.folder / "workers" / f"{index}.{stream}"


def terminated_like_interrupted() -> Any:
    """Let a SIGTERM end us as Ctrl-C does; the handler before, or None outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return None

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    return signal.signal(signal.SIGTERM, interrupt)


def _error(code: int, said: str, folder: Path) -> AdvisorError:
    """A worker's own error again, here; a traceback stays whole, since it is a bug."""
    if code == 4 and "Error: " in said:
        message, *rest = said[said.index("Error: ") + 7 :].splitlines()
        return StoreUnavailable(message, cause=rest[0].strip() if rest else "", hints=[r.strip() for r in rest[1:]])
    return AdvisorError(f"a worker of {folder} failed", cause=said[-2000:], code=code)
