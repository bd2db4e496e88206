"""What a training shorter than its method needs gains by each thing that is changed for it, and by being longer.

    python benchmarks/short_trainings.py --set debian-section=TRAIN,EVAL,TEST --model FOLDER --size 100:6
    python benchmarks/short_trainings.py ... --longer 25 --longer 50     the published settings, trained for longer

Each variant is the recommendation that `tune` would begin with, one thing changed; scores are of the evaluation rows
of `tune_search.py`, which is asked for rows, request and training. Kept in results/short_trainings.json.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

from tune_search import METHOD, Question, about, make_job, request_of, rows_given

from advisor.catalog.methods import find_method
from advisor.estimator.convergence import USUAL_BATCH, training_fields
from advisor.tuner.job import TuneRequest
from advisor.tuner.published import published_settings
from advisor.tuner.space import start_params
from advisor.tuner.trial import run

HERE = Path(__file__).parent
ONE_RATE = {"head_learning_rate": None}


def main() -> None:
    given = _arguments()
    found: dict[str, list[float | None]] = {}
    samples, _, epochs = given.size.partition(":")
    name, files = rows_given(given.set)
    for seed in range(given.seeds):
        question = Question(name, files, int(samples), float(epochs), "advisor", seed)
        folder = given.out / question.folder
        shutil.rmtree(folder, ignore_errors=True)
        request = request_of(given, question, folder)
        for number, (what, params, fields, longer) in enumerate(_variants(request, given.longer)):
            job = make_job({**start_params(request.dimensions), **params}, request, folder, number, given)
            workload = job.workload.model_copy(update={"epochs": longer or job.workload.epochs})
            job = job.model_copy(update={"recipe": job.recipe.model_copy(update=fields), "workload": workload})
            Path(job.folder).mkdir(parents=True)
            score = run(job, time.monotonic()).score
            found.setdefault(what, []).append(score)
            print(f"seed {seed}  {what}: {score}", flush=True)
    rows = [f"{what}: {_middle(scores)} ({_said(scores)})" for what, scores in found.items()]
    told = {"about": about(given), "set": name, "size": given.size, "table": rows, "scores": found}
    given.results.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print("\n".join(rows))


def _variants(
    request: TuneRequest, longer: list[float]
) -> list[tuple[str, dict[str, Any], dict[str, Any], float | None]]:
    """(name, parameters, fields of the recipe, epochs) of each."""
    said = {s.name: s for s in published_settings(METHOD, request.spec, request.workload)}
    usual = training_fields(find_method(METHOD), said)
    rank, at = said["rank"].value, start_params(request.dimensions)
    decayed = {"schedule": usual.get("schedule", "linear")}
    published = {"rank": rank, "effective_batch_size": USUAL_BATCH}
    found: list[tuple[str, dict[str, Any], dict[str, Any], float | None]] = [
        ("as recommended", {}, {}, None),
        ("one rate for head and adapter", {}, ONE_RATE, None),
        ("decayed rate", {}, decayed, None),
        ("published rank", {"rank": rank}, {}, None),
        ("published batch", {"effective_batch_size": USUAL_BATCH}, {}, None),
        ("published all", published, usual, None),
        ("published all, one rate for head and adapter", published, usual | ONE_RATE, None),
        (
            "four times the published rate, else published",
            {**published, "learning_rate": 4 * at["learning_rate"]},
            usual,
            None,
        ),
    ]
    found += [(f"published all, {epochs:g} epochs", published, usual, epochs) for epochs in longer]
    return found


def _middle(scores: list[float | None]) -> str:
    known = [score for score in scores if score is not None]
    return f"{statistics.median(known):.3f}" if known else "none ended"


def _said(scores: list[float | None]) -> str:
    return ", ".join("failed" if score is None else f"{score:.3f}" for score in scores)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", required=True, metavar="NAME=TRAIN,EVAL,TEST")
    parser.add_argument("--size", default="100:6", metavar="ROWS:EPOCHS")
    parser.add_argument("--longer", type=float, action="append", default=[], metavar="EPOCHS")
    parser.add_argument("--model", required=True)
    parser.add_argument("--metric")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seq-len", type=int, default=32)
    parser.add_argument("--evaluation-rows", type=int, default=400)
    parser.add_argument("--test-rows", type=int, default=500)
    parser.add_argument("--mixed", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--note", action="append", default=[])
    parser.add_argument("--results", type=Path, default=HERE / "results" / "short_trainings.json")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out") / "short_trainings")
    given = parser.parse_args()
    given.out, given.trials = given.out.resolve(), 8
    return given


if __name__ == "__main__":
    main()
