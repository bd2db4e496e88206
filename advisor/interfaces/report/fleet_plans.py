"""The page of `advisor plan`: what runs where and when, what each team pays, what is left out and what would do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from advisor.domain.fleet.fleet_plan import FleetPlan, Placement, TeamCost
from advisor.domain.units import plural
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.report.figure import COLOURS, FAINT, INK, WIDTH, Figure, data, field
from advisor.interfaces.report.page import Page, Section
from advisor.interfaces.verdict import Fact

MOST_MACHINES: Final = 40
MOST_JOBS: Final = 200
"""Rows of the table of jobs; the whole plan is in its JSON."""
ROW: Final = 26
LABELS: Final = 150
CHANCES: Final = ("likely (9 in 10 or more)", "uncertain", "unlikely (below half)", "no deadline")
WHEN: Final = "%Y-%m-%d %H:%M"


def page_of_plan(found: FleetPlan) -> Page:
    """A sentence, the jobs over time, cost by team, machines, what is left out, how good the plan is."""
    sections = [
        *([Section.of(schedule(found))] if found.placements else []),
        *([Section.of(team_costs(found.teams))] if found.teams else []),
        *_machines(found),
        *_left_out(found),
        *_jobs(found),
        *_change(found),
    ]
    return Page(sentence(found), tuple(_facts(found)), tuple(sections), found.notes)


def sentence(found: FleetPlan) -> str:
    """How many jobs run, until when, for how much, and with what chance all are in time."""
    placed = len(found.placements)
    said = f"{plural(placed, 'job')} from {found.start:{WHEN}} UTC"
    if placed:
        said += f" to {max(one.end for one in found.placements):{WHEN}}"
    said += f", {amount(found.usd.mid, found.usd.unit)}"
    if found.all_in_time is not None:
        said += f", all in time with a chance of {found.all_in_time:.0%}"
    return f"{said}; {len(found.unplaced)} left out." if found.unplaced else f"{said}."


def _facts(found: FleetPlan) -> Iterator[Fact]:
    yield "cost", show(found.usd)
    if found.all_in_time is not None:
        yield "in time", f"all with {found.all_in_time:.0%}; {found.expected_late:.2g} jobs are expected to be late"
    gap = (
        "no bound is known" if found.solution.gap is None else f"at most {found.solution.gap:.1%} above the least cost"
    )
    yield "search", f"{gap}, {amount(found.solution.seconds, 's')}: {found.solution.says}"
    yield "kept", f"each job has the time that is enough with a chance of {found.confidence:.0%}"
    if found.partial:
        yield "partial", found.label.removeprefix("partial: ")


def chance_of(one: Placement) -> str:
    """The chance of a job's deadline in words."""
    if one.chance is None:
        return CHANCES[3]
    return CHANCES[0] if one.chance >= 0.9 else CHANCES[1] if one.chance >= 0.5 else CHANCES[2]


def schedule(found: FleetPlan) -> Figure:
    """A bar a job, a row a machine, its colour the chance of its deadline."""
    ordered = sorted(found.placements, key=lambda one: (one.pool, one.device, one.start))
    rows = list(dict.fromkeys(name for one in ordered for name in _devices_of(one)))
    kept = set(rows[:MOST_MACHINES])
    shown = [one for one in ordered if kept & set(_devices_of(one))]
    bars = [
        {
            "machine": name,
            "start": max(one.start, found.start).isoformat(),
            "end": one.end.isoformat(),
            "late": one.finish_high.isoformat(),
            "chance": chance_of(one),
        }
        for one in shown
        for name in _devices_of(one)
        if name in kept
    ]
    # a deadline far after the last job would press all bars together; the table has it
    ends = max(one.end for one in shown)
    seen = ends + (ends - found.start) / 4
    marks = [
        {"machine": name, "at": one.deadline.isoformat()}
        for one in shown
        if one.deadline is not None and one.deadline <= seen
        for name in _devices_of(one)
        if name in kept
    ]
    scale = {"type": "utc"}
    y = field("machine", "nominal", title=None, sort=rows[:MOST_MACHINES])
    y["axis"] = {"labelLimit": LABELS}
    colours = {"domain": list(CHANCES), "range": [COLOURS[2], COLOURS[1], COLOURS[5], COLOURS[0]]}
    x = field("start", "temporal", title="UTC", scale=scale)
    x["axis"] = {"format": "%m-%d %H:%M", "tickCount": 4, "labelOverlap": True}
    layers: list[dict[str, Any]] = [
        {
            "data": data(bars),
            "mark": {"type": "bar", "stroke": "var(--page)", "strokeWidth": 1},
            "encoding": {
                "x": x,
                "x2": {"field": "end"},
                "color": field("chance", "nominal", title=None, scale=colours, legend={"columns": 1}),
            },
        },
        {
            "data": data(bars),
            "mark": {"type": "rule", "color": INK},
            "encoding": {"x": field("end", "temporal", scale=scale), "x2": {"field": "late"}},
        },
    ]
    if marks:
        tick = {"type": "tick", "color": INK, "thickness": 2, "size": 18}
        layers.append({"data": data(marks), "mark": tick, "encoding": {"x": field("at", "temporal", scale=scale)}})
    left = len(rows) - MOST_MACHINES
    more = f" {plural(left, 'machine')} more are not shown." if left > 0 else ""
    return Figure(
        title="What runs where, and when",
        says="Bars are the time kept for each job, thin lines reach to where 19 times in 20 it is finished, upright "
        f"marks are near deadlines; the colour is the chance of keeping one.{more}",
        alt=f"{plural(len(shown), 'job')} on {plural(min(len(rows), MOST_MACHINES), 'machine')}: "
        + ", ".join(f"{name} {n}" for name in CHANCES if (n := sum(chance_of(one) == name for one in shown)))
        + ".",
        spec=_by_row(y, layers),
        heads=("machine", "jobs", "first start", "last end"),
        rows=tuple(_row(name, [one for one in ordered if name in _devices_of(one)]) for name in rows),
    )


def _by_row(y: dict[str, Any], layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A chart whose rows have names that may be long."""
    return {
        "width": WIDTH - LABELS // 2,
        "height": {"step": ROW},
        "padding": {"left": 16},
        "encoding": {"y": y},
        "layer": [*layers],
    }


def team_costs(teams: Sequence[TeamCost]) -> Figure:
    """What each team pays with its interval, beside its budget."""
    bars = [{"team": one.team, "low": one.usd.low, "mid": one.usd.mid, "high": one.usd.high} for one in teams]
    budgets = [{"team": one.team, "budget": one.budget_usd} for one in teams if one.budget_usd is not None]
    y = field("team", "nominal", title=None, sort=[one.team for one in teams], axis={"labelLimit": LABELS})
    x = {"type": "quantitative", "title": "USD"}
    layers: list[dict[str, Any]] = [
        {
            "data": data(bars),
            "mark": {"type": "bar", "color": FAINT},
            "encoding": {"x": {"field": "mid", **x}},
        },
        {
            "data": data(bars),
            "mark": {"type": "rule", "color": INK, "strokeWidth": 2},
            "encoding": {"x": {"field": "low", **x}, "x2": {"field": "high"}},
        },
    ]
    if budgets:
        tick = {"type": "tick", "color": COLOURS[5], "thickness": 3, "size": 20}
        layers.append({"data": data(budgets), "mark": tick, "encoding": {"x": {"field": "budget", **x}}})
    return Figure(
        title="Cost by team",
        says="Bars are the expected cost, lines hold it nine times in ten, coloured marks are budgets.",
        alt="; ".join(f"{one.team} {show(one.usd, basis=False)}" for one in teams),
        spec=_by_row(y, layers),
        heads=("team", "expected cost", "budget", "chance of keeping it"),
        rows=tuple(
            (
                one.team,
                show(one.usd),
                "none" if one.budget_usd is None else amount(one.budget_usd, "USD"),
                "" if one.within_budget is None else f"{one.within_budget:.0%}",
            )
            for one in teams
        ),
    )


def _devices_of(one: Placement) -> list[str]:
    return [f"{one.pool} {device + 1}" for device in one.devices]


def _row(name: str, jobs: Sequence[Placement]) -> tuple[str, ...]:
    start, end = min(one.start for one in jobs), max(one.end for one in jobs)
    return name, str(len(jobs)), f"{start:{WHEN}}", f"{end:{WHEN}}"


def _machines(found: FleetPlan) -> Iterator[Section]:
    rows = tuple(
        (
            one.pool,
            one.gpu,
            f"{one.devices} of {one.count or 'any'}",
            str(one.jobs),
            f"{one.hours:.1f}",
            f"{one.usd:.2f}",
            f"{one.usd_per_hour:.2f}",
            one.price,
        )
        for one in found.pools
        if one.jobs
    )
    if rows:
        heads = ("pool", "GPU", "in use", "jobs", "hours", "USD", "USD/h", "price")
        yield Section("Machines", heads=heads, rows=rows)


def _left_out(found: FleetPlan) -> Iterator[Section]:
    if found.unplaced:
        rows = tuple((one.job, one.kind, one.reason, "; ".join(one.would)) for one in found.unplaced)
        yield Section("Left out", heads=("job", "because", "reason", "what would let it in"), rows=rows)


def _jobs(found: FleetPlan) -> Iterator[Section]:
    ordered = sorted(found.placements, key=lambda one: (one.start, one.job))
    rows = tuple(
        (
            one.job,
            one.place,
            "running" if one.running else f"{one.start:{WHEN}}",
            f"{one.end:{WHEN}}",
            "" if one.recipe not in found.recipes else found.recipes[one.recipe].recipe.method,
            show(one.usd, basis=False),
            "" if one.deadline is None else f"{one.deadline:{WHEN}}",
            "" if one.chance is None else f"{one.chance:.0%}",
        )
        for one in ordered[:MOST_JOBS]
    )
    if rows:
        more = (f"the first {MOST_JOBS} of {len(ordered)}; all: --json",) if len(ordered) > MOST_JOBS else ()
        heads = ("job", "on", "start (UTC)", "end", "method", "cost", "deadline", "in time")
        yield Section("Jobs", lines=more, heads=heads, rows=rows)


def _change(found: FleetPlan) -> Iterator[Section]:
    change = found.change
    if change is None:
        return
    rows = [
        ("cost, USD", f"{change.usd_before:.2f}", f"{change.usd_after:.2f}"),
        ("jobs placed", str(change.placed_before), str(change.placed_after)),
    ]
    if change.all_in_time_before is not None and change.all_in_time_after is not None:
        rows.append(("all in time", f"{change.all_in_time_before:.0%}", f"{change.all_in_time_after:.0%}"))
    moved = f"{plural(change.moved, 'job')} would run elsewhere, or no longer, or only then"
    yield Section(f"What if: {change.asked}", lines=(moved,), heads=("", "without", "with"), rows=tuple(rows))
