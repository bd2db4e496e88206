"""Where the traceback of a bug goes, so that a reader is told one line: a file a bug, in the cache folder."""

from __future__ import annotations

import os
import time
import traceback
from itertools import count
from pathlib import Path

from advisor import store
from advisor.errors import AdvisorError

_number = count()


def keep_traceback(error: BaseException) -> Path | None:
    """Write an exception's traceback into a file of its own; None, and no file, where none can be written."""
    try:
        folder = store.cache_dir() / "logs"
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(_number)}.log"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        told = "".join(traceback.format_exception(error))
        store.durable(path, lambda temporary: store.write_bytes(temporary, told.encode("utf-8", "backslashreplace")))
    except (OSError, AdvisorError):
        return None
    return path


def bug_told(error: BaseException) -> tuple[str, Path | None]:
    """What is told of a bug: its type and its first line, and the file with its traceback where one can be written."""
    first = next((line for line in str(error).splitlines() if line.strip()), "")[:300]
    return f"{type(error).__name__}: {first}", keep_traceback(error)


def bug_line(error: BaseException) -> str:
    """The same on one line."""
    said, path = bug_told(error)
    return said + (f"; its traceback: {path}" if path is not None else "")
