"""What a probe found: the methods' scores at all rows as far as a few short trainings tell, and what follows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from advisor.domain.quantity import Quantity
from advisor.domain.stored import Stored, Value


class ProbeTraining(Value):
    """One short training: planned where `score` is None."""

    method: str
    size: int
    seed: int
    rate: float
    score: float | None = Field(default=None, description="the metric on the evaluation rows")
    seconds: float | None = Field(default=None, description="that it took; where it is planned, that it is to take")


class ProbedMethod(Value):
    """One method: where it was thought to be, and where it is thought to be now."""

    method: str
    rate: float = Field(description="the best of the rates tried, as far as is known")
    prior: Quantity = Field(description="effect against full fine-tuning by published studies, points")
    score: Quantity = Field(description="at all rows, points (see `points`), seed and evaluation rows apart")
    best: float = Field(ge=0, le=1, description="chance to be the best of them")
    near: float = Field(ge=0, le=1, description="chance to be within the tolerance of the best")
    loss: float = Field(ge=0, description="points expected to be lost by choosing it")
    trainings: int = Field(ge=0)
    seconds: float | None = Field(default=None, description="of one training on all rows, by those that were measured")


class MoreRows(Value):
    """Rows beyond those there are that a gain needs; None where less than half of the curves reach it."""

    points: float
    rows: Quantity | None
    chance: float = Field(ge=0, le=1, description="share of the curves that reach it")
    says: str


class ProbeAnswer(Stored):
    """Which method, whether it is worth it, what more data would bring, and what asking cost."""

    KIND = "probe"

    model: str
    data: str
    folder: str
    metric: str
    points: str = Field(description="how a score becomes points")
    rows: int = Field(description="training rows there are")
    choice: ProbedMethod | None = Field(description="None before anything was trained")
    methods: tuple[ProbedMethod, ...]
    says: str
    verdict: Literal["go", "no-go", "unsure", "planned"]
    because: str
    more: MoreRows | None = None
    trainings: tuple[ProbeTraining, ...]
    planned: tuple[ProbeTraining, ...] = ()
    seconds: float = Field(description="spent on all trainings of the folder, in every session")
    seconds_of_all: float | None = Field(default=None, description="that the methods would take, each on all rows once")
    stopped: Literal["sure enough", "time budget", "nothing left", "planned"]
    notes: tuple[str, ...] = ()
    resume: str = ""


class ProbeProgress(Value):
    """One look at a probe: trainings that ended, what runs, what is left of the time."""

    done: int
    what: str
    seconds_spent: float
    seconds_budget: float
