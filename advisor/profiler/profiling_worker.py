"""`python -m advisor.profiler.profiling_worker job.json profile.json`: one run in a process of its own.

Whatever happens short of the process's death ends in a written profile. It leaves the device when the process
that started it is gone.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from advisor import processes, store
from advisor.profiler.profile_job import HISTORY, ProfileJob


def main(job_path: str, profile_path: str) -> int:
    """Measure and write; the exit code is 0 however the run ended."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    job = store.read(ProfileJob, job_path)
    processes.leave_with_parent()
    from advisor.profiler.measure_run import measure

    store.write(measure(job, Path(profile_path).with_name(HISTORY)), profile_path)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
