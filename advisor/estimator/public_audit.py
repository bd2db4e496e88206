"""Predictions against runs that others published: nothing fitted, every card, method and precision.

`advisor audit --public` prices each run of the catalogue's public runs as it would price a user's question, and
says how far each figure is off, where the interval holds, and which verdicts on fit were wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field

from advisor.catalog.public_runs import public_runs, spec_for
from advisor.domain.candidate import Candidate
from advisor.domain.public_run import Comparable, PublicRun, PublicRuns
from advisor.domain.quantity import Quantity
from advisor.domain.stored import Value
from advisor.errors import AdvisorError, UnknownName
from advisor.estimator.audit import drawn, plotting
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.estimate import answer_on
from advisor.estimator.estimate_request import EstimateRequest, from_case, hardware_of
from advisor.estimator.memory.earlier_transformers import keeps_logits, kept_logits

Target = Literal["peak_allocated", "peak_reserved", "peak_device", "step_time"]
TARGETS: Final[tuple[Target, ...]] = ("peak_allocated", "peak_reserved", "peak_device", "step_time")
GROUPS: Final = ("gpu", "method", "precision", "source")

Progress = Callable[[int, int, str], None]


class PublicFigure(Value):
    """One figure of one run, predicted. Bytes and seconds; `error` is predicted / measured - 1."""

    run: str
    source: str
    gpu: str
    model: str
    method: str
    precision: str
    lengths: str
    target: Target
    comparable: Comparable
    measured: float
    predicted: float
    low: float
    high: float
    error: float
    inside: bool
    why: str = ""


class FigureSummary(Value):
    """Errors of a group of figures; `group` is empty for all of them."""

    target: Target
    by: str = ""
    group: str = ""
    runs: int
    median: float = Field(description="of the absolute relative error")
    p90: float
    worst: float
    coverage: float = Field(description="share inside the 90 % interval")


class FitVerdict(Value):
    """Whether a run ended, and whether we said it would."""

    run: str
    comparable: Comparable
    ran: bool
    said: bool
    predicted: float
    limit: float

    @property
    def wrong(self) -> bool:
        """Said the opposite of what happened."""
        return self.ran != self.said


class PublicAudit(Value):
    """All figures that comparable runs have, their summaries, verdicts on fit, and what could not be priced."""

    figures: tuple[PublicFigure, ...]
    summary: tuple[FigureSummary, ...]
    verdicts: tuple[FitVerdict, ...]
    refused: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def audit_public(
    gpu: str | None = None,
    *,
    source: str | None = None,
    least: Comparable = "partly",
    on_progress: Progress | None = None,
) -> PublicAudit:
    """Every public run priced, and what was measured beside it.

    Args:
        gpu: only runs of this card.
        source: only runs of this source, by its id.
        least: `partly` also takes runs that differ in what is named; `yes` only those that do not; `no` all.
    Raises:
        UnknownName: no such GPU or source.
        BadFile: a file of runs is damaged.
    """
    from advisor.estimator.gpu_request import gpu_asked

    wanted = None if gpu is None else gpu_asked(gpu)[0].name
    sources = public_runs()
    if source is not None and source not in {s.id for s in sources}:
        raise UnknownName.of("source", source, [s.id for s in sources], list_with="advisor audit --public --json")
    chosen = [
        (s, run)
        for s in sources
        for run in s.runs
        if (source is None or s.id == source)
        and run.asked is not None
        and (wanted is None or run.asked["gpu"] == wanted)
        and _counts(run, least)
    ]
    figures: list[PublicFigure] = []
    verdicts: list[FitVerdict] = []
    refused: list[str] = []
    for number, (at, run) in enumerate(chosen):
        if on_progress:
            on_progress(number, len(chosen), run.id)
        try:
            candidate = priced(at, run)
        except AdvisorError as error:
            refused.append(f"{run.id}: {error.message}")
            continue
        figures.extend(_figures(at, run, candidate, least))
        verdicts.append(_verdict(run, candidate))
    return PublicAudit(
        figures=tuple(figures), summary=tuple(_summaries(figures)), verdicts=tuple(verdicts), refused=tuple(refused)
    )


def priced(source: PublicRuns, run: PublicRun) -> Candidate:
    """The candidate of one public run, on the whole card: nobody kept a headroom free there.

    Raises:
        AdvisorError: the question is refused.
    """
    request = request_of(run)
    return answer_on(request, hardware_of(request), spec_for(source, run), use_measured=False)


def request_of(run: PublicRun) -> EstimateRequest:
    """The question a run answers.

    Raises:
        BadRequest: the question is refused.
    """
    return from_case({"headroom": 0.0, **(run.asked or {})})


def _counts(run: PublicRun, least: Comparable) -> bool:
    return any(_at_least(c, least) for c in (run.comparable_memory, run.comparable_time))


def _at_least(comparable: Comparable, least: Comparable) -> bool:
    order: tuple[Comparable, ...] = ("no", "partly", "yes")
    return order.index(comparable) >= order.index(least)


def _figures(source: PublicRuns, run: PublicRun, candidate: Candidate, least: Comparable) -> list[PublicFigure]:
    memory = candidate.memory
    kept = _kept_by_its_release(source, run, candidate)
    device = _with_context(memory.peak_device, source, candidate)
    pairs: list[tuple[Target, float | None, Quantity, Comparable]] = [
        (
            "peak_allocated",
            run.peak_allocated_bytes,
            memory.peak_allocated.plus(kept, "of its release"),
            run.comparable_memory,
        ),
        (
            "peak_reserved",
            run.peak_reserved_bytes,
            memory.peak_reserved.plus(kept, "of its release"),
            run.comparable_memory,
        ),
        ("peak_device", run.peak_device_bytes, device.plus(kept, "of its release"), run.comparable_memory),
        ("step_time", run.step_seconds, candidate.time.step, run.comparable_time),
    ]
    asked: dict[str, Any] = run.asked or {}
    return [
        PublicFigure(
            run=run.id,
            source=source.id,
            gpu=candidate.gpu,
            model=str(asked.get("model")),
            method=candidate.recipe.method,
            precision=run.reported.get("dtype", ""),
            lengths=run.lengths,
            target=target,
            comparable=comparable,
            measured=measured,
            predicted=q.mid,
            low=q.low,
            high=q.high,
            error=q.mid / measured - 1,
            inside=q.low <= measured <= q.high,
            why=run.why,
        )
        for target, measured, q, comparable in pairs
        if measured is not None and _at_least(comparable, least)
    ]


def _kept_by_its_release(source: PublicRuns, run: PublicRun, candidate: Candidate) -> Quantity:
    """Bytes that the release a run was made with held beyond the installed one, as `estimate` says beside an answer."""
    workload, recipe = candidate.workload, candidate.recipe
    more = 0
    if keeps_logits(source.software):
        largest = lengths_of(workload, recipe).largest
        more = kept_logits(candidate.memory, largest, workload, recipe, spec_for(source, run))
    return Quantity.exact(more, "B", "modelled", "16-bit logits kept during the loss")


def _with_context(device: Quantity, source: PublicRuns, candidate: Candidate) -> Quantity:
    """The device's peak with the context the source measured in the place of the assumed one."""
    if source.context_bytes is None:
        return device
    reserved = candidate.memory.peak_reserved
    context = Quantity.exact(source.context_bytes, "B", "measured", f"context measured by {source.id}")
    return reserved.plus(context, device.why)


def _verdict(run: PublicRun, candidate: Candidate) -> FitVerdict:
    return FitVerdict(
        run=run.id,
        comparable=run.comparable_memory,
        ran=run.outcome == "complete",
        said=candidate.fits,
        predicted=candidate.memory.peak_device.mid,
        limit=candidate.limit_bytes,
    )


def _summaries(figures: Iterable[PublicFigure]) -> list[FigureSummary]:
    """All figures of a target, then by each of GROUPS."""
    figures = list(figures)
    out: list[FigureSummary] = []
    for target in TARGETS:
        own = [f for f in figures if f.target == target]
        if not own:
            continue
        out.append(_summary(own, target))
        for by in GROUPS:
            names = dict.fromkeys(getattr(f, by) for f in own)
            out.extend(_summary([f for f in own if getattr(f, by) == name], target, by, name) for name in names)
    return out


def _summary(figures: list[PublicFigure], target: Target, by: str = "", group: str = "") -> FigureSummary:
    errors = np.abs([f.error for f in figures])
    return FigureSummary(
        target=target,
        by=by,
        group=group,
        runs=len(figures),
        median=float(np.median(errors)),
        p90=float(np.quantile(errors, 0.9)),
        worst=float(errors.max()),
        coverage=sum(f.inside for f in figures) / len(figures),
    )


def plot_public(audit: PublicAudit, path: str | Path) -> Path:
    """Predicted over measured, one panel a target and a row a source, as .html, .png or .svg by the name's end.

    Raises:
        MissingExtra: altair is not installed.
        BadRequest: another ending.
    """
    path, alt = plotting(path)
    panels: list[Any] = []
    for target in dict.fromkeys(figure.target for figure in audit.figures):
        values = [
            {
                "run": f.run,
                "source": f.source,
                "gpu": f.gpu,
                "comparable": f.comparable,
                "ratio": f.predicted / f.measured,
                "low": f.low / f.measured,
                "high": f.high / f.measured,
            }
            for f in audit.figures
            if f.target == target
        ]
        base: Any = alt.Chart(alt.Data(values=values), width=320, title=target.replace("_", " "))
        ratio: Any = alt.X("ratio:Q", scale=alt.Scale(type="log"), title="predicted / measured")
        points = base.mark_point(filled=True).encode(
            x=ratio, y="source:N", yOffset="run:N", color="gpu:N", tooltip=["run:N", "ratio:Q", "comparable:N"]
        )
        bars = base.mark_rule().encode(x="low:Q", x2="high:Q", y="source:N", yOffset="run:N", color="gpu:N")
        line = alt.Chart(alt.Data(values=[{"x": 1.0}])).mark_rule(strokeDash=[4, 4], color="grey").encode(x="x:Q")
        panels.append(line + bars + points)
    return drawn(alt.hconcat(*panels), path)
