"""`advisor plan`: which job runs on which machine and when, at what cost, with what chance of its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

import advisor
from advisor.domain.request.command_options import PlanCommand
from advisor.errors import BadRequest
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import clean, emit, fitted, progress
from advisor.interfaces.report.report_writer import report_writer

if TYPE_CHECKING:
    from advisor.domain.fleet.fleet_plan import FleetPlan, Placement

MOST_ROWS: Final = 60
"""Jobs in the table; a plan of thousands is read with --json."""
FIRST_OUT = ("deadline", "method")
LEFT_OUT: Final = 3
"""Exit code of a plan that leaves jobs out: nothing fits them, and it says what would."""


@click.command("plan")
@click.argument("jobs", type=click.Path(), metavar="JOBS")
@options_of(PlanCommand)
def command(
    jobs: str,
    picture: str | None,
    target: str | None,
    launch: str | None,
    out: str | None,
    report: str | None,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> int:
    """Which job runs on which machine and when, at what cost, with what chance of its deadline.

    JOBS is a YAML or JSON file of jobs, --fleet one of GPUs: docs/plan.md says what stands in them. Times are UTC.
    As many jobs as possible, by priority, at the least cost. Exit code 3: some are left out, with what would let
    them in. Ctrl-C ends the search and prints the best plan so far.

    \b
    Examples:
      advisor plan jobs.yaml --fleet fleet.yaml
      advisor plan jobs.yaml --fleet fleet.yaml --gantt plan.html
      advisor plan jobs.yaml --fleet fleet.yaml --report report.html
      advisor plan jobs.yaml --fleet fleet.yaml --price-change H100=+20% --add-gpu L40S=2
      advisor plan jobs.yaml --fleet fleet.yaml --export trl --launch skypilot -o run/
    """
    asked = given(arguments)
    if "fleet" not in asked:
        raise BadRequest("--fleet is missing", hints=["for example: --fleet fleet.yaml (docs/plan.md)"])
    if (target is None) != (out is None) or (target is None and (launch or (force and report is None))):
        raise BadRequest("--export, --launch and --force go with --out", hints=["for example: --export trl -o run/"])
    write_report = report_writer(report, force=force)
    with progress("pricing and placing") as advance:
        found = advisor.plan(jobs, on_progress=advance, **asked)
    if picture is not None:
        from advisor.planner.gantt import gantt

        click.echo(clean(f"wrote {gantt(found, picture)}"), err=True)
    if target is not None and out is not None:
        _export(found, target, launch, out, force=force)
    write_report(found)
    emit(found, as_json, plan_table)
    if found.solution.interrupted:
        raise KeyboardInterrupt("Interrupted. The plan above is the best that was found until then.")
    return LEFT_OUT if found.unplaced else 0


def _export(found: FleetPlan, target: str, launch: str | None, out: str, *, force: bool) -> None:
    """Each recipe of the plan in a folder of its own."""
    import re
    from pathlib import Path

    from advisor.exporters.write_files import placed_at, write_export

    for name, candidate in found.recipes.items():
        folder = Path(out) / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        folder.mkdir(parents=True, exist_ok=True)
        # the exporters' door refuses a launcher that it does not know
        asked: dict[str, Any] = {"to": target, "launch": launch}
        made = placed_at(advisor.export(candidate, **asked), f"{folder}/")
        for path in write_export(made, f"{folder}/", force=force):
            click.echo(clean(f"wrote {path}"), err=True)


def plan_table(found: FleetPlan) -> Iterator[Any]:
    """What is done at what cost in a sentence, a row a job, machines, what is left out and why, notes."""
    placed = len(found.placements)
    late = "" if found.all_in_time is None else f", all in time with {found.all_in_time:.0%}"
    yield f"{placed} jobs from {found.start:%Y-%m-%d %H:%M} UTC, {show(found.usd, basis=False)}{late}"
    if found.partial:
        yield f"PARTIAL  {found.label.removeprefix('partial: ')}"
    gap = "no bound" if found.solution.gap is None else f"gap {found.solution.gap:.1%}"
    yield f"search   {gap}, {amount(found.solution.seconds, 's')}: {found.solution.says}"
    yield ""
    columns = ("job", "on", "start", "end", "method", "cost", "deadline", "in time")
    cells = [_row(found, one) for one in found.placements[:MOST_ROWS]]
    known = [i for i, name in enumerate(columns) if name in ("job", "on") or any(row[i] for row in cells)]
    yield from fitted(
        [columns[i] for i in known],
        [[row[i] for i in known] for row in cells],
        first_out=FIRST_OUT,
        right="cost,in time",
        wraps={"job": 10, "on": 12},
    )
    if placed > MOST_ROWS:
        yield f"... and {placed - MOST_ROWS} more jobs: --json"
    uses = [
        (
            u.pool,
            f"{u.devices} of {u.count or 'any'}",
            u.jobs,
            f"{u.hours:.1f}",
            f"{u.usd:.2f}",
            f"{u.usd_per_hour:.2f}",
        )
        for u in found.pools
        if u.jobs
    ]
    yield from fitted(
        ("machines", "in use", "jobs", "hours", "USD", "USD/h"), uses, first_out=(), right="jobs,hours,USD,USD/h"
    )
    for team in found.teams:
        budget = (
            "" if team.budget_usd is None else f" of {team.budget_usd:.2f}, kept with {team.within_budget or 0.0:.0%}"
        )
        yield f"team     {team.team}: {show(team.usd, basis=False)}{budget}"
    for one in found.unplaced:
        yield f"left out {one.job}: {one.reason}"
        yield from (f"         would do: {text}" for text in one.would[:3])
    yield from _change(found)
    yield from (f"note     {note}" for note in found.notes)


def _row(found: FleetPlan, one: Placement) -> tuple[str, ...]:
    recipe = found.recipes.get(one.recipe)
    method = "" if recipe is None else recipe.recipe.method
    return (
        one.job,
        one.place,
        f"{one.start:%m-%d %H:%M}" if not one.running else "running",
        f"{one.end:%m-%d %H:%M}",
        method,
        f"{one.usd.mid:.2f}",
        "" if one.deadline is None else f"{one.deadline:%m-%d %H:%M}",
        "" if one.chance is None else f"{one.chance:.0%}",
    )


def _change(found: FleetPlan) -> Iterator[str]:
    change = found.change
    if change is None:
        return
    yield f"what if  {change.asked}"
    yield f"         cost {change.usd_before:.2f} -> {change.usd_after:.2f} USD"
    yield f"         jobs {change.placed_before} -> {change.placed_after}, {change.moved} of them elsewhere"
    if change.all_in_time_before is not None and change.all_in_time_after is not None:
        yield f"         all in time {change.all_in_time_before:.0%} -> {change.all_in_time_after:.0%}"
