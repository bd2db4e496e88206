"""The jobs of a plan as a person writes them: what is trained, until when, after what, how often."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from advisor.domain.plain_values import is_mapping
from advisor.domain.request.verb_options import EstimateOptions, RecommendOptions
from advisor.domain.stored import Value
from advisor.planner.files.moments import When

OF_THE_FLEET: Final = frozenset(
    (
        *("gpu", "gpu_memory", "gpu_like", "count", "usd_per_hour", "budget_usd", "deadline_hours", "spot"),
        *("interruptions_per_hour", "checkpoint_minutes", "restart_minutes"),
    )
)
"""Arguments of estimate and recommend that the fleet and the job's own deadline answer."""
OF_A_RECIPE: Final = frozenset({"model", *EstimateOptions.__annotations__, *RecommendOptions.__annotations__}) - (
    OF_THE_FLEET
)
"""Keys of a job that go on to `advisor.estimate` or `advisor.recommend`."""
FOR_ESTIMATE: Final = (
    frozenset(EstimateOptions.__annotations__) - frozenset(RecommendOptions.__annotations__) - {"gpus", "trials"}
)
"""Those that say more of a recipe than `advisor.recommend` takes: where one is there, the recipe is given."""
MOST_COPIES: Final = 10**5

Hours = float | tuple[float, float, float]
"""Hours of one training that the user knows: a number, or low, expected and high (nine times in ten within)."""


class FleetJob(Value):
    """One training, or several of the same kind."""

    name: str = Field(min_length=1, max_length=200)
    team: str = ""
    priority: float = Field(1.0, gt=0, le=1000, description="how much leaving it out weighs against others")
    earliest: When | None = None
    deadline: When | None = None
    repeats: int = Field(1, ge=1, le=MOST_COPIES, description="independent copies; they may run side by side")
    trials: int = Field(1, ge=1, le=10**4, description="trainings of a search, one after another on one device")
    gpus: int = Field(1, ge=1, le=1024, description="devices of one machine that each training takes at a time")
    max_gpus: int | None = Field(
        default=None, ge=1, le=1024, description="most devices of it: on each GPU so many as its deadline asks for"
    )
    after: tuple[str, ...] = Field((), description="jobs that must be finished first")
    pools: tuple[str, ...] = Field((), description="pools or GPUs it may run on; empty: any of the fleet")
    hours: Hours | dict[str, Hours] | None = Field(
        None, description="of one training, where they are known; by GPU or pool, or the same on all"
    )
    question: dict[str, Any] = Field(default_factory=dict, description="model, data and recipe, as estimate takes them")

    @model_validator(mode="before")
    @classmethod
    def _sorted(cls, said: Any) -> Any:
        """Keys of a recipe are gathered in `question`; others that are not a job's own are refused."""
        if not is_mapping(said) or "question" in said:
            return said
        own = set(cls.model_fields) - {"question"}
        made: dict[str, Any] = {"question": {}}
        for key, value in said.items():
            name = str(key)
            if name in own:
                made[name] = value
            elif name in OF_A_RECIPE:
                made["question"][name] = value
            else:
                raise ValueError(_unknown_key(name, own))
        return made

    @field_validator("after", "pools", mode="before")
    @classmethod
    def _several(cls, said: Any) -> Any:
        return (said,) if isinstance(said, str) else said

    @model_validator(mode="after")
    def _one_number_of_gpus(self) -> FleetJob:
        if self.max_gpus is None:
            return self
        if "gpus" in self.model_fields_set:
            raise ValueError("gpus says how many, max_gpus how many at most: one of them")
        given = sorted(FOR_ESTIMATE & set(self.question))
        if given:
            raise ValueError(f"max_gpus is of a recipe that is chosen, and {given[0]} of one that is given: say gpus")
        if self.hours is not None:
            raise ValueError("hours are of a known number of gpus; max_gpus is of a model whose times are estimated")
        return self

    @property
    def numbers_of_gpus(self) -> tuple[int, ...]:
        """How many devices a training may take: as said, or 1, 2, 4 ... up to the most."""
        if self.max_gpus is None:
            return (self.gpus,)
        return tuple(2**power for power in range(self.max_gpus.bit_length()))

    @model_validator(mode="after")
    def _has_a_time(self) -> FleetJob:
        if self.hours is None and "model" not in self.question:
            raise ValueError("a job says its model, or the hours it takes")
        known = self.hours.values() if isinstance(self.hours, Mapping) else () if self.hours is None else (self.hours,)
        for hours in known:
            ends = hours if isinstance(hours, tuple) else (hours,)
            if min(ends) <= 0 or list(ends) != sorted(ends) or max(ends) > 10**6:
                raise ValueError(f"hours are a number above 0, or low, expected and high in this order, not {hours}")
        return self


class RunningJob(Value):
    """A job that runs already: where, and since when."""

    job: str
    pool: str
    started: When
    progress: float | None = Field(None, gt=0, lt=1, description="share that is done; leave it out if unknown")


class JobsFile(Value):
    """What a file of jobs holds."""

    jobs: tuple[FleetJob, ...] = Field(min_length=1)
    running: tuple[RunningJob, ...] = ()
    done: tuple[str, ...] = Field((), description="jobs that others come after and that are finished")


def _unknown_key(name: str, own: set[str]) -> str:
    if name in OF_THE_FLEET:
        return f"{name!r} is not said of a job: the fleet's file says what there is, `deadline` until when"
    near: Sequence[str] = difflib.get_close_matches(name, sorted(own | OF_A_RECIPE), n=3)
    return f"unknown key {name!r}; near names: {', '.join(near)}" if near else f"unknown key {name!r}"
