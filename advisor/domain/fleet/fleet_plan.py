"""What plan() hands on: which job runs where, when, at what cost, and with what chance of its deadline."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from advisor.domain.candidate import Candidate
from advisor.domain.quantity import Quantity
from advisor.domain.stored import Stored, Value


class Placement(Value):
    """One job on one device. Times are UTC; `end` is when the time kept for it is over, `finish_*` are expectations."""

    job: str
    pool: str
    gpu: str
    device: int = Field(ge=0, description="which of the pool's devices, from 0; of rented ones, which rental")
    beside: tuple[int, ...] = Field((), description="further devices of a job that takes several at a time")
    start: datetime
    end: datetime
    finish_low: datetime = Field(description="one time in twenty it is finished before")
    finish_mid: datetime
    finish_high: datetime = Field(description="one time in twenty it is finished after")
    deadline: datetime | None = None
    chance: float | None = Field(None, ge=0, le=1, description="of meeting the deadline; None: it has none")
    seconds: Quantity = Field(description="of all its trainings, restarts of spot machines counted")
    usd: Quantity
    recipe: str = Field(description="key of `FleetPlan.recipes`; empty where the user gave the hours")
    team: str = ""
    running: bool = Field(False, description="runs already; its cost is what is still to be paid")

    @property
    def devices(self) -> tuple[int, ...]:
        """All that it takes at a time, from 0."""
        return (self.device, *self.beside)

    @property
    def place(self) -> str:
        """`L4-owned 1`, or `L4-owned 1+2+5`: devices counted from 1."""
        return f"{self.pool} {'+'.join(str(device + 1) for device in self.devices)}"


class Unplaced(Value):
    """A job that the plan leaves out, why, and what would let it in."""

    job: str
    reason: str
    kind: str = Field(description="does-not-fit | too-slow | no-room | over-budget | after-unplaced | cannot-run")
    would: tuple[str, ...] = ()


class PoolUse(Value):
    """What a plan takes of one kind of machine."""

    pool: str
    gpu: str
    devices: int = Field(description="most in use at a time")
    count: int | None = Field(description="owned, or the quota; None: no limit was given")
    jobs: int
    hours: float = Field(description="device hours kept, restarts counted")
    usd: float
    usd_per_hour: float
    price: str = Field(description="where the price comes from")


class Solution(Value):
    """How far the plan may be from the best one.

    `bound_usd` is what no plan that does as many jobs can cost less than, by a relaxation in which jobs may be cut in
    pieces; `gap` is (cost - bound) / cost. Both are of the expected cost.
    """

    seconds: float
    interrupted: bool = False
    out_of_time: bool = False
    bound_usd: float | None = None
    gap: float | None = None
    left_out_weight: float = Field(0.0, description="sum of the priorities of the jobs left out for lack of room")
    left_out_at_least: float | None = Field(None, description="what no plan can leave out less than")
    says: str = ""


class TeamCost(Value):
    """What a team's jobs are expected to cost, beside its budget."""

    team: str
    usd: Quantity
    budget_usd: float | None = None
    within_budget: float | None = Field(None, ge=0, le=1, description="probability of staying within the budget")


class Change(Value):
    """What another price, fleet or deadline would do to the plan."""

    asked: str
    placed_before: int
    placed_after: int
    usd_before: float
    usd_after: float
    all_in_time_before: float | None
    all_in_time_after: float | None
    moved: int = Field(description="jobs that run on another kind of machine, or no longer or only now")


class FleetPlan(Stored):
    """The plan of a fleet. `partial` plans leave jobs out, or are the best of a search that was interrupted."""

    KIND = "fleet-plan"

    start: datetime
    partial: bool
    label: str = Field(description="complete, or why it is partial")
    confidence: float = Field(description="probability for which each job's time is kept")
    placements: tuple[Placement, ...]
    unplaced: tuple[Unplaced, ...] = ()
    usd: Quantity
    all_in_time: float | None = Field(None, ge=0, le=1, description="probability that every placed job is in time")
    expected_late: float = Field(0.0, ge=0, description="expected number of placed jobs that miss their deadline")
    pools: tuple[PoolUse, ...] = ()
    teams: tuple[TeamCost, ...] = ()
    solution: Solution
    recipes: dict[str, Candidate] = Field(default_factory=dict)
    change: Change | None = Field(None, description="of what-if options: this plan against the one without them")
    notes: tuple[str, ...] = ()
