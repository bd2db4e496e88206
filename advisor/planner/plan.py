"""The planner's door: jobs and a fleet in, which job runs where and when out, with the chance of each deadline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Unpack

from pydantic import ValidationError

from advisor.domain.fleet.fleet_plan import FleetPlan
from advisor.domain.request.plan_options import PlanOptions
from advisor.errors import BadRequest, DoesNotFit
from advisor.planner.files.moments import Moment, moment_of
from advisor.planner.formulate import Formulated, formulate
from advisor.planner.job_prices import JobPrices, PriceTraining, price_training
from advisor.planner.plan_answer import answer_of
from advisor.planner.plan_request import FleetSource, JobsSource, PlanRequest, checked
from advisor.planner.solver.solve import solve
from advisor.planner.what_if import change_between, changed

OnProgress = Callable[[int, int, str], None]


def plan(
    jobs: JobsSource,
    fleet: FleetSource,
    *,
    on_progress: OnProgress | None = None,
    prices: PriceTraining | None = None,
    **options: Unpack[PlanOptions],
) -> FleetPlan:
    """Which job runs where and when, with which recipe, at what cost, and with what chance of its deadline.

    As many jobs as possible, by priority, are done in time, at the least expected cost. A job keeps a machine for the
    time that is enough with probability `confidence`; the chance of its deadline comes from draws of all times at
    once. Ctrl-C ends the search and gives the best plan so far, labelled `partial`.

    Args:
        jobs: path of a YAML or JSON file, or what it holds: `{"jobs": [...], "running": [...], "done": [...]}`, or
            the list of jobs alone.
        fleet: the same of `{"gpus": [...], "budgets": {...}}`, or the list of GPUs alone.
        on_progress: told (done, total, what) while jobs are priced.
        prices: another way to price a training on a GPU; by default the estimator and the recommender.
        options: see `advisor.domain.request.plan_options.PlanOptions`.

    Returns:
        The plan; `partial` where jobs are left out, which are named in `unplaced` with what would let them in.

    Raises:
        BadFile: a file cannot be read, or an entry is not what it should be.
        BadRequest: what is said contradicts itself (circles, deadlines before the begin), or names what is not there.
        DoesNotFit: not one job can be done.

    Example:
        advisor.plan([{"name": "a", "model": "Qwen/Qwen2.5-7B", "samples": 2_000, "deadline": "12 h"}], [{"gpu": "L4"}])
    """
    request = checked(jobs, fleet, dict(options))
    start = _start(request)
    known = JobPrices(prices or price_training, on_progress)
    asked = changed(request)
    found = _planned(asked, start, known)
    if asked is request:
        return found
    before = _planned(request.model_copy(update={"price_change": (), "add_gpu": (), "deadline": ()}), start, known)
    return found.model_copy(update={"change": change_between(before, found, request)})


def _planned(request: PlanRequest, start: datetime, known: JobPrices) -> FleetPlan:
    question = formulate(request, start, known)
    if not question.names and not question.running:
        raise _nothing(question)
    return answer_of(question, solve(question.problem, request.time_limit), request, start)


def _start(request: PlanRequest) -> datetime:
    """When the plan begins: as asked, else this minute."""
    if request.start is None:
        return datetime.now(UTC).replace(second=0, microsecond=0)
    try:
        said = moment_of(request.start)
    except (ValueError, ValidationError) as error:
        raise BadRequest(f"--start {request.start!r} cannot be", cause=str(error), field="start") from None
    if not isinstance(said, Moment) or said.at is None:
        raise BadRequest(
            f"--start {request.start!r} is no date", hints=["for example: --start '2026-12-01 08:00'"], field="start"
        )
    return said.at


def _nothing(question: Formulated) -> DoesNotFit:
    """No job can be done on this fleet: the first with its reason, and what would."""
    first = question.unplaced[0]
    more = [f"{one.job}: {one.reason}" for one in question.unplaced[1:4]]
    return DoesNotFit(
        f"none of {len(question.jobs)} jobs can be done on this fleet; {first.job!r} {first.reason}"
        if len(question.jobs) > 1
        else f"{first.job!r} cannot be done on this fleet: {first.reason}",
        cause="; ".join(more),
        hints=[f"would do: {text}" for text in first.would],
        unplaced=[one.model_dump() for one in question.unplaced],
    )
