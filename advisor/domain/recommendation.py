"""What recommend() hands on: the choice, the ranking, the refusals, and what would change its mind."""

from __future__ import annotations

from pydantic import Field

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.quantity import Quantity
from advisor.domain.request.vocabulary import Sharding
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


class ChoiceRisk(Value):
    """What choosing one ranked method may lose against the best of them, and what it costs beyond the cheapest."""

    method: str
    points_lost: float = Field(ge=0, description="expected, against the method that turns out best")
    best: float = Field(ge=0, le=1, description="probability of being the best")
    within_tolerance: float = Field(ge=0, le=1, description="probability of being within the tolerance of the best")
    above_choice: float = Field(ge=0, le=1, description="probability of scoring higher than the first of those ranked")
    extra_seconds: float = Field(ge=0, description="beyond the quickest training of those ranked")
    extra_usd: float | None = Field(None, ge=0, description="beyond the cheapest; None without prices")


class AbilityLost(Value):
    """One study's word on what a method forgets: `kept` > 0 is less than full fine-tuning does, `lost` > 0 a loss.

    Intervals are 90 % of the mean over the study's own settings; None where it ran one.
    """

    study: str
    url: str
    measure: str
    unit: str
    kept: float | None = Field(None, description="against full fine-tuning in the same setting; None: it is that")
    kept_low: float | None = None
    kept_high: float | None = None
    lost: float | None = Field(None, description="against the untouched model; None where the study has it not")
    lost_low: float | None = None
    lost_high: float | None = None
    settings: int


class SideEffects(Value):
    """What a ranked method leaves behind besides its score. Bytes are exact: parameters in the dtype they serve in."""

    method: str
    adapter_bytes: int = Field(ge=0, description="of what one task adds, the whole model where that is trained")
    beside_base: int | None = Field(
        None, ge=0, description="adapters that fit beside the base's weights alone; None where that is no question"
    )
    merges: bool
    latency: str
    serving: str
    throughput: str = Field(description="of many adapters at once, with its source, or unknown")
    lost: tuple[AbilityLost, ...] = Field((), description="empty: no study has measured what it forgets")


class GpuOption(Value):
    """One card of a search over cards: the best recipe on it at its cheapest offer, or why there is none.

    `usd_per_hour` is what the whole machine costs; None where no price is known. `on_front`: no other card is both
    faster and cheaper.
    """

    gpu: str
    gpu_count: int = 1
    sharding: Sharding | None = None
    usd_per_hour: float | None = None
    candidate: Candidate | None = None
    refusal: str = ""
    on_front: bool = False


class PriceBreak(Value):
    """A price of one machine at which the answer is another one, all else as it is."""

    machine: str
    usd_per_hour: float = Field(description="of the whole machine, as the answer has it")
    at_usd_per_hour: float
    change: float = Field(description="share by which the price changes until then; below 0: it falls")
    choice: str = Field(description="the machine or method that is chosen then; empty: nothing keeps the budget")


class PointPrice(Value):
    """What a point of quality costs with a method in the place of a cheaper one. Points and USD nine times in ten.

    `usd_per_point_high` is None where the gain may be none, so that the price has no upper end.
    """

    method: str
    against: str
    points: Quantity = Field(description="gained, expected above 0")
    chance: float = Field(ge=0, le=1, description="probability of any gain")
    extra_usd: Quantity
    usd_per_point: float
    usd_per_point_low: float
    usd_per_point_high: float | None = None


class Recommendation(Stored):
    """The ranked answer. `ranked[0]` is the recommendation; `tune()` starts there, `plan()` asks one a workload.

    `gpus` holds the cards of a search over several, best first, then those refused; empty where one was named.
    """

    KIND = "recommendation"

    workload: Workload
    hardware: Hardware
    policy: str
    spot: bool = Field(False, description="money is quoted at spot prices, as was asked for")
    ranked: tuple[Candidate, ...]
    settings: tuple[Setting, ...] = Field((), description="hyperparameters of ranked[0]")
    why: tuple[str, ...] = ()
    risks: tuple[ChoiceRisk, ...] = Field((), description="of each ranked method; empty where no quality is predicted")
    side_effects: tuple[SideEffects, ...] = Field((), description="of each ranked method")
    refused: tuple[Refusal, ...] = ()
    would_change: tuple[str, ...] = ()
    price_breaks: tuple[PriceBreak, ...] = Field(
        (),
        description="of the cards of a search, or of one machine under a budget: where the answer changes",
    )
    point_prices: tuple[PointPrice, ...] = Field(
        (), description="of ranked methods that are expected to do better than a cheaper one, the cheapest first"
    )
    gpus: tuple[GpuOption, ...] = ()
    notes: tuple[str, ...] = Field((), description="how the model, GPU and lengths were resolved; staleness; basis")

    @property
    def choice(self) -> Candidate:
        return self.ranked[0]
