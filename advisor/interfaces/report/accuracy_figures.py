"""Pictures of how far predictions were off: in runs that no fit had seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from advisor.domain.profile import HeldOut
from advisor.domain.units import GIB
from advisor.estimator.audit import AuditRow
from advisor.interfaces.report.figure import COLOURS, INK, WIDTH, Figure, data, field

SCHEME: Final = "leave-one-method"


def said(target: str) -> str:
    """A target's name in words."""
    return target.replace("_", " ")


def held_out(found: Sequence[HeldOut], device: str, *, here: bool) -> Figure | None:
    """Errors of a device's fit on runs of methods that it did not see; `here`: the device is the one asked about."""
    rows = [one for one in found if one.scheme == SCHEME]
    if not rows:
        return None
    shown = [
        {"target": said(one.target), "kind": kind, "error": 100 * getattr(one, name)}
        for one in rows
        for kind, name in (("median", "median"), ("9 in 10 below", "p90"), ("worst", "worst"))
    ]
    kinds = ["median", "9 in 10 below", "worst"]
    encoding = {
        "x": field("error", title="error of predictions, %"),
        "y": field("target", "nominal", title=None, sort=[row["target"] for row in shown]),
        "shape": field("kind", "nominal", title=None, scale={"domain": kinds}),
        "color": field("kind", "nominal", title=None, scale={"domain": kinds, "range": COLOURS[:3]}),
    }
    whose = "" if here else ", the card that was measured; of the one asked about there is no run, so errors are larger"
    return Figure(
        title="Predicted against measured",
        says=f"Runs of {device} with methods that the fit had not seen{whose}.",
        alt="; ".join(
            f"{one.target.replace('_', ' ')}: median {one.median:.2%}, worst {one.worst:.2%}" for one in rows
        ),
        spec={
            "data": data(shown),
            "width": WIDTH - 140,
            "height": {"step": 30},
            "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
            "encoding": encoding,
        },
        heads=("figure", "runs", "median", "9 in 10 below", "worst", "inside the interval"),
        rows=tuple(
            (
                said(one.target),
                str(one.runs),
                f"{one.median:.2%}",
                f"{one.p90:.2%}",
                f"{one.worst:.2%}",
                "" if one.coverage is None else f"{one.coverage:.0%}",
            )
            for one in rows
        ),
    )


def audited(rows: Sequence[AuditRow], target: str) -> Figure | None:
    """Each run of one target, predicted against measured."""
    mine = [row for row in rows if row.target == target]
    if not mine:
        return None
    scale, unit = (1.0, "s") if target == "step_time" else (GIB, "GiB")
    points: list[dict[str, Any]] = [
        {"measured": row.measured / scale, "predicted": row.predicted / scale, "device": row.device} for row in mine
    ]
    ends = [min(p["measured"] for p in points), max(p["measured"] for p in points)]
    axis = {"type": "log", "nice": False} if ends[0] > 0 and ends[1] > 20 * ends[0] else {"zero": False}
    x, y = (field(name, title=f"{name}, {unit}", scale=axis) for name in ("measured", "predicted"))
    same = {"type": "line", "color": INK, "strokeDash": [4, 4], "strokeWidth": 1}
    colour = field("device", "nominal", title=None, scale={"range": COLOURS})
    name = said(target)
    worst = max(mine, key=lambda row: abs(row.error))
    return Figure(
        title=f"{name[:1].upper()}{name[1:]}: predicted against measured",
        says="Each run predicted by a fit that had not seen it; on the dashed line both are the same.",
        alt=f"{len(mine)} runs; the worst, {worst.profile}, is off by {worst.error:+.1%}.",
        spec={
            "width": WIDTH - 100,
            "height": WIDTH - 100,
            "layer": [
                {
                    "data": data([{"measured": e, "predicted": e} for e in ends]),
                    "mark": same,
                    "encoding": {"x": x, "y": y},
                },
                {
                    "data": data(points),
                    "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8},
                    "encoding": {"x": x, "y": y, "color": colour},
                },
            ],
        },
        heads=("run", "measured", "predicted", "error"),
        rows=tuple(
            (
                row.profile,
                f"{row.measured / scale:.4g} {unit}",
                f"{row.predicted / scale:.4g} {unit}",
                f"{row.error:+.1%}",
            )
            for row in mine
        ),
    )
