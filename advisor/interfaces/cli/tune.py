"""`advisor tune`: from data to the best adapter; begins a study, goes on with one, or helps with another machine's."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

import advisor
from advisor.domain.request.command_options import TuneCommand
from advisor.domain.request.vocabulary import PRECISION
from advisor.domain.units import duration, gib, plural
from advisor.errors import BadRequest
from advisor.interfaces.amounts import show
from advisor.interfaces.cli.click_options import given, options_of, required
from advisor.interfaces.cli.output import console, emit, fitted, grid, waiting_for
from advisor.interfaces.report.report_writer import report_writer

if TYPE_CHECKING:
    from advisor.domain.tuning import Finalist, Plan, RepeatedTrial, TunedStudy, TunedTrial

A_LINE_SECONDS: Final = 60.0
"""Without a terminal, the longest that nothing is said while something trains."""
SPLITS = {"data": "train", "eval_data": "evaluation", "test_data": "test"}


@click.command("tune")
@options_of(TuneCommand)
def command(
    resume: str | None,
    repeat: int | None,
    join: str | None,
    report: str | None,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """Search the settings on your data, from the recommendation on; keep the best adapter.

    The plan is printed before anything starts. Ctrl-C ends cleanly, and --resume goes on from there.

    \b
    Examples:
      advisor tune --model ./all-MiniLM-L6-v2 --data train.jsonl --trials 8
      advisor tune --model ./SmolLM2-135M --data chats.jsonl --method lora,dora --metric rougeL --hours 2
      advisor tune --resume advisor-tune/all-MiniLM-L6-v2-train
      advisor tune --resume advisor-tune/all-MiniLM-L6-v2-train --repeat 3
      advisor tune --join my-study --storage postgresql+psycopg://me@db/optuna
      advisor tune --model ./m --data d.jsonl --launcher ray --ray head:6379 --storage postgresql+psycopg://me@db/optuna
    """
    if resume is not None and join is not None:
        raise BadRequest("--resume goes on with a study of this machine, --join helps with another's: give one of them")
    if repeat is not None and resume is None:
        raise BadRequest("--repeat needs the study whose trial it is", hints=["--resume FOLDER --repeat TRIAL"])
    write_report = report_writer(report, force=force)
    asked = given(arguments)
    if repeat is not None and resume is not None:
        from advisor.tuner.execution.repeat_trial import repeat_trial

        _only(asked | ({"report": report} if report else {}), frozenset(), "--repeat")
        emit(repeat_trial(resume, repeat), as_json, repeated_lines)
        return
    view = None if as_json else TuneDisplay()
    try:
        found = _join(join, asked, view) if join is not None else _searched(resume, asked, view)
    except KeyboardInterrupt:
        folder = resume or (view.folder if view else None)
        go_on = f"to go on: advisor tune --resume {folder}" if folder else "the same command goes on"
        raise KeyboardInterrupt(f"Interrupted; finished trials are kept, {go_on}") from None
    finally:
        if view is not None:
            view.close()
    write_report(found)
    emit(found, as_json, study_table)


_RESUMED = frozenset({"storage", "trials", "hours", "budget_usd", "workers", "launcher", "ray"})
_JOINED = frozenset({"storage", "out", "workers", *SPLITS})


def _searched(resume: str | None, asked: dict[str, Any], view: TuneDisplay | None) -> TunedStudy:
    """A new search, or one gone on with; its plan is printed before anything starts."""
    with waiting_for("reading the data and planning the search", _print_plan) as planned:
        told: dict[str, Any] = {"on_plan": planned, "on_view": view}
        if resume is None:
            return _tune(asked, told)
        from advisor.tuner.tune import resume as go_on

        return go_on(resume, **_only(asked, _RESUMED, "--resume"), **told)


def _tune(asked: dict[str, Any], told: dict[str, Any]) -> TunedStudy:
    """Recommend where a GPU is named, then tune."""
    required(asked, "model", "data")
    from advisor.tuner.local_device import CPU, gpu_here
    from advisor.tuner.tune import tune

    gpu, methods = gpu_here(asked.pop("gpu", None)), asked.get("method")
    if gpu is None:
        asked["gpu"] = CPU
    else:
        named = [m for m in methods or () if m != "auto"]
        about = {"data": asked["data"], "method": named or None, "objective": "sft", **_of_workload(asked)}
        asked["recommendation"] = functools.partial(advisor.recommend, asked["model"], gpu, **about)
    return tune(asked.pop("model"), asked.pop("data"), **asked, **told)


def _of_workload(asked: dict[str, Any]) -> dict[str, Any]:
    names = ("columns", "task", "seq_len", "epochs", "effective_batch_size", "usd_per_hour", "trainer")
    return {name: asked[name] for name in (*names, *PRECISION) if name in asked}


def _join(name: str, asked: dict[str, Any], view: TuneDisplay | None) -> TunedStudy:
    if "storage" not in asked:
        raise BadRequest("--join needs the --storage that holds the study")
    kept = _only(asked, _JOINED, "--join")
    files = {SPLITS[option]: kept.pop(option) for option in SPLITS if option in kept}
    from advisor.tuner.tune import join

    return join(name, kept.pop("storage"), data=files, on_view=view, **kept)


def _only(asked: dict[str, Any], allowed: frozenset[str], mode: str) -> dict[str, Any]:
    """The options a mode takes; any other would silently do nothing, so it is refused."""
    other = sorted(set(asked) - allowed)
    if other:
        raise BadRequest(
            f"--{other[0].replace('_', '-')} cannot be changed with {mode}: it belongs to the study",
            hints=["to begin another study: --name OTHER, without " + mode],
        )
    return asked


def repeated_lines(found: RepeatedTrial) -> Iterator[str]:
    """Whether the trial came out the same, and what differs."""
    score = "" if found.score is None else f", score {found.score:.6g}"
    yield f"trial {found.number} {'the same to the bit' if found.same else 'differs'}{score}"
    yield from (f"differs  {one}" for one in found.differs)
    yield from (f"note     {one}" for one in found.notes)


def _print_plan(plan: Plan, notes: Sequence[str]) -> None:
    screen = console(stderr=True)
    for line in plan_lines(plan, notes):
        screen.print(line, highlight=False, markup=False, soft_wrap=True)


def plan_lines(plan: Plan, notes: Sequence[str]) -> Iterator[str]:
    """What will happen, before it does."""
    yield f"plan    at most {plural(plan.trials, 'trial')} (bound by {plan.bound_by}), {plan.workers} at a time"
    yield f"        a trial {show(plan.trial)}, all {show(plan.seconds)}"
    if plan.usd is not None:
        yield f"        {show(plan.usd)}"
    yield f"        sampler {plan.sampler}, pruner {plan.pruner}, scored at {', '.join(map(str, plan.rungs))} %"
    yield f"        first: {'; '.join(plan.first)}"
    yield from (f"note    {note}" for note in (*plan.notes, *notes))


class TuneDisplay:
    """The study as it goes on: a table on a terminal, else a line for each trial that ends, and one a minute.

    On stderr.
    """

    def __init__(self) -> None:
        self.screen = console(stderr=True)
        self.folder: str | None = None
        self._said: set[int] = set()
        self._heard: dict[int, int] = {}
        self._live: Any = None
        self._told = time.monotonic()

    def __call__(self, study: TunedStudy) -> None:
        self.folder = study.folder
        if not self.screen.is_terminal:
            self._lines(study)
            return
        from rich.live import Live as RichLive

        if self._live is None:
            self._live = RichLive(console=self.screen, refresh_per_second=2, transient=True)
            self._live.start()
        self._live.update(progress_table(study))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _lines(self, study: TunedStudy) -> None:
        for trial in study.trials:
            if trial.state not in ("running", "waiting") and trial.number not in self._said:
                self._said.add(trial.number)
                value = f"{study.metric} {trial.values[0]:.4f}" if trial.values else trial.reason
                self._say(f"trial {trial.number} {trial.state} {value}")
        for finalist in study.finalists:
            for score in finalist.scores[self._heard.get(finalist.number, 1) :]:
                self._say(f"trial {finalist.number} with another seed: {study.metric} {score:.4f}")
            self._heard[finalist.number] = len(finalist.scores)
        if time.monotonic() - self._told >= A_LINE_SECONDS:
            self._say(progress_line(study))

    def _say(self, line: str) -> None:
        self._told = time.monotonic()
        print(line, file=sys.stderr, flush=True)


def progress_line(study: TunedStudy) -> str:
    """What runs, the best so far, how long is left."""
    best = "no score yet" if study.best_value is None else f"best {study.metric} {study.best_value:.4f}"
    what = "; ".join(study.running) or "between two trainings"
    return f"{duration(study.seconds)}  {what}  {best}{_left(study)}"


def progress_table(study: TunedStudy) -> Any:
    """Best so far, what runs, what is left."""
    run = [t for t in study.trials if t.state not in ("waiting",)]
    best = "none yet" if study.best_value is None else f"{study.metric} {study.best_value:.4f} (trial {study.best})"
    money = "" if study.usd is None else f"  {study.usd:.2f} USD"
    done = f"{len(run)} of {plural(study.plan.trials, 'trial')}"
    title = f"best {best}   {done}   {duration(study.seconds)}{money}{_left(study)}"
    shown = [t for t in run if t.state == "running"] + [t for t in reversed(run) if t.state != "running"][:8]
    if study.finalists:
        standing = "; ".join(f"trial {f.number}: {', '.join(f'{s:.4f}' for s in f.scores)}" for f in study.finalists)
        title += f"\nfinals  {standing}"
    return grid(("trial", "state", study.metric, "settings"), [_progress(study, t) for t in shown], title=title)


def _left(study: TunedStudy) -> str:
    return "" if study.seconds_left is None else f"  about {duration(study.seconds_left)} left"


def _progress(study: TunedStudy, trial: TunedTrial) -> tuple[str, ...]:
    index = study.objectives.index("quality")
    if trial.values:
        score = f"{trial.values[index]:.4f}"
    else:
        score = f"{trial.curve[-1][1]:.4f} at {trial.curve[-1][0]} %" if trial.curve else ""
    settings = ", ".join(f"{k} {_value(v)}" for k, v in trial.params.items())
    return str(trial.number), trial.state, score, settings if not trial.reason else trial.reason


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def study_table(study: TunedStudy) -> Iterator[Any]:
    """The best settings, the ranking, the test score, where everything lies."""
    done = _by_rank(study)
    if study.best_value is not None:
        span = _span(next((t.intervals.get(study.metric) for t in study.trials if t.number == study.best), None))
        score = f"{study.metric} {study.best_value:.4f}{f' ({span})' if span else ''}"
        yield f"best     trial {study.best}: {score} on the evaluation rows (used to choose)"
    if study.test:
        scores = ", ".join(_with_interval(study, name) for name in study.test)
        yield f"test     {scores} on {study.test_rows} rows no trial saw"
    if study.adapter:
        yield f"adapter  {study.adapter}"
        yield from ([f"merged   {study.merged}"] if study.merged else [])
        yield f"report   {study.report}"
    yield f"spent    {duration(study.seconds)}{'' if study.usd is None else f', {study.usd:.2f} USD'}; {study.stopped}"
    if study.resume:
        yield f"to go on {study.resume}"
    yield ""
    same = {d.key: v for d in study.dimensions if len(v := {_param(t, d.key) for t in done}) == 1 and len(done) > 1}
    if same:
        yield f"same     {', '.join(f'{key} {min(values)}' for key, values in same.items())} in every trial"
    keys = [d.key for d in study.dimensions if d.key not in same]
    heads = ("trial", *study.objectives, "90 %", *keys, "time", "peak memory", "from")
    first_out = ("from", "peak memory", *reversed(keys[1:]), "time", "90 %")
    yield from fitted(heads, [_row(study, t, keys) for t in done], first_out=first_out)
    if len(study.finalists) > 1:
        heads = ("finalist", "scores by seed", "mean of other seeds", "90 %", "chance of being best")
        yield grid(heads, [_finalist(f) for f in study.finalists])
    yield from (f"note     {note}" for note in study.notes)


def _finalist(found: Finalist) -> tuple[str, ...]:
    return (
        str(found.number),
        ", ".join(f"{s:.4f}" for s in found.scores),
        f"{found.mean:.4f}",
        _span(found.interval),
        "" if found.better is None else f"{found.better:.0%}",
    )


def _span(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.4f}-{ends[1]:.4f}"


def _with_interval(study: TunedStudy, name: str) -> str:
    """`accuracy 0.9100 (0.8700-0.9400; untrained 0.5000, 0.4500-0.5500)`"""
    more = [_span(study.intervals[name])] if name in study.intervals else []
    if name in study.untrained:
        before = [f"untrained {study.untrained[name]:.4f}", _span(study.untrained_intervals.get(name))]
        more.append(", ".join(part for part in before if part))
    return f"{name} {study.test[name]:.4f}" + (f" ({'; '.join(more)})" if more else "")


def _by_rank(study: TunedStudy) -> list[TunedTrial]:
    """Scored trials, the chosen one first, the others by quality."""
    index = study.objectives.index("quality")
    sign = -1 if study.higher_is_better else 1
    done = [t for t in study.trials if t.values]
    return sorted(done, key=lambda t: (t.number != study.best, sign * t.values[index], t.number))


def _row(study: TunedStudy, trial: TunedTrial, keys: Sequence[str]) -> tuple[str, ...]:
    return (
        str(trial.number),
        *(_value(v) for v in trial.values),
        _span(trial.intervals.get(study.metric)),
        *(_param(trial, key) for key in keys),
        duration(trial.measured_seconds) if trial.measured_seconds else "",
        gib(trial.measured_bytes) if trial.measured_bytes else "",
        trial.origin.partition(":")[0],
    )


def _param(trial: TunedTrial, key: str) -> str:
    return _value(trial.params[key]) if key in trial.params else ""
