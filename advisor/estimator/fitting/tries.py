"""One value tried: the request with it, priced or refused."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.questions.fitting import Fitted
from advisor.domain.units import HOUR
from advisor.errors import BadRequest
from advisor.estimator.estimate import answer_on
from advisor.estimator.estimate_request import EstimateRequest


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a value; `candidate` is None where it was refused."""

    row: Fitted
    candidate: Candidate | None

    @property
    def fits(self) -> bool:
        return self.candidate is not None and self.candidate.fits


def tried(
    name: str,
    request: EstimateRequest,
    hardware: Hardware,
    spec: ModelSpec,
    *,
    thorough: bool,
    usd: float | None = None,
) -> Tried:
    """A request priced under a name.

    Args:
        thorough: as in `estimate.price`.
        usd: an hour of the machine; None where the cheapest offer of the catalogue counts.
    """
    try:
        candidate = answer_on(request, hardware, spec, use_measured=False, thorough=thorough)
    except BadRequest as error:
        return Tried(Fitted(name=name, refusal=error.message), None)
    seconds = candidate.time.training or candidate.time.step
    offered = [offer.usd_per_hour for offer in candidate.money.offers if not offer.spot]
    hourly = usd if usd is not None else min(offered, default=None)
    row = Fitted(
        name=name,
        fits=candidate.fits,
        need=candidate.memory.peak_device,
        limit_bytes=candidate.limit_bytes,
        seconds=seconds,
        usd_per_hour=hourly,
        usd=None if hourly is None else seconds.times(hourly / HOUR, "USD", f"{hourly:.2f} USD an hour"),
    )
    return Tried(row, candidate)
