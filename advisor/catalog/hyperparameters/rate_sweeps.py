"""Searches of the learning rate alone as data: one method on one model at many rates, and which was best."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final, Literal

from pydantic import Field, model_validator

from advisor import store
from advisor.catalog.findings.method_names import our_name
from advisor.domain.stored import Stored, Value

FILE: Final = Path(__file__).parent / "rate_sweeps.json"


class RateSweep(Value):
    """One search, with Adam at a batch of `batch` samples for `steps` steps; `alpha` is LoRA's at that `rank`.

    `curve` holds (rate, score) where the scores were published, a higher score being better; `metric` is their unit.
    """

    study: str
    method: str
    model: str
    family: Literal["llama", "qwen"]
    hidden: int = Field(ge=1, description="width of the residual stream")
    rank: int | None = Field(None, ge=1)
    alpha: float | None = Field(None, gt=0)
    batch: int = Field(ge=1)
    steps: int = Field(ge=1)
    objective: Literal["sft", "grpo"]
    best: float = Field(gt=0)
    metric: str = ""
    curve: tuple[tuple[float, float], ...] = ()
    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _lawful(self) -> RateSweep:
        if our_name(self.method) != self.method:
            raise ValueError(f"method {self.method!r} must be written {our_name(self.method)!r}")
        rates = [rate for rate, _ in self.curve]
        if rates != sorted(set(rates)):
            raise ValueError(f"{self.study} {self.method}: rates must rise")
        if self.curve and self.best != max(self.curve, key=lambda point: point[1])[0]:
            raise ValueError(f"{self.study} {self.method}: {self.best:g} is not the best rate of its curve")
        return self


class RateSweeps(Stored):
    """All published searches of a rate that ship."""

    KIND = "rate-sweeps"

    sweeps: tuple[RateSweep, ...]


@cache
def load_sweeps() -> tuple[RateSweep, ...]:
    """The searches that ship, read once a process.

    Raises:
        BadFile: the file is missing, corrupt or breaks a law.
    """
    return store.read(RateSweeps, FILE).sweeps
