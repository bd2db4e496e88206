"""How far predictions are from what devices measured, on runs that the fit did not see."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from pydantic import Field

from advisor.domain.profile import HeldOut, Profile
from advisor.domain.request.validation import check_choice
from advisor.domain.stored import Value
from advisor.errors import BadRequest, MissingExtra
from advisor.estimator import measurements as known
from advisor.estimator.calibration.cross_validation import (
    SCHEMES,
    TARGETS,
    HeldOutPrediction,
    leave_out,
    measured,
    summary,
)
from advisor.estimator.calibration.fit import fit_time
from advisor.estimator.calibration.measured_runs import Progress, Run, prepare
from advisor.estimator.cpu_device import measured_name
from advisor.store import durable, unwritable

UNCALIBRATED: Final = "uncalibrated"
"""The scheme that fits nothing: the catalogue's generic constants alone."""


class AuditRow(Value):
    """One run, predicted without having been seen. Bytes and seconds; `error` is predicted / measured - 1."""

    profile: str
    device: str
    model: str
    method: str
    target: str
    measured: float
    predicted: float
    low: float | None = Field(None, description="ends of the 90 % interval; None where nothing says how wide")
    high: float | None = None
    error: float
    inside: bool | None = None
    source: str = ""


class Audit(Value):
    """Predictions against measurements, one scheme of leaving out."""

    scheme: str
    summary: tuple[HeldOut, ...]
    rows: tuple[AuditRow, ...]
    notes: tuple[str, ...] = ()


def audit(gpu: str | None = None, *, scheme: str = "leave-one-method", on_progress: Progress | None = None) -> Audit:
    """Every measured run predicted by a fit that did not see it, nor what it shares with it by `scheme`.

    Args:
        gpu: only this device's runs.
        scheme: leave-one-run, leave-one-method, leave-one-model, leave-one-device, or uncalibrated.
    Raises:
        UnknownName: no such scheme or GPU.
        BadRequest: no profiles, or all of one group, so that nothing can be left out.
        BadFile: a profile is damaged.
    """
    check_choice("scheme", scheme, [*SCHEMES, UNCALIBRATED])
    notes: list[str] = []
    found = _profiles(gpu)
    runs = prepare(found, progress=on_progress, left_out=lambda p, why: notes.append(f"left out {p.id}: {why}"))
    if not runs:
        raise BadRequest("no measured run is in the store to audit by", cause="; ".join(notes[:3]))
    if scheme == UNCALIBRATED:
        missed = _unfitted(runs)
    else:
        by_device: dict[str, list[Run]] = {}
        for run in runs:
            by_device.setdefault("all" if scheme == "leave-one-device" else run.profile.device, []).append(run)
        missed = [
            m for own in by_device.values() for m in leave_out(own, scheme, whole=fit_time(own), progress=on_progress)
        ]
        if not missed:
            shared = scheme.removeprefix("leave-one-")
            raise BadRequest(
                f"all {len(runs)} runs are of one {shared}, so none can be left out",
                hints=["to audit otherwise: --scheme leave-one-run"],
            )
    summaries = [found for target in TARGETS if (found := summary(missed, target, scheme)) is not None]
    return Audit(
        scheme=scheme, summary=tuple(summaries), rows=tuple(_row(m, scheme) for m in missed), notes=tuple(notes)
    )


def plotting(path: str | Path) -> tuple[Path, Any]:
    """The file of a plot, and altair to draw it with.

    Raises:
        MissingExtra: altair is not installed.
        BadRequest: an ending that is not .html, .png or .svg.
    """
    path = Path(path)
    if path.suffix not in (".html", ".png", ".svg"):
        raise BadRequest(f"a plot is .html, .png or .svg, not {path.suffix or 'without ending'}", path=str(path))
    try:
        import altair
    except ImportError as error:
        raise MissingExtra.of("altair", extra="report", why="a plot") from error
    return path, altair


def drawn(chart: Any, path: Path) -> Path:
    """Write a chart of altair's whole or not at all.

    Raises:
        StoreUnavailable: the disk is full, or the folder cannot be written.
    """
    try:
        durable(path, lambda temporary: chart.save(str(temporary), format=path.suffix[1:]))
    except OSError as error:
        raise unwritable(path, error, hint="to write elsewhere: --plot FILE") from error
    return path


def plot(audit: Audit, path: str | Path) -> Path:
    """Predicted against measured, one panel a target, as .html, .png or .svg by the name's end.

    Raises:
        MissingExtra: altair is not installed.
        BadRequest: another ending.
    """
    path, alt = plotting(path)
    panels: list[Any] = []
    for target in dict.fromkeys(row.target for row in audit.rows):
        unit, scale = ("s", 1.0) if target == "step_time" else ("GiB", 2.0**30)
        values = [
            {
                "method": row.method,
                "run": row.profile,
                "measured": row.measured / scale,
                "predicted": row.predicted / scale,
                "low": (row.low if row.low is not None else row.predicted) / scale,
                "high": (row.high if row.high is not None else row.predicted) / scale,
            }
            for row in audit.rows
            if row.target == target
        ]
        panels.append(_panel(alt, values, target.replace("_", " "), unit))
    return drawn(alt.hconcat(*panels), path)


def _panel(alt: Any, values: list[dict[str, Any]], title: str, unit: str) -> Any:
    base = alt.Chart(alt.Data(values=values), width=320, height=320, title=f"{title}, runs not seen by the fit")
    ends = [min(v["measured"] for v in values), max(v["measured"] for v in values)]
    line = (
        alt.Chart(alt.Data(values=[{"x": e} for e in ends])).mark_line(color="grey", strokeDash=[4, 4]).encode(
            x="x:Q", y="x:Q"
        )
    )  # fmt: skip
    axis = alt.Scale(zero=False)
    points = base.mark_point(filled=True, size=50).encode(
        x=alt.X("measured:Q", scale=axis, title=f"measured, {unit}"),
        y=alt.Y("predicted:Q", scale=axis, title=f"predicted, {unit}"),
        color="method:N",
        tooltip=["run:N", "measured:Q", "predicted:Q"],
    )
    bars = base.mark_rule().encode(x=alt.X("measured:Q", scale=axis), y="low:Q", y2="high:Q", color="method:N")
    return line + bars + points


def _profiles(gpu: str | None) -> list[Profile]:
    found = [profile for _, profile in known.profiles()]
    if gpu is None:
        return found
    name = measured_name(gpu, found)
    return [profile for profile in found if profile.device == name]


def _unfitted(runs: list[Run]) -> list[HeldOutPrediction]:
    """Predictions with the catalogue's constants and its intervals."""
    from advisor.estimator.memory.memory_prediction import memory_of
    from advisor.estimator.step_time.time_prediction import time_of

    out: list[HeldOutPrediction] = []
    for run in runs:
        asked = run.asked
        told = (asked.timeline, asked.lengths, asked.workload, asked.recipe, asked.gpu)
        time, _ = time_of(*told, causal=asked.ops.causal)
        memory, _ = memory_of(asked.timeline, asked.lengths, asked.recipe, asked.gpu)
        quantities = {
            "step_time": time.step,
            "peak_reserved": memory.peak_reserved,
            "peak_allocated": memory.peak_allocated,
            "allocated_after_step": memory.allocated_after_step,
        }
        for target in TARGETS:
            value = measured(run, target)
            if value is not None:
                q = quantities[target]
                out.append(HeldOutPrediction(run, target, value, q.mid, q.low, q.high))
    return out


def _row(missed: HeldOutPrediction, scheme: str) -> AuditRow:
    run = missed.run
    known_width = missed.high != float("inf")
    return AuditRow(
        profile=run.profile.id,
        device=run.profile.device,
        model=run.model,
        method=run.method,
        target=missed.target,
        measured=missed.measured,
        predicted=missed.predicted,
        low=missed.low if known_width else None,
        high=missed.high if known_width else None,
        error=missed.error,
        inside=missed.inside if known_width else None,
        source=run.profile.source,
    )


__all__ = ["Audit", "AuditRow", "audit", "plot"]
