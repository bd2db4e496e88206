"""What another price, one more GPU or another deadline would do: the request changed, and two plans compared."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from advisor.catalog.gpus import find_gpu
from advisor.domain.fleet.fleet_plan import Change, FleetPlan
from advisor.domain.request.validation import first_problem
from advisor.domain.units import HOUR
from advisor.errors import BadRequest, UnknownName
from advisor.planner.files.fleet_file import FleetFile, Pool
from advisor.planner.files.jobs_file import JobsFile
from advisor.planner.files.moments import moment_of
from advisor.planner.fleet_machines import SUFFIXES, machines_of
from advisor.planner.plan_request import PlanRequest

KINDS: Final = ("owned", "on-demand", "spot")
"""How machines are had; of a GPU that is had in several ways, one more is had in the first."""


def changed(request: PlanRequest) -> PlanRequest:
    """The request with what its what-if options change; the same object where there are none.

    Raises:
        BadRequest: an option that is not NAME=VALUE, a price below 0, a count below 1, no time.
        UnknownName: a pool, GPU or job that is not there.
    """
    if not (request.price_change or request.add_gpu or request.deadline):
        return request
    fleet, jobs = request.fleet, request.jobs
    for text in request.price_change:
        fleet = _with_price(fleet, *_pair(text, "--price-change", "H100=+20%"))
    for text in request.add_gpu:
        fleet = _with_more(fleet, *_pair(text, "--add-gpu", "H100=2"))
    for text in request.deadline:
        jobs = _with_deadline(jobs, text)
    return request.model_copy(update={"fleet": fleet, "jobs": jobs})


def change_between(before: FleetPlan, after: FleetPlan, request: PlanRequest) -> Change:
    """The two plans in a few figures."""
    was, now = ({one.job: one.pool for one in found.placements} for found in (before, after))
    asked = [
        *(f"--price-change {text}" for text in request.price_change),
        *(f"--add-gpu {text}" for text in request.add_gpu),
        *(f"--deadline {text}" for text in request.deadline),
    ]
    return Change(
        asked=" ".join(asked),
        placed_before=len(was),
        placed_after=len(now),
        usd_before=before.usd.mid,
        usd_after=after.usd.mid,
        all_in_time_before=before.all_in_time,
        all_in_time_after=after.all_in_time,
        moved=sum(was.get(job) != now.get(job) for job in was.keys() | now.keys()),
    )


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name.strip() or not value.strip():
        raise BadRequest(f"{option} {text!r} is not NAME=VALUE", hints=[f"for example: {option} {example}"])
    return name.strip(), value.strip()


def _called(fleet: FleetFile, name: str) -> list[int]:
    """Pools of a name, or of a GPU as people write it."""
    own = [number for number, pool in enumerate(fleet.gpus) if pool.name == name]
    if own:
        return own
    kind = next((kind for kind in KINDS if name.endswith(f"-{SUFFIXES[kind]}")), None)
    gpu = find_gpu(name.removesuffix(f"-{SUFFIXES[kind]}") if kind else name)[0].name
    return [
        number
        for number, pool in enumerate(fleet.gpus)
        if find_gpu(pool.gpu)[0].name == gpu and kind in (None, pool.kind)
    ]


def _replaced(fleet: FleetFile, number: int, **fields: Any) -> FleetFile:
    pools = list(fleet.gpus)
    pools[number] = pools[number].model_copy(update=fields)
    return fleet.model_copy(update={"gpus": tuple(pools)})


def _with_price(fleet: FleetFile, name: str, value: str) -> FleetFile:
    """A pool's price as given, or so many per cent more or less than it is."""
    numbers = _called(fleet, name)
    if not numbers:
        known = [pool.name or pool.gpu for pool in fleet.gpus]
        raise UnknownName.of("pool", name, known, list_with="the names in the fleet's file")
    try:
        share = 1 + float(value.rstrip("% ")) / 100 if value.endswith("%") else None
        usd = float(value) if share is None else 0.0
    except ValueError:
        raise BadRequest(
            f"--price-change {name}={value}: {value!r} is no price", hints=["for example: +20%, -15%, 1.99"]
        ) from None
    if not 0 <= (usd if share is None else share) < float("inf"):
        raise BadRequest(f"--price-change {name}={value}: a price is not below 0")
    for number in numbers:
        pool = fleet.gpus[number]
        now = usd if share is None else share * _price_now(pool)
        fleet = _replaced(fleet, number, usd_per_hour=now)
    return fleet


def _price_now(pool: Pool) -> float:
    """USD an hour as the plan without the change has it."""
    (machines,), _ = machines_of(FleetFile.model_validate({"gpus": (pool,)}), datetime.now(UTC))
    return machines.usd_per_second * HOUR


def _with_more(fleet: FleetFile, name: str, value: str) -> FleetFile:
    """So many more devices of a pool; a GPU that the fleet has not is rented at the catalogue's price."""
    if not value.isdigit() or int(value) < 1:
        raise BadRequest(f"--add-gpu {name}={value}: {value!r} is no number of GPUs", hints=["for example: H100=2"])
    numbers = _called(fleet, name)
    if not numbers:
        return fleet.model_copy(update={"gpus": (*fleet.gpus, Pool.model_validate({"gpu": name, "quota": int(value)}))})
    # owned machines before rented ones: another of what one has
    number = min(numbers, key=lambda one: KINDS.index(fleet.gpus[one].kind))
    pool = fleet.gpus[number]
    if pool.limit is None:
        raise BadRequest(f"--add-gpu {name}={value}: {pool.name or pool.gpu} has no limit that could be raised")
    return _replaced(fleet, number, **{"count" if pool.kind == "owned" else "quota": pool.limit + int(value)})


def _with_deadline(jobs: JobsFile, text: str) -> JobsFile:
    """Another deadline of one job, or of all where no job is named."""
    name, _, value = text.rpartition("=")
    names = [job.name for job in jobs.jobs]
    if name and name not in names:
        raise UnknownName.of("job", name, names, list_with="the names in the jobs' file")
    try:
        due = moment_of(value.strip())
    except (ValueError, ValidationError) as error:
        said = first_problem(error)[1] if isinstance(error, ValidationError) else str(error)
        raise BadRequest(f"--deadline {text!r} cannot be", cause=said) from None
    told = [job.model_copy(update={"deadline": due}) if name in ("", job.name) else job for job in jobs.jobs]
    return jobs.model_copy(update={"jobs": tuple(told)})
