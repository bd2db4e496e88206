"""`python -m advisor.profiler.profiling_worker job.json profile.json`: one run in a process of its own.

Whatever happens short of the process's death ends in a written profile. It leaves the device when the process
that started it is gone.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

from advisor import store
from advisor.profiler.profile_job import HISTORY, ProfileJob

ORPHAN_SECONDS = 0.5


def main(job_path: str, profile_path: str) -> int:
    """Measure and write; the exit code is 0 however the run ended."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    job = store.read(ProfileJob, job_path)
    _end_with(os.getppid())
    from advisor.profiler.measure_run import measure

    store.write(measure(job, Path(profile_path).with_name(HISTORY)), profile_path)
    return 0


def _end_with(parent: int) -> None:
    """Die once the parent did: nobody would read the result, and the device would stay busy."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
