"""Trainings whose best scoring came early: the rest of them taught nothing that the evaluation rows ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

EARLY_PERCENT: Final = 25
"""Of a training: a best scoring that comes no later is called early."""
LEAST_SCORINGS: Final = 2
"""One scoring without a gain may be the noise of its rows."""


def early_best(curve: Sequence[tuple[int, float]], *, higher: bool) -> int | None:
    """Per cent of a whole training at which its best scoring came, where that was early.

    Args:
        curve: (per cent of the training, score), of one seed.
    """
    if not curve or curve[-1][0] < 2 * EARLY_PERCENT:
        return None
    sign = 1.0 if higher else -1.0
    percent, _ = max(curve, key=lambda point: (sign * point[1], -point[0]))
    return percent if percent <= EARLY_PERCENT else None


def scorings_to_wait(evaluations: int) -> int:
    """Scorings without a gain after which a training ends once the best one so far had its best early: a quarter."""
    return max(LEAST_SCORINGS, evaluations * EARLY_PERCENT // 100)
