"""What a search gains from finished searches of other tasks: eight trials against the best of 32 random ones.

    python -m benchmarks.transfer              # some minutes; nothing is trained; what is stopped goes on
    python -m benchmarks.transfer --quick      # without Optuna's samplers
    python -m benchmarks.transfer --out FILE   # where the figures go; those that are there are read

The first: benchmarks/data/vit_tuning.csv holds every trial of the tuning of 16 methods on VTAB-1k with one ViT-B/16
(arXiv:2409.16434; github OSU-MLB/ViT_PEFT_Vision@cea7e21 tune_output/default_vtab/**/tune_summary.csv): accuracy on
200 validation images at 516 settings, the same for each task. One task is left out, and with it those of the same
images (the two counts of CLEVR, of dSprites, of SmallNORB; CIFAR-100 was tuned twice, once is taken). A searcher
proposes rows one by one, sees their scores of this task, and all scores of the others.

*reach* is the share of tasks on which the best trial is at least the median of the best of 32 random rows, by the
median over a searcher's seeds, with Wilson's 90 % interval; *chance* is that of doing at least as well as 32 random
rows, mean over tasks and seeds, and *gap* the points by which their mean best is missed; both with 90 % intervals by
drawing tasks again. Asked for is a reach of 75 % with eight trials and of 50 % with four.

*told* is no searcher: it is told this task's own scores of every row, a row's own excepted, and tries what they
predict. Where it fails too, 32 random rows have won by the noise of 200 images, which no knowledge of settings beats:
the two weight decays of a row otherwise the same differ by so much that the table itself says how large that is.

The second part is of one method with more rows than 32, as `tune` mostly searches; there a few finished studies of 16
random trials, as a user has, are tried in two ways: their best settings right after the recommendation, and steps that
learn from all their trials, which is what `tune` does. Shuffled scores tell nothing but their spread: what is gained
beyond those is learned. The last is of our own searches on texts (benchmarks/results/tune_search*.json), which were
trained: four trials against the best of 16 random ones, eight against 32.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import numpy as np

from benchmarks.transfer_searchers import (
    SETTINGS,
    Asked,
    Floats,
    Pool,
    Searcher,
    by_mean_percentile,
    joint_gp,
    learned,
    optuna_searcher,
    others_best,
    ours,
    portfolio,
    random_rows,
    told,
)

HERE: Final = Path(__file__).parent
TABLE: Final = HERE / "data" / "vit_tuning.csv"
SAME_IMAGES: Final = ("clevr", "dsprites", "smallnorb", "cifar")
TWICE: Final = "cifar_aug_norm"
COUNTS: Final = (4, 8)
ASKED_SHARE: Final = 0.75
RANDOM: Final = 32
EARLIER_TRIALS: Final = 16
DRAWS: Final = 2000
Z: Final = 1.645


def read_table(path: Path) -> tuple[Pool, list[str], Floats]:
    """The rows, the tasks and their scores [tasks, rows]."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    tasks = [name for name in rows[0] if name not in ("method", *SETTINGS, TWICE)]
    settings = np.array([[float(row[name] or math.nan) for name in SETTINGS] for row in rows])
    scores = np.array([[float(row[task]) for row in rows] for task in tasks])
    return Pool(tuple(row["method"] for row in rows), settings), tasks, scores


def best_of(scores: Floats, count: int) -> tuple[Floats, Floats]:
    """The scores in order [rows] and the chance of each to be the best of `count` drawn without putting back."""
    ordered, total = np.sort(scores), math.comb(len(scores), count)
    return ordered, np.array([math.comb(i, count - 1) / total for i in range(len(scores))])


def outcomes(searcher: Searcher, pool: Pool, tasks: list[str], scores: Floats, seeds: int, draw: int) -> Floats:
    """[tasks, COUNTS, 3] reach (0 or 1), chance and gap of a searcher."""
    found = np.zeros((len(tasks), len(COUNTS), 3))
    for t, task in enumerate(tasks):
        kin = task.split("_")[0]
        kept = [i for i, other in enumerate(tasks) if i != t and (kin not in SAME_IMAGES or not other.startswith(kin))]
        ordered, chances = best_of(scores[t], draw)
        reached = np.cumsum(chances)
        median, mean = ordered[np.searchsorted(reached, 0.5)], float(ordered @ chances)
        best = np.zeros((seeds, len(COUNTS)))
        for seed in range(seeds):
            rows = searcher(Asked(pool, scores[kept], scores[t], max(COUNTS), seed))
            best[seed] = [scores[t][rows[:count]].max() for count in COUNTS]
        for c in range(len(COUNTS)):
            no_better = [reached[np.searchsorted(ordered, b, side="right") - 1] for b in best[:, c]]
            found[t, c] = (np.median(best[:, c]) >= median, np.mean(no_better), mean - best[:, c].mean())
    return found


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 90 % interval of a share of n."""
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return middle - half, middle + half


def shares(values: Floats) -> tuple[float, float, float]:
    """The mean of yes and no over tasks, with its interval."""
    mean = float(values.mean())
    return mean, *wilson(mean, len(values))


def again(values: Floats) -> tuple[float, float]:
    """The 90 % interval of a mean over tasks, by drawing them again."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(1)
    return float(np.quantile(means, 0.05)), float(np.quantile(means, 0.95))


def figures(found: Floats) -> dict[str, Any]:
    """What a searcher's outcomes [tasks, COUNTS, 3] say, by number of trials."""
    return {
        str(count): {
            "tasks": len(found),
            "reach": [round(float(v), 3) for v in shares(found[:, c, 0])],
            "chance": [round(float(v), 3) for v in (found[:, c, 1].mean(), *again(found[:, c, 1]))],
            "gap": [round(float(v), 2) for v in (found[:, c, 2].mean(), *again(found[:, c, 2]))],
        }
        for c, count in enumerate(COUNTS)
    }


def line(name: str, said: dict[str, Any]) -> str:
    cells = [
        f"{100 * a[0]:3.0f} % ({100 * a[1]:.0f}-{100 * a[2]:.0f}) {b[0]:.2f} ({b[1]:.2f}-{b[2]:.2f}) {g[0]:+5.2f}"
        for one in said.values()
        for a, b, g in [(one["reach"], one["chance"], one["gap"])]
    ]
    return f"{name:44} | " + " | ".join(cells)


class Results:
    """The figures measured so far, in a file: what is stopped goes on with the same command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def told(self, name: str, measure: Callable[[], Floats]) -> None:
        """Print a searcher's figures, measured where they are not there yet."""
        if name not in self.found:
            self.found[name] = figures(measure())
            self.path.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        print(line(name.partition(": ")[2], self.found[name]), flush=True)


def own_studies(count: int) -> Searcher:
    """The best rows of `count` finished studies of other tasks, each of EARLIER_TRIALS random rows."""

    def search(asked: Asked) -> list[int]:
        rng = np.random.default_rng(1000 + asked.seed)
        best: list[int] = []
        for task in rng.permutation(len(asked.others))[:count]:
            rows = rng.permutation(len(asked.scores))[:EARLIER_TRIALS]
            best.append(int(rows[np.argmax(asked.others[task][rows])]))
        return list(dict.fromkeys(best))

    return search


def searchers(*, quick: bool) -> dict[str, tuple[Searcher, int]]:
    """Each searcher and its seeds, the simplest first."""
    found: dict[str, tuple[Searcher, int]] = {
        "random": (random_rows, 20),
        "the product's own proposals": (ours(), 5),
        "others: mean percentile": (by_mean_percentile, 1),
        "others: the best of each": (others_best, 1),
        "others: portfolio": (portfolio, 1),
        "others: joint GP": (joint_gp, 1),
        "the product, then the portfolio's first 3": (ours(portfolio, 3), 5),
    }
    if not quick:
        for sampler in ("tpe", "gp"):
            seeds = 5 if sampler == "tpe" else 2
            found[f"Optuna {sampler}"] = (optuna_searcher(sampler), seeds)
            found[f"Optuna {sampler}, 4 of the portfolio first"] = (optuna_searcher(sampler, portfolio, 4), seeds)
    return found | {"(told of the task itself)": (told, 1)}


def whole_table(kept: Results, *, quick: bool) -> None:
    pool, tasks, scores = read_table(TABLE)
    print(f"\nVTAB-1k, {len(tasks)} tasks, {scores.shape[1]} settings of {len(set(pool.methods))} methods; "
          f"a setting's other weight decay differs by {decay_noise(pool, scores):.1f} points")  # fmt: skip
    for name, (searcher, seeds) in searchers(quick=quick).items():
        kept.told(f"all methods: {name}", lambda s=searcher, n=seeds: outcomes(s, pool, tasks, scores, n, RANDOM))


def decay_noise(pool: Pool, scores: Floats) -> float:
    """Points, median over tasks of the standard deviation of one score, from rows that differ in weight decay alone."""
    pairs: dict[tuple[str, ...], list[int]] = {}
    for i, (method, at) in enumerate(zip(pool.methods, pool.settings, strict=True)):
        pairs.setdefault((method, str(at[0]), *(str(v) for v in at[2:])), []).append(i)
    two = np.array([rows for rows in pairs.values() if len(rows) == 2])
    # a row that comes to nothing says nothing of the noise among those that are chosen
    good = scores[:, two].min(2) >= np.median(scores, 1)[:, None]
    off = scores[:, two[:, 0]] - scores[:, two[:, 1]]
    return float(np.median([one[keep].std() / math.sqrt(2) for one, keep in zip(off, good, strict=True)]))


def one_method(kept: Results) -> None:
    """Each method with more than RANDOM rows by itself; a task's figure is the mean over these methods."""
    pool, tasks, scores = read_table(TABLE)
    names = [m for m in dict.fromkeys(pool.methods) if pool.methods.count(m) > RANDOM]
    parts = [[i for i, m in enumerate(pool.methods) if m == name] for name in names]
    print(f"\none method at a time: {', '.join(names)}")
    tried: dict[str, tuple[Searcher, int]] = {
        "random": (random_rows, 20),
        "the product's own proposals": (ours(), 5),
        "others: portfolio": (portfolio, 1),
        "others: joint GP": (joint_gp, 1),
        **{f"the product, then {n} own studies' best": (ours(own_studies(n), 2), 3) for n in (1, 4)},
        **{f"the product, learning from {n} own studies": (learned(n, EARLIER_TRIALS), 3) for n in (1, 2, 4, 8)},
        **{f"the same {n}, their scores shuffled": (learned(n, EARLIER_TRIALS, shuffled=True), 3) for n in (1, 4)},
        "(told of the task itself)": (told, 1),
    }

    def of_all(searcher: Searcher, seeds: int) -> Floats:
        each = [outcomes(searcher, pool.part(rows), tasks, scores[:, rows], seeds, RANDOM) for rows in parts]
        return np.mean(each, axis=0)

    for name, (searcher, seeds) in tried.items():
        kept.told(f"one method: {name}", lambda s=searcher, n=seeds: of_all(s, n))


def on_texts() -> None:
    """Our own trained searches: the best of the first four and eight trials, against random ones."""
    held: dict[int, list[bool]] = {4: [], 8: []}
    for path in sorted((HERE / "results").glob("tune_search*.json")):
        lines = json.loads(path.read_text(encoding="utf-8"))["lines"]
        for key in sorted({(one["set"], one["samples"]) for one in lines}):
            part = [one for one in lines if (one["set"], one["samples"]) == key]
            sign = 1.0 if part[0]["higher_is_better"] else -1.0
            random = [s for one in part if one["searcher"] == "random" for s in one["scores"]]
            worst = min(sign * s for s in random if s is not None)
            # a trial that came to nothing was drawn too
            drawn = np.array([worst if s is None else sign * s for s in random])
            for count, against in ((4, 16), (8, 32)):
                ours_alone = [one["scores"][:count] for one in part if one["searcher"] == "advisor"]
                best = [max(sign * s for s in scores if s is not None) for scores in ours_alone]
                ordered, chances = best_of(drawn, against)
                held[count].append(float(np.median(best)) >= float(ordered @ chances) - 1e-9)
    found = {f"{count} trials": [sum(h), len(h), *wilson(fmean(h), len(h))] for count, h in held.items()}
    print("\nour searches on texts (set, size and part): " + "; ".join(
        f"{name} reach the mean best of {'16' if name[0] == '4' else '32'} random in {v[0]} of {v[1]}"
        for name, v in found.items()))  # fmt: skip


def main() -> int:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "transfer.json")
    given = parser.parse_args()
    if not given.quick:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
    head = " | ".join(f"{n} trials: reach, chance, gap" + " " * 16 for n in COUNTS)
    print(f"{'':44} | {head}")
    kept = Results(given.out)
    whole_table(kept, quick=given.quick)
    one_method(kept)
    on_texts()
    reached = {name: one["8"]["reach"][0] for name, one in kept.found.items() if name.startswith("all methods: others")}
    best = max(reached.values())
    print(f"\nbest reach with eight trials: {best:.0%}; asked for: {ASKED_SHARE:.0%}")
    return 0 if best >= ASKED_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
