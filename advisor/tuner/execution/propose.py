"""Trials that are asked for by name while the sampler has too few to learn from, no two machines the same one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advisor.tuner.search.learned_steps import learned_step
from advisor.tuner.search.local_moves import EvaluatedSettings, next_trial, sampler_from
from advisor.tuner.storage.connect import id_of, storage_of
from advisor.tuner.storage.trials import FIXED, ORIGIN
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial


def propose(study: Study, request: TuneRequest, proposal_seed: str = "") -> None:
    """Ask by name for the next trial while the sampler has too few to learn from; the caller asks right after.

    `proposal_seed` names the worker, so that no two of them draw the same step. Where trials wait to be asked for,
    they come first.
    """
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    if any(t.state == TrialState.WAITING for t in trials):
        return
    found = _proposal(trials, request, proposal_seed)
    if found is not None:
        study.enqueue_trial(found[1], user_attrs={ORIGIN: found[0]}, skip_if_exists=False)


def deduplicate_proposal(study: Study, request: TuneRequest, trial: Trial, proposal_seed: str) -> Trial:
    """The trial just asked for, with other settings where a machine that asked in the same moment has these.

    Machines share no lock, so two may ask for one thing; of such twins the one with the lower number keeps it.
    """
    from optuna.trial import Trial

    storage, number = storage_of(study), id_of(trial)
    mine = storage.get_trial(number).system_attrs.get(FIXED)
    earlier = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number]
    if not mine or not any(_asked(t) == mine for t in earlier if not t.state.is_finished() or t.values):
        return trial
    found = _proposal(earlier, request, proposal_seed)
    storage.set_trial_system_attr(number, FIXED, found[1] if found else {})
    storage.set_trial_user_attr(number, ORIGIN, found[0] if found else "sampler")
    return Trial(study, number)


def _asked(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's settings. One begun this moment has not drawn them yet, but what it was asked for stands."""
    return {**trial.system_attrs.get(FIXED, {}), **trial.params}


def _proposal(
    trials: Sequence[FrozenTrial], request: TuneRequest, proposal_seed: str
) -> tuple[str, dict[str, Any]] | None:
    from optuna.trial import TrialState

    index = request.objectives.index("quality")
    sign = 1.0 if request.higher_is_better else -1.0
    done = TrialState.COMPLETE
    asked = [_asked(t) for t in trials]
    scores = [sign * t.values[index] if t.state == done else None for t in trials]
    tried = [EvaluatedSettings(params, score) for params, score in zip(asked, scores, strict=True) if params]
    near, draw = request.sampler == "tpe", f"{request.seed}/{proposal_seed}/{len(tried)}"
    learns = near and bool(request.earlier)
    found = next_trial(request.dimensions, tried, moves=request.neighbours, near=near and not learns, draw=draw)
    if found is None and learns and len(tried) < sampler_from(request.dimensions, request.neighbours):
        params = learned_step(request.dimensions, tried, request.earlier, draw)
        return ("learned from earlier studies", params) if params else None
    return found
