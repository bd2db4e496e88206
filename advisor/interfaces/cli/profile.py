"""`advisor profile`: measure runs on this machine's device, one process each, into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, get_args

import rich_click as click

import advisor
from advisor.domain.request.measuring_options import ProfileCommand
from advisor.domain.request.vocabulary import RunOrder
from advisor.domain.units import duration
from advisor.errors import AdvisorError, UnknownName
from advisor.interfaces.amounts import amount
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import console, emit, grid

if TYPE_CHECKING:
    from advisor.domain.profile import Profile
    from advisor.profiler.profile import Profiling, ProfilingProgress
    from advisor.profiler.profile_job import ProfileJob

PLANNING_SECONDS: Final = 240.0
"""Making traces costs time that measuring could use: a sixth of the longest campaign that ships."""


@click.command("profile")
@options_of(ProfileCommand)
def command(as_json: bool, order: str | None, **arguments: Any) -> int:
    """Measure real training steps on this machine: memory, time by phase, power; one process a run.

    Every combination of the lists is a run. Running out of memory and crashing are results and are kept as
    such. What is finished is not measured again, so after an interruption the same command goes on.

    \b
    Examples:
      advisor profile --model EleutherAI/pythia-14m --method lora,ia3 --seq-len 64 --device cpu --dry-run
      advisor profile --campaign gpu-25-minutes --device cpu --dry-run --json
      advisor profile --campaign gpu-10-minutes --order design --out profiles
    """
    asked = _asked(arguments)
    try:
        with _bar() as progress:
            found = advisor.profile(
                **asked, on_progress=progress, score=by_design if _wants_design(order, asked) else None
            )
    except KeyboardInterrupt:
        told = "Interrupted; finished runs are kept, and the same command goes on with the others."
        raise KeyboardInterrupt(told) from None
    emit(found, as_json, profiling_table)
    return 0


def _asked(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options typed, as keywords of `advisor.profile`."""
    units = {
        "time_budget": "time_budget_seconds",
        "run_timeout": "run_timeout_seconds",
        "memory_limit": "memory_limit_bytes",
    }
    return {units.get(name, name): value for name, value in given(arguments).items()}


def _wants_design(order: str | None, asked: dict[str, Any]) -> bool:
    """Whether traces are worth making first: where time may not suffice for all runs."""
    from advisor.domain.request.validation import check_choice
    from advisor.profiler.campaign import load_campaign

    check_choice("order", order, get_args(RunOrder))
    if order is not None:
        return order == "design"
    campaign = asked.get("campaign")
    return "time_budget_seconds" in asked or bool(campaign and load_campaign(campaign).time_budget_seconds)


def by_design(jobs: Sequence[ProfileJob]) -> list[float]:
    """How early each run should be measured so that the device's constants are known soonest: higher is earlier.

    Optimal design over the runs' traces, as far as these can be made in PLANNING_SECONDS and the catalogue knows
    the device; the other runs follow, spread over the choices.
    """
    from advisor.catalog.gpus import find_gpu
    from advisor.domain.hardware import Hardware
    from advisor.estimator.calibration.measured_runs import question
    from advisor.estimator.calibration.optimal_design import choose_runs
    from advisor.profiler.planning import order_runs

    spread = order_runs(jobs)
    try:
        gpu, _ = find_gpu(jobs[0].device_name)
    except UnknownName:
        return [-float(spread.index(job)) for job in jobs]
    hardware = Hardware.model_validate({"gpu": gpu})
    traced: list[ProfileJob] = []
    questions: list[Any] = []
    ends = time.monotonic() + PLANNING_SECONDS
    for job in spread:
        if time.monotonic() > ends:
            break
        try:
            questions.append(question(job.workload, job.recipe, hardware, job.spec))
            traced.append(job)
        except AdvisorError as error:
            click.echo(f"not traced, so measured late: {job.id}: {error.message}", err=True)
    chosen = [traced[i] for i in choose_runs(questions, len(questions))] if questions else []
    rest = [job for job in spread if job not in traced]
    rank = {job.id: -float(place) for place, job in enumerate([*chosen, *rest])}
    return [rank[job.id] for job in jobs]


@contextmanager
def _bar() -> Generator[Callable[[ProfilingProgress], None]]:
    """A bar on stderr with the time left; a line a run where stderr is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task("planning", total=None, left="")

        def show(now: ProfilingProgress) -> None:
            left = "" if now.seconds_left is None else f"{duration(now.seconds_left)} left"
            if screen.is_terminal:
                bar.update(task, completed=now.done, total=now.total, description=now.what or "done", left=left)
            elif now.what:
                click.echo(f"{now.done + 1}/{now.total} {now.what} {left}".rstrip(), err=True)

        yield show


def profiling_table(found: Profiling) -> Iterator[Any]:
    """What was measured, or would be, and what was not."""
    yield f"{found.device_reported} ({found.device}) · profiles in {found.folder}"
    if found.profiles:
        yield grid(
            ("run", "status", "peak allocated", "reserved", "step", "tokens/s"),
            [_row(one) for one in found.profiles],
            right="peak allocated,reserved,step,tokens/s",
        )
    else:
        rows = [
            (
                run.model,
                run.method,
                f"{run.batch_size} x {run.seq_len}",
                "checkpointing" if run.gradient_checkpointing else "",
                run.dtype if run.base == "dtype" else run.base,
                run.optimizer,
                run.trainer,
                "finished" if run.finished else "",
            )
            for run in found.plan
        ]
        yield grid(("model", "method", "batch", "", "precision", "optimizer", "trainer", ""), rows)
    for largest in found.largest:
        beyond = f", {largest.fails} does not" if largest.fails else ""
        said = f" ({largest.reason})" if largest.reason else ""
        what = f"{largest.method} on {largest.model} at {largest.seq_len}"
        yield f"largest batch, {what}: {largest.fits} fits{beyond}{said}"
    if found.finished_before:
        yield f"{found.finished_before} runs were finished before"
    if found.not_started:
        yield f"{len(found.not_started)} runs were not started for want of time; the same command goes on with them"
    for reason in found.left_out:
        yield f"left out: {reason}"


def _row(one: Profile) -> tuple[str, ...]:
    step = sum(one.step_seconds) / len(one.step_seconds) if one.step_seconds else None
    rate = one.tokens_per_step / step if step and one.tokens_per_step else None
    status = one.status if not one.reason else f"{one.status}: {one.reason}"
    return (
        one.id.removeprefix(f"{one.device.lower()}-"),
        status,
        amount(one.peak_allocated_bytes, "B") if one.peak_allocated_bytes is not None else "",
        amount(one.peak_reserved_bytes, "B") if one.peak_reserved_bytes is not None else "",
        duration(step) if step is not None else "",
        f"{rate:,.0f}" if rate is not None else "",
    )
