"""`advisor study`: methods compared on your own data, kept in the form in which published studies are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

import advisor
from advisor.domain.request.measuring_options import StudyCommand
from advisor.domain.request.verb_options import names_in
from advisor.domain.units import duration
from advisor.errors import BadRequest
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import console, emit, grid, waiting_for

if TYPE_CHECKING:
    from advisor.experiments.plan import ExperimentProgress, ExperimentRun


@click.command("study")
@click.argument("plan", required=False, metavar="[STUDY]")
@options_of(StudyCommand)
def command(
    plan: str | None,
    as_list: bool,
    resume: str | None,
    name: str | None,
    no_store: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Compare methods, data sizes and seeds on your data; keep the result as evidence.

    The rate of each method is tuned with the first seed on rows of its own; scores are of test rows that nothing
    was chosen by. Every finished training is kept: Ctrl-C or a kill loses at most the one that ran.

    \b
    Examples:
      advisor study --list
      advisor study minilm-spam --weights ./all-MiniLM-L6-v2 --hours 8
      advisor study --name mine --model ./all-MiniLM-L6-v2 --data train.jsonl --method full,lora --size 100,1000
      advisor study --resume advisor-study/mine
    """
    if as_list:
        emit(_described(), as_json, _described_table)
        return
    asked = given(arguments)
    asked["keep"] = not no_store
    asked |= _grid(asked)
    begun = _resumed(resume, asked) if resume is not None else _plan(plan, name, asked)
    view = ExperimentDisplay(as_json)
    try:
        with waiting_for("reading the data and planning the trainings", view.plan) as planned:
            found = advisor.study(begun, on_plan=planned, on_progress=view, **asked)
    except KeyboardInterrupt:
        go_on = f"to go on: advisor study --resume {view.folder}" if view.folder else "the same command goes on"
        raise KeyboardInterrupt(f"Interrupted; finished trainings are kept, {go_on}") from None
    finally:
        view.close()
    emit(found, as_json, run_table)


def _grid(asked: dict[str, Any]) -> dict[str, Any]:
    """Methods, sizes and rates as the door takes them."""
    found: dict[str, Any] = {}
    if "method" in asked:
        found["methods"] = asked.pop("method")
    if "size" in asked:
        found["sizes"] = asked.pop("size")
    if "rates" in asked:
        found["rates"] = dict(_rates(text) for text in asked["rates"])
    return found


def _rates(text: str) -> tuple[str, tuple[float, ...]]:
    method, _, values = text.partition("=")
    return method.strip(), tuple(_rate(value) for value in names_in(values))


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise BadRequest(f"--rates: {text!r} is not a number", option="--rates") from error


def _plan(plan: str | None, name: str | None, asked: dict[str, Any]) -> Any:
    """The described study named, or one made of the options."""
    if plan is not None:
        if name is not None:
            asked["id"] = name
        return plan
    needed = {"--model": "model", "--data": "data", "--method": "methods", "--size": "sizes"}
    absent = [option for option, key in needed.items() if key not in asked]
    if absent:
        raise BadRequest(
            f"{' and '.join(absent)} {'is' if len(absent) == 1 else 'are'} missing",
            hints=["to see the studies that are described: advisor study --list"],
        )
    from pathlib import Path

    from advisor.experiments.plan import ExperimentPlan

    asked["id"] = name or f"{Path(asked['model']).name}-{Path(asked['data']).stem}".lower()
    return ExperimentPlan(id="mine", **{key: asked[key] for key in needed.values()})


def _resumed(folder: str, asked: dict[str, Any]) -> Any:
    """The plan in a study's folder; `out` becomes the folder."""
    from pathlib import Path

    from advisor import store
    from advisor.experiments.cell_trainings import PLAN_FILE, WEIGHTS_FILE
    from advisor.experiments.plan import ExperimentPlan

    if not (Path(folder) / PLAN_FILE).is_file():
        raise BadRequest(f"no study lies in {folder}", hints=["give the folder that --out named"], folder=folder)
    asked["out"] = folder
    if "weights" not in asked and (Path(folder) / WEIGHTS_FILE).is_file():
        asked["weights"] = store.read_document(Path(folder) / WEIGHTS_FILE)["weights"]
    return store.read(ExperimentPlan, Path(folder) / PLAN_FILE)


class ExperimentDisplay:
    """The plan and the progress on stderr: a bar on a terminal, else a line a training."""

    def __init__(self, as_json: bool) -> None:
        self.screen = console(stderr=True)
        self.as_json = as_json
        self.folder: str | None = None
        self._bar: Any = None
        self._task: Any = None

    def plan(self, run: ExperimentRun) -> None:
        self.folder = run.folder
        plan = run.plan
        lines = [
            f"study   {plan.id}: {plan.model} on {plan.data}",
            f"        {', '.join(plan.methods)}",
            f"        rows {', '.join(map(str, plan.sizes))} x {plan.seeds} seeds",
            f"        {run.trainings} trainings, {run.trainings_left} left, in {run.folder}",
            *(f"note    {note}" for note in run.notes),
        ]
        for line in lines:
            self.screen.print(line, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, progress: ExperimentProgress) -> None:
        if not self.screen.is_terminal:
            left = duration(progress.seconds_left)
            print(
                f"{progress.done} of {progress.total}: {progress.what}; about {left} left", file=sys.stderr, flush=True
            )
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=self.screen, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=progress.total)
        text = f"about {duration(progress.seconds_left)} left   {progress.what}"
        self._bar.update(self._task, completed=progress.done, total=progress.total, description=text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _described() -> list[dict[str, Any]]:
    from advisor.experiments.plan import described, find_plan

    return [find_plan(name).to_document() for name in described()]


def _described_table(plans: list[dict[str, Any]]) -> Any:
    rows = [
        (p["id"], p["model"], ", ".join(p["methods"]), ", ".join(map(str, p["sizes"])), p["seeds"], p["data"])
        for p in plans
    ]
    return grid(("study", "model", "methods", "rows", "seeds", "data"), rows)


def run_table(run: ExperimentRun) -> Iterator[Any]:
    """The findings by size, then where they lie and what is left."""
    if run.findings is not None:
        rows = [
            (
                f.samples,
                f.method,
                f"{f.value:.2f}" + ("" if f.spread is None else f" ± {f.spread:.2f}"),
                "" if f.full_value is None or f.method == "full" else f"{f.value - f.full_value:+.2f}",
                f"{f.learning_rate:.3g}" if f.learning_rate else "",
                f.seeds,
                f.time,
            )
            for f in run.findings.findings
        ]
        metric = run.findings.findings[0].metric
        yield grid(("rows", "method", metric, "against full", "rate", "seeds", "training time"), rows)
        yield f"findings {run.findings_file}"
    elif run.stopped == "planned":
        rows = [(c.method, c.size, c.seed, f"{c.rate:.3g}") for c in run.cells]
        yield grid(("method", "rows", "seed", "rate"), rows, title=f"{run.trainings_left} trainings to do")
    yield f"{run.stopped}: {run.trainings - run.trainings_left} of {run.trainings} trainings, {duration(run.seconds)}"
    if run.resume:
        yield f"to go on {run.resume}"
    yield from (f"note     {note}" for note in run.notes)
