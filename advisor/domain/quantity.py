"""A number as we hand it on: an interval with a unit, a basis and a reason."""

from __future__ import annotations

from pydantic import model_validator

from advisor.domain.stored import Value
from advisor.domain.units import Basis, Unit, weakest


class Quantity(Value):
    """Where a number lies, in what unit, and on what basis we say so.

    `low`..`high` should hold the true value nine times in ten (checked by `advisor audit`);
    `mid` is what we print. `why` is one clause for the reader: "fitted on 212 H100 runs".

    Raises:
        ValidationError: an end is not finite, or low <= mid <= high does not hold.
    """

    low: float
    mid: float
    high: float
    unit: Unit
    basis: Basis
    why: str

    @model_validator(mode="after")
    def _ordered(self) -> Quantity:
        if not self.low <= self.mid <= self.high:
            raise ValueError(f"low <= mid <= high does not hold: {self.low}, {self.mid}, {self.high}")
        return self

    @classmethod
    def exact(cls, value: float, unit: Unit, basis: Basis, why: str) -> Quantity:
        """A number without an interval: a count, or one that was read and not guessed."""
        return cls(low=value, mid=value, high=value, unit=unit, basis=basis, why=why)

    @classmethod
    def around(cls, mid: float, below: float, above: float, unit: Unit, basis: Basis, why: str) -> Quantity:
        """`mid` with relative ends: `around(100, 0.05, 0.10, ...)` is 95..110. Both shares must be >= 0."""
        ends = sorted((mid * (1 - below), mid * (1 + above)))
        return cls(low=ends[0], mid=mid, high=ends[1], unit=unit, basis=basis, why=why)

    def plus(self, other: Quantity, why: str) -> Quantity:
        """The sum, never surer than its parts: ends add (errors may share a cause), the weaker basis stays."""
        if self.unit != other.unit:
            raise ValueError(f"cannot add {other.unit} to {self.unit}")
        return Quantity(
            low=self.low + other.low,
            mid=self.mid + other.mid,
            high=self.high + other.high,
            unit=self.unit,
            basis=weakest(self.basis, other.basis),
            why=why,
        )

    def times(self, factor: float, unit: Unit, why: str, basis: Basis | None = None) -> Quantity:
        """Scaled by an exact, non-negative factor (steps, a price): the relative width stays."""
        if not factor >= 0:
            raise ValueError(f"a factor must be a number >= 0, not {factor}")
        return Quantity(
            low=self.low * factor,
            mid=self.mid * factor,
            high=self.high * factor,
            unit=unit,
            basis=weakest(self.basis, basis) if basis else self.basis,
            why=why,
        )
