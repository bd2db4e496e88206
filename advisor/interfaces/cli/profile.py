"""`advisor profile`: measure runs on this machine's device, one process each, into the store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

import advisor
from advisor.domain.units import duration
from advisor.errors import AdvisorError, BadRequest, UnknownName
from advisor.interfaces.amounts import amount
from advisor.interfaces.cli.click_options import given, json_option, named, names_in
from advisor.interfaces.cli.output import console, emit, grid

if TYPE_CHECKING:
    from advisor.domain.profile import Profile
    from advisor.profiler.profile import Profiling, ProfilingProgress
    from advisor.profiler.profile_job import ProfileJob

_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {"kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
PLANNING_SECONDS: Final = 240.0
"""Making traces costs time that measuring could use: a sixth of the longest campaign that ships."""
_BOTH: Final = {"off": [False], "on": [True], "both": [False, True]}


@click.command("profile")
@click.option("--model", metavar="NAMES", multiple=True, help="Models, comma separated: random weights are used.")
@click.option("--method", metavar="NAMES", multiple=True, help="Methods, comma separated: see `advisor methods`.")
@click.option("--batch-size", metavar="SIZES", help="Samples of one forward pass, comma separated.  [default: 1]")
@click.option("--seq-len", metavar="LENGTHS", help="Tokens of a sample, comma separated.  [default: 512]")
@click.option("--target-len", type=int, help="Tokens of a target (seq2seq).  [default: a quarter of --seq-len]")
@click.option("--gradient-checkpointing", type=click.Choice(list(_BOTH)), help="off, on or both.  [default: off]")
@click.option("--dtype", metavar="NAMES", multiple=True, help="bfloat16, float16, float32.  [default: bfloat16]")
@click.option("--base", metavar="NAMES", multiple=True, help="dtype, int8 or nf4.  [default: by method]")
@click.option("--optimizer", metavar="NAMES", multiple=True, help="As transformers names them.  [default: by method]")
@click.option("--trainer", metavar="NAMES", multiple=True, help="loop, hf, trl.  [default: hf]")
@click.option("--layers", type=int, help="Cut models down to so many layers.")
@click.option(
    "--campaign", metavar="FILE", help="Runs described in a file, or gpu-10-minutes, gpu-25-minutes, cpu-5-minutes."
)
@click.option("--steps", type=int, help="Timed steps of a run.  [default: 5]")
@click.option("--largest-batch", is_flag=True, help="Search the largest batch that fits, besides.")
@click.option("--time-budget", metavar="TIME", help="Such as 90s, 10m, 1h: the runs that tell most come first.")
@click.option("--run-timeout", metavar="TIME", help="The longest one run may take.  [default: 10m]")
@click.option("--memory-limit", metavar="SIZE", help="Let a run allocate no more, such as 8GiB.")
@click.option("--threads", type=int, help="Threads of a run on the processor.  [default: torch's own]")
@click.option(
    "--order",
    type=click.Choice(["spread", "design"]),
    help="First what differs most, or what the cost model learns most from.  [default: design within a time budget]",
)
@click.option("--device", metavar="NAME", help="auto, cuda, cpu or mps.  [default: auto]")
@named("--out", "out", ("--store",), type=click.Path(file_okay=False), help="Where profiles go.  [default: your data]")
@click.option("--dry-run", is_flag=True, help="List the runs in their order and measure nothing.")
@click.option("--retry-failed", is_flag=True, help="Measure runs again that failed before.")
@json_option
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
    asked = given(arguments)
    for name in ("model", "method", "dtype", "base", "optimizer", "trainer"):
        if name in asked:
            asked[name] = names_in(asked[name])
    for name in ("batch_size", "seq_len"):
        if name in asked:
            asked[name] = [_whole(name, text) for text in names_in((asked[name],))]
    if "gradient_checkpointing" in asked:
        asked["gradient_checkpointing"] = _BOTH[asked["gradient_checkpointing"]]
    for name in ("time_budget", "run_timeout"):
        if name in asked:
            asked[f"{name}_seconds"] = seconds_of(asked.pop(name))
    if "memory_limit" in asked:
        asked["memory_limit_bytes"] = bytes_of(asked.pop("memory_limit"))
    return asked


def _wants_design(order: str | None, asked: dict[str, Any]) -> bool:
    """Whether traces are worth making first: where time may not suffice for all runs."""
    from advisor.profiler.campaign import load_campaign

    if order is not None:
        return order == "design"
    campaign = asked.get("campaign")
    return "time_budget_seconds" in asked or bool(campaign and load_campaign(campaign).time_budget_seconds)


def _whole(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise BadRequest(f"--{name.replace('_', '-')} {text!r} is no whole number", hints=["for example: 1,4,16"])
    return int(text)


def seconds_of(text: str) -> float:
    """`90`, `90s`, `1.5m` or `1h` in seconds.

    Raises:
        BadRequest: anything else, and nothing or less.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smh]?)", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise BadRequest(f"{text!r} is no length of time", hints=["for example: 90s, 10m, 1h"])
    return float(found[1]) * _SECONDS[found[2]]


def bytes_of(text: str) -> int:
    """`8GiB`, `500 MB` in bytes; a unit is needed.

    Raises:
        BadRequest: anything else, and nothing or less.
    """
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([kmg]i?b)", text.strip().lower())
    if found is None or float(found[1]) <= 0:
        raise BadRequest(f"{text!r} is no size of memory", hints=["for example: 8GiB, 500MB"])
    return int(float(found[1]) * _BYTES[found[2]])


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
