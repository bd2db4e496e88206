"""What is wrong with a set of jobs before any of them is priced: names, circles, deadlines that cannot be."""

from __future__ import annotations

import graphlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from advisor.errors import BadRequest, UnknownName
from advisor.planner.files.fleet_file import FleetFile
from advisor.planner.files.jobs_file import FleetJob, JobsFile
from advisor.planner.files.moments import Moment
from advisor.planner.fleet_machines import SUFFIXES
from advisor.planner.solver.problem import Machines


def order_of(jobs: JobsFile) -> list[int]:
    """Indices of the jobs, each after those it waits for.

    Raises:
        BadRequest: two jobs of one name, or dependencies that go round in a circle.
        UnknownName: a job waits for one that is neither there nor done.
    """
    twice = [name for name, number in Counter(job.name for job in jobs.jobs).items() if number > 1]
    if twice:
        raise BadRequest(
            f"two jobs are called {twice[0]!r}", hints=["for copies of one job: repeats: 2"], name=twice[0]
        )
    index = {job.name: number for number, job in enumerate(jobs.jobs)}
    for job in jobs.jobs:
        for earlier in job.after:
            if earlier not in index and earlier not in jobs.done:
                error = UnknownName.of("job", earlier, list(index), list_with="the names in the jobs' file")
                error.message = f"job {job.name!r} comes after {earlier!r}, which is neither there nor in `done`"
                raise error
    graph = {number: {index[e] for e in job.after if e in index} for number, job in enumerate(jobs.jobs)}
    try:
        return list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        numbers: list[int] = list(reversed(error.args[1]))
        circle = [jobs.jobs[number].name for number in numbers]
        raise BadRequest(
            f"jobs wait for each other in a circle: {' -> '.join(circle)}",
            cause="each comes after the one before it",
            hints=[f"take one `after` out, for example of {circle[-1]!r}"],
            jobs=circle,
        ) from None


def check_windows(jobs: Sequence[FleetJob], start: datetime, horizon: Moment | None) -> None:
    """Refuse deadlines that no machine could meet.

    Raises:
        BadRequest: a deadline before the plan's begin, before the job's own earliest start, or before that of a job
            that must be finished first.
    """
    by_name = {job.name: job for job in jobs}
    for job in jobs:
        due = deadline_of(job, start, horizon)
        if due is None:
            continue
        if due <= 0:
            raise BadRequest(
                f"the deadline of job {job.name!r} lies before the plan's begin, {start:%Y-%m-%d %H:%M} UTC",
                hints=["to plan from another time: --start", f"to move it: --deadline {job.name}=WHEN"],
                job=job.name,
            )
        for other, says in [(job, "its own earliest start"), *_before(job, by_name)]:
            earliest = 0.0 if other.earliest is None else other.earliest.seconds_from(start)
            if due <= earliest:
                raise BadRequest(
                    f"job {job.name!r} contradicts itself: its deadline is not after {says}",
                    cause=f"deadline {due / 3600:.1f} h, earliest start {earliest / 3600:.1f} h after the plan's begin",
                    hints=[f"to move the deadline: --deadline {job.name}=WHEN"],
                    job=job.name,
                )


def _before(job: FleetJob, by_name: dict[str, FleetJob]) -> list[tuple[FleetJob, str]]:
    """All jobs that must be finished before this one may begin."""
    found: dict[str, FleetJob] = {}
    waiting = list(job.after)
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found[name] = by_name[name]
            waiting += by_name[name].after
    return [(other, f"the earliest start of {name!r}, which comes first") for name, other in found.items()]


def deadline_of(job: FleetJob, start: datetime, horizon: Moment | None) -> float | None:
    """Seconds after the begin until when the job must be done; the fleet's horizon where it names no deadline."""
    said = job.deadline or horizon
    return None if said is None else said.seconds_from(start)


def check_places(jobs: JobsFile, machines: Sequence[Machines]) -> None:
    """Refuse pools and GPUs that the fleet does not have.

    Raises:
        UnknownName: of `pools` or `hours` of a job, or the pool of a running one.
        BadRequest: more running jobs than a pool has devices, or than the job has copies.
    """
    pools = {one.name for one in machines}
    for job in jobs.jobs:
        for place in job.pools:
            if not pools_called(place, machines):
                known = sorted(pools | {one.gpu for one in machines})
                raise UnknownName.of("pool", place, known, list_with="the names in the fleet's file")
        for place in job.hours if isinstance(job.hours, dict) else ():
            pools_called(place, machines)
    names = {job.name: job for job in jobs.jobs}
    for run in jobs.running:
        if run.job not in names:
            raise UnknownName.of("job", run.job, list(names), list_with="the names in the jobs' file")
    for pool, number in Counter(pool_called(run.pool, machines) for run in jobs.running).items():
        name, limit = machines[pool].name, machines[pool].limit
        if limit is not None and number > limit:
            raise BadRequest(f"{number} jobs are said to run on {name}, which has {limit} devices", pool=name)
    for name, number in Counter(run.job for run in jobs.running).items():
        if number > names[name].repeats:
            raise BadRequest(f"{number} copies of {name!r} are said to run, and it has {names[name].repeats}", job=name)


def pools_called(place: str, machines: Sequence[Machines]) -> list[int]:
    """Indices of the pools that a name means: one pool's own, or all of a GPU as people write it.

    Raises:
        UnknownName: neither a pool of the fleet nor a GPU of the catalogue.
    """
    from advisor.catalog.gpus import find_gpu

    own = [number for number, one in enumerate(machines) if one.name == place]
    if own:
        return own
    suffix = next((suffix for suffix in SUFFIXES.values() if place.endswith(f"-{suffix}")), "")
    gpu = find_gpu(place.removesuffix(f"-{suffix}") if suffix else place)[0].name
    return [
        number
        for number, one in enumerate(machines)
        if one.gpu == gpu and (not suffix or one.name == f"{gpu}-{suffix}")
    ]


def pool_called(place: str, machines: Sequence[Machines]) -> int:
    """The one pool that a name means.

    Raises:
        UnknownName: no pool of the fleet.
        BadRequest: several of a GPU; which is not said.
    """
    found = pools_called(place, machines)
    names = [machines[number].name for number in found]
    if not found:
        raise UnknownName.of("pool", place, [one.name for one in machines], list_with="the names in the fleet's file")
    if len(found) > 1:
        raise BadRequest(f"{place} may be {' or '.join(names)}", hints=[f"to say which: pool: {names[0]}"], names=names)
    return found[0]


def check_budgets(jobs: JobsFile, fleet: FleetFile) -> list[str]:
    """Notes on budgets of teams that have no job, which are likely misspelt, and jobs of teams without a budget."""
    teams = {job.team for job in jobs.jobs}
    notes = [f"budget: no job is of team {team!r}" for team in fleet.budgets if team not in teams]
    if fleet.budgets:
        without = sorted(team for team in teams - set(fleet.budgets) if team)
        notes += [f"budget: team {team!r} has none" for team in without]
    return notes
