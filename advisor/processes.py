"""Our child processes: how they are started, watched, read when they die, and ended with all they started.

Whoever starts one (the recommender's workers, a measured run, a training, a search's workers) says only what to
run and what its end means. A child never imports from the folder one stands in, which may be a stranger's model
folder with a `torch.py` in it; it leads a group of its own, so that Ctrl-C comes to us and we end it in order; and
it leaves when the process that started it is gone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from advisor.errors import DISK_FULL, QUOTA_FULL

ROOT: Final = Path(__file__).resolve().parents[1]
ORPHAN_SECONDS: Final = 0.5
POLL_SECONDS: Final = 0.05
TAIL_BYTES: Final = 4096
PR_SET_PDEATHSIG: Final = 1
ENDINGS: Final = ("SIGTERM", "SIGHUP")
"""Signals that end us as Ctrl-C does; a system without one (Windows has no SIGHUP) is not asked."""


def command_of(module: str, *arguments: str) -> list[str]:
    """How a module of ours is run: `python -P` keeps the current directory out of its imports."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment for a child, whose own children keep the current directory out of their imports too.

    PYTHONPATH stays as the user set it, but for entries that mean the current directory. Where advisor itself is run
    from a checkout that is not installed, the checkout comes last.
    """
    mine = {**os.environ, "PYTHONSAFEPATH": "1"}
    entries = [entry for entry in mine.get("PYTHONPATH", "").split(os.pathsep) if entry.strip() not in ("", ".", "./")]
    if not _installed() and str(ROOT) not in entries:
        entries.append(str(ROOT))
    mine["PYTHONPATH"] = os.pathsep.join(entries)
    if not entries:
        del mine["PYTHONPATH"]
    return {**mine, **(extra or {})}


def _installed() -> bool:
    """Whether a fresh Python finds this advisor by itself: in its packages, or by a path file there."""
    import sysconfig  # not needed to print a help text

    places = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    if ROOT in places:
        return True
    for place in places:
        for file in place.glob("*.pth"):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                if str(ROOT) in file.read_text(encoding="utf-8").splitlines():
                    return True
    return False


def spawn(
    module: str,
    *arguments: str,
    stdout: IO[Any] | int | None = None,
    stderr: IO[Any] | int | None = None,
    stdin: IO[Any] | int | None = subprocess.DEVNULL,
    extra: Mapping[str, str] | None = None,
    text: bool = False,
) -> subprocess.Popen[Any]:
    """Start a module of ours as the leader of a group of its own; its environment is ours and `extra`."""
    return subprocess.Popen(
        command_of(module, *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=environment(extra),
        start_new_session=True,
        encoding="utf-8" if text else None,
    )


def wait_until(process: subprocess.Popen[Any], seconds: float) -> bool:
    """Whether it ended in time."""
    ends = time.monotonic() + seconds
    while process.poll() is None:
        if time.monotonic() > ends:
            return False
        time.sleep(POLL_SECONDS)
    return True


def end_group(process: subprocess.Popen[Any], grace_seconds: float = 0.0) -> None:
    """End a process and all it started: asked first where there is grace, then killed."""
    if grace_seconds > 0 and process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        wait_until(process, grace_seconds)
    _signal_group(process, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def _signal_group(process: subprocess.Popen[Any], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, number)
        elif process.poll() is None:
            process.terminate()


def tail(path: str | os.PathLike[str], size: int = TAIL_BYTES) -> str:
    """The end of a log; empty where there is none."""
    try:
        with open(path, "rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def last_line(text: str, characters: int = 300) -> str:
    """The last line that says anything; empty where none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-characters:] if lines else ""


def killed(code: int) -> bool:
    """Whether an exit code is a death by SIGKILL, as the system kills where memory runs out."""
    return code == -getattr(signal, "SIGKILL", 9)


def ending(code: int, said: str) -> str:
    """How a child ended, in a clause: its signal or exit code, and the last it said."""
    words = last_line(said) or "it said nothing"
    if code >= 0:
        return f"ended with exit code {code}: {words}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"died of signal {name}: {words}"


def when_orphaned(action: Callable[[], None], seconds: float = ORPHAN_SECONDS) -> None:
    """Call `action` in a thread once the process that started us is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        action()

    threading.Thread(target=watch, daemon=True).start()


def leave_with_parent(*, at_once: bool = False) -> None:
    """End when the process that started us is gone: nobody would read what we find.

    Args:
        at_once: also by the kernel's own signal, where there is one. Only for a child that its parent's main thread,
            or a thread as long-lived, has started: the signal comes when that thread ends.
    """
    if at_once and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    when_orphaned(lambda: os._exit(1))


@contextlib.contextmanager
def interrupted_by_signals() -> Generator[None]:
    """Let SIGTERM and SIGHUP end us as Ctrl-C does; outside the main thread nothing can, and nothing is changed.

    A SIGHUP that is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    for name in ENDINGS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


MEMORY_WORDS: Final = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "cublas_status_alloc_failed",
    "bad_alloc",
)
"""How torch, CUDA's libraries, numpy and C++ say that an allocator refused."""


def out_of_memory(error: BaseException) -> bool:
    """Whether a failure means that memory ran out, on whatever device and from whichever library."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, (RuntimeError, OSError)) and says_out_of_memory(str(error))


DISK_WORDS = (
    "no space left on device",
    "disk quota exceeded",
    DISK_FULL,
    QUOTA_FULL,
    "pytorchstreamwriter failed writing",
)
"""How the system, the Rust library of safetensors, advisor's store and torch.save say that a write found no room."""


def disk_full(error: BaseException) -> bool:
    """Whether a failure means that the disk, or the user's share of it, is full, whichever library wrote."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return says_disk_full(str(error))


def says_disk_full(text: str) -> bool:
    """Whether what a process printed at its end tells of a disk without room."""
    said = text.lower()
    return any(words in said for words in DISK_WORDS)


def says_out_of_memory(text: str) -> bool:
    """Whether what a process printed at its end tells of memory that ran out."""
    said = text.lower()
    return any(words in said for words in MEMORY_WORDS)
