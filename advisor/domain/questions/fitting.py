"""What fits: the largest batch, length or model on a GPU, or the GPUs that a recipe fits."""

from __future__ import annotations

from pydantic import Field

from advisor.domain.candidate import Candidate
from advisor.domain.quantity import Quantity
from advisor.domain.request.vocabulary import Varied
from advisor.domain.stored import Value


class Fitted(Value):
    """One value that was tried: a batch, a length, a model or a GPU; `refusal` says why it cannot be priced."""

    name: str
    fits: bool = False
    need: Quantity | None = Field(default=None, description="bytes on one device at the peak")
    limit_bytes: int | None = None
    seconds: Quantity | None = Field(default=None, description="of the training; of a step where no samples are known")
    usd_per_hour: float | None = Field(default=None, description="of the machine, cheapest on-demand offer")
    usd: Quantity | None = Field(default=None, description="of the training; of a step where no samples are known")
    refusal: str = ""


class Fitting(Value):
    """The answer to what fits: `found` is the candidate at the value found, `says` a sentence on it.

    Of GPUs `found` is of the cheapest (the smallest where no price is known), `smallest` and `cheapest` name both.
    """

    vary: Varied
    value: str
    says: str
    found: Candidate
    tried: tuple[Fitted, ...]
    smallest: str = ""
    cheapest: str = ""
    notes: tuple[str, ...] = ()
