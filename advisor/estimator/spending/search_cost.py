"""What a search over recipes takes before anything of it starts: trials, scoring, finals, and what pruning may save."""

from __future__ import annotations

from typing import Final

from advisor.domain.candidate import Candidate, SearchCost
from advisor.domain.quantity import Quantity
from advisor.domain.units import plural
from advisor.errors import BadRequest

PRUNED_SHARE: Final = 0.6
"""What a median-pruned study's trials cost on average of a full one: half of them end within a few rungs.

Assumed, not measured: it only widens the plan's interval downwards.
"""
EVALUATION_SHARE: Final = 1 / 3
"""A forward pass costs a third of a training step: FLOP of forward against forward and backward."""
EVALUATIONS: Final = 8
"""Scorings of one training in `advisor tune`, where nobody says how many."""
EVALUATION_ROWS: Final = 1000
"""Most rows of an intermediate scoring there; the last one takes all."""
HELD_BACK: Final = 1 / 8
"""Rows to score by, of those to train on: where no files are given, a tenth of all beside eight tenths."""
FINALISTS: Final = 3
"""Best trials that are trained again there with other seeds, where nobody says how many."""
FINAL_SEEDS: Final = 3
"""Seeds of each of them, the search's own counted."""


def scored_rows(evaluation: int, evaluations: int = EVALUATIONS, most: int = EVALUATION_ROWS) -> int:
    """Rows that one training is scored on, all its scorings together but for a last one on all rows."""
    return min(evaluation, most) * evaluations


def with_scoring(training: Quantity, scored: float, trained: float) -> Quantity:
    """Seconds of a training and of the scorings in it.

    Args:
        scored: rows that pass through the model without being learned from.
        trained: rows that are, all epochs counted.
    """
    share = 1 + EVALUATION_SHARE * scored / max(1.0, trained)
    return training.times(share, "s", f"{training.why}; scoring {scored:.0f} rows comes on top")


def final_trainings(trials: int, finalists: int = FINALISTS, seeds: int = FINAL_SEEDS) -> int:
    """Trainings of finalists with other seeds after so many trials."""
    tried = min(finalists, trials)
    return tried * (seeds - 1) if tried > 1 else 0


def pruned(whole: Quantity) -> Quantity:
    """A cost of trials all trained to their ends, which pruning may bring down to a share of its low end."""
    return whole.model_copy(update={"low": whole.low * PRUNED_SHARE})


def with_search(candidate: Candidate, trials: int) -> Candidate:
    """The candidate and what `advisor tune` with so many trials around it takes on this machine, one after another.

    Each trial is taken to cost what the candidate does: ranks and batches that a search tries cost more and less.

    Raises:
        BadRequest: without a number of samples nobody knows how long one trial takes.
    """
    training, money = candidate.time.training, candidate.money
    if training is None or candidate.workload.samples is None:
        raise BadRequest(
            f"what {plural(trials, 'trial')} cost cannot be said without a number of samples",
            hints=["to say how many: --samples N"],
            field="trials",
        )
    samples = candidate.workload.samples
    held = scored_rows(round(samples * HELD_BACK))
    trial = with_scoring(training, held, samples * candidate.workload.epochs)
    finals = final_trainings(trials)
    number = trials + finals
    scoring = trial.mid / training.mid
    also = f" and {plural(finals, 'final')}" if finals else ""
    why = f"{plural(trials, 'trial')}{also}, one at a time"

    def of_all(one: Quantity | None) -> Quantity | None:
        return None if one is None else pruned(one.times(scoring * number, one.unit, f"{why}; {one.why}"))

    found = SearchCost(
        trials=trials,
        finals=finals,
        trial=trial,
        seconds=pruned(trial.times(number, "s", f"{why}; {trial.why}")),
        on_spot=of_all(candidate.time.on_spot),
        usd=of_all(money.on_demand),
        spot_usd=of_all(money.spot),
    )
    return candidate.model_copy(update={"search": found})
