"""The physical constants the cost model starts from, as catalogued, each with a range and a source."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Final

from pydantic import Field, model_validator

from advisor import store
from advisor.domain.hardware import Source
from advisor.domain.stored import Stored, Value

_FOLDER: Final = Path(__file__).resolve().parent
_NORMAL_90: Final = 2 * 1.6448536269514722
"""Width of the central 90 % of a normal law, in standard deviations."""


class Constant(Value):
    """One constant; nine times in ten the true value should lie in `low`..`high`. All positive.

    Raises:
        ValidationError: low <= value <= high does not hold.
    """

    name: str
    value: float = Field(gt=0)
    low: float = Field(gt=0)
    high: float = Field(gt=0)
    unit: str
    says: str
    source: Source

    @model_validator(mode="after")
    def _ordered(self) -> Constant:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.name}: low <= value <= high does not hold")
        return self

    @property
    def log_deviation(self) -> float:
        """Standard deviation of the logarithm, were the range the central 90 % of a log-normal law."""
        return math.log(self.high / self.low) / _NORMAL_90


class Constants(Stored):
    """A file of constants."""

    KIND = "constants"

    name: str
    constants: tuple[Constant, ...]

    def __getitem__(self, name: str) -> Constant:
        for constant in self.constants:
            if constant.name == name:
                return constant
        raise KeyError(name)


@lru_cache(maxsize=8)
def load_constants(name: str) -> Constants:
    """The catalogue's constants of one kind: `time` or `memory`.

    Raises:
        BadFile: the file is missing or damaged.
    """
    return store.read(Constants, _FOLDER / f"{name}.json")


@lru_cache(maxsize=32)
def time_constants(generation: str = "") -> Constants:
    """The constants of the time model for a generation of cards (`Ampere`): its own, and generic ones for the rest.

    Own ones are catalogued as `NAME/GENERATION` in `time_by_generation`.

    Raises:
        BadFile: a file is missing or damaged.
    """
    own: dict[str, Constant] = {}
    for constant in load_constants("time_by_generation").constants:
        name, _, belongs = constant.name.partition("/")
        if belongs == generation:
            own[name] = constant.model_copy(update={"name": name})
    generic = load_constants("time")
    return generic.model_copy(update={"constants": tuple(own.get(c.name, c) for c in generic.constants)})
