"""What came of a study, read from its storage: trials, the front, money spent; the value that is stored and shown."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor import store
from advisor.domain.quantity import Quantity
from advisor.domain.tuning import Finalist, Plan, TrialState, TunedStudy, TunedTrial
from advisor.domain.units import HOUR, plural
from advisor.errors import BadFile
from advisor.training.token_lengths import CUT_NOTE
from advisor.training.train import cpu_name, versions
from advisor.training.training_spec import TrainingResult
from advisor.training.training_worker import RESULT
from advisor.tuner.budget import settings_of
from advisor.tuner.results.finalists import Chosen
from advisor.tuner.results.progress import running, seconds_left
from advisor.tuner.search.early_best import early_best, scorings_to_wait
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import redact
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def tuned_study(
    request: TuneRequest,
    folder: Path,
    url: str,
    trials: Sequence[FrozenTrial],
    plan: Plan,
    *,
    notes: Sequence[str] = (),
    stopped: str = "",
    finalists: tuple[Finalist, ...] = (),
    chosen: Chosen | None = None,
    finish: TrainingResult | None = None,
    report: Path | None = None,
) -> TunedStudy:
    """The study as it stands; without `chosen` and `finish` it is unfinished and says how to go on."""
    wall, total = ledger.busy_seconds(trials, _finals_spans(folder))
    ranked = ledger.best_first(request, trials)
    best = chosen.trial if chosen else (ranked[0] if ranked else None)
    per_hour = request.budget.usd_per_hour
    index = request.objectives.index("quality")
    return TunedStudy(
        name=request.name,
        folder=str(folder),
        storage=redact(url),
        workload=request.workload,
        device=request.hardware.gpu.name if request.hardware else cpu_name(),
        metric=request.metric,
        higher_is_better=request.higher_is_better,
        objectives=request.objectives,
        plan=plan,
        dimensions=request.dimensions,
        trials=tuple(tuned_trial(request, t) for t in trials),
        best=best.number if best else None,
        best_value=best.values[index] if best else None,
        best_params=dict(best.params) if best else {},
        best_recipe=settings_of(request, best)[0] if best else None,
        finalists=chosen.finalists if chosen else finalists,
        pareto=front(request, trials),
        test=finish.test if finish else {},
        intervals=finish.intervals if finish else {},
        untrained=finish.untrained if finish else {},
        untrained_intervals=finish.untrained_intervals if finish else {},
        test_rows=request.splits.rows["test"] if finish else 0,
        adapter=finish.adapter if finish else None,
        merged=finish.merged if finish else None,
        usage=finish.usage if finish else (),
        library=finish.library if finish else "",
        report=str(report) if report else None,
        stopped=stopped,
        finished=finish is not None,
        seconds=wall,
        usd=total * per_hour / HOUR if per_hour else None,
        notes=(
            *notes,
            *(() if any(note.startswith(CUT_NOTE) for note in notes) else _cut(trials, finish)),
            *(chosen.notes if chosen else ()),
            *(_early(request, chosen.trial) if chosen else ()),
            *(finish.notes[1:] if finish else ()),
        ),
        versions=versions(),
        rows_sha256=request.splits.sha256,
        running=() if finish else running(folder, trials),
        seconds_left=None if finish else seconds_left(request, folder, trials, plan),
        resume="" if finish else f"advisor tune --resume {folder}",
    )


def _finals_spans(folder: Path) -> list[tuple[datetime, datetime]]:
    """(begun, ended) of each training after the search, and of the test and export, as they lie in a study's folder."""
    found: list[tuple[datetime, datetime]] = []
    for path in folder.glob(f"finals/*/{RESULT}"):
        with contextlib.suppress(BadFile, OSError):
            ended = datetime.fromtimestamp(path.stat().st_mtime)
            took = store.read(TrainingResult, path).seconds.get("total", 0.0)
            found.append((ended - timedelta(seconds=took), ended))
    return found


def tuned_trial(request: TuneRequest, trial: FrozenTrial) -> TunedTrial:
    """One trial for readers."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    result = ledger.outcome_of(trial)
    said: dict[str, Any] = trial.user_attrs.get(ledger.PREDICTED, {})
    settings = settings_of(request, trial) if trial.params else None
    owner = trial.user_attrs.get(ledger.OWNER)
    curve = result.curve if result else tuple(sorted(trial.intermediate_values.items()))
    return TunedTrial(
        number=trial.number,
        state=_state(trial, result),
        reason=result.reason if result else "",
        method=settings[0].method if settings else "",
        params=dict(trial.params),
        recipe=settings[0] if settings else None,
        workload=settings[1] if settings else None,
        values=tuple(trial.values or ()) if _state(trial, result) == "complete" else (),
        metrics=result.metrics if result else {},
        intervals=result.intervals if result else {},
        seed=request.seed,
        versions=result.versions if result else {},
        weights_sha256=result.weights_sha256 if result else None,
        curve=curve,
        seconds=result.seconds if result else {},
        predicted_bytes=_quantity(said.get("bytes")),
        measured_bytes=(result.peak_reserved_bytes or result.peak_process_bytes) if result else None,
        predicted_seconds=_quantity(said.get("seconds")),
        measured_seconds=result.seconds.get("total") if result else None,
        retry_of=RetryHeartbeatStaleTrialCallback.retried_trial_number(trial),
        origin=str(trial.user_attrs.get(ledger.ORIGIN, "sampler")),
        worker=f"{owner['host']}:{owner.get('index', 0)}" if owner else "",
    )


def front(request: TuneRequest, trials: Sequence[FrozenTrial]) -> tuple[int, ...]:
    """Numbers of the complete trials that no other beats in every objective."""
    from optuna.trial import TrialState as State

    signs = [-1.0 if o == "quality" and request.higher_is_better else 1.0 for o in request.objectives]
    done = [
        (t.number, [s * v for s, v in zip(signs, t.values, strict=True)]) for t in trials if t.state == State.COMPLETE
    ]

    def beaten(values: list[float]) -> bool:
        return any(all(o <= v for o, v in zip(other, values, strict=True)) and other != values for _, other in done)

    return tuple(number for number, values in done if not beaten(values))


def _state(trial: FrozenTrial, result: TrainingResult | None) -> TrialState:
    from optuna.trial import TrialState as State

    if trial.state == State.RUNNING:
        return "running"
    if trial.state == State.WAITING:
        return "waiting"
    if ledger.infeasible(trial):
        return "infeasible"
    if result is not None:
        return result.status
    return "complete" if trial.state == State.COMPLETE else "failed"


def _quantity(document: dict[str, Any] | None) -> Quantity | None:
    return None if document is None else Quantity.model_validate(document)


def _early(request: TuneRequest, trial: FrozenTrial) -> list[str]:
    """What to say of a chosen training most of which was for nothing."""
    result = ledger.outcome_of(trial)
    percent = early_best(result.curve, higher=request.higher_is_better) if result and request.seeds == 1 else None
    if percent is None:
        return []
    epochs = settings_of(request, trial)[1].epochs
    return [
        f"the best of trial {trial.number} came at {percent} % of its training, {epochs * percent / 100:.2g} of "
        f"{epochs:.3g} epochs, and later steps gained nothing: next time --epochs {epochs * 2 * percent / 100:.2g}, or "
        f"--early-stopping {scorings_to_wait(request.evaluations)}"
    ]


def _cut(trials: Sequence[FrozenTrial], finish: TrainingResult | None) -> list[str]:
    """How many rows were cut to the length, said once: it is the same in every trial."""
    found = next((r.truncated for t in trials if (r := ledger.outcome_of(t)) and r.truncated), dict[str, int]())
    cut = {**found, **(finish.truncated if finish else {})}
    return [f"{name}: {plural(count, 'row')} cut to the longest length" for name, count in cut.items() if count]
