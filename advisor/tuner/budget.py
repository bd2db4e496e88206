"""From a budget to a plan before anything starts, and from finished trials to what is left of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.tuning import Plan
from advisor.domain.units import HOUR, duration, plural
from advisor.domain.workload import Workload
from advisor.estimator.spending.search_cost import final_trainings, pruned
from advisor.tuner.search.local_moves import first_trials
from advisor.tuner.search.samplers_and_pruners import noise_of, not_worth_more
from advisor.tuner.search.space import apply, start_params
from advisor.tuner.storage import trials as ledger
from advisor.tuner.trial_cost import FinishedTrials, predict, tokens_of
from advisor.tuner.tune_request import TuneRequest, finish_seconds

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

UNBOUNDED_TRIALS: Final = 1000
"""Of a plan whose budget is hours or USD, before the first trial told how long one takes."""
FAILED_ALIKE: Final = 4
"""Trials that fail for one reason, before any came to its end, after which the search is given up."""
FINALS_SHARE: Final = 1 / 3
"""Of hours or USD that the finalists' other seeds may take, at most; what cannot be paid is not trained."""
NEARLY: Final = 0.1
"""Of a training: a budget that falls so little short of the next one still pays for it."""
FLOOR_TRIALS: Final = 20
"""A search is never called flat before this many trials, or twice its dimensions."""


def make_plan(request: TuneRequest, workers: int = 1, past: Sequence[FinishedTrials] = ()) -> Plan:
    """How many trials the budget pays for, and what they will take; from the cost model, or from past trials."""
    start = start_params(request.dimensions)
    recipe, workload = apply(start, request.dimensions, request.starts, request.workload)
    prediction = predict(request, recipe, workload, past)
    trial = prediction.seconds
    if trial is not None and request.seeds > 1:
        trial = trial.times(request.seeds, "s", f"{trial.why}; {request.seeds} seeds a trial")
    limits: dict[str, float] = {}
    budget = request.budget
    if budget.trials is not None:
        limits["trials"] = budget.trials
    if trial is not None and budget.seconds is not None:
        limits["hours"] = _trials_within(request, budget.seconds * workers / trial.mid)
    if trial is not None and budget.usd is not None and budget.usd_per_hour is not None:
        limits["usd"] = _trials_within(request, budget.usd / budget.usd_per_hour * HOUR / trial.mid)
    if not limits:
        limits["hours" if budget.seconds is not None else "usd"] = UNBOUNDED_TRIALS
    bound = min(limits, key=lambda name: limits[name])
    trials = max(1, int(limits[bound]))
    notes = list(prediction.notes)
    if trial is None:
        notes.append("how long a trial takes is not known before the first one: the budget is kept by the clock")
    if request.ends_at is not None:
        after = "how long test and export take is not known"
        if request.measured is not None:
            after = f"about {duration(finish_seconds(request, request.measured))} of them are kept for test and export"
        notes.append(f"the hours are kept by the clock: at their end what trains is ended and scored; {after}")
    more = finals_of(request, trials)
    if bound != "trials":
        more = min(more, math.ceil(trials * request.seeds * FINALS_SHARE / (1 - FINALS_SHARE)))
    finals = math.ceil(more / workers) / request.seeds
    if more:
        took = "" if trial is None else f": about {duration(trial.mid * finals)} of all"
        notes.append(f"{more} trainings are the finalists' with other seeds, at the end{took}")
    total = usd = None
    if trial is not None:
        after = f" and {plural(more, 'final')}" if more else ""
        said = f"{plural(trials, 'trial')}{after} on {plural(workers, 'worker')}; {trial.why}"
        saved: Callable[[Quantity], Quantity] = (lambda whole: whole) if request.pruner == "none" else pruned
        total = saved(trial.times(math.ceil(trials / workers) + finals, "s", said))
        if budget.usd_per_hour is not None:
            price, why = budget.usd_per_hour / HOUR, f"{said}; at your price an hour"
            usd = saved(trial.times((trials + more / request.seeds) * price, "USD", why))
    return Plan(
        trials=trials,
        bound_by=bound,  # type: ignore[arg-type]
        trial=trial,
        seconds=total,
        usd=usd,
        rungs=ledger.rungs_of(request),
        workers=workers,
        sampler=request.sampler,
        pruner=request.pruner,
        first=first_trials(request.dimensions, request.neighbours)[:trials],
        notes=tuple(notes),
    )


def finals_of(request: TuneRequest, trials: int) -> int:
    """Trainings after a search of so many trials: each finalist's other seeds, and the last one if it was asked for."""
    return final_trainings(trials, request.finalists, request.final_seeds) + request.retrain


def _trials_within(request: TuneRequest, affordable: float) -> float:
    """Of what pays for so many trials, how many are left when the finals are kept back."""
    finals = min(finals_of(request, int(affordable)) / request.seeds, affordable * FINALS_SHARE)
    return max(1.0, affordable - finals)


def finals_afforded(request: TuneRequest, trials: Sequence[FrozenTrial], tried: int) -> tuple[int, int]:
    """(finalists, seeds of each) that the rest of the budget pays for: `tried` with as many seeds as asked, or fewer.

    (1, 1) where it pays for none, or one trial only can be a finalist.
    """
    wall, total = ledger.busy_seconds(trials)
    each, budget = _training_seconds(request, trials), request.budget
    most = math.inf
    if budget.seconds is not None and each:
        most = min(most, (budget.seconds - wall) * _at_a_time(wall, total) / each)
    if budget.usd is not None and budget.usd_per_hour is not None and each:
        most = min(most, (budget.usd / budget.usd_per_hour * HOUR - total) / each)
    if request.trainings_end_at is not None and each:
        most = min(most, (request.trainings_end_at - time.time()) * _at_a_time(wall, total) / each)
    most += NEARLY - request.retrain
    found = [
        (finalists, seeds)
        for finalists in range(2, tried + 1)
        for seeds in range(2, request.final_seeds + 1)
        if finalists * (seeds - 1) <= most
    ]
    return max(found, key=lambda pair: (pair[0] * (pair[1] - 1), pair[1]), default=(1, 1))


def _training_seconds(request: TuneRequest, trials: Sequence[FrozenTrial]) -> float:
    """One training with one seed: the mean of those that came to their end, else as predicted; 0 unknown."""
    outcomes = [ledger.outcome_of(t) for t in trials]
    took = [o.seconds.get("total", 0.0) for o in outcomes if o is not None and o.status == "complete"]
    if not took:
        said = [quantity(t.user_attrs.get(ledger.PREDICTED, {}).get("seconds")) for t in trials]
        took = [one.mid for one in said if one is not None]
    return sum(took) / len(took) / request.seeds if took else 0.0


def _at_a_time(wall: float, total: float) -> float:
    """Trials at a time, as they went so far."""
    return max(1.0, total / wall) if wall else 1.0


def budget_left(request: TuneRequest, trials: Sequence[FrozenTrial]) -> tuple[float | None, float | None]:
    """(seconds, USD) left for trials; None where that is not limited. Running trials count up to now.

    The finals' part is kept back, as far as it can be told by now.
    """
    wall, total = ledger.busy_seconds(trials)
    budget, seconds, usd = request.budget, None, None
    finals = finals_of(request, len(ledger.billable_trials(trials))) * _training_seconds(request, trials)
    if budget.seconds is not None:
        seconds = budget.seconds - wall - min(finals / _at_a_time(wall, total), budget.seconds * FINALS_SHARE)
        if request.trainings_end_at is not None:
            # the clock runs on while workers start and settings are chosen
            kept = min(finals / _at_a_time(wall, total), budget.seconds * FINALS_SHARE)
            seconds = min(seconds, request.trainings_end_at - time.time() - kept)
    if budget.usd is not None and budget.usd_per_hour is not None:
        price = budget.usd_per_hour / HOUR
        usd = budget.usd - total * price - min(finals * price, budget.usd * FINALS_SHARE)
    return seconds, usd


def budget_spent_reason(request: TuneRequest, trials: Sequence[FrozenTrial]) -> str | None:
    """Which budget is used up, or None."""
    budget, run = request.budget, len(ledger.billable_trials(trials))
    if budget.trials is not None and run >= budget.trials and not ledger.is_active(trials, request.max_retries):
        return f"{plural(run, 'trial')} {'was' if run == 1 else 'were'} asked for"
    seconds, usd = budget_left(request, trials)
    kept = ", but for what the finals take" if finals_of(request, run) else ""
    if seconds is not None and seconds <= 0 and run:
        assert budget.seconds is not None
        return f"the budget of {duration(budget.seconds)} is spent{kept}"
    if usd is not None and usd <= 0 and run:
        return f"the budget of {budget.usd:.2f} USD is spent{kept}"
    return None


def all_failed_reason(trials: Sequence[FrozenTrial]) -> str | None:
    """Why no further trial would come to its end either, or None: the first of them failed, all for one reason."""
    outcomes = [ledger.outcome_of(t) for t in ledger.billable_trials(trials) if t.state.is_finished()]
    reasons = {o.reason for o in outcomes if o is not None and o.status == "failed"}
    if len(outcomes) < FAILED_ALIKE or len(reasons) != 1 or any(o is None or o.status != "failed" for o in outcomes):
        return None
    return f"the first {len(outcomes)} trials failed alike: {next(iter(reasons))}"


def plateau_reason(request: TuneRequest, trials: Sequence[FrozenTrial]) -> str | None:
    """Why more trials are not worth their price, or None. Only where one score decides."""
    if len(request.objectives) > 1:
        return None
    scored = [t for t in trials if t.value is not None]
    if not scored:
        return None
    values = [t.value for t in scored if t.value is not None]
    best = max(values) if request.higher_is_better else min(values)
    floor = max(FLOOR_TRIALS, 2 * len(request.dimensions))
    patience = request.patience or floor

    def price(count: int) -> str:
        _, total = ledger.busy_seconds(trials)
        each = total / max(1, len(ledger.billable_trials(trials)))
        usd = request.budget.usd_per_hour
        return duration(each * count) + (f", {each * count * usd / HOUR:.2f} USD" if usd else "")

    noise = noise_of(request.metric, best, request.splits.rows["evaluation"])
    return not_worth_more(scored, higher=request.higher_is_better, patience=patience, noise=noise, price=price)


def past_of(request: TuneRequest, trials: Sequence[FrozenTrial]) -> list[FinishedTrials]:
    """What finished trials teach of the next ones; pruned ones count for the share they ran."""
    found: list[FinishedTrials] = []
    for trial in trials:
        result = ledger.outcome_of(trial)
        if result is None or result.status not in ("complete", "pruned") or not result.curve or not result.seconds:
            continue
        _, workload = settings_of(request, trial)
        share = result.curve[-1][0] / 100 if request.seeds == 1 else 1.0
        said = trial.user_attrs.get(ledger.PREDICTED, {})
        found.append(
            FinishedTrials(
                tokens=tokens_of(request, workload) * share,
                train_seconds=result.seconds["train"],
                other_seconds=result.seconds["total"] - result.seconds["train"],
                predicted_bytes=raw_bytes(said),
                measured_bytes=result.peak_reserved_bytes or result.peak_process_bytes,
                predicted_seconds=said.get("seconds", {}).get("mid"),
            )
        )
    return found


def raw_bytes(said: dict[str, dict[str, float]]) -> float | None:
    """The model's own word for memory, before trials of this study corrected it."""
    model = said.get("model_bytes")
    return None if model is None else model["mid"]


def settings_of(request: TuneRequest, trial: FrozenTrial) -> tuple[Recipe, Workload]:
    """What a trial ran."""
    return apply(trial.params, request.dimensions, request.starts, request.workload)


def quantity(document: dict[str, object] | None) -> Quantity | None:
    """A quantity as a trial carries it."""
    return None if document is None else Quantity.model_validate(document)
