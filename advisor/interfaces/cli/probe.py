"""`advisor probe`: a few short trainings on your own rows say which method, whether, and how much more data."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

import advisor
from advisor.domain.request.measuring_options import ProbeCommand
from advisor.domain.units import duration
from advisor.errors import BadRequest
from advisor.interfaces.amounts import show
from advisor.interfaces.cli.click_options import given, options_of, required
from advisor.interfaces.cli.output import console, emit, fitted, grid, waiting_for

if TYPE_CHECKING:
    from advisor.domain.questions.probing import ProbeAnswer, ProbeProgress


A_LINE_SECONDS: Final = 60.0
"""Without a terminal, the longest that nothing is said while something trains."""


@click.command("probe")
@options_of(ProbeCommand)
def command(resume: str | None, as_json: bool, **arguments: Any) -> None:
    """Train a little on your data: which method, go or no-go, how many more rows.

    Each short training is chosen by what it is expected to teach; published studies say where a method begins.
    Every finished training is kept: Ctrl-C or a kill loses at most the one that ran.

    \b
    Examples:
      advisor probe --model ./all-MiniLM-L6-v2 --data train.jsonl --hours 0.5
      advisor probe --model ./all-MiniLM-L6-v2 --data train.jsonl --method lora,full --target-score 0.9 --dry-run
      advisor probe --resume advisor-probe/all-minilm-l6-v2-train --hours 0.2
    """
    asked = given(arguments)
    view = ProbeDisplay()
    try:
        with waiting_for("reading the data and planning the first trainings", view.plan) as planned:
            found = _probed(resume, asked, {"on_plan": planned, "on_progress": view})
    except KeyboardInterrupt:
        go_on = f"to go on: advisor probe --resume {view.folder}" if view.folder else "the same command goes on"
        raise KeyboardInterrupt(f"Interrupted; finished trainings are kept, {go_on}") from None
    finally:
        view.close()
    emit(found, as_json, answer_lines)


def _probed(resume: str | None, asked: dict[str, Any], told: dict[str, Any]) -> ProbeAnswer:
    if resume is None:
        required(asked, "model", "data")
        return advisor.probe(asked.pop("model"), asked.pop("data"), **asked, **told)
    from advisor.experiments.probe import resume_probe

    other = sorted(set(asked) - {"hours"})
    if other:
        raise BadRequest(
            f"--{other[0].replace('_', '-')} cannot be changed with --resume: it belongs to the probe",
            hints=["to begin another: --out FOLDER, without --resume"],
        )
    return resume_probe(resume, **asked, **told)


class ProbeDisplay:
    """The plan and the progress on stderr: a bar of the time on a terminal, else a line a training, one a minute."""

    def __init__(self) -> None:
        self.screen = console(stderr=True)
        self.folder: str | None = None
        self._bar: Any = None
        self._task: Any = None
        self._said = ""
        self._told = 0.0

    def plan(self, planned: ProbeAnswer) -> None:
        self.folder = planned.folder
        seconds = sum(one.seconds or 0.0 for one in planned.planned)
        lines = [
            f"probe   {planned.model} on {planned.rows:,} rows of {planned.data}",
            f"        about {len(planned.planned)} trainings, {duration(seconds)}, in {planned.folder}",
            *(f"note    {note}" for note in planned.notes),
        ]
        for line in lines:
            self.screen.print(line, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, progress: ProbeProgress) -> None:
        left = max(0.0, progress.seconds_budget - progress.seconds_spent)
        text = f"{progress.done} done: {progress.what}; at most {duration(left)} left"
        if not self.screen.is_terminal:
            now = time.monotonic()
            if progress.what != self._said or now - self._told >= A_LINE_SECONDS:
                self._said, self._told = progress.what, now
                print(text, file=sys.stderr, flush=True)
            return
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            self._bar = Bar(BarColumn(), TextColumn("{task.description}"), console=self.screen, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=progress.seconds_budget)
        self._bar.update(self._task, completed=progress.seconds_spent, description=text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def answer_lines(found: ProbeAnswer) -> Iterator[Any]:
    """The choice, go or no-go, more rows, the cost; then the methods and the trainings."""
    if found.stopped == "planned":
        rows = [(t.method, t.size, t.seed, f"{t.rate:.3g}", _seconds(t.seconds)) for t in found.planned]
        yield grid(("method", "rows", "seed", "rate", "time"), rows, title=f"about {len(rows)} trainings to do")
        yield "each is chosen by what the ones before it showed; these are chosen by what is expected of them"
    if found.choice is not None:
        yield f"choice   {found.says}"
        yield f"verdict  {found.verdict}: {found.because}"
        if found.more is not None:
            yield f"more     {found.more.says}"
    from advisor.experiments.probe_answer import cost_said

    yield f"cost     {cost_said(found)}"
    yield f"points   {found.points}"
    if found.resume:
        yield f"to go on {found.resume}"
    yield ""
    heads = ("method", "rate", "points on all rows", "chance of best", "near it", "by studies", "trainings", "time")
    yield from fitted(heads, [_row(m) for m in found.methods], first_out=("time", "by studies", "near it"))
    yield from (f"note     {note}" for note in found.notes)


def _row(one: Any) -> tuple[str, ...]:
    return (
        one.method,
        f"{one.rate:.3g}",
        f"{one.score.mid:.1f} ({one.score.low:.1f}-{one.score.high:.1f})",
        f"{one.best:.0%}",
        f"{one.near:.0%}",
        show(one.prior, basis=False),
        str(one.trainings),
        _seconds(one.seconds),
    )


def _seconds(seconds: float | None) -> str:
    return duration(seconds) if seconds else "not known"
