"""One training in a process of its own: `python -m advisor.training.training_worker job.json`.

Writes `result.json` beside the job, whole and once, whatever happens short of being killed. An out-of-memory
error, a divergence or a bug is a result with its reason; only a killed process leaves none.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from advisor import processes, store
from advisor.errors import DISK_FULL, AdvisorError
from advisor.training.training_spec import TrainingResult, TrainingSpec

RESULT = "result.json"


def main(path: str) -> int:
    """Run the job in a file; the exit code is 0 when a result was written."""
    began = time.monotonic()
    # the kernel's signal: a training must not go on beside the one that takes its place
    processes.leave_with_parent(at_once=True)
    job = store.read(TrainingSpec, path)
    folder = Path(job.folder)
    result = run(job, began)
    store.write(result, folder / RESULT)
    if not job.report_to:
        # trackers end their runs at a proper exit; without any, taking torch down costs seconds and tells nothing
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def run(job: TrainingSpec, began: float) -> TrainingResult:
    """Train, or finish; every failure becomes a result."""
    from advisor.training.monitor import Diverged

    try:
        if job.mode == "finish":
            from advisor.training.export import finish

            return finish(job)
        from advisor.training.train import train

        return train(job, began)
    except Diverged as error:
        return TrainingResult(status="failed", reason=f"diverged: {error}")
    except AdvisorError as error:
        return TrainingResult(status="failed", reason=DISK_FULL if processes.disk_full(error) else str(error))
    except Exception as error:
        if processes.out_of_memory(error):
            return TrainingResult(status="oom", reason=_first_line(error))
        if processes.disk_full(error):
            return TrainingResult(status="failed", reason=DISK_FULL)
        # the whole of it goes to the trial's log; the study needs one line
        traceback.print_exc()
        return TrainingResult(status="failed", reason=f"{type(error).__name__}: {_first_line(error)}")


def _first_line(error: BaseException) -> Any:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
