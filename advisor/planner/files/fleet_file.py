"""The machines of a plan as a person writes them: owned, rented, spot; prices, quotas, hours, budgets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from advisor.domain.stored import Value
from advisor.planner.files.moments import When
from advisor.planner.solver.opening_hours import open_spans

MOST_DEVICES = 10**6


class Pool(Value):
    """Machines of one kind that are paid alike."""

    gpu: str = Field(min_length=1)
    name: str = Field("", description="what jobs call it; by default the GPU's name and how it is had")
    kind: Literal["owned", "on-demand", "spot"] = "on-demand"
    count: int | None = Field(None, ge=1, le=MOST_DEVICES, description="devices that are owned")
    quota: int | None = Field(None, ge=1, le=MOST_DEVICES, description="most devices rented at a time")
    usd_per_hour: float | None = Field(None, ge=0, description="of a device; rented: the contract's price")
    provider: str = Field("", description="whose offer of the catalogue, where no price is given")
    hours: str = Field("", description="of the day in UTC in which they may be used: 18:00-08:00")
    days: tuple[str, ...] = Field((), description="mon, tue ...: on which those hours begin")
    interruptions_per_hour: float | None = Field(None, ge=0, le=60, description="of a spot machine, expected")
    checkpoint_minutes: float | None = Field(None, gt=0, description="between checkpoints, the most that is lost")
    restart_minutes: float | None = Field(None, ge=0, description="until a training goes on after it was stopped")

    @field_validator("days", mode="before")
    @classmethod
    def _several(cls, said: object) -> object:
        return tuple(said.replace(",", " ").split()) if isinstance(said, str) else said

    @model_validator(mode="after")
    def _of_one_kind(self) -> Pool:
        if self.kind == "owned" and (self.count is None or self.quota is not None):
            raise ValueError("owned machines have a count, and no quota")
        if self.kind != "owned" and self.count is not None:
            raise ValueError("rented machines have a quota; `count` is of owned ones (kind: owned)")
        spot = (self.interruptions_per_hour, self.checkpoint_minutes, self.restart_minutes)
        if self.kind == "spot" and None in spot:
            raise ValueError(
                "a spot machine needs interruptions_per_hour, checkpoint_minutes and restart_minutes: "
                "without them nobody knows how long a job takes there"
            )
        if self.kind != "spot" and self.interruptions_per_hour is not None:
            raise ValueError("interruptions_per_hour is of spot machines (kind: spot)")
        open_spans(self.hours, self.days)
        return self

    @property
    def limit(self) -> int | None:
        """Devices at a time; None: as many as are paid."""
        return self.count if self.kind == "owned" else self.quota


class FleetFile(Value):
    """What a file of a fleet holds."""

    gpus: tuple[Pool, ...] = Field(min_length=1)
    budgets: dict[str, float] = Field(default_factory=dict, description="team -> most USD")
    budget_usd: float | None = Field(None, ge=0, description="most USD of all jobs")
    horizon: When | None = Field(None, description="deadline of jobs that name none")

    @field_validator("budgets")
    @classmethod
    def _no_debts(cls, budgets: dict[str, float]) -> dict[str, float]:
        for team, usd in budgets.items():
            if usd < 0:
                raise ValueError(f"the budget of {team!r} is below 0: {usd:g}")
        return budgets
