"""What a probe rests on, in numbers: outcomes from probe features, learning curves extrapolated, choices against all.

    python -m benchmarks.probe                      # a minute: final scores predicted from features of short probes
    python -m benchmarks.probe --other RUNS.csv     # the same models, fitted to the runs here, on runs of the same form
    python -m benchmarks.probe --curves             # published learning curves, their largest size left out
    python -m benchmarks.probe --priors             # the published figures that the score model begins with
    python -m benchmarks.probe --set spam-email=TRAIN,EVAL,TEST --model FOLDER --size 200 --size 1000 --out FOLDER
                                                    # probes against six methods trained out; goes on where stopped

The first: benchmarks/data/tuneahead_runs.csv holds 250 runs of TuneAhead (arXiv:2606.17660; github
iclr2026-submission-anonymous/TuneAhead@0cfc13e data/metadataset_sample.csv, rounded to five digits): features of the
data and of a short probe, and the accuracy after the whole fine-tuning of one model. Each model below predicts runs
that it was not fitted to, ten folds, runs of equally many rows kept together; intervals are 90 %, by drawing those
groups again. Asked for is an error (RMSE) of at most 1.6 points and 94 % of the runs within 3.

The product predicts no score from such features: nearly all of them go with the score alone (its rows' number too:
more rows, lower accuracy), so a line says all there is, and the runs are of one model. What it predicts by is the
score model of `advisor.experiments.score_model`, which the other parts measure.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
RUNS = Path(__file__).parent / "data" / "tuneahead_runs.csv"
OUTCOME, NAME, ROWS = "overall_accuracy", "dataset_name", "dataset_num_items"
FOLDS = 10
MOST_RMSE, LEAST_WITHIN, NEAR = 1.6, 0.94, 3.0
DRAWS = 1000


def read_runs(path: Path) -> tuple[Floats, Floats, list[str]]:
    """(features [runs, columns], outcomes in points [runs], groups [runs])."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = [name for name in rows[0] if name not in (OUTCOME, NAME)]
    features = np.array([[float(row[name]) for name in names] for row in rows])
    at = names.index(ROWS)
    features[:, at] = np.log(features[:, at])
    return features, np.array([100 * float(row[OUTCOME]) for row in rows]), [row[ROWS] for row in rows]


def models() -> dict[str, Any]:
    """The simplest first."""
    from sklearn.dummy import DummyRegressor
    from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
    from sklearn.feature_selection import SelectKBest, f_regression
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = ConstantKernel() * RBF(6.0) + WhiteKernel()
    return {
        "mean": DummyRegressor(),
        "the one best feature, a line": make_pipeline(SelectKBest(f_regression, k=1), LinearRegression()),
        "linear": make_pipeline(StandardScaler(), LinearRegression()),
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 13))),
        "Gaussian process": make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True)),
        "extra trees": ExtraTreesRegressor(100, min_samples_leaf=2, max_features=0.5, random_state=0),
        "boosted trees": HistGradientBoostingRegressor(max_iter=150, learning_rate=0.06, max_leaf_nodes=8),
    }


def figures(errors: Floats, groups: list[str]) -> dict[str, tuple[float, float, float]]:
    """RMSE and share within NEAR, each with its 90 % interval over groups drawn again."""
    members = [np.flatnonzero(np.array(groups) == name) for name in dict.fromkeys(groups)]
    random = np.random.default_rng(0)
    drawn: list[tuple[float, float]] = []
    for _ in range(DRAWS):
        chosen = np.concatenate([members[i] for i in random.integers(0, len(members), len(members))])
        drawn.append(_both(errors[chosen]))
    low, high = np.quantile(np.array(drawn), [0.05, 0.95], axis=0)
    rmse, within = _both(errors)
    return {"rmse": (rmse, *_ends(low, high, 0)), "within": (within, *_ends(low, high, 1))}


def _both(errors: Floats) -> tuple[float, float]:
    return float(np.sqrt(np.mean(errors**2))), float(np.mean(np.abs(errors) <= NEAR))


def _ends(low: Floats, high: Floats, at: int) -> tuple[float, float]:
    return float(low[at]), float(high[at])


def outcomes(other: Path | None) -> int:
    """Print each model's figures; 1 where the simplest that does as well as the best misses what is asked for."""
    from sklearn.base import clone
    from sklearn.model_selection import GroupKFold, cross_val_predict

    x, y, groups = read_runs(RUNS)
    told: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, model in models().items():
        if other is None:
            errors = cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(FOLDS)) - y
            told[name] = figures(errors, groups)
        else:
            new_x, new_y, new_groups = read_runs(other)
            told[name] = figures(clone(model).fit(x, y).predict(new_x) - new_y, new_groups)
        rmse, within = told[name]["rmse"], told[name]["within"]
        print(
            f"{name:30s} RMSE {rmse[0]:5.2f} ({rmse[1]:.2f}-{rmse[2]:.2f})   "
            f"within {NEAR:g} {within[0]:.1%} ({within[1]:.1%}-{within[2]:.1%})",
            flush=True,
        )
    best = min(told.values(), key=lambda f: f["rmse"][0])["rmse"]
    ships = next(name for name, f in told.items() if f["rmse"][0] <= best[2])
    rmse, within = told[ships]["rmse"][0], told[ships]["within"][0]
    print(f"the simplest that does as well as the best: {ships}, RMSE {rmse:.2f}, {within:.1%} within {NEAR:g}")
    return 0 if rmse <= MOST_RMSE and within >= LEAST_WITHIN else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, metavar="FILE")
    parser.add_argument("--curves", action="store_true")
    parser.add_argument("--priors", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=TRAIN,EVAL,TEST")
    parser.add_argument("--size", type=int, action="append", default=[], metavar="ROWS")
    parser.add_argument("--model", metavar="FOLDER")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--seq-len", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hours", type=float, help="of this session, over all that is left to train")
    parser.add_argument("--out", type=Path, default=Path("benchmarks-out") / "probe")
    given = parser.parse_args()
    if given.set:
        from benchmarks.probe_trained_out import trained_out

        return trained_out(given)
    if given.curves or given.priors:
        from benchmarks import probe_curves

        return probe_curves.curves() if given.curves else probe_curves.priors()
    return outcomes(given.other)


if __name__ == "__main__":
    sys.exit(main())
