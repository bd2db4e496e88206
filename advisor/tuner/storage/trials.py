"""A study in its storage: opening it, its trials' owners, adopting what dead workers left, counting the budget.

What must survive lies in two places: numbers in the Optuna storage, files in the study's folder. A result file
that was written before its number was told is told later by whoever finds it; a trial whose worker died without
a result runs again with the same settings, from its checkpoint where this machine has one.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from advisor import store
from advisor.errors import BadFile, BadRequest
from advisor.training.monitor import WEIGHTS
from advisor.training.training_spec import TrainingResult
from advisor.training.training_worker import RESULT
from advisor.tuner.search.samplers_and_pruners import make_pruner, make_sampler
from advisor.tuner.storage.connect import id_of, open_storage, redact, storage_of
from advisor.tuner.storage.heartbeat import OWNER, Heartbeat, is_dead
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial

REQUEST: Final = "advisor:request"
ORIGIN: Final = "advisor:origin"
OUTCOME: Final = "advisor:outcome"
PREDICTED: Final = "advisor:predicted"
RETRY: Final = "advisor:retry"
STOPPED: Final = "advisor:stopped"
NOT_LAUNCHED: Final = "not launched"
FIXED: Final = "fixed_params"
"""Where Optuna keeps what a trial was asked for by name."""
KEPT: Final = ("failed_trial", "retry_history", FIXED)
"""System attributes that a retry takes over."""


def create(request: TuneRequest, url: str) -> Study:
    """The study of a request in a storage: made, or found there with the same question.

    Raises:
        BadRequest: a study of this name asks another question.
        StoreUnavailable: the storage cannot be reached.
    """
    import optuna

    storage = open_storage(url, max_retries=request.max_retries)
    directions: list[Any] = [_direction(request, objective) for objective in request.objectives]
    study = optuna.create_study(
        study_name=request.name,
        storage=storage,
        directions=directions,
        sampler=sampler_of(request),
        pruner=make_pruner(request.pruner, rungs_of(request), request.seeds),
        load_if_exists=True,
    )
    found = study.user_attrs.get(REQUEST)
    if found is None:
        study.set_user_attr(REQUEST, request.to_document())
    else:
        same_question(request, _request_in(found, request.name, url))
    return study


def same_question(request: TuneRequest, found: TuneRequest) -> None:
    """Refuse to go on with a study that another question was asked of.

    Raises:
        BadRequest: says what differs.
    """
    before = found.question()
    differ = [key for key, value in request.question().items() if before.get(key) != value]
    if differ:
        raise BadRequest(
            f"there is a study {request.name!r} already, with another {' and '.join(differ)}",
            hints=["to begin another: --name OTHER", "to go on with it: advisor tune --resume FOLDER, its folder"],
            name=request.name,
            differ=differ,
        )


def load(name: str, url: str, worker: int = 0, salt: int = 0) -> tuple[Study, TuneRequest]:
    """A study that is there, with its request and the sampler of a worker of a machine.

    Raises:
        BadRequest: the storage has no such study, or one that advisor did not begin.
        BadFile: another version of advisor or of Optuna wrote it, and this one cannot read it.
        StoreUnavailable: the storage cannot be reached.
    """
    import optuna

    storage = open_storage(url)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        names = optuna.get_all_study_names(storage)
        near = difflib.get_close_matches(name, names, n=8, cutoff=0.5)
        raise BadRequest(
            f"the storage {redact(url)} has no study {name!r}",
            hints=[
                f"near names: {', '.join(near)}"
                if near
                else f"it has: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
                if names
                else "it has no study at all"
            ],
            name=name,
            names=names,
        ) from error
    document = study.user_attrs.get(REQUEST)
    if document is None:
        raise BadRequest(f"the study {name!r} was not begun by advisor tune", name=name)
    request = _request_in(document, name, url)
    begun = sum(t.state != optuna.trial.TrialState.WAITING for t in study.get_trials(deepcopy=False))
    study.sampler = sampler_of(request, worker, salt, begun)
    study.pruner = make_pruner(request.pruner, rungs_of(request), request.seeds)
    return study, request


def _request_in(document: Any, name: str, url: str) -> TuneRequest:
    """The request of a study, as it lies in its storage; an older version's is upgraded.

    Raises:
        BadFile: a newer version of advisor wrote it, or it is none.
    """
    try:
        return TuneRequest.from_document(document)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # a ValidationError is a ValueError
        raise BadFile(
            f"the study {name!r} in {redact(url)} is of a version of advisor that this one cannot read",
            cause=str(error).splitlines()[0],
            hints=["go on with the version that began it, or upgrade this one: pip install -U advisor"],
            name=name,
            storage=redact(url),
        ) from error


def sampler_of(request: TuneRequest, worker: int = 0, salt: int = 0, begun: int = 0) -> Any:
    """Each worker draws with its own seed, or two of them would propose the same settings.

    `salt` tells machines apart, whose workers are numbered from 0 on each. `begun` is the number of trials begun
    before this session: with one seed for all sessions a study that goes on would draw what it drew first.
    """
    seed = request.seed + 7919 * worker + salt + 15_485_863 * begun
    return make_sampler(request.sampler, seed % 2**32, 1 + request.neighbours)


def rungs_of(request: TuneRequest) -> tuple[int, ...]:
    return tuple(round(100 * k / request.evaluations) for k in range(1, request.evaluations + 1))


def _direction(request: TuneRequest, objective: str) -> Literal["maximize", "minimize"]:
    return "maximize" if objective == "quality" and request.higher_is_better else "minimize"


def recover(study: Study, folder: Path, heartbeat: Heartbeat, request: TuneRequest) -> None:
    """Adopt running trials whose worker is dead, and put back those that must run again.

    Idempotent and safe beside other workers: only one of them can move a trial out of `running`, and a trial
    marked for a retry gets exactly one, under the folder's lock. A trial without an owner was begun by a worker
    that died, or lost the storage, before it signed.
    """
    from optuna.trial import TrialState

    stale = heartbeat.stale(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        owner = trial.user_attrs.get(OWNER)
        dead = is_dead(owner) if owner else None
        if dead is None:
            dead = id_of(trial) in stale if owner and heartbeat.native else heartbeat.stopped(trial)
        if dead:
            take_over(study, trial, folder, request)
    with store.locked(folder):
        _put_back(study, request)


def take_over(study: Study, trial: FrozenTrial, folder: Path, request: TuneRequest) -> None:
    """Tell a dead worker's trial: its result where it left one, else failed and to be retried."""
    result = left_result(folder, trial)
    if result is not None and result.status != "interrupted" and request.seeds == 1:
        tell(study, trial, result, request)
    else:
        give_up(study, trial, TrainingResult(status="interrupted", reason="its worker died"), retry=True)


def left_result(folder: Path, trial: FrozenTrial) -> TrainingResult | None:
    """The result file of a trial, if its process came to write one."""
    try:
        return store.read(TrainingResult, trial_folder(folder, trial) / RESULT)
    except BadFile:
        return None


def finished_result(folder: Path) -> TrainingResult | None:
    """The result of a training that came to its end in a folder, as an earlier session may have left it."""
    try:
        result = store.read(TrainingResult, folder / RESULT)
    except BadFile:
        return None
    return result if result.status == "complete" else None


def delete_old_files(study: Study, folder: Path, request: TuneRequest) -> None:
    """Remove the weights and checkpoints of finished trials that are no longer among the best."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    live = {trial_folder(folder, t) for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)}
    kept = {trial_folder(folder, t) for t in best_first(request, trials)[: max(3, request.finalists)]}
    if len(request.objectives) > 1:
        kept |= {trial_folder(folder, t) for t in study.best_trials}
    for trial in trials:
        place = trial_folder(folder, trial)
        if trial.state.is_finished() and place not in live:
            for checkpoints in place.rglob("checkpoints"):
                shutil.rmtree(checkpoints, ignore_errors=True)
            if place not in kept:
                for weights in place.rglob(WEIGHTS):
                    weights.unlink(missing_ok=True)


def best_first(request: TuneRequest, trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials by quality, the best first; of equal scores the one with the lower evaluation loss."""
    from optuna.trial import TrialState

    done = [t for t in trials if t.state == TrialState.COMPLETE]
    index = request.objectives.index("quality")
    sign = -1.0 if request.higher_is_better else 1.0

    def key(trial: FrozenTrial) -> tuple[float, float, int]:
        result = outcome_of(trial)
        return sign * trial.values[index], result.metrics.get("loss", 0.0) if result else 0.0, trial.number

    return sorted(done, key=key)


def trial_folder(folder: Path, trial: FrozenTrial) -> Path:
    """Where a trial's files lie; a retry goes on in the folder of the trial it repeats."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return folder / "trials" / f"{trial.number if first is None else first:04d}"


def tell(study: Study, trial: FrozenTrial, result: TrainingResult, request: TuneRequest) -> None:
    """Write a finished training into the study; once only, whoever comes first."""
    from optuna.trial import TrialState

    storage, trial_id = storage_of(study), id_of(trial)
    ran = {"oom": 1.0, "failed": 1.0}.get(result.status, 0.0)
    with _unless_finished():
        for percent, score in result.curve if len(request.objectives) == 1 and request.seeds == 1 else ():
            if percent not in trial.intermediate_values:
                storage.set_trial_intermediate_value(trial_id, percent, score)
        storage.set_trial_system_attr(trial_id, "constraints:ran", ran)
        storage.set_trial_user_attr(trial_id, OUTCOME, outcome(result))
        if result.status == "complete" and result.score is not None:
            values = [_value(objective, result) for objective in request.objectives]
            study.tell(trial.number, values, skip_if_finished=True)
        elif result.status == "pruned":
            study.tell(trial.number, state=TrialState.PRUNED, skip_if_finished=True)
        else:
            # pruned, not failed: the sampler learns from pruned trials where not to look again
            state = TrialState.PRUNED if result.status == "oom" or "diverged" in result.reason else TrialState.FAIL
            study.tell(trial.number, state=state, skip_if_finished=True)


def give_up(study: Study, trial: FrozenTrial, result: TrainingResult, *, retry: bool) -> None:
    """Mark a trial failed; one to be retried says so before its state changes, so that no crash loses it."""
    from optuna.trial import TrialState

    storage, trial_id = storage_of(study), id_of(trial)
    with _unless_finished():
        storage.set_trial_user_attr(trial_id, OUTCOME, outcome(result))
        storage.set_trial_user_attr(trial_id, RETRY, retry)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)


def outcome(result: TrainingResult) -> dict[str, Any]:
    """What the storage keeps of a result: all but the list of steps, of which the middle one."""
    from statistics import median

    document = result.model_copy(update={"step_seconds": ()}).model_dump(mode="json")
    return {**document, "step_seconds": [median(result.step_seconds)] if result.step_seconds else []}


def outcome_of(trial: FrozenTrial) -> TrainingResult | None:
    """The outcome a trial carries."""
    document = trial.user_attrs.get(OUTCOME)
    return None if document is None else TrainingResult.model_validate(document)


def billable_trials(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that the budget pays for: launched ones, without those refused beforehand or since repeated."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    every = list(trials)
    repeated = {n for t in every for n in RetryHeartbeatStaleTrialCallback.retry_history(t)}
    return [t for t in every if t.state != TrialState.WAITING and not infeasible(t) and t.number not in repeated]


def waiting_retries(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Retries that wait: trials begun and lost, which come before any new one."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    waiting = (t for t in trials if t.state == TrialState.WAITING)
    return [t for t in waiting if RetryHeartbeatStaleTrialCallback.retry_history(t)]


def retryable_failures(trials: Iterable[FrozenTrial]) -> list[FrozenTrial]:
    """Failed trials that are to run again and have not been put back yet."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    every = list(trials)
    repeated = {n for t in every for n in RetryHeartbeatStaleTrialCallback.retry_history(t)}
    return [t for t in every if t.state == TrialState.FAIL and t.user_attrs.get(RETRY) and t.number not in repeated]


def is_active(trials: Iterable[FrozenTrial], most_retries: int) -> bool:
    """Whether a trial still runs, waits to run again, or is about to: it may need a worker yet."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    every = list(trials)
    if any(t.state == TrialState.RUNNING for t in every) or waiting_retries(every):
        return True
    return any(len(RetryHeartbeatStaleTrialCallback.retry_history(t)) < most_retries for t in retryable_failures(every))


def claim(study: Study, trials: Iterable[FrozenTrial]) -> Trial | None:
    """A retry of our own, if one waits and no other worker was faster."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import Trial, TrialState

    for trial in waiting_retries(trials):
        with contextlib.suppress(UpdateFinishedTrialError):
            if storage_of(study).set_trial_state_values(id_of(trial), TrialState.RUNNING):
                return Trial(study, id_of(trial))
    return None


def infeasible(trial: FrozenTrial) -> bool:
    """Refused before its launch: predicted beyond memory, time or money."""
    outcome = trial.user_attrs.get(OUTCOME)
    return bool(outcome) and outcome["reason"].startswith(NOT_LAUNCHED)


def busy_seconds(trials: Iterable[FrozenTrial], more: Iterable[tuple[datetime, datetime]] = ()) -> tuple[float, float]:
    """(wall clock during which at least one trial ran, sum over trials): hours and money are counted by these."""
    begun = [
        (t.datetime_start, t.datetime_complete or datetime.now())
        for t in trials
        if t.datetime_start is not None and not infeasible(t)
    ]
    spans = sorted([*begun, *more])
    wall, total, end = 0.0, 0.0, None
    for begin, finish in spans:
        total += max(0.0, (finish - begin).total_seconds())
        start = begin if end is None or begin > end else end
        if finish > start:
            wall += (finish - start).total_seconds()
            end = finish
    return wall, total


def _value(objective: str, result: TrainingResult) -> float:
    if objective == "quality":
        assert result.score is not None
        return result.score
    if objective == "time":
        return result.seconds["train"]
    peak = result.peak_reserved_bytes or result.peak_process_bytes
    if peak is None:
        raise BadRequest("memory cannot be measured on this system, so it cannot be an objective")
    return float(peak)


def _put_back(study: Study, request: TuneRequest) -> None:
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    again = RetryHeartbeatStaleTrialCallback(max_retry=request.max_retries)
    for trial in retryable_failures(study.get_trials(deepcopy=False)):
        fresh = copy.deepcopy(trial)
        fresh.user_attrs = {k: v for k, v in trial.user_attrs.items() if k == ORIGIN}
        # what was asked for by name stays asked for, even where the trial was lost before it drew its settings
        fresh.system_attrs = {k: v for k, v in trial.system_attrs.items() if k in KEPT}
        again(study, fresh)


@contextlib.contextmanager
def _unless_finished() -> Any:
    """Another worker told this trial meanwhile: its word stands."""
    from optuna.exceptions import UpdateFinishedTrialError

    with contextlib.suppress(UpdateFinishedTrialError):
        yield
