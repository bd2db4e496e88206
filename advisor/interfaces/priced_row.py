"""What became of one method, or of one card of a search, in the words of a row: shown while the others are priced."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from advisor.interfaces.amounts import amount

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate
    from advisor.domain.recommendation import GpuOption
    from advisor.recommender.sizing import MethodOutcome


class PricedRow(NamedTuple):
    """Words of one row. `memory` and `time` are those of the smallest recipe where none fits, empty where none runs."""

    name: str
    memory: str
    time: str
    verdict: str


HEADS = PricedRow("method", "memory", "time", "")
NOT_RUN = {"cannot-run": "cannot run", "error": "failed"}
"""Why there is not even a smallest recipe, by the refusal's kind."""


def row_of(outcome: MethodOutcome | GpuOption) -> PricedRow:
    """The row of an outcome."""
    from advisor.domain.recommendation import GpuOption

    if isinstance(outcome, GpuOption):
        several = "" if outcome.gpu_count == 1 else f"{outcome.gpu_count} x "
        if outcome.candidate is None:
            return PricedRow(f"{several}{outcome.gpu}", "", "", "refused")
        return _priced(f"{several}{outcome.gpu}, {outcome.candidate.recipe.method}", outcome.candidate)
    found = outcome.candidate or outcome.smallest
    if found is not None:
        base = "" if found.recipe.base == "dtype" else f" on {found.recipe.base}"
        return _priced(outcome.method + base, found)
    kind = "" if outcome.refusal is None else outcome.refusal.kind
    return PricedRow(outcome.method, "", "", NOT_RUN.get(kind, kind))


def _priced(name: str, found: Candidate) -> PricedRow:
    time = found.time
    took = f"{amount(time.step.mid, 's')} a step" if time.training is None else amount(time.training.mid, "s")
    return PricedRow(name, amount(found.memory.peak_device.mid, "B"), took, "fits" if found.fits else "does not fit")
