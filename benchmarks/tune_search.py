"""How good the recommendation alone and a short search are, against random search and plain TPE from scratch.

    python benchmarks/tune_search.py --set spam=TRAIN,EVAL,TEST --model FOLDER --size 100:8 --size 1000:1
    python benchmarks/tune_search.py --quick --set ...         one seed, three trials each: minutes, no claim
    python benchmarks/tune_search.py --part 1 --out FOLDER --set ...   other rows of the same sets
    python benchmarks/tune_search.py --out FOLDER              the table of what lies there; nothing is run

`--size ROWS:EPOCHS`: every trial of every searcher reads each training row EPOCHS times, so the trials of a size
cost about the same and no searcher can buy its score with longer trainings. Everything else that the product
searches moves: learning rate, a new head's own, rank, alpha, dropout, target modules, effective batch and warm-up.

*advisor* is the product: its request, first trials, space and sampler. *random* and *tpe* (Optuna's own
defaults, whose first ten trials are drawn at random) draw from the method's whole ranges in the catalogue, the
rate's upper end widened as far as the product's own search may reach, and from the usual schedules. Of the product
only the process around each trial and the final seeds are left out: the same training code runs here. A size's
training rows are the same for every searcher and seed; a seed is that of trainings and sampler. A training is scored
once, at its end, on the evaluation rows; the best trial of each search and the recommendation are scored on test
rows that no search sees.
The settings that random search found best are trained with the other seeds too, and the median of these told: a best
of 32 trials with one seed owes part of its score to that seed.
Rows of a label that the training rows lack are left out. What is stopped goes on with the same command.

Exit code 1 where a claim does not hold: the recommendation alone within 2 points of the best of the random trials,
the search's best at least that best, both in the median over seeds and by the evaluation rows; no trial out of memory.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_rows import drawn_rows, read_rows, rows_given
from search_table import broken_claims, by_size, table

from advisor import store
from advisor.catalog.methods import find_method
from advisor.domain.tuning import Dimension
from advisor.training.monitor import WEIGHTS
from advisor.training.training_spec import TrainingSpec
from advisor.training.training_worker import run
from advisor.tuner.execution.propose import propose
from advisor.tuner.search.space import RATE_SPAN, RATIOS, SEARCHED, apply, suggest
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import id_of, quiet
from advisor.tuner.study_preparation import make_request, write_request
from advisor.tuner.tune import enqueue
from advisor.tuner.tune_request import TuneRequest

METHOD = "lora"
SEARCHERS = ("random", "tpe", "advisor")
SCRATCH_BATCHES = (4, 8, 16, 32)
SCRATCH_RANKS = tuple(2**k for k in range(9))
SCRATCH_SCHEDULES = ("linear", "cosine", "constant_with_warmup")
HEAD_RATES = {"kind": "float", "low": 1e-4, "high": 1e-1, "log": True}
"""Of a new head: a decade and more to both sides of what is published, 2e-3 to 2e-2."""
LINE = "line.json"


@dataclass(frozen=True, slots=True)
class Question:
    """One search: its rows, its searcher and its seed."""

    name: str
    files: tuple[Path, Path, Path]
    samples: int
    epochs: float
    searcher: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.samples}-{self.searcher}-{self.seed}"


def main() -> int:
    given = _arguments()
    quiet()
    for searcher in given.searchers:
        for question in _questions(given, searcher):
            print(json.dumps(_line(given, question)), flush=True)
    lines = [store.read_document(path) for path in sorted(given.out.glob(f"*/{LINE}"))]
    told = {"about": about(given), "table": table(lines).splitlines(), "lines": lines}
    given.results = given.results or given.out / "results.json"
    given.results.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(table(lines))
    broken = [claim for part in by_size(lines) for claim in broken_claims(part)]
    for claim in broken:
        print(claim, file=sys.stderr)
    return 1 if broken and not given.quick else 0


def _questions(given: argparse.Namespace, searcher: str) -> list[Question]:
    """Small sizes first; each searcher once a seed."""
    found: list[Question] = []
    for size in given.size:
        samples, _, epochs = size.partition(":")
        for named in given.set:
            name, files = rows_given(named)
            for seed in range({"random": given.random_seeds, "tpe": given.tpe_seeds}.get(searcher, given.seeds)):
                found.append(Question(name, files, int(samples), float(epochs or 3), searcher, seed))
    return found


def _line(given: argparse.Namespace, question: Question) -> dict[str, Any]:
    """One search from its rows to its scores; read from its folder where it is finished."""
    folder = given.out / question.folder
    done: dict[str, Any] = store.read_document(folder / LINE) if (folder / LINE).is_file() else {}
    if done and (question.searcher != "random" or len(done.get("again", ())) >= given.seeds - 1):
        return done
    request = request_of(given, question, folder)
    if done:
        line = done | {"again": _again(done, request, folder, given)}
        store.write_document(line, folder / LINE)
        return line
    study = ledger.create(request, f"sqlite:///{folder / 'study.db'}")
    study.sampler = _sampler(question, request, study)
    if question.searcher == "advisor":
        enqueue(study, request)
    wanted = given.random if question.searcher == "random" else given.trials
    began = time.monotonic()
    _give_up_unfinished(study)
    while len(_done(study)) < wanted:
        if question.searcher == "advisor":
            propose(study, request)
        _trial(study, request, folder, given)
        _tidy(study, request, folder)
    line = _scores(study, request, folder, given) | {
        "set": question.name,
        "samples": question.samples,
        "epochs": question.epochs,
        "searcher": question.searcher,
        "seed": question.seed,
        "seconds": round(time.monotonic() - began, 1),
    }
    if question.searcher == "random":
        line["again"] = _again(line, request, folder, given)
    store.write_document(line, folder / LINE)
    return line


def request_of(given: argparse.Namespace, question: Question, folder: Path) -> TuneRequest:
    scored = (given.evaluation_rows, given.test_rows)
    files = drawn_rows(question.files, given.out / "data", question.name, question.samples, scored, given.part)
    # one length for every searcher; a text to generate has no head
    left_out = {"epochs"} if "label" in read_rows(files[0])[0] else {"epochs", "head_learning_rate"}
    begun = make_request(
        given.model,
        *(str(file) for file in files[:1]),
        eval_data=str(files[1]),
        test_data=str(files[2]),
        method=METHOD,
        metric=given.metric,
        trials=given.trials,
        pruner="none",
        seq_len=given.seq_len,
        epochs=question.epochs,
        seed=question.seed,
        name=question.folder,
        search=[name for name in SEARCHED if name not in left_out],
        trainer="loop",
        evaluations=1,
        threads=given.threads,
        store=False,
    )
    request = begun.request
    if given.mixed:
        starts = tuple(
            s.model_copy(update={"recipe": s.recipe.model_copy(update={"dtype": "float32", "mixed_precision": "bf16"})})
            for s in request.starts
        )
        request = request.model_copy(update={"starts": starts})
    if question.searcher != "advisor":
        request = request.model_copy(update={"dimensions": _whole(request), "neighbours": 0})
    folder.mkdir(parents=True, exist_ok=True)
    write_request(request, begun.rows, folder)
    return request


def _whole(request: TuneRequest) -> tuple[Dimension, ...]:
    """The searched settings over the method's whole ranges, as one would search who knows nothing else."""
    method = find_method(METHOD)
    rate = method.learning_rate
    assert rate.low is not None
    assert rate.high is not None
    widest = request.spec.hidden or max(SCRATCH_RANKS)
    batches = [b for b in SCRATCH_BATCHES if 4 * b <= request.splits.rows["train"]]
    dropout = method.options["dropout"]
    every: dict[str, dict[str, Any]] = {
        "learning_rate": {"kind": "float", "low": rate.low, "high": rate.high * RATE_SPAN, "log": True},
        **({"head_learning_rate": HEAD_RATES} if request.workload.task == "sequence-classification" else {}),
        "rank": {"kind": "choice", "choices": tuple(r for r in SCRATCH_RANKS if r <= widest)},
        "alpha_over_rank": {"kind": "choice", "choices": RATIOS},
        "dropout": {"kind": "float", "low": dropout.low, "high": dropout.high},
        "target_modules": {"kind": "choice", "choices": method.options["target_modules"].choices},
        "effective_batch_size": {"kind": "choice", "choices": tuple(batches)},
        "warmup_ratio": {"kind": "float", "low": 0.0, "high": 0.2},
        "schedule": {"kind": "choice", "choices": SCRATCH_SCHEDULES},
    }
    return tuple(
        Dimension.model_validate(
            {"name": name, "start": said["choices"][0] if "choices" in said else said["low"], **said}
        )
        for name, said in every.items()
    )


def _sampler(question: Question, request: TuneRequest, study: Any) -> Any:
    """The sampler of a search, which goes on where an earlier session's stopped instead of drawing the same again."""
    import optuna

    begun = study.get_trials(deepcopy=False)
    if question.searcher == "advisor":
        return ledger.sampler_of(request, begun=sum(t.state.name != "WAITING" for t in begun))
    every = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    sampler = every[question.searcher](seed=question.seed)
    for trial in (t for t in begun if "fixed_params" not in t.system_attrs):
        for dimension in request.dimensions:
            if dimension.key in trial.distributions:
                sampler.sample_independent(study, trial, dimension.key, trial.distributions[dimension.key])
    return sampler


def _done(study: Any) -> list[Any]:
    """Trials that came to their end, a diverged or out-of-memory one too; not those that a session left behind."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state.is_finished() and ledger.outcome_of(t) is not None and t.params]


def _give_up_unfinished(study: Any) -> None:
    """A trial that an earlier session was in when it was stopped; its settings are asked for again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def _trial(study: Any, request: TuneRequest, folder: Path, given: argparse.Namespace) -> None:
    trial = study.ask()
    job = make_job(suggest(trial, request.dimensions), request, folder, trial.number, given)
    # what an earlier session left of this number is of other settings
    shutil.rmtree(job.folder, ignore_errors=True)
    Path(job.folder).mkdir(parents=True)
    result = run(job, time.monotonic())
    if result.status == "interrupted":
        raise SystemExit("interrupted: the same command goes on")
    ledger.tell(study, trial.storage.get_trial(id_of(trial)), result, request)


def make_job(
    params: dict[str, Any], request: TuneRequest, folder: Path, number: int, given: argparse.Namespace
) -> TrainingSpec:
    recipe, workload = apply(params, request.dimensions, request.starts, request.workload)
    place = folder / "trials" / f"{number:04d}"
    job = request.job(number, place, folder, recipe, workload, threads=given.threads)
    return job.model_copy(update={"device": given.device})


def _tidy(study: Any, request: TuneRequest, folder: Path) -> None:
    """The weights of the first and of the best trial are scored on the test rows; no others are kept."""
    best = ledger.best_first(request, study.get_trials(deepcopy=False))[:1]
    for path in folder.glob(f"trials/*/{WEIGHTS}"):
        if int(path.parent.name) not in {0, *(t.number for t in best)}:
            path.unlink()


def _again(line: dict[str, Any], request: TuneRequest, folder: Path, given: argparse.Namespace) -> list[float | None]:
    """The best random settings trained with the other seeds: what choosing them is worth without the luck of one."""
    number = line["scores"].index(
        max(s for s in line["scores"] if s is not None)
        if request.higher_is_better
        else min(s for s in line["scores"] if s is not None)
    )
    found: list[float | None] = list(line.get("again", ()))
    for seed in [s for s in range(given.seeds) if s != request.seed][len(found) :]:
        again = request.model_copy(update={"seed": seed})
        job = make_job(line["params"][number], again, folder / "again", seed, given)
        job = job.model_copy(update={"data": str(folder / "data")})
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        found.append(run(job, time.monotonic()).score)
    return found


def _scores(study: Any, request: TuneRequest, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    trials = _done(study)
    best = ledger.best_first(request, trials)[0]
    outcomes = [ledger.outcome_of(t) for t in trials]
    first = next(t for t in trials if t.value is not None)
    return {
        "metric": request.metric,
        "higher_is_better": request.higher_is_better,
        "rows": request.splits.rows,
        "best": best.value,
        "first": first.value,
        "test_of_best": _test(best, request, folder, given),
        "test_of_first": _test(first, request, folder, given),
        "oom": sum(o is not None and o.status == "oom" for o in outcomes),
        "failed": sum(o is not None and o.status == "failed" for o in outcomes),
        "scores": [t.value for t in trials],
        "origins": [t.user_attrs.get(ledger.ORIGIN, "sampler") for t in trials],
        "params": [
            {k: v if not isinstance(v, float) else float(f"{v:.4g}") for k, v in t.params.items()} for t in trials
        ],
        "training_seconds": [round(o.seconds.get("train", 0.0), 1) for o in outcomes if o is not None],
    }


def _test(trial: Any, request: TuneRequest, folder: Path, given: argparse.Namespace) -> float | None:
    """The score of a trial's weights on the test rows."""
    from advisor.training.prepare import prepare
    from advisor.training.trainers.loop import load_trainable

    job = make_job(trial.params, request, folder, trial.number, given).model_copy(update={"mode": "finish"})
    weights = Path(job.folder) / WEIGHTS
    if not weights.is_file():
        return None
    prepared = prepare(job)
    load_trainable(prepared.model, weights)
    return prepared.scorer.score(prepared.examples["test"])[request.metric]


def about(given: argparse.Namespace) -> dict[str, Any]:
    from advisor.training.train import device_name, versions

    return {
        "command": "python benchmarks/tune_search.py",
        "device": device_name("cpu" if given.device == "auto" else given.device),
        "threads": given.threads,
        "versions": versions(),
        "method": METHOD,
        "seq_len": given.seq_len,
        "precision": "bfloat16 autocast over float32 weights" if given.mixed else "float32",
        "notes": given.note,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=TRAIN,EVAL,TEST")
    parser.add_argument("--size", action="append", default=[], metavar="ROWS:EPOCHS")
    parser.add_argument("--model")
    parser.add_argument("--metric")
    parser.add_argument("--searchers", nargs="+", choices=SEARCHERS, default=SEARCHERS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tpe-seeds", type=int, default=5)
    parser.add_argument("--random-seeds", type=int, default=1, help="random searches of a size, each with its own seed")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--random", type=int, default=32, help="trials of the random search")
    parser.add_argument("--seq-len", type=int, default=64)
    parser.add_argument("--evaluation-rows", type=int, default=400)
    parser.add_argument("--test-rows", type=int, default=1000)
    parser.add_argument("--part", type=int, default=0, help="0: the sets' first rows, 1: as many after them ...")
    parser.add_argument("--mixed", action="store_true", help="bfloat16 autocast: half the time on CPUs that have it")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--note", action="append", default=[], help="kept with the results: what was not run, and why")
    parser.add_argument("--results", type=Path, help="file of the results (default: results.json in --out)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out") / "tune_search")
    given = parser.parse_args()
    if given.set and not (given.model and given.size):
        parser.error("--set needs --model and --size")
    if given.quick:
        given.seeds, given.tpe_seeds, given.trials, given.random, given.size = 1, 1, 3, 3, given.size[:1]
    given.out = given.out.resolve()
    return given


if __name__ == "__main__":
    sys.exit(main())
