"""The picture of a plan: a bar a job, a row a machine, the colour its chance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from advisor.domain.fleet.fleet_plan import FleetPlan, Placement
from advisor.estimator.audit import drawn, plotting

MOST_ROWS: Final = 80
"""Machines in a picture; more are not read."""


def gantt(found: FleetPlan, path: str | Path) -> Path:
    """Write the picture as .html, .png or .svg by the name's end: kept times as bars, deadlines as ticks.

    Raises:
        MissingExtra: altair is not installed.
        BadRequest: another ending.
        StoreUnavailable: the file cannot be written.
    """
    path, alt = plotting(path)
    shown, rows, left = _rows(found.placements)
    values = [
        {
            "machine": f"{one.pool} {device + 1}",
            "job": one.job,
            "start": max(one.start, found.start).isoformat(),
            "end": one.end.isoformat(),
            "late": one.finish_high.isoformat(),
            "chance": one.chance,
            "usd": one.usd.mid,
        }
        for one in shown
        for device in one.devices
        if (one.pool, device) in rows
    ]
    # Vega takes times without a zone as the reader's own, and shows UTC where it is asked
    axis: dict[str, Any] = {"title": "UTC", "scale": alt.Scale(type="utc")}
    colour = alt.Color("chance:Q", title="chance of deadline", scale=alt.Scale(domain=[0, 1], scheme="redyellowgreen"))
    base = alt.Chart(alt.Data(values=values)).encode(y=alt.Y("machine:N", title=None, sort=None))
    bars = base.mark_bar(stroke="white").encode(
        x=alt.X("start:T", **axis),
        x2="end:T",
        color=alt.condition("datum.chance === null", alt.value("#9aa5b1"), colour),
        tooltip=["job:N", "machine:N", "start:T", "end:T", alt.Tooltip("chance:Q", format=".0%"), "usd:Q"],
    )
    likely = base.mark_rule(color="#333333").encode(x=alt.X("end:T"), x2="late:T")
    title = f"{found.label}; {found.usd.mid:.2f} USD; bars: time kept, lines: 19 times in 20 finished"
    more = f" ({left} more machines are not shown)" if left else ""
    return drawn((bars + likely).properties(width=720, title=title + more), path)


def _rows(placements: Sequence[Placement]) -> tuple[list[Placement], set[tuple[str, int]], int]:
    """Jobs of the first machines, these machines, and how many that leaves out."""
    rows = sorted({(one.pool, device) for one in placements for device in one.devices})
    kept = set(rows[:MOST_ROWS])
    shown = [one for one in placements if any((one.pool, device) in kept for device in one.devices)]
    return sorted(shown, key=lambda one: (one.pool, one.device, one.start)), kept, max(0, len(rows) - MOST_ROWS)
