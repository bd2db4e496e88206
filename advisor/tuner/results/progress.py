"""What a study trains now, how far that is, and about how long the rest takes; read from the files of its trainings."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advisor.domain.tuning import Plan
from advisor.training.monitor import PROGRESS
from advisor.training.training_worker import RESULT
from advisor.tuner.budget import finals_of
from advisor.tuner.storage import trials as ledger
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TAIL_BYTES: Final = 4096
SHOWN: Final = 3
"""Settings of a trial that are said beside its number."""


def running(folder: Path, trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    """Each training that runs, with what is known of how far it is."""
    from optuna.trial import TrialState

    found = [
        f"trial {t.number}{_settings(t)}{_at(share_done(ledger.trial_folder(folder, t), t))}"
        for t in trials
        if t.state == TrialState.RUNNING
    ]
    for place in sorted(folder.glob("finals/*")):
        if (place / PROGRESS).is_file() and not (place / RESULT).is_file():
            number, _, what = place.name.partition("-")
            said = f"with {what.replace('seed', 'seed ')} of the finals" if what.startswith("seed") else what
            found.append(f"trial {int(number)} {said}{_at(_share(place))}")
        elif place.name.endswith("-finish") and not (place / RESULT).is_file():
            found.append(f"test and export of trial {int(place.name.partition('-')[0])}")
    return tuple(found)


def seconds_left(request: TuneRequest, folder: Path, trials: Sequence[FrozenTrial], plan: Plan) -> float | None:
    """About how long the search and its finals go on, by the trials that have ended; None where nothing tells."""
    if request.ends_at is not None:
        return max(0.0, request.ends_at - time.time())
    outcomes = [ledger.outcome_of(t) for t in trials]
    took = [o.seconds["total"] for o in outcomes if o is not None and o.status == "complete" and "total" in o.seconds]
    each = sum(took) / len(took) if took else plan.trial.mid if plan.trial is not None else None
    if each is None or (plan.bound_by != "trials" and not _searched(folder)):
        return None
    billed = ledger.billable_trials(trials)
    ended = [t for t in billed if t.state.is_finished()]
    done = len(ended) + sum(share_done(ledger.trial_folder(folder, t), t) or 0.0 for t in billed if t not in ended)
    trials_left = 0.0 if _searched(folder) else max(0.0, plan.trials - done)
    finals = finals_of(request, len(ended) if _searched(folder) else plan.trials) / request.seeds
    finals_done = sum(1.0 if (p / RESULT).is_file() else _share(p) or 0.0 for p in folder.glob("finals/*-seed*"))
    return each * (trials_left + max(0.0, finals - finals_done / request.seeds)) / plan.workers


def share_done(place: Path, trial: FrozenTrial) -> float | None:
    """Share of a running trial's steps that are done: by its own file, else by its last scoring."""
    there = _share(place)
    if there is None and trial.intermediate_values:
        return max(trial.intermediate_values) / 100
    return there


def _searched(folder: Path) -> bool:
    return any(folder.glob("finals/*"))


def _share(place: Path) -> float | None:
    """Of the newest training in a folder; with several seeds each has a folder of its own."""
    files = sorted(place.rglob(PROGRESS), key=lambda path: path.stat().st_mtime)
    if not files:
        return None
    with open(files[-1], "rb") as stream:
        stream.seek(max(0, files[-1].stat().st_size - TAIL_BYTES))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            continue  # the first of the tail may be cut, the last still be written
        if "of" in said:
            return float(said["step"]) / float(said["of"])
        if "percent" in said:
            return float(said["percent"]) / 100
    return None


def _at(share: float | None) -> str:
    return "" if share is None else f" at {share:.0%}"


def _settings(trial: FrozenTrial) -> str:
    shown = [f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in list(trial.params.items())[:SHOWN]]
    return f" ({', '.join(shown)})" if shown else ""
