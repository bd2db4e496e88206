"""The expected quality of weights stored in 16 bits, where their updates are too small for it."""

from __future__ import annotations

from typing import Final

from advisor.catalog.training_precision import MEASURED_IN_BFLOAT16
from advisor.domain.candidate import Quality
from advisor.domain.quantity import Quantity

WORST: Final = 100.0
"""Points: a score cannot fall by more than the whole scale."""


UNSTUDIED: Final = (
    "precision: weights and moments in bfloat16, where Kahan summation carries what a step changes below half a bit; "
    "no study of it bears on the quality, so its range reaches as low as without"
)


def with_kahan_summation(quality: Quality) -> Quality:
    """A quality predicted from trainings with float32 weights, for one that sums bfloat16 ones with a compensation.

    What rounding costs without the compensation bounds what it may cost with it.
    """
    pure, kept = MEASURED_IN_BFLOAT16
    effect = quality.effect
    low = max(-WORST, effect.low - 100 * (kept - pure))
    why = f"{effect.why}; no study of bfloat16 weights with Kahan summation"
    wider = effect.model_copy(update={"low": low, "basis": "assumed", "why": why})
    return quality.model_copy(update={"effect": wider, "warnings": (*quality.warnings, UNSTUDIED)})


def with_lost_updates(quality: Quality, warning: str) -> Quality:
    """A quality predicted from trainings that kept their updates, for one that loses many of them.

    The one measurement there is bounds the loss: anything from none to that is taken as equally likely.

    Args:
        quality: in points against full fine-tuning as studies ran it.
        warning: of `precision_warning`; "" leaves the quality as it is.
    """
    if not warning:
        return quality
    pure, kept = MEASURED_IN_BFLOAT16
    loss = 100 * (kept - pure)
    effect = quality.effect
    lowered = Quantity(
        low=max(-WORST, effect.low - loss),
        mid=max(-WORST, effect.mid - loss / 2),
        high=effect.high,
        unit=effect.unit,
        basis="assumed",
        why=f"{effect.why}; lowered by up to {loss:.1f} points for updates lost in 16 bits",
    )
    within = quality.within_one_point / loss if loss > 1 else quality.within_one_point
    return quality.model_copy(
        update={
            "effect": lowered,
            "within_one_point": within,
            "evidence": f"{quality.evidence}; studies kept float32 weights, this recipe does not",
            "warnings": (*quality.warnings, warning),
        }
    )
