"""The profiler's door: `profile()` measures runs on the device at hand and keeps one Profile each in the store."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from advisor import store
from advisor.domain.profile import Profile
from advisor.domain.request.validation import check_folder, check_names, first_problem
from advisor.domain.stored import Value
from advisor.errors import BadFile, BadRequest
from advisor.profiler.campaign import Campaign, Grid, load_campaign, shipped_campaigns
from advisor.profiler.device import Device, choose_device
from advisor.profiler.largest_batch import LargestBatch, largest_batch
from advisor.profiler.planning import ExcludedRun, order_runs, plan_jobs
from advisor.profiler.profile_job import ProfileJob
from advisor.profiler.profiling_process import launch
from advisor.profiler.results_file import read_results, write_results

FOLDER: Final = "profiles"
CPU_SHARE: Final = 0.8
"""Share of free memory that a search for the largest batch may fill on a machine that needs memory to live."""

Score = Callable[[Sequence[ProfileJob]], Sequence[float]]
"""How much each run would tell, higher is more."""


class PlannedRun(Value):
    """One run of a plan: its id, what is measured, and whether the store has it already."""

    id: str
    model: str
    method: str
    batch_size: int
    seq_len: int
    gradient_checkpointing: bool
    dtype: str
    base: str
    optimizer: str
    trainer: str
    finished: bool


class Profiling(Value):
    """What came of it. `profiles` are those measured now; `not_started` are ids the time did not suffice for."""

    device: str
    device_reported: str
    folder: str
    plan: tuple[PlannedRun, ...]
    profiles: tuple[Profile, ...] = ()
    finished_before: int = 0
    not_started: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    largest: tuple[LargestBatch, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ProfilingProgress:
    """`done` of `total` runs; `what` is running; `seconds_left` None before the first run has ended."""

    done: int
    total: int
    what: str
    seconds_left: float | None


def profile(
    model: str | Sequence[str] | None = None,
    method: str | Sequence[str] | None = None,
    *,
    campaign: str | Campaign | None = None,
    device: str | None = None,
    steps: int | None = None,
    warmup: int | None = None,
    threads: int | None = None,
    largest_batch: bool = False,
    time_budget_seconds: float | None = None,
    run_timeout_seconds: float | None = None,
    memory_limit_bytes: int | None = None,
    out: str | Path | None = None,
    dry_run: bool = False,
    retry_failed: bool = False,
    results: str | Path | None = None,
    resume: str | Path | None = None,
    score: Score | None = None,
    on_progress: Callable[[ProfilingProgress], None] | None = None,
    **axes: Any,
) -> Profiling:
    """Measure every combination of the axes, or the runs of a campaign, each in a process of its own.

    Out of memory and crashes are results. Finished runs in the store are not repeated, so the same call after an
    interruption goes on where it stopped.

    Args:
        model, method: one or several; `axes` are the other fields of a campaign's `Grid`, each one value or a list.
        campaign: a campaign file, a shipped campaign's name, or a `Campaign`; then without model, method and axes.
        largest_batch: bisect besides for the largest batch of each setting.
        time_budget_seconds: no run is started that would probably end later; runs that tell most come first.
        memory_limit_bytes: what a run may allocate, below what the device has.
        out: where profiles go, below a folder named after the device; the user's own store by default.
        results: one file for all that was measured, or a folder for it, besides: written anew after each run.
        resume: such a file of an earlier visit, or the folder it lies in: its runs are not measured again, and they
            are in `results` too.
        score: how much each run would tell; without it, runs are spread evenly over the choices.
    Raises:
        UnknownName, BadRequest, BadFile: the plan is wrong; nothing was measured.
        StoreUnavailable: profiles cannot be written.
        KeyboardInterrupt: the run under way is dropped, all before are kept.
    """
    check_folder(out)
    described = _campaign(campaign, model, method, axes)
    changed = {
        "device": device,
        "steps": steps,
        "warmup": warmup,
        "threads": threads,
        "largest_batch": largest_batch or None,
        "time_budget_seconds": time_budget_seconds,
        "run_timeout_seconds": run_timeout_seconds,
    }
    described = _checked(Campaign, {**dict(described), **{k: v for k, v in changed.items() if v is not None}})
    at = choose_device(described.device)
    if described.largest_batch and memory_limit_bytes is None and at.kind == "cpu":
        memory_limit_bytes = _cpu_limit()
    jobs, left_out = plan_jobs(described, at, memory_limit_bytes)
    session = _Session(described, at, Path(out) if out is not None else store.home("data") / FOLDER, retry_failed)
    session.progress = on_progress
    session.results = None if results is None else store.expanded(results)
    for found in [] if resume is None else read_results(resume):
        session.earlier[found.id] = found
    todo = [job for job in jobs if session.finished(job) is None]
    known = [job for job in jobs if session.finished(job) is not None]
    ordered = order_runs(todo, score(todo) if score is not None and todo else None, known=known)
    plan = tuple(_planned(job, job in known) for job in [*ordered, *known])
    answer: dict[str, Any] = {
        "device": at.name,
        "device_reported": at.reported,
        "folder": str(session.folder),
        "plan": plan,
        "finished_before": len(known),
        "left_out": tuple(_why(one) for one in left_out),
    }
    if not dry_run:
        answer |= session.measure(ordered)
        if described.largest_batch:
            answer["largest"] = session.search(jobs)
        answer["profiles"] = tuple(session.measured)
        answer["seconds"] = time.monotonic() - session.began
    return Profiling.model_validate(answer)


@dataclass(slots=True)
class _Session:
    """Runs one after the other within the time, each profile kept as it comes."""

    campaign: Campaign
    device: Device
    folder: Path
    retry_failed: bool
    progress: Callable[[ProfilingProgress], None] | None = None
    began: float = field(default_factory=time.monotonic)
    durations: list[float] = field(default_factory=list[float])
    measured: list[Profile] = field(default_factory=list[Profile])
    results: Path | None = None
    earlier: dict[str, Profile] = field(default_factory=dict[str, Profile])

    def path(self, job: ProfileJob) -> Path:
        return self.folder / job.folder / f"{job.stem}.json"

    def finished(self, job: ProfileJob) -> Profile | None:
        """The run's profile in this store or among those that every store reads; a damaged one counts as none."""
        known = self.earlier.get(job.id)
        if known is not None and not (self.retry_failed and known.status == "failed"):
            return known
        name = Path(job.folder) / f"{job.stem}.json"
        for path in (self.folder / name, *(place / name for place in store.folders(FOLDER))):
            try:
                found = store.read(Profile, path)
            except BadFile:
                continue
            if found.id == job.id and not (self.retry_failed and found.status == "failed"):
                return found
        return None

    def measure(self, jobs: Sequence[ProfileJob]) -> dict[str, Any]:
        for number, job in enumerate(jobs):
            self._tell(number, len(jobs), job.id)
            if self._run(job) is None:
                return {"not_started": tuple(later.id for later in jobs[number:])}
        self._tell(len(jobs), len(jobs), "")
        return {}

    def search(self, jobs: Sequence[ProfileJob]) -> tuple[LargestBatch, ...]:
        """The largest batch of every setting, batch sizes apart."""
        settings: dict[str, ProfileJob] = {}
        for job in jobs:
            recipe = job.recipe.model_dump_json(exclude={"micro_batch_size"})
            settings.setdefault(f"{job.spec.name} {job.workload.seq_len} {recipe}", job)
        found: list[LargestBatch] = []
        for number, job in enumerate(settings.values()):
            self._tell(number, len(settings), f"largest batch of {job.recipe.method}")
            found.append(largest_batch(job, lambda one: self.finished(one) or self._run(one)))
        return tuple(found)

    def _run(self, job: ProfileJob) -> Profile | None:
        """Measure and keep; None where the time left is too short."""
        left = self._left()
        if left is not None and left < self._expected():
            return None
        began = time.monotonic()
        found = launch(job, self.path(job), self.campaign.run_timeout_seconds)
        self.durations.append(time.monotonic() - began)
        self.measured.append(found)
        if self.results is not None:
            newer = {one.id: one for one in self.measured}
            write_results([*{**self.earlier, **newer}.values()], self.results)
        return found

    def _expected(self) -> float:
        return sum(self.durations) / len(self.durations) if self.durations else 0.0

    def _left(self) -> float | None:
        budget = self.campaign.time_budget_seconds
        return None if budget is None else budget - (time.monotonic() - self.began)

    def _tell(self, done: int, total: int, what: str) -> None:
        if self.progress is None:
            return
        seconds = self._expected() * (total - done) if self.durations else None
        left = self._left()
        if left is not None:
            seconds = max(0.0, left) if seconds is None else min(seconds, max(0.0, left))
        self.progress(ProfilingProgress(done, total, what, seconds))


def _campaign(given: str | Campaign | None, model: Any, method: Any, axes: dict[str, Any]) -> Campaign:
    """The campaign named, or one of a single grid.

    Raises:
        BadRequest: both, or neither; an axis nobody knows or a value it cannot have.
    """
    axes = {name: value for name, value in axes.items() if value is not None}
    if given is not None:
        typed = [name for name, value in {"model": model, "method": method, **axes}.items() if value]
        if typed:
            raise BadRequest(
                f"{', '.join(typed)} given beside a campaign, which says it already",
                hints=["change the campaign's file, or leave --campaign out"],
            )
        return given if isinstance(given, Campaign) else load_campaign(given)
    if not model or not method:
        missing = "model" if not model else "method"
        raise BadRequest(
            f"--{missing} is missing",
            hints=[f"to list what there is: advisor {missing}s", f"or --campaign {' | '.join(shipped_campaigns())}"],
        )
    check_names(axes, {*Grid.model_fields, *inspect.signature(profile).parameters} - {"axes"})
    grid = _checked(Grid, {"model": model, "method": method, **axes})
    return Campaign.model_validate({"name": "command line", "grids": (grid,)})


def _checked(kind: Any, fields: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        where, said, value = first_problem(error)
        raise BadRequest(f"{where}: {said}, not {value!r}", field=where) from error


def _cpu_limit() -> int:
    import psutil

    return int(psutil.virtual_memory().available * CPU_SHARE)


def _planned(job: ProfileJob, finished: bool) -> PlannedRun:
    recipe = job.recipe
    return PlannedRun(
        id=job.id,
        model=job.spec.name,
        method=recipe.method,
        batch_size=recipe.micro_batch_size,
        seq_len=job.workload.seq_len,
        gradient_checkpointing=recipe.gradient_checkpointing,
        dtype=recipe.dtype,
        base=recipe.base,
        optimizer=recipe.optimizer,
        trainer=recipe.trainer,
        finished=finished,
    )


def _why(one: ExcludedRun) -> str:
    choice = one.choice
    return f"{choice.method} on {choice.model}, {choice.batch_size} x {choice.seq_len}: {one.reason}"
