"""After the search: the best trials again with other seeds, so that noise is not crowned; then the one adapter."""

from __future__ import annotations

import random
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advisor.domain.study import Finalist
from advisor.errors import DoesNotFit
from advisor.tuner import ledger
from advisor.tuner.budget import settings_of
from advisor.tuner.coach import WEIGHTS
from advisor.tuner.job import TrialJob, TrialResult, TuneRequest
from advisor.tuner.process import Child
from advisor.tuner.pruning import spread
from advisor.tuner.trial import RESULT

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

DRAWS: Final = 2000
SEED_STEP: Final = 1000
"""Seeds of the finals lie away from those of the search."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The trial to use, the finalists it was chosen among, and where its trained weights lie."""

    trial: FrozenTrial
    finalists: tuple[Finalist, ...]
    weights: Path
    seed: int


def choose(
    request: TuneRequest, folder: Path, trials: Sequence[FrozenTrial], *, workers: int, said: Callable[[str], None]
) -> Chosen:
    """Train the finalists with more seeds and take the best mean; what an earlier session trained is not repeated.

    Raises:
        DoesNotFit: no trial completed, with the reasons.
    """
    best = ledger.best_first(request, trials)
    if not best:
        raise _nothing(trials)
    tried = best[: request.finalists] if request.final_seeds > 1 and len(best) > 1 else best[:1]
    more = range(1, request.final_seeds) if len(tried) > 1 else range(0)
    jobs = [(t, k) for t in tried for k in more]
    results: dict[tuple[int, int], TrialResult] = {}
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        running = {(t.number, k): pool.submit(_train, request, folder, t, k, workers, stop) for t, k in jobs}
        try:
            for (number, k), future in running.items():
                results[number, k] = future.result()
                said(f"finalist {number}, seed {k}: {results[number, k].score}")
        except BaseException:
            # leaving the pool waits for its trainings: they checkpoint and end now, the others never begin
            stop.set()
            raise
    finalists = _compared(request, tried, results)
    top = next(t for t in tried if t.number == finalists[0].number)
    return _with_weights(request, folder, top, finalists, results, workers)


def _train(
    request: TuneRequest, folder: Path, trial: FrozenTrial, k: int, workers: int, stop: threading.Event
) -> TrialResult:
    if stop.is_set():
        return TrialResult(status="interrupted", reason="asked to stop")
    place = folder / "finals" / f"{trial.number:04d}-seed{k}"
    done = ledger.finished_result(place)
    if done is not None:
        return done
    return Child(
        job=job_of(request, folder, trial, place, request.seed + SEED_STEP * k),
        on_progress=lambda line: None,
        wanted=lambda: "interrupted" if stop.is_set() else None,
        environment=_cpu_only(request, workers),
    ).run()


def job_of(request: TuneRequest, folder: Path, trial: FrozenTrial, place: Path, seed: int) -> TrialJob:
    """The training of a trial's settings once more, in a folder of its own."""
    import os

    recipe, workload = settings_of(request, trial)
    threads = request.threads or (os.cpu_count() if request.hardware is None else None)
    return request.job(trial.number, place, folder, recipe, workload, seed=seed, threads=threads)


def _cpu_only(request: TuneRequest, workers: int) -> dict[str, str]:
    import os

    if request.hardware is not None:
        return {}
    return {
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": str(request.threads or max(1, (os.cpu_count() or 1) // workers)),
    }


def _compared(
    request: TuneRequest, tried: Sequence[FrozenTrial], results: dict[tuple[int, int], TrialResult]
) -> tuple[Finalist, ...]:
    """The finalists, the best mean first, each with the chance that it is truly the best."""
    index = request.objectives.index("quality")
    scores: dict[int, list[float]] = {}
    for trial in tried:
        again = [results[key].score for key in sorted(results) if key[0] == trial.number]
        scores[trial.number] = [trial.values[index], *(s for s in again if s is not None)]
    sign = 1.0 if request.higher_is_better else -1.0
    chances = _chances([[sign * s for s in scores[t.number]] for t in tried])
    found = [
        Finalist(number=number, scores=tuple(s), mean=sum(s) / len(s), spread=spread(s), better=chance)
        for (number, s), chance in zip(scores.items(), chances, strict=True)
    ]
    return tuple(sorted(found, key=lambda f: -sign * f.mean))


def _chances(scores: list[list[float]]) -> list[float | None]:
    """How often each has the best mean when its seeds are drawn again; None where there is one seed only."""
    if any(len(s) < 2 for s in scores):
        return [None] * len(scores)
    draw = random.Random(0)
    wins = [0.0] * len(scores)
    for _ in range(DRAWS):
        means = [sum(draw.choices(s, k=len(s))) / len(s) for s in scores]
        top = [i for i, m in enumerate(means) if m == max(means)]
        for i in top:
            wins[i] += 1 / len(top)
    return [w / DRAWS for w in wins]


def _with_weights(
    request: TuneRequest,
    folder: Path,
    trial: FrozenTrial,
    finalists: tuple[Finalist, ...],
    results: dict[tuple[int, int], TrialResult],
    workers: int,
) -> Chosen:
    """The weights of the chosen trial's best seed; trained again where they lie on another machine or nowhere."""
    sign = 1.0 if request.higher_is_better else -1.0
    places = [(ledger.trial_folder(folder, trial), request.seed, trial.values[request.objectives.index("quality")])]
    if request.seeds > 1:
        places[0] = (places[0][0] / "seed-0", *places[0][1:])
    for (number, k), result in results.items():
        if number == trial.number and result.score is not None:
            place = folder / "finals" / f"{number:04d}-seed{k}"
            places.append((place, request.seed + SEED_STEP * k, result.score))
    here = [p for p in places if (p[0] / WEIGHTS).is_file()]
    if request.retrain or not here:
        return _retrained(request, folder, trial, finalists, workers)
    place, seed, _ = max(here, key=lambda p: sign * p[2])
    return Chosen(trial, finalists, place / WEIGHTS, seed)


def _retrained(
    request: TuneRequest, folder: Path, trial: FrozenTrial, finalists: tuple[Finalist, ...], workers: int
) -> Chosen:
    """Train the chosen settings once more: on training and evaluation rows if asked, else as the trial did."""
    place = folder / "finals" / f"{trial.number:04d}-{'retrained' if request.retrain else 'again'}"
    job = job_of(request, folder, trial, place, request.seed)
    if request.retrain:
        # the evaluation rows are learned now, so there is nothing left to choose a moment by: the end is kept
        job = job.model_copy(update={"train_on": ("train", "evaluation"), "evaluations": 1, "early_stopping": 0})
    if ledger.finished_result(place) is None:
        result = Child(
            job=job, on_progress=lambda line: None, wanted=lambda: None, environment=_cpu_only(request, workers)
        ).run()
        if result.status != "complete":
            raise DoesNotFit(f"the chosen settings could not be trained again: {result.reason}", number=trial.number)
    return Chosen(trial, finalists, place / WEIGHTS, request.seed)


def finish(request: TuneRequest, folder: Path, chosen: Chosen) -> TrialResult:
    """Score the test rows and export the adapter to `best/`; once only for each choice.

    Raises:
        DoesNotFit: the finish itself failed, with its reason.
    """
    place = folder / "finals" / f"{chosen.trial.number:04d}-finish"
    done = ledger.finished_result(place)
    export = folder / "best"
    if done is not None and export.is_dir() and done.notes[:1] == (str(chosen.weights),):
        return done
    shutil.rmtree(export, ignore_errors=True)
    job = job_of(request, folder, chosen.trial, place, chosen.seed).model_copy(
        update={"mode": "finish", "weights": str(chosen.weights), "export": str(export)}
    )
    result = Child(job=job, on_progress=lambda line: None, wanted=lambda: None, environment=_cpu_only(request, 1)).run()
    if result.status != "complete":
        raise DoesNotFit(
            f"the best weights could not be tested and exported: {result.reason}",
            hints=[f"the trained weights are kept: {chosen.weights}"],
            weights=str(chosen.weights),
        )
    from advisor import store

    noted = result.model_copy(update={"notes": (str(chosen.weights), *result.notes)})
    store.write(noted, place / RESULT)
    return noted


def _nothing(trials: Sequence[FrozenTrial]) -> DoesNotFit:
    reasons: dict[str, int] = {}
    for trial in trials:
        outcome = ledger.outcome_of(trial)
        if outcome is not None and outcome.reason:
            reasons[outcome.reason] = reasons.get(outcome.reason, 0) + 1
    worst = sorted(reasons.items(), key=lambda item: -item[1])
    return DoesNotFit(
        "no trial was completed, so there is no adapter",
        cause="; ".join(f"{count} x {reason}" for reason, count in worst[:3]) or "no trial was run",
        hints=["logs: trials/<number>/log.txt in the study's folder"],
        reasons=reasons,
    )
