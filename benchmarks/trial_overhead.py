"""What the tuner's machinery costs a trial: `python benchmarks/trial_overhead.py --model FOLDER`.

Real trials (worker, process, imports, loading, storage, telling) against their own training and scoring. What is left
does not grow with a training, so it is set against one of two minutes. Promised: below 10 % of it, on an idle
machine. Wall seconds are of each worker's time from one trial's start to the next; on a shared machine they hold the
others' work too, so CPU seconds are told beside them: all processes' together, the workers' own start among them,
against the training alone; the promise is kept or broken by these.
Without --model it makes one of MiniLM's shape with random weights. Exits with 1 when the promise is broken.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TRIAL_SECONDS = 120.0
PROMISE = 0.10
RESULTS = Path(__file__).parent / "results" / "trial_overhead.json"


def rows(count: int) -> list[dict[str, str]]:
    """Sentences of a few hundred words, whose class one of them tells."""
    draw = random.Random(0)
    words = [f"word{i}" for i in range(400)]
    return [
        {"text": " ".join([*draw.choices(words, k=40), ("good", "bad")[i % 2]]), "label": ("yes", "no")[i % 2]}
        for i in range(count)
    ]


def made(folder: Path) -> Path:
    """A model of MiniLM's shape with random weights, and a tokenizer that knows the rows."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "good", "bad", *(f"word{i}" for i in range(400))]
    raw = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    BertModel(
        BertConfig(num_hidden_layers=6, hidden_size=384, num_attention_heads=12, intermediate_size=1536)
    ).save_pretrained(folder)
    return folder


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def searched(model: str, data: Path, folder: Path, workers: int, trials: int, epochs: float) -> dict[str, Any]:
    """A search of the learning rate by real workers; its trials' spans and what each trained."""
    from advisor.tuner.execution.local_runner import LocalRunner
    from advisor.tuner.storage import trials as ledger
    from advisor.tuner.storage.connect import silence_optuna, storage_url
    from advisor.tuner.study_preparation import make_request, write_request
    from advisor.tuner.tune import enqueue

    begun = make_request(
        model, str(data), method="lora", trials=trials, epochs=epochs, effective_batch_size=16, dtype="float32",
        search=("learning_rate",), pruner="none", threads=1, finalists=1, store=False,
    )  # fmt: skip
    write_request(begun.request, begun.rows, folder)
    url = storage_url(None, folder)
    with silence_optuna():
        study = ledger.create(begun.request, url)
        enqueue(study, begun.request)
        began, cpu, own = time.perf_counter(), children_cpu(), time.process_time()
        LocalRunner(folder, url, workers).run()
        wall, cpu, own = time.perf_counter() - began, children_cpu() - cpu, time.process_time() - own
        done = study.get_trials(deepcopy=False)
    by_worker: dict[int, list[Any]] = {}
    for trial in sorted(done, key=lambda t: t.datetime_start):
        by_worker.setdefault(trial.user_attrs[ledger.OWNER]["index"], []).append(trial)
    overheads: list[dict[str, float]] = []
    for trials_of_one in by_worker.values():
        for trial, following in itertools.pairwise(trials_of_one):
            result = ledger.outcome_of(trial)
            assert result is not None
            assert result.status == "complete", result.reason
            span = (following.datetime_start - trial.datetime_start).total_seconds()
            work = result.seconds["train"] + result.seconds["evaluate"]
            overheads.append(
                {"span": span, "work": work, "load": result.seconds["load"], "save": result.seconds["save"]}
            )
    return {"wall": wall, "cpu": cpu, "own_cpu": own, "trials": len(done), "spans": overheads}


def pure(job: Path) -> dict[str, float]:
    """The first trial's training and scoring alone, in a process that has loaded everything: wall and CPU seconds."""
    command = [sys.executable, str(Path(__file__).resolve()), "--pure", str(job)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def purely(path: str) -> None:
    """In that process."""
    from advisor import store
    from advisor.training.train import train
    from advisor.training.trainers import find_trainer
    from advisor.training.training_spec import TrainingSpec

    with tempfile.TemporaryDirectory() as place:
        job = store.read(TrainingSpec, path).model_copy(update={"folder": place, "checkpoint_seconds": 1e9})
        trainer: Any = find_trainer(job.recipe.trainer)
        real, took = trainer.train, {}

        def timed(work: Any) -> None:
            wall, cpu = time.perf_counter(), time.process_time()
            real(work)
            took.update(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)

        trainer.train = timed
        stdout, sys.stdout = sys.stdout, sys.stderr  # the trainer prints its own summary
        train(job, time.monotonic())
        sys.stdout = stdout
    print(json.dumps(took))


def measured(model: str, data: Path, workers: int, trials: int, epochs: float) -> dict[str, float]:
    """Overhead of a trial with so many workers, in wall and CPU seconds and as a share of two minutes."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = searched(model, data, folder, workers, trials, epochs)
        alone = [pure(folder / "trials" / "0000" / "job.json") for _ in range(2)]
    wall = statistics.median(one["span"] - one["work"] for one in found["spans"])
    cpu = (found["cpu"] + found["own_cpu"]) / found["trials"] - statistics.median(one["cpu"] for one in alone)
    return {
        "workers": workers,
        "trials": found["trials"],
        "training_wall_seconds": statistics.median(one["work"] for one in found["spans"]),
        "training_cpu_seconds": statistics.median(one["cpu"] for one in alone),
        "loading_wall_seconds": statistics.median(one["load"] for one in found["spans"]),
        "overhead_wall_seconds": wall,
        "overhead_cpu_seconds": cpu,
        "watching_cpu_seconds": found["own_cpu"] / found["trials"],
        "overhead_wall_share": wall / TRIAL_SECONDS,
        "overhead_cpu_share": cpu / TRIAL_SECONDS,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="a folder with weights (default: random ones of MiniLM's shape)")
    parser.add_argument("--trials", type=int, default=5, help="of each worker")
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--pure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.pure:
        purely(given.pure)
        return 0
    with tempfile.TemporaryDirectory() as place:
        os.environ["ADVISOR_HOME"] = f"{place}/home"
        data = Path(place) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows(given.rows)), encoding="utf-8")
        model = given.model or str(made(Path(place) / "model"))
        found = [measured(model, data, n, n * given.trials, given.epochs) for n in given.workers]
    from advisor.training.train import cpu_name, versions

    document = {
        "command": "python benchmarks/trial_overhead.py" + (" --model FOLDER" if given.model else ""),
        "model": Path(given.model).parent.name if given.model else "random weights of MiniLM's shape",
        "measured_on": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": cpu_name(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": versions(),
        "runs": found,
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{'workers':>8}{'training':>12}{'overhead':>12}{'of 2 min':>10}{'CPU':>10}{'of 2 min':>10}")
    for one in found:
        print(
            f"{one['workers']:>8}{one['training_wall_seconds']:>10.1f} s{one['overhead_wall_seconds']:>10.1f} s"
            f"{one['overhead_wall_share']:>10.1%}"
            f"{one['overhead_cpu_seconds']:>8.1f} s{one['overhead_cpu_share']:>10.1%}"
        )
    kept = all(one["overhead_cpu_share"] < PROMISE for one in found)
    print(
        f"load average {document['load_average']:.1f}; CPU below {PROMISE:.0%} of two minutes: "
        f"{'kept' if kept else 'BROKEN'}"
    )
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
