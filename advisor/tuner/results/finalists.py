"""After the search: the best trials again with other seeds, so that noise is not crowned; then the one adapter."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from advisor.domain.tuning import Finalist
from advisor.domain.workload import Workload
from advisor.errors import DISK_FULL, DoesNotFit
from advisor.store import full_disk
from advisor.training.metrics import chances_of_best, interval_of_mean
from advisor.training.monitor import OUT_OF_TIME, WEIGHTS
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.training.training_worker import RESULT
from advisor.tuner.budget import finals_afforded, settings_of
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.execution.single_run import TrainFunction, train_watched
from advisor.tuner.search.early_best import early_best
from advisor.tuner.search.samplers_and_pruners import spread
from advisor.tuner.storage import trials as ledger
from advisor.tuner.tune_request import TuneRequest

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SEED_STEP: Final = 1000
"""Seeds of the finals lie away from those of the search."""


Results = Mapping[tuple[int, int], TrainingResult]
"""(trial, number of its seed) -> the training with that seed."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The trial to use, the finalists it was chosen among, and where its trained weights lie."""

    trial: FrozenTrial
    finalists: tuple[Finalist, ...]
    weights: Path
    seed: int
    notes: tuple[str, ...] = ()


def choose(
    request: TuneRequest,
    folder: Path,
    trials: Sequence[FrozenTrial],
    *,
    train: TrainFunction,
    said: Callable[[tuple[Finalist, ...]], None],
) -> Chosen:
    """Train the finalists with more seeds and take the best mean; what an earlier session trained is not repeated.

    `said` hears of the finalists as they stand, each time another training has ended.

    Raises:
        DoesNotFit: no trial completed, with the reasons.
        StoreUnavailable: the disk is full.
    """
    best = ledger.best_first(request, trials)
    if not best:
        raise _nothing(trials)
    most = min(request.finalists, len(best))
    finalists, seeds = finals_afforded(request, trials, most)
    tried, more = best[:finalists], range(1, seeds)
    jobs = {(t.number, k): _job(request, folder, t, k) for t in tried for k in more}
    done = {key: ledger.finished_result(Path(job.folder)) for key, job in jobs.items()}
    results = {key: result for key, result in done.items() if result is not None and result.reason != OUT_OF_TIME}
    keys = {job.folder: key for key, job in jobs.items()}

    def heard(job: TrainingSpec, result: TrainingResult) -> None:
        if result.reason == DISK_FULL:
            raise full_disk(folder, f"advisor tune --resume {folder}")
        if result.reason == OUT_OF_TIME:
            return  # its steps are fewer, so its score tells nothing against the others'
        results[keys[job.folder]] = result
        said(_compared(request, tried, results))

    train(request, [job for key, job in jobs.items() if key not in results], heard)
    ranked = _compared(request, tried, results)
    top = next(t for t in tried if t.number == ranked[0].number)
    chosen = _with_weights(request, folder, top, ranked, results, train)
    return replace(chosen, notes=(*_fewer(request, most, finalists, seeds), *chosen.notes))


def _fewer(request: TuneRequest, most: int, finalists: int, seeds: int) -> list[str]:
    """What is told where the budget paid for fewer finals than were asked for."""
    if most < 2 or request.final_seeds < 2 or (finalists, seeds) == (most, request.final_seeds):
        return []
    got = f"{finalists} with {seeds} seeds each" if seeds > 1 else "none"
    return [f"finalists: {got} instead of {most} with {request.final_seeds} seeds each; the budget pays for no more"]


def _job(request: TuneRequest, folder: Path, trial: FrozenTrial, k: int) -> TrainingSpec:
    place = folder / "finals" / f"{trial.number:04d}-seed{k}"
    return job_of(request, folder, trial, place, request.seed + SEED_STEP * k)


def job_of(request: TuneRequest, folder: Path, trial: FrozenTrial, place: Path, seed: int) -> TrainingSpec:
    """The training of a trial's settings once more, in a folder of its own."""
    recipe, workload = settings_of(request, trial)
    job = request.job(trial.number, place, folder, recipe, workload, seed=seed)
    return job.model_copy(update={"keep_row_scores": True})


def _compared(request: TuneRequest, tried: Sequence[FrozenTrial], results: Results) -> tuple[Finalist, ...]:
    """The finalists, each with the chance that it is truly the best: the best mean first, among those of which no
    seed failed; settings that break with another seed are no winner, whatever their other seeds scored."""
    index = request.objectives.index("quality")
    sign = 1.0 if request.higher_is_better else -1.0
    others: dict[int, list[TrainingResult]] = {t.number: [] for t in tried}
    broken: set[int] = set()
    for (number, _), result in sorted(results.items()):
        broken.add(number) if _score(result) is None else others[number].append(result)
    chances = _chances(request, [others[t.number] for t in tried])
    # like is compared with like: other seeds' scores only where every finalist has one
    alike = all(others[t.number] for t in tried if t.number not in broken)
    found: list[Finalist] = []
    for trial, chance in zip(tried, chances, strict=True):
        own = trial.values[index]
        again = [score for r in others[trial.number] if (score := _score(r)) is not None]
        # the search's own score chose the trial, so it flatters: it counts only where there is no other
        fair = again if again and alike else [own]
        found.append(
            Finalist(
                number=trial.number,
                scores=(own, *again),
                mean=sum(fair) / len(fair),
                spread=spread(fair),
                interval=_interval(request, others[trial.number]) if fair is again else None,
                better=chance,
            )
        )
    return tuple(sorted(found, key=lambda f: (f.number in broken, -sign * f.mean)))


def _interval(request: TuneRequest, results: Sequence[TrainingResult]) -> tuple[float, float] | None:
    """Of the mean over a finalist's other seeds; None where the metric is no mean over rows."""
    by_row = [r.row_scores for r in results if _score(r) is not None]
    if not by_row or not all(by_row) or len({len(rows) for rows in by_row}) != 1:
        return None
    return interval_of_mean(by_row, metric=request.metric)


def _score(result: TrainingResult) -> float | None:
    """None of a training that did not come to its end."""
    return result.score if result.status == "complete" and result.reason != OUT_OF_TIME else None


def _chances(request: TuneRequest, others: Sequence[Sequence[TrainingResult]]) -> list[float | None]:
    """How often each has the best mean when its seeds and the rows are drawn again; the selecting score is left out.

    None where a finalist has no other seed, or one only and no scores by row.
    """
    by_row = [[r.row_scores for r in results] for results in others]
    sizes = {len(rows) for runs in by_row for rows in runs}
    if all(by_row) and len(sizes) == 1 and sizes != {0}:
        return list(chances_of_best(by_row, higher=request.higher_is_better))
    if any(len(results) < 2 for results in others):
        return [None] * len(others)
    # of an older version, or a metric that is no mean over rows: seeds alone
    seeds = [[[(s, 1.0)] for r in results if (s := _score(r)) is not None] for results in others]
    return list(chances_of_best(seeds, higher=request.higher_is_better))


def _with_weights(
    request: TuneRequest,
    folder: Path,
    trial: FrozenTrial,
    finalists: tuple[Finalist, ...],
    results: Results,
    train: TrainFunction,
) -> Chosen:
    """The weights of the chosen trial's best seed; trained again where they lie on another machine or nowhere."""
    sign = 1.0 if request.higher_is_better else -1.0
    places = [(ledger.trial_folder(folder, trial), request.seed, trial.values[request.objectives.index("quality")])]
    if request.seeds > 1:
        places[0] = (places[0][0] / "seed-0", *places[0][1:])
    for (number, k), result in results.items():
        score = _score(result)
        if number == trial.number and score is not None:
            job = _job(request, folder, trial, k)
            places.append((Path(job.folder), job.seed, score))
    here = [p for p in places if (p[0] / WEIGHTS).is_file()]
    notes = tuple(
        f"trial {number} with seed {k} of the finals failed: {result.reason}"
        for (number, k), result in sorted(results.items())
        if _score(result) is None
    )
    if request.retrain or not here:
        place = _retrained(request, folder, trial, train)
        if place is not None:
            return Chosen(trial, finalists, place / WEIGHTS, request.seed, notes)
        if not here:
            raise DoesNotFit(
                "the hours ended before the chosen settings were trained again",
                hints=[f"advisor tune --resume {folder} --hours MORE"],
                number=trial.number,
            )
        notes = (*notes, "not trained again on the evaluation rows: the hours are spent")
    place, seed, _ = max(here, key=lambda p: sign * p[2])
    return Chosen(trial, finalists, place / WEIGHTS, seed, notes)


def _retrained(request: TuneRequest, folder: Path, trial: FrozenTrial, train: TrainFunction) -> Path | None:
    """Train the chosen settings once more: on training and evaluation rows if asked, else as the trial did.

    None where the hours ended on the way: what was trained till then is not the training that was chosen.
    """
    place = folder / "finals" / f"{trial.number:04d}-{'retrained' if request.retrain else 'again'}"
    job = job_of(request, folder, trial, place, request.seed)
    if request.retrain:
        # the evaluation rows are learned now, so there is nothing left to choose a moment by: the end is kept
        job = job.model_copy(update={"train_on": ("train", "evaluation"), "evaluations": 1, "early_stopping": 0})
        job = job.model_copy(update={"workload": _until_the_best(request, trial, job.workload)})
    result = ledger.finished_result(place)
    if result is None or result.reason == OUT_OF_TIME:
        [result] = train(request, [job], lambda job, result: None)
        if result.reason == DISK_FULL:
            raise full_disk(folder, f"advisor tune --resume {folder}")
        if result.status != "complete":
            raise DoesNotFit(f"the chosen settings could not be trained again: {result.reason}", number=trial.number)
    return None if result.reason == OUT_OF_TIME else place


def _until_the_best(request: TuneRequest, trial: FrozenTrial, workload: Workload) -> Workload:
    """A training whose end is kept is no longer than to where the trial had its best, if that came early."""
    result = ledger.outcome_of(trial)
    percent = early_best(result.curve, higher=request.higher_is_better) if result and request.seeds == 1 else None
    return workload if percent is None else workload.model_copy(update={"epochs": workload.epochs * percent / 100})


def finish(request: TuneRequest, folder: Path, chosen: Chosen, watch: Callable[[], None]) -> TrainingResult:
    """Score the test rows and export the adapter to `best/`, on this machine; once only for each choice.

    `watch` is called about once a second.

    Raises:
        DoesNotFit: the finish itself failed, with its reason.
        StoreUnavailable: the disk is full; nothing half-written is left of the adapter.
    """
    place = folder / "finals" / f"{chosen.trial.number:04d}-finish"
    done = ledger.finished_result(place)
    export = folder / "best"
    if done is not None and export.is_dir() and done.notes[:1] == (str(chosen.weights),):
        return done
    shutil.rmtree(export, ignore_errors=True)
    job = job_of(request, folder, chosen.trial, place, chosen.seed).model_copy(
        update={"mode": "finish", "weights": str(chosen.weights), "export": str(export), "merge": request.merge}
    )
    result = train_watched(request, job, ResourceSlot(), watch)
    if result.status != "complete":
        # what was written of it is no adapter
        shutil.rmtree(export, ignore_errors=True)
    if result.reason == DISK_FULL:
        raise full_disk(folder, f"advisor tune --resume {folder}")
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
