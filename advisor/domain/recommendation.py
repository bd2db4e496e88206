"""What recommend() hands on: the choice, the ranking, the refusals, and what would change its mind."""

from __future__ import annotations

from pydantic import Field

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.stored import Stored, Value
from advisor.domain.workload import Workload


class Refusal(Value):
    """A method that was considered and not offered, with the true reason."""

    method: str
    reason: str
    kind: str = Field(
        description="cannot-run | does-not-fit | dominated | over-budget | over-deadline | excluded | error"
    )


class Setting(Value):
    """One recommended hyperparameter: value, range to search, where it comes from, and any conflict among sources."""

    name: str
    value: float | int | str | bool | list[str] | None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    why: str
    sources: tuple[str, ...] = ()
    conflict: str = ""


class Recommendation(Stored):
    """The ranked answer. `ranked[0]` is the recommendation; `tune()` starts there, `plan()` asks one a workload."""

    KIND = "recommendation"

    workload: Workload
    hardware: Hardware
    policy: str
    spot: bool = Field(False, description="money is quoted at spot prices, as was asked for")
    ranked: tuple[Candidate, ...]
    settings: tuple[Setting, ...] = Field((), description="hyperparameters of ranked[0]")
    why: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    would_change: tuple[str, ...] = ()
    notes: tuple[str, ...] = Field((), description="how the model, GPU and lengths were resolved; staleness; basis")

    @property
    def choice(self) -> Candidate:
        return self.ranked[0]
