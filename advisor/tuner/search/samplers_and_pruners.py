"""Samplers, pruners and the rule that ends a search, by the names users give them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from advisor.errors import UnknownName

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

PRUNERS: Final = ("median", "hyperband", "wilcoxon", "none")
SAMPLERS: Final = ("tpe", "gp", "random")
FIRST_RUNG: Final = 20
"""Per cent of a training before which no trial is ended: warm-up is over, scores begin to tell."""


def make_pruner(name: str, rungs: Sequence[int], seeds: int) -> BasePruner:
    """The pruner of a name; its steps are per cent of a training, or seeds of a trial where it has several.

    Raises:
        UnknownName: no such pruner.
    """
    from optuna import pruners

    made: dict[str, Callable[[], Any]] = {
        "median": lambda: pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=0 if seeds > 1 else FIRST_RUNG),
        "hyperband": lambda: pruners.HyperbandPruner(
            min_resource=max(1, min(rungs, default=1)), max_resource=100, reduction_factor=3
        ),
        "wilcoxon": lambda: pruners.WilcoxonPruner(p_threshold=0.1, n_startup_steps=2),
        "none": pruners.NopPruner,
    }
    if name not in made:
        raise UnknownName.of("pruner", name, PRUNERS, list_with="advisor tune --help")
    return made[name]()


def make_sampler(name: str, seed: int, startup: int) -> BaseSampler:
    """The sampler of a name; `startup` trials are asked for by name, so it need not draw more at random.

    Raises:
        UnknownName: no such sampler.
    """
    import warnings

    from optuna import samplers
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        made: dict[str, Callable[[], Any]] = {
            "tpe": lambda: samplers.TPESampler(
                seed=seed, n_startup_trials=max(3, startup), multivariate=True, group=True, constant_liar=True
            ),
            "gp": lambda: samplers.GPSampler(seed=seed, n_startup_trials=max(3, startup)),
            "random": lambda: samplers.RandomSampler(seed=seed),
        }
        if name not in made:
            raise UnknownName.of("sampler", name, SAMPLERS, list_with="advisor tune --help")
        return made[name]()


def noise_of(metric: str, value: float, rows: int) -> float:
    """Standard error of a score on `rows` rows: binomial for shares of rows, 1 % of the value for losses.

    A loss's own spread is not known from its mean; 1 % is what repeated evaluations of one setting with other
    seeds differ by in practice, and only decides when a search is called flat.
    """
    if metric in ("accuracy", "exact_match", "f1"):
        share = min(max(value, 0.5 / rows), 1 - 0.5 / rows)
        return math.sqrt(share * (1 - share) / rows)
    if metric.startswith("rouge"):
        return 0.3 / math.sqrt(rows)
    return abs(value) * 0.01


def not_worth_more(
    trials: Sequence[FrozenTrial], *, higher: bool, patience: int, noise: float, price: Callable[[int], str]
) -> str | None:
    """Why no more trials should be run, or None: the last `patience` scored ones gained less than the noise.

    `price` says for a reader what so many trials cost.
    """
    scored = [t for t in trials if t.value is not None and t.state.is_finished()]
    if len(scored) < patience + 3:
        return None
    sign = 1.0 if higher else -1.0
    values = [sign * t.value for t in scored if t.value is not None]
    gained = max(values) - max(values[:-patience])
    if gained >= noise:
        return None
    return (
        f"the last {patience} trials gained {gained:.4g}, less than the score's own noise ({noise:.2g}); "
        f"as many again would cost {price(patience)}"
    )


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation, None for fewer than two."""
    return statistics.stdev(values) if len(values) > 1 else None
