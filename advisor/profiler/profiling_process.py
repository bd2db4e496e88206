"""Starts one run's process, waits for it, and makes a profile of however it ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from advisor import processes, store
from advisor.domain.model import config_sha256
from advisor.domain.profile import Profile
from advisor.domain.trace.allocator_history import History
from advisor.domain.units import duration
from advisor.errors import BadFile
from advisor.profiler.profile_job import HISTORY, ProfileJob

GRACE_SECONDS: Final = 5.0
REASON_CHARACTERS: Final = 300


def launch(job: ProfileJob, path: Path, timeout_seconds: float) -> Profile:
    """Measure a job in its own process and keep its profile at `path`, however it ended.

    Raises:
        StoreUnavailable: the profile cannot be written.
        KeyboardInterrupt: the run is ended with us, and nothing is written for it.
    """
    with tempfile.TemporaryDirectory(prefix="advisor-run-") as folder:
        job_path, result, log = (Path(folder) / name for name in ("job.json", "profile.json", "log.txt"))
        store.write(job, job_path)
        with open(log, "wb") as stream:
            process = processes.spawn(
                "advisor.profiler.profiling_worker",
                str(job_path),
                str(result),
                stdout=stream,
                stderr=subprocess.STDOUT,
                extra=environment(job),
            )
        timed_out = False
        try:
            timed_out = not processes.wait_until(process, timeout_seconds)
        finally:
            processes.end_group(process, GRACE_SECONDS)
        profile = _result(job, result, process.returncode, log, timeout_seconds if timed_out else None)
        _keep_history(result.with_name(HISTORY), path)
    store.write(profile, path)
    return profile


def history_path(profile: Path) -> Path:
    """Where a run's allocator history lies: profiles/<device>/<run>.json -> histories/<device>/<run>.json."""
    return profile.parents[1].with_name("histories") / profile.parent.name / profile.name


def _keep_history(made: Path, profile: Path) -> None:
    if made.is_file():
        # one half written by a run that died is none
        with contextlib.suppress(BadFile):
            store.write(store.read(History, made), history_path(profile))


def environment(job: ProfileJob) -> dict[str, str]:
    """What the child's environment says besides: as many threads as the job, GPUs by the driver's order, no network."""
    mine = {"CUDA_DEVICE_ORDER": os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")}
    mine |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    if job.threads is not None:
        mine |= {"OMP_NUM_THREADS": str(job.threads), "MKL_NUM_THREADS": str(job.threads)}
    return mine


def _result(job: ProfileJob, path: Path, code: int, log: Path, timed_out_after: float | None) -> Profile:
    """What the run wrote, or what its end looks like."""
    if path.is_file():
        with contextlib.suppress(BadFile):
            return store.read(Profile, path)
    from datetime import UTC, datetime

    status, reason = verdict(code, processes.tail(log), timed_out_after)
    return Profile.model_validate(
        {
            "id": job.id,
            "device": job.device_name,
            "device_reported": job.device_reported,
            "status": status,
            "reason": reason,
            "workload": job.workload,
            "recipe": job.recipe,
            "model_config_sha256": config_sha256(job.spec.config),
            "config_overrides": job.config_overrides,
            "versions": job.versions,
            "measured_on": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )


def verdict(code: int, tail: str, timed_out_after: float | None = None) -> tuple[str, str]:
    """Status and reason of a run that died without a word: exit code and the last it printed."""
    if timed_out_after is not None:
        return "failed", f"ended after {duration(timed_out_after)}, the longest a run may take"
    last = processes.last_line(tail)
    if processes.killed(code):
        return "oom", "killed by the system, as it does when the machine's memory runs out"
    if processes.says_out_of_memory(last):
        return "oom", last[:REASON_CHARACTERS]
    return "failed", processes.ending(code, tail)[:REASON_CHARACTERS]
