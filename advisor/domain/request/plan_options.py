"""The arguments of `advisor plan`, in the form of those of the other verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.verb_options import Seed

FleetFile = Annotated[
    str, Argument("YAML or JSON: the GPUs, their prices, quotas, hours and budgets.", metavar="FILE", least_length=1)
]
Start = Annotated[
    str,
    Argument("When the plan begins, in UTC: 2026-12-01 08:00.", metavar="WHEN", shown_default="now", least_length=1),
]
Confidence = Annotated[
    float,
    Argument("Keep each job the time that is enough with this probability.", shown_default="0.8", ge=0.05, le=0.99),
]
TimeLimit = Annotated[float, Argument("Seconds of the search for the best plan.", shown_default="60", gt=0, le=10**5)]
Draws = Annotated[
    int, Argument("Draws of the uncertain times.", shown_default="1000, fewer for thousands of jobs", ge=20, le=10**5)
]
PriceChange = Annotated[
    str, Argument("What if: another price, H100=+20% or H100=1.99 USD an hour.", metavar="POOL=PRICE")
]
AddGpu = Annotated[str, Argument("What if: more of a pool of the fleet, or a GPU to rent.", metavar="GPU=COUNT")]
DeadlineChange = Annotated[str, Argument("What if: another deadline, of one job or of all.", metavar="JOB=WHEN")]


class PlanOptions(TypedDict, total=False):
    """The arguments of `advisor.plan` beside jobs and fleet."""

    start: Start | None
    confidence: Confidence | None
    time_limit: TimeLimit | None
    draws: Draws | None
    seed: Annotated[Seed, VerbDetail(shown_default="0")] | None
    price_change: PriceChange | Sequence[PriceChange] | None
    add_gpu: AddGpu | Sequence[AddGpu] | None
    deadline: DeadlineChange | Sequence[DeadlineChange] | None
