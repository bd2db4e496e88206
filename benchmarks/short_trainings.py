"""What a training shorter than its method needs gains by each thing that is changed for it, and by being longer.

    python benchmarks/short_trainings.py --set debian-section=TRAIN,EVAL,TEST --model FOLDER --size 100:6
    python benchmarks/short_trainings.py ... --classes 5 --classes 10    rows of the most frequent classes only
    python benchmarks/short_trainings.py ... --longer 25 --longer 50     the published settings, trained for longer

Each variant is the recommendation that `tune` would begin with, one thing changed; scores are of the evaluation rows
of `tune_search.py`, which is asked for rows, request and training. Kept in results/short_trainings.json, where a
set, size and number of classes measured anew takes the place of the earlier one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from search_rows import read_rows, rows_given
from tune_search import METHOD, Question, about, make_job, request_of

from advisor import store
from advisor.catalog.methods import find_method
from advisor.literature.hyperparameters.training_length import USUAL_BATCH, fields_for_short_training, training_fields
from advisor.training.training_worker import run
from advisor.tuner.search.space import start_params
from advisor.tuner.starting_recipe import published_settings
from advisor.tuner.tune_request import TuneRequest

HERE = Path(__file__).parent
RATES = ("learning_rate", "head_learning_rate")
ONE_RATE = {"head_learning_rate": None}


def main() -> None:
    given = _arguments()
    for named, size, classes in itertools.product(given.set, given.size, given.classes or [None]):
        name, files = rows_given(named)
        if classes is not None:
            name, files = f"{name}-{classes}", _most_frequent(files, classes, given.out / "data")
        _keep(given, {"set": name, "size": size, **_measured(given, name, files, size)})


def _measured(given: argparse.Namespace, name: str, files: tuple[Path, Path, Path], size: str) -> dict[str, Any]:
    """Every variant with every seed."""
    samples, _, epochs = size.partition(":")
    found: dict[str, list[float | None]] = {}
    for seed in range(given.seeds):
        question = Question(name, files, int(samples), float(epochs), "advisor", seed)
        folder = given.out / question.folder
        shutil.rmtree(folder, ignore_errors=True)
        request = request_of(given, question, folder)
        for number, (what, params, fields, longer) in enumerate(_variants(request, given.longer)):
            if given.only and what not in given.only:
                continue
            job = make_job({**start_params(request.dimensions), **params}, request, folder, number, given)
            workload = job.workload.model_copy(update={"epochs": longer or job.workload.epochs})
            job = job.model_copy(update={"recipe": job.recipe.model_copy(update=fields), "workload": workload})
            Path(job.folder).mkdir(parents=True)
            score = run(job, time.monotonic()).score
            found.setdefault(what, []).append(score)
            print(f"{name} {size}  seed {seed}  {what}: {score}", flush=True)
    rows = [f"{what}: {_middle(scores)} ({_said(scores)})" for what, scores in found.items()]
    print("\n".join(rows))
    return {"classes": request.workload.num_labels, "table": rows, "scores": found}


def _keep(given: argparse.Namespace, measured: dict[str, Any]) -> None:
    kept = store.read_document(given.results).get("measured", []) if given.results.is_file() else []
    others = [m for m in kept if (m["set"], m["size"]) != (measured["set"], measured["size"])]
    command = {"command": "python benchmarks/short_trainings.py"}
    told = {"about": about(given) | command, "measured": [*others, measured]}
    given.results.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _most_frequent(files: tuple[Path, Path, Path], classes: int, folder: Path) -> tuple[Path, Path, Path]:
    """The rows of a set's most frequent classes, as files of their own."""
    count = Counter(row["label"] for row in read_rows(files[0]))
    kept = {label for label, _ in sorted(count.items(), key=lambda c: (-c[1], str(c[0])))[:classes]}
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for file in files:
        found.append(folder / f"{classes}-of-{file.name.removesuffix('.gz')}")
        rows = [row for row in read_rows(file) if row["label"] in kept]
        found[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return found[0], found[1], found[2]


def _variants(
    request: TuneRequest, longer: list[float]
) -> list[tuple[str, dict[str, Any], dict[str, Any], float | None]]:
    """(name, parameters, fields of the recipe, epochs) of each."""
    said = {s.name: s for s in published_settings(METHOD, request.spec, request.workload)}
    usual = training_fields(find_method(METHOD), said)
    rank, at = said["rank"].value, start_params(request.dimensions)
    decayed = {"schedule": usual.get("schedule", "linear")}
    published = {"rank": rank, "effective_batch_size": USUAL_BATCH}
    two = request.workload.model_copy(update={"num_labels": 2})
    rates = fields_for_short_training(find_method(METHOD), usual, {"rank": rank}, two, request.spec.hidden)[0]
    found: list[tuple[str, dict[str, Any], dict[str, Any], float | None]] = [
        ("as recommended", {}, {}, None),
        ("rates as for two classes", {r: rates[r] for r in RATES}, {}, None),
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
    parser.add_argument("--set", required=True, action="append", metavar="NAME=TRAIN,EVAL,TEST")
    parser.add_argument("--size", required=True, action="append", metavar="ROWS:EPOCHS")
    parser.add_argument("--classes", type=int, action="append", default=[], metavar="NUMBER")
    parser.add_argument("--only", action="append", default=[], metavar="VARIANT", help="such variants alone")
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
    given.out, given.trials, given.part = given.out.resolve(), 8, 0
    return given


if __name__ == "__main__":
    main()
