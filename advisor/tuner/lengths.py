"""How long a training must be for its settings to hold, and what changes where it cannot be that long.

Published rates and batches were found in trainings that converged. Where somebody asks for fewer steps than the
method needs, the same settings leave it where it began: a fresh head has not even left the majority class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from advisor.catalog.methods import find_method
from advisor.domain.recommendation import Setting
from advisor.domain.workload import Workload
from advisor.estimator.steps import fewest_steps

STEPS_TO_CONVERGE: Final = 1000
"""Optimizer steps where nobody said how many a method needs: what most got that were tuned on small data."""
USUAL_BATCH: Final = 16
SMALLEST_BATCH: Final = 4
"""Rows; below, a step's fixed costs outweigh its rows on every device, and gradients are mostly noise."""
HIGHEST_RANK: Final = 64
"""Up to which a short training raises the rank: 8 to 64 end alike where trainings converge (QLoRA, section 4)."""
MOST: Final = 4.0
"""The rate is never raised by more: beyond, the published rate says nothing of this training."""
RAISED_WARM_UP: Final = 0.1
"""Share of a training with raised settings that warms up: without, encoders on few rows often end at one class
(arXiv:2006.04884, which takes a tenth)."""


def steps_of(workload: Workload, batch: int | None = None) -> int:
    """Optimizer steps of a training, a last small batch counted."""
    rows = workload.samples or 0
    return max(1, round(-(-rows // (batch or workload.effective_batch_size)) * workload.epochs))


def converging_epochs(method: str, workload: Workload, published: Sequence[Setting]) -> tuple[float, str]:
    """Epochs where nobody says: about as many steps as the method needs, within what was published for it."""
    said = next((s for s in published if s.name == "epochs"), None)
    if said is None or not isinstance(said.value, (int, float)) or workload.samples is None:
        return workload.epochs, ""
    needed = steps_needed(method) or STEPS_TO_CONVERGE
    a_step = -(-workload.samples // workload.effective_batch_size)
    low, high = said.low or said.value, said.high or said.value
    epochs = float(round(min(max(needed / a_step, low, 1.0), high)))
    return epochs, f"epochs: {epochs:g}, about {needed:,} steps within the published {low:g} to {high:g}"


def converging_batch(method: str, workload: Workload) -> tuple[int, str]:
    """The effective batch where nobody says: halved until the asked length gives the steps the method needs."""
    at, needed = workload.effective_batch_size, steps_needed(method)
    if needed is None or workload.samples is None:
        return at, ""
    batch = at
    while steps_of(workload, batch) < needed and batch // 2 >= SMALLEST_BATCH:
        batch //= 2
    if batch == at:
        return at, ""
    return batch, (
        f"effective batch: {batch}, since {workload.epochs:g} epochs are {steps_of(workload, at)} steps at {at} and "
        f"{steps_of(workload, batch)} at {batch}, and {method} needs about {needed:,} to converge"
    )


def shortfall(method: str, workload: Workload) -> float:
    """How many times fewer steps a training has than its method needs; 1 for one that is long enough."""
    needed = steps_needed(method)
    if needed is None or workload.samples is None:
        return 1.0
    return max(1.0, needed / steps_of(workload))


def quickened(method: str, rate: float, rank: int | None, workload: Workload) -> tuple[float, int | None]:
    """A published rate and rank for a training of this length: what makes up for missing steps.

    Under Adam a weight moves by about one rate a step, and a low-rank update, whose alpha keeps its proportion to
    the rank, by rank times rate: the same way in fewer steps takes as many times more of either. The rank comes
    first, since in the end it makes no difference, where a large rate can undo the training: a raised one often
    leaves a small encoder at one class. What the rank cannot make up the rate does, within the method's range.
    """
    lacking = shortfall(method, workload)
    if rank is not None and rank < HIGHEST_RANK:
        wider = min(HIGHEST_RANK, rank * 2 ** math.ceil(math.log2(lacking)))
        lacking, rank = max(1.0, lacking * rank / wider), wider
    high = find_method(method).learning_rate.high
    raised = rate * min(MOST, lacking)
    return (max(rate, min(raised, high)) if high is not None else raised), rank


def steps_needed(method: str) -> int | None:
    """Optimizer steps that the method got where it was tuned on small data; None where nobody said."""
    least = fewest_steps(method)
    return least.value if least is not None and isinstance(least.value, int) else None
