"""How good the recommendation alone and a short search are, against random search and plain TPE from scratch.

    python benchmarks/tune_search.py --set spam=TRAIN,EVAL,TEST --model FOLDER --samples 100 1000
    python benchmarks/tune_search.py --quick ...     2 seeds, 4 random trials, short trainings: minutes, no claim

Each row of a set is JSON with text and label (or prompt and completion). Random search and plain TPE draw from
the methods' whole ranges (`advisor.catalog.methods`), ours from the recommendation and its neighbours on. All
score the same evaluation rows with the same trainings; nothing is pruned, so that trials are comparable.
Prints one JSON line a study and a table, and writes both below --out; a study that is there is not run again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from pathlib import Path
from typing import Any

from advisor import store
from advisor.catalog.methods import find_method
from advisor.domain.study import TunedStudy
from advisor.tuner.tune import STUDY_FILE, resume, tune

OURS, RANDOM, TPE = "advisor (8)", "random (32)", "TPE from scratch (8)"


def main() -> None:
    given = _arguments()
    rows: list[dict[str, Any]] = []
    for named in given.set:
        name, _, files = named.partition("=")
        train, evaluation, test = files.split(",")
        for samples in given.samples:
            for seed in range(given.seeds):
                part = _part(given.out / "data", name, Path(train), samples, seed)
                files_here = (part, Path(evaluation), Path(test))
                rows += [_line(given, name, samples, seed, searcher, files_here) for searcher in (OURS, RANDOM, TPE)]
                print(json.dumps(rows[-3:]), flush=True)
    (given.out / "results.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))


def _line(
    given: argparse.Namespace, name: str, samples: int, seed: int, searcher: str, files: tuple[Path, Path, Path]
) -> dict[str, Any]:
    trials = {OURS: given.ours, RANDOM: given.random, TPE: given.ours}[searcher]
    if searcher == RANDOM and seed:
        trials = 0  # one random search a set: what it costs is the reason for the others
    study = _study(given, f"{name}-{samples}-{seed}-{searcher.split(' ')[0].lower()}", searcher, trials, seed, files)
    if study is None:
        return {"set": name, "samples": samples, "seed": seed, "searcher": searcher}
    done = [t for t in study.trials if t.values]
    best = max if study.higher_is_better else min
    return {
        "set": name,
        "samples": samples,
        "seed": seed,
        "searcher": searcher,
        "trials": len(done),
        "best": best(t.values[0] for t in done),
        "first": done[0].values[0],
        "test": study.test[study.metric],
        "oom": sum(t.state == "oom" for t in study.trials),
        "hours": study.seconds / 3600,
        "overhead": _overhead(study),
    }


def _overhead(study: TunedStudy) -> float:
    """Share of the search's wall clock that is neither training nor scoring: predicting, starting, loading, saving."""
    worked = sum(t.seconds["train"] + t.seconds["evaluate"] for t in study.trials if t.values)
    return 1 - worked / study.seconds


def _study(
    given: argparse.Namespace, name: str, searcher: str, trials: int, seed: int, files: tuple[Path, Path, Path]
) -> TunedStudy | None:
    folder = given.out / name
    if (folder / STUDY_FILE).exists():
        return store.read(TunedStudy, folder / STUDY_FILE)
    if trials == 0:
        return None
    if (folder / "request.json").exists():
        return resume(str(folder))
    settings: dict[str, Any] = {} if searcher == OURS else {"neighbours": 0, "learning_rate": _from_scratch(seed)}
    if given.epochs:
        settings["epochs"] = given.epochs
    return tune(
        given.model,
        str(files[0]),
        eval_data=str(files[1]),
        test_data=str(files[2]),
        method="lora",
        trials=trials,
        sampler="random" if searcher == RANDOM else "tpe",
        pruner="none",
        final_seeds=1,
        seq_len=given.seq_len,
        seed=seed,
        out=str(folder),
        name=name,
        patience=10**6,
        store=False,
        trainer=given.trainer,
        **settings,
    )


def _from_scratch(seed: int) -> float:
    """A first learning rate that knows nothing: drawn from the method's whole range."""
    option = find_method("lora").learning_rate
    assert option.low is not None
    assert option.high is not None
    draw = random.Random(seed)
    return option.low * (option.high / option.low) ** draw.random()


def _part(folder: Path, name: str, train: Path, samples: int, seed: int) -> Path:
    lines = [line for line in train.read_text(encoding="utf-8").splitlines() if line.strip()]
    random.Random(seed).shuffle(lines)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{samples}-{seed}.jsonl"
    path.write_text("\n".join(lines[:samples]) + "\n", encoding="utf-8")
    return path


def table(rows: list[dict[str, Any]]) -> str:
    """Median over seeds of each searcher's best, and of the recommendation alone, a line a set and size."""
    lines = [
        "| set | samples | recommendation | advisor, 8 trials | TPE, 8 trials | random, 32 | OOM |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, samples in dict.fromkeys((r["set"], r["samples"]) for r in rows):
        part = [r for r in rows if (r["set"], r["samples"]) == (name, samples) and "best" in r]

        def middle(searcher: str, key: str, part: list[dict[str, Any]] = part) -> str:
            found = [r[key] for r in part if r["searcher"] == searcher]
            return f"{statistics.median(found):.4f}" if found else ""

        cells = (middle(OURS, "first"), middle(OURS, "best"), middle(TPE, "best"), middle(RANDOM, "best"))
        lines.append(f"| {name} | {samples} | {' | '.join(cells)} | {sum(r['oom'] for r in part)} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", required=True, metavar="NAME=TRAIN,EVAL,TEST")
    parser.add_argument("--model", required=True)
    parser.add_argument("--samples", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--ours", type=int, default=8)
    parser.add_argument("--random", type=int, default=32)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--trainer", default="loop")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out") / "tune_search")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.ours, given.random, given.epochs, given.samples = 1, 3, 3, 1.0, given.samples[:1]
    return given


if __name__ == "__main__":
    main()
