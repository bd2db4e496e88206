"""The searchers of `transfer.py`: each proposes rows of a table for one task, some of them knowing the other tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from advisor.domain.tuning import Dimension, Level
from advisor.tuner.search.learned_steps import encoded, expected_gain
from advisor.tuner.search.local_moves import EvaluatedSettings, next_trial

Floats = NDArray[np.float64]
SETTINGS: Final = ("learning_rate", "weight_decay", "size", "scale", "xavier")
LENGTHS: Final = (0.5, 3.0, 2.0, 1.0, 0.5)
"""Scales of likeness: rate, decay and scale in decades, size in doublings. Set once, before anything was measured."""
NAMES: Final = {"size": "rank", "scale": "alpha_over_rank"}
"""What the product calls a setting of the table."""
USUAL: Final = {"learning_rate": 1e-3, "weight_decay": 1e-4, "scale": 1.0}
"""Where the product's search starts: of its ranges here the rates and scales most configurations have."""
SMOOTHING, OWN, NOISE, FLOOR = 0.5, 0.4, 0.3, -2.0
STARTUP: Final = 3
MOVES: Final = 4
"""The product's start and single moves before it learns, in a search of one method."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows that may be tried: `settings` [rows, SETTINGS], NaN where a method has none; `methods` [rows]."""

    methods: tuple[str, ...]
    settings: Floats

    def part(self, rows: Sequence[int]) -> Pool:
        return Pool(tuple(self.methods[i] for i in rows), self.settings[list(rows)])

    def likeness(self) -> Floats:
        """[rows, rows] a Gaussian of the distance, half as much between methods."""
        at = np.nan_to_num(self.settings.copy(), nan=0.0)
        for j, scale in enumerate((math.log(10), math.log(10), math.log(2), math.log(10), 1.0)):
            if j < 4:
                at[:, j] = np.log(np.where(at[:, j] > 0, at[:, j], 1.0))
            at[:, j] /= scale * LENGTHS[j]
        far = ((at[:, None] - at[None]) ** 2).sum(2)
        names = np.array(self.methods)
        return np.exp(-far / 2) * np.where(names[:, None] == names[None], 1.0, 0.5)


@dataclass(frozen=True, slots=True)
class Asked:
    """One task to search.

    `scores` [rows] are its own, which a searcher may read of rows that it tried; `others` [tasks, rows] the others'.
    """

    pool: Pool
    others: Floats
    scores: Floats
    count: int
    seed: int


Searcher = Callable[[Asked], list[int]]


def percentiles(scores: Floats) -> Floats:
    """[tasks, rows] in 0..1, ties in the middle."""
    return np.array([(rankdata(one) - 1) / (len(one) - 1) for one in scores])


def random_rows(asked: Asked) -> list[int]:
    return [int(i) for i in np.random.default_rng(asked.seed).permutation(len(asked.scores))[: asked.count]]


def by_mean_percentile(asked: Asked) -> list[int]:
    return [int(i) for i in np.argsort(-percentiles(asked.others).mean(0), kind="stable")[: asked.count]]


def others_best(asked: Asked) -> list[int]:
    """The best row of each other task, those first that are good on all of them."""
    best = {int(np.argmax(one)) for one in asked.others}
    mean = percentiles(asked.others).mean(0)
    return sorted(best, key=lambda i: (-mean[i], i))[: asked.count]


def portfolio(asked: Asked) -> list[int]:
    """Each next row is the one that raises the other tasks' best percentile so far most, in the mean."""
    known = percentiles(asked.others)
    best, chosen = np.zeros(len(known)), list[int]()
    for _ in range(asked.count):
        gain = np.maximum(known, best[:, None]).mean(0)
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
        best = np.maximum(best, known[:, chosen[-1]])
    return chosen


def joint_gp(asked: Asked) -> list[int]:
    """A Gaussian process whose mean and covariance are the other tasks', with one of this task's own on top.

    Scores are in units of what a task's best twentieth has over its median; of the task that is searched that unit is
    one of the others', each as likely as it explains the trials. The next row has the largest expected improvement.
    """
    like = asked.pool.likeness()
    middle = np.median(asked.others, 1, keepdims=True)
    unit = np.maximum(np.quantile(asked.others, 0.97, axis=1, keepdims=True) - middle, 1e-3)
    known = np.clip((asked.others - middle) / unit, FLOOR, None)
    smooth = np.linalg.solve(like + SMOOTHING * np.eye(len(like)), like).T
    mean = known.mean(1, keepdims=True)
    known = mean + (known - mean) @ smooth.T
    prior = known.mean(0)
    cov = (known - prior).T @ (known - prior) / max(1, len(known) - 1) + OWN**2 * like
    units = np.exp(np.quantile(np.log(unit[:, 0]), [0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95]))
    chosen = [int(np.argmax(prior))]
    while len(chosen) < asked.count:
        gain = _expected_gain(asked.scores[chosen], chosen, prior, cov, units)
        gain[chosen] = -1
        chosen.append(int(np.argmax(gain)))
    return chosen


def _expected_gain(seen: Floats, chosen: list[int], prior: Floats, cov: Floats, units: Floats) -> Floats:
    """[rows] over the trials' best, in the task's unknown unit, its level unknown too."""
    inverse = np.linalg.inv(cov[np.ix_(chosen, chosen)] + NOISE**2 * np.eye(len(chosen)))
    ones, to = np.ones(len(chosen)), cov[:, chosen] @ inverse
    left = np.clip(np.diag(cov) - np.einsum("ij,ij->i", to, cov[:, chosen]), 1e-9, None)
    spread = np.sqrt(left + NOISE**2)
    likely, gains = [], []
    for unit in units:
        off = seen / unit - prior[chosen]
        level = (ones @ inverse @ off) / (ones @ inverse @ ones)
        off = off - level
        likely.append(-0.5 * off @ inverse @ off - (len(chosen) - 1) * math.log(unit))
        z = (prior + to @ off - (seen.max() / unit - level)) / spread
        gains.append(spread * (z * norm.cdf(z) + norm.pdf(z)))
    weights = np.exp(np.array(likely) - max(likely))
    return np.array((weights / weights.sum()) @ np.array(gains))


def told(asked: Asked) -> list[int]:
    """No searcher: told this task's own scores of all other rows, each row predicted from its like."""
    like = asked.pool.likeness()
    scores = norm.ppf((rankdata(asked.scores) - 0.5) / len(asked.scores))
    inverse = np.linalg.inv(like + 0.1 * np.eye(len(like)))
    left_out = scores - (inverse @ scores) / np.diag(inverse)
    return [int(i) for i in np.argsort(-left_out, kind="stable")[: asked.count]]


def optuna_searcher(sampler: str, first: Searcher | None = None, given: int = 0) -> Searcher:
    """TPE or a GP of Optuna over the table's settings, begun with `given` rows that another searcher proposes."""

    def search(asked: Asked) -> list[int]:
        import optuna

        made: dict[str, Callable[[], Any]] = {
            "tpe": lambda: optuna.samplers.TPESampler(
                seed=asked.seed, n_startup_trials=STARTUP, multivariate=True, group=True
            ),
            "gp": lambda: optuna.samplers.GPSampler(seed=asked.seed, n_startup_trials=STARTUP),
        }
        study = optuna.create_study(direction="maximize", sampler=made[sampler]())
        levels = _levels(asked.pool)
        for row in first(asked)[:given] if first else ():
            study.enqueue_trial(_as_params(asked.pool, levels, row))
        tried: list[int] = []
        for _ in range(20 * asked.count):
            if len(tried) == asked.count:
                break
            trial = study.ask()
            row = _asked_row(trial, asked.pool, levels)
            study.tell(trial, float(asked.scores[row]))
            tried += [] if row in tried else [row]
        return tried

    return search


def _levels(pool: Pool) -> dict[str, list[list[float]]]:
    """method -> the levels of each of SETTINGS."""
    return {
        m: [
            sorted(
                {float(v) for v, name in zip(pool.settings[:, j], pool.methods, strict=True) if name == m and v == v}
            )
            for j in range(len(SETTINGS))
        ]
        for m in dict.fromkeys(pool.methods)
    }


def _key(method: str, setting: str) -> str:
    return setting if setting in SETTINGS[:2] else f"{method}.{setting}"


def _as_params(pool: Pool, levels: dict[str, list[list[float]]], row: int) -> dict[str, Any]:
    method = pool.methods[row]
    at = {
        _key(method, name): levels[method][j].index(float(pool.settings[row, j]))
        for j, name in enumerate(SETTINGS)
        if len(levels[method][j]) > 1
    }
    return {**({"method": method} if len(levels) > 1 else {}), **at}


def _asked_row(trial: Any, pool: Pool, levels: dict[str, list[list[float]]]) -> int:
    """The row of a trial: its method, then the place of each level among the method's own."""
    method = trial.suggest_categorical("method", list(levels)) if len(levels) > 1 else pool.methods[0]
    rows = np.array([name == method for name in pool.methods])
    for j, name in enumerate(SETTINGS):
        if len(levels[method][j]) > 1:
            level = levels[method][j][trial.suggest_int(_key(method, name), 0, len(levels[method][j]) - 1)]
            rows &= pool.settings[:, j] == level
    return int(np.flatnonzero(rows)[0])


def ours(first: Searcher | None = None, given: int = 0) -> Searcher:
    """The product's proposals: each method's start, single moves, small steps; after the start the rows given."""

    def search(asked: Asked) -> list[int]:
        dimensions = _dimensions(asked.pool)
        tried: list[int] = []
        known: list[EvaluatedSettings] = []

        def trial(row: int) -> None:
            if row not in tried:
                tried.append(row)

        for step in range(20 * asked.count):
            if len(tried) >= asked.count:
                break
            found = next_trial(dimensions, known, moves=asked.count, near=True, draw=f"{asked.seed}/{step}")
            if found is None:
                trial(next(i for i in random_rows(replace(asked, count=len(asked.scores))) if i not in tried))
                continue
            row = _nearest(asked.pool, dimensions, found[1])
            known.append(EvaluatedSettings(found[1], float(asked.scores[row])))
            trial(row)
            if len(known) == 1 and first is not None:
                for other in first(asked)[:given]:
                    known.append(
                        EvaluatedSettings(_params_of(asked.pool, dimensions, other), float(asked.scores[other]))
                    )
                    trial(other)
        return tried[: asked.count]

    return search


def learned(studies: int, trials: int, *, shuffled: bool = False) -> Searcher:
    """The product's start and moves, then its steps that learn from finished studies of random trials of other tasks.

    `shuffled`: the studies' scores in another order, so that they tell of the spread of scores and of nothing else.
    """
    moves = ours()

    def search(asked: Asked) -> list[int]:
        dimensions = _dimensions(asked.pool)
        at = np.array([encoded(dimensions, _named(asked.pool, row)) for row in range(len(asked.scores))])
        rng = np.random.default_rng(1000 + asked.seed)
        known = []
        for task in rng.permutation(len(asked.others))[:studies]:
            rows = rng.permutation(len(asked.scores))[:trials]
            scores = asked.others[task][rows]
            known.append((at[rows], rng.permutation(scores) if shuffled else scores))
        tried = moves(replace(asked, count=min(MOVES, asked.count)))
        while len(tried) < asked.count:
            rest = [row for row in range(len(asked.scores)) if row not in tried]
            gain = expected_gain(at[[*tried, *rest]], asked.scores[tried], known)
            tried = [*tried, rest[int(np.argmax(gain[len(tried) :]))]]
        return tried

    return search


def _named(pool: Pool, row: int) -> dict[str, Level]:
    """A row's settings as the product names them."""
    values = {NAMES.get(name, name): float(pool.settings[row, j]) for j, name in enumerate(SETTINGS)}
    return {"method": pool.methods[row], **{name: value for name, value in values.items() if value == value}}


def _dimensions(pool: Pool) -> tuple[Dimension, ...]:
    """The table's settings as the product searches them; several methods start with LoRA."""
    found: list[Dimension] = []
    levels = _levels(pool)
    names = sorted(levels, key=lambda m: (m != "lora", m))
    if len(names) > 1:
        found.append(Dimension(name="method", kind="choice", start=names[0], choices=tuple(names)))
    for method in names:
        owner = method if len(names) > 1 else None
        for j, setting in enumerate(SETTINGS):
            at = levels[method][j]
            if len(at) < 2:
                continue
            start = min(at, key=lambda v: abs(v - USUAL[setting])) if setting in USUAL else at[len(at) // 2]
            name = NAMES.get(setting, setting)
            if setting in SETTINGS[:2]:
                found.append(
                    Dimension(name=name, kind="float", start=start, low=at[0], high=at[-1], log=True, method=owner)
                )
            else:
                found.append(Dimension(name=name, kind="choice", start=start, choices=tuple(at), method=owner))
    return tuple(found)


def _params_of(pool: Pool, dimensions: Sequence[Dimension], row: int) -> dict[str, Level]:
    values = _named(pool, row)
    return {d.key: values[d.name] for d in dimensions if d.method in (None, pool.methods[row])}


def _nearest(pool: Pool, dimensions: Sequence[Dimension], params: dict[str, Level]) -> int:
    """The row of the same method whose settings are nearest, in ratios."""
    method = params.get("method", pool.methods[0])

    def far(row: int) -> float:
        there = _params_of(pool, dimensions, row)
        return sum(
            abs(math.log((float(str(params[key])) + 1e-9) / (float(str(level)) + 1e-9)))
            for key, level in there.items()
            if key != "method"
        )

    return min((i for i, name in enumerate(pool.methods) if name == method), key=far)
