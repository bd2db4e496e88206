"""The answer: the solver's slots as dates, costs and chances, by the names that the user gave."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import numpy as np

from advisor.domain.candidate import Candidate
from advisor.domain.fleet.fleet_plan import FleetPlan, Placement, PoolUse, Solution, TeamCost, Unplaced
from advisor.domain.quantity import Quantity
from advisor.domain.units import HOUR, Basis, Unit, duration, plural, weakest
from advisor.planner.files.moments import date_after
from advisor.planner.formulate import WHOLE, Formulated
from advisor.planner.plan_request import PlanRequest
from advisor.planner.solver.problem import Machines, Numbers
from advisor.planner.solver.solve import Solved
from advisor.planner.solver.uncertainty import DrawnRun, Outlook, outlook

DRAWS: Final = 1000
MOST_DRAWN: Final = 3 * 10**6
"""Jobs times draws where nobody says: some seconds."""


def answer_of(question: Formulated, solved: Solved, request: PlanRequest, start: datetime) -> FleetPlan:
    """The plan in the user's words."""
    runs = _runs(question, solved)
    draws = request.draws or max(100, min(DRAWS, MOST_DRAWN // max(1, len(runs))))
    seen = outlook(question.problem.machines, runs, draws, request.seed)
    recipes: dict[tuple[int, str], tuple[str, Candidate]] = {}
    placements = [_placement(question, job, run, solved, seen, start, recipes) for job, run in runs.items()]
    placements.sort(key=lambda one: (one.start, one.pool, one.device))
    unplaced = (*question.unplaced, *_left_out(question, solved))
    label = _label(len(placements), unplaced, solved)
    bases: list[Basis] = [one.seconds.basis for one in placements]
    basis = weakest("measured", *bases)
    return FleetPlan(
        start=start,
        partial=label != "complete",
        label=label,
        confidence=request.confidence,
        placements=tuple(placements),
        unplaced=unplaced,
        usd=_quantity(np.percentile(seen.total_usd, (5, 50, 95)), "USD", basis, f"{draws} draws of all times together"),
        all_in_time=seen.all_in_time,
        expected_late=seen.expected_late,
        pools=_pools(question, placements),
        teams=_teams(question, request, seen, basis),
        solution=_solution(solved),
        recipes=dict(recipes.values()),
        change=None,
        notes=(*question.notes, *_notes(question, request)),
    )


def _runs(question: Formulated, solved: Solved) -> dict[int, DrawnRun]:
    """All that is drawn: placed jobs by their number, running ones by numbers after these."""
    problem, found = question.problem, dict[int, DrawnRun]()
    for number, one in enumerate(question.running):
        job = question.jobs[one.job]
        found[problem.jobs + number] = DrawnRun(
            pool=one.pool,
            machine=one.machine,
            begin=one.begin,
            release=one.begin,
            due=float(question.due[one.job]),
            spread=one.spread,
            model=_model(question, one.job),
            elapsed=one.elapsed,
            team=question.teams.index(job.team) if job.team else -2,
            beside=one.beside,
        )
    after = {one.job: problem.jobs + number for number, one in enumerate(question.running)}
    index = {job.name: entry for entry, job in enumerate(question.jobs)}
    for job, slot in solved.slots.items():
        entry = question.entry[job]
        runs_still = tuple(after[index[name]] for name in question.jobs[entry].after if index.get(name) in after)
        found[job] = DrawnRun(
            pool=slot.pool,
            machine=slot.machine,
            begin=slot.begin,
            release=float(question.release[entry]),
            due=float(question.due[entry]),
            spread=question.spreads[entry, slot.pool],
            model=_model(question, entry),
            before=(*problem.before[job], *runs_still),
            team=int(problem.team[job]),
            beside=slot.beside,
        )
    return found


def _model(question: Formulated, entry: int) -> str:
    """What shares its error on a GPU: the model's name, or the job where the hours were given."""
    job = question.jobs[entry]
    return str(job.question.get("model", job.name)) if job.hours is None else job.name


def _placement(
    question: Formulated,
    job: int,
    run: DrawnRun,
    solved: Solved,
    seen: Outlook,
    start: datetime,
    recipes: dict[tuple[int, str], tuple[str, Candidate]],
) -> Placement:
    number = job - question.problem.jobs
    running = question.running[number] if number >= 0 else None
    entry = question.entry[job] if running is None else running.job
    asked, machines = question.jobs[entry], question.problem.machines[run.pool]
    end = solved.slots[job].end if running is None else running.end
    priced = question.priced[entry][run.pool]
    low, mid, high = (date_after(start, float(end)) for end in seen.finish[job])
    basis: Basis = priced.seconds.basis if priced.seconds is not None else "measured"
    name = question.names[job] if running is None else _running_name(question, number)
    return Placement(
        job=name,
        pool=machines.name,
        gpu=machines.gpu,
        device=run.machine,
        beside=run.beside,
        start=date_after(start, run.begin),
        end=date_after(start, end),
        finish_low=low,
        finish_mid=mid,
        finish_high=high,
        deadline=date_after(start, run.due) if np.isfinite(run.due) else None,
        chance=seen.chance.get(job),
        seconds=_quantity(
            seen.seconds[job], "s", basis, priced.seconds.why if priced.seconds is not None else "by its progress"
        ),
        usd=_quantity(seen.usd[job], "USD", basis, _price(machines, 1 + len(run.beside))),
        recipe=_recipe(recipes, asked.name, machines.gpu, priced.candidate),
        team=asked.team,
        running=running is not None,
    )


def _price(machines: Machines, cards: int) -> str:
    each = f"{machines.usd_per_second * HOUR:.2f} USD/h"
    return f"{each if cards == 1 else f'{cards} x {each}'}, {machines.price}"


def _running_name(question: Formulated, number: int) -> str:
    job = question.jobs[question.running[number].job]
    if job.repeats == 1:
        return job.name
    place = sum(one.job == question.running[number].job for one in question.running[: number + 1])
    return f"{job.name} #{place}"


def _recipe(
    recipes: dict[tuple[int, str], tuple[str, Candidate]], job: str, gpu: str, candidate: Candidate | None
) -> str:
    """The key of a recipe, told once for all copies of a job on one GPU, and for jobs with one answer."""
    if candidate is None:
        return ""
    return recipes.setdefault((id(candidate), gpu), (f"{job} on {gpu}", candidate))[0]


def _quantity(ends: Numbers, unit: Unit, basis: Basis, why: str) -> Quantity:
    low, mid, high = (float(end) for end in ends)
    return Quantity(low=low, mid=mid, high=high, unit=unit, basis=basis, why=why)


def _label(placed: int, unplaced: tuple[Unplaced, ...], solved: Solved) -> str:
    said: list[str] = []
    if unplaced:
        said.append(f"{plural(len(unplaced), 'entry')} left out".replace("entrys", "entries"))
    if solved.interrupted:
        said.append("the search was interrupted, this is its best plan so far")
    return f"partial: {'; '.join(said)}" if said else "complete"


def _left_out(question: Formulated, solved: Solved) -> list[Unplaced]:
    """Jobs that would fit alone, and have no room beside the others."""
    problem, found = question.problem, list[Unplaced]()
    for job in range(problem.jobs):
        if job in solved.slots:
            continue
        gone = [question.names[earlier] for earlier in problem.before[job] if earlier not in solved.slots]
        if gone:
            reason = f"it comes after {gone[0]!r}, which the plan leaves out"
            found.append(Unplaced(job=question.names[job], kind="after-unplaced", reason=reason))
            continue
        pools = [pool for pool in range(len(problem.machines)) if problem.alone[job, pool]]
        if not pools:
            reason = "those it waits for end too late for it"
            found.append(Unplaced(job=question.names[job], kind="no-room", reason=reason))
            continue
        cheapest = min(pools, key=lambda pool: problem.usd[problem.kind[job], pool])
        usd = float(problem.usd[problem.kind[job], cheapest])
        poor = _poor(question, job, usd, solved)
        if poor:
            would = (f"{usd:.2f} USD more in the budget, at {problem.machines[cheapest].name}",)
            found.append(Unplaced(job=question.names[job], kind="over-budget", reason=poor, would=would))
            continue
        machines = problem.machines[cheapest]
        hours = duration(float(problem.kept[problem.kind[job], cheapest]))
        reason = f"no machine is free for {hours} ({machines.name}) before its deadline"
        would = (f"one more {machines.name}: --add-gpu {machines.name}=1", "a later deadline, or a higher priority")
        found.append(Unplaced(job=question.names[job], kind="no-room", reason=reason, would=would))
    return found


def _poor(question: Formulated, job: int, usd: float, solved: Solved) -> str:
    """Which budget has not as much left; empty where all have."""
    problem = question.problem
    for team, most in problem.budgets.items():
        if team not in (WHOLE, int(problem.team[job])):
            continue
        spent = sum(
            float(problem.usd[problem.kind[one], slot.pool])
            for one, slot in solved.slots.items()
            if team == WHOLE or problem.team[one] == team
        )
        if spent + usd > most:
            whose = "the whole budget" if team == WHOLE else f"the budget of team {question.teams[team]!r}"
            return f"{whose} has {max(0.0, most - spent):.2f} USD left, and it costs {usd:.2f} USD"
    return ""


def _pools(question: Formulated, placements: list[Placement]) -> tuple[PoolUse, ...]:
    made: list[PoolUse] = []
    for machines in question.problem.machines:
        mine = [one for one in placements if one.pool == machines.name]
        made.append(
            PoolUse(
                pool=machines.name,
                gpu=machines.gpu,
                devices=len({device for one in mine for device in one.devices}),
                count=machines.limit,
                jobs=len(mine),
                hours=sum(one.seconds.mid * len(one.devices) for one in mine) / HOUR,
                usd=sum(one.usd.mid for one in mine),
                usd_per_hour=machines.usd_per_second * HOUR,
                price=machines.price,
            )
        )
    return tuple(made)


def _teams(question: Formulated, request: PlanRequest, seen: Outlook, basis: Basis) -> tuple[TeamCost, ...]:
    made: list[TeamCost] = []
    for number, team in enumerate(question.teams):
        usd = seen.team_usd.get(number, np.zeros(1))
        budget = request.fleet.budgets.get(team)
        made.append(
            TeamCost(
                team=team,
                usd=_quantity(np.percentile(usd, (5, 50, 95)), "USD", basis, "its jobs"),
                budget_usd=budget,
                within_budget=None if budget is None else float((usd <= budget).mean()),
            )
        )
    return tuple(made)


def _solution(solved: Solved) -> Solution:
    says = "no relaxation was solved in the time given: no bound"
    if solved.gap is not None:
        says = f"costs at most {solved.gap:.1%} more than any plan that does as much can"
    return Solution(
        seconds=solved.seconds,
        interrupted=solved.interrupted,
        out_of_time=solved.out_of_time,
        bound_usd=solved.bound_usd,
        gap=solved.gap,
        left_out_weight=solved.left_out,
        left_out_at_least=solved.left_out_at_least,
        says=says,
    )


def _notes(question: Formulated, request: PlanRequest) -> list[str]:
    """What the figures count and what they do not."""
    notes = [
        f"each job keeps its machine for the time that is enough {request.confidence:.0%} of the time (--confidence)",
        "evaluation during training, loading a model and setting up a machine are not counted",
    ]
    if any(machines.interruptions for machines in question.problem.machines):
        notes.append(
            "spot: interruptions are drawn machine by machine at the odds given, no wave that takes all at once"
        )
    bases = {one.seconds.basis for row in question.priced for one in row if one.seconds is not None}
    if bases & {"modelled", "assumed"}:
        notes.append("times are modelled or given, not measured on these machines: chances are no better than they are")
    return notes
