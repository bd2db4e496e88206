"""How well left-out studies were predicted: order of methods, coverage, error, regret. Each study counts once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from advisor.estimator.quality_fit import STRETCH, LeftOut, fit_spread

Predictor = Callable[[LeftOut], float]


def told(one: LeftOut) -> float:
    """Predicted effect in points when the study's fairness is known."""
    return math.sinh(one.told_mean)


def blind(one: LeftOut) -> float:
    """Predicted effect in points when nothing is known of the study's fairness."""
    return math.sinh(one.mean)


def settings(left_out: Sequence[LeftOut]) -> dict[str, dict[str, list[LeftOut]]]:
    """study -> setting -> its cells; only settings that full fine-tuning was run in."""
    found: dict[str, dict[str, list[LeftOut]]] = defaultdict(lambda: defaultdict(list))
    for one in left_out:
        if one.cell.referenced:
            found[one.cell.study][one.cell.setting].append(one)
    return found


def order_by_study(
    left_out: Sequence[LeftOut], predict: Predictor, apart: float = 1.0, with_full: bool = True
) -> dict[str, float]:
    """Share of pairs of methods, `apart` points or more from each other, whose order was predicted; a tie is half.

    Full fine-tuning takes part as effect 0. Pairs nearer than one point are equal for our purpose, and
    within the noise of most studies' seeds.
    """
    shares: dict[str, float] = {}
    for study, by_setting in settings(left_out).items():
        right: list[float] = []
        for cells in by_setting.values():
            pairs = [(predict(one), one.cell.effect) for one in cells]
            if with_full:
                pairs.append((0.0, 0.0))
            for i, (guess, truth) in enumerate(pairs):
                for other_guess, other_truth in pairs[:i]:
                    if abs(truth - other_truth) > apart:
                        agree = (guess - other_guess) * (truth - other_truth)
                        right.append(0.5 if abs(guess - other_guess) < 1e-9 else float(agree > 0))
        if right:
            shares[study] = fmean(right)
    return shares


def pairwise_order(left_out: Sequence[LeftOut], *, told: bool, apart: float = 1.0) -> float:
    """Mean over studies of `order_by_study`."""
    predict = _told if told else blind
    return fmean(order_by_study(left_out, predict, apart).values())


_told = told


Pick = Callable[[dict[str, list[LeftOut]]], str]

CAUTION = 1.0
"""Standard deviations of its own coefficients by which a method's estimate is lowered before it is chosen."""


def cautious(one: LeftOut, *, told: bool) -> float:
    """Points that a method is good for at least, as far as the coefficients' doubt goes: what a choice is made on."""
    mean, variance = (one.told_mean, one.told_variance) if told else (one.mean, one.variance)
    return math.sinh(mean - CAUTION * math.sqrt(max(variance, 0.0)))


def model_pick(*, told: bool) -> Pick:
    """The method with the best cautious estimate, full fine-tuning's being 0."""

    def pick(methods: dict[str, list[LeftOut]]) -> str:
        worth = {name: fmean(cautious(one, told=told) for one in cells) for name, cells in methods.items()}
        worth["full"] = 0.0
        return max(worth, key=lambda name: (worth[name], name))

    return pick


def always_lora(methods: dict[str, list[LeftOut]]) -> str:
    """The usual advice."""
    return "lora"


def pu_table(methods: dict[str, list[LeftOut]]) -> str:
    """Pu et al. 2023 (arXiv 2304.14999): LoRA (or BitFit) up to 1,000 samples, full fine-tuning above."""
    samples = next(iter(methods.values()))[0].cell.question.samples
    return "full" if samples is not None and samples > 1_000 else "lora"


def regret_by_study(left_out: Sequence[LeftOut], pick: Pick) -> dict[str, float]:
    """Points lost by a pick against the best method of its setting; only settings where LoRA was run too."""
    found: dict[str, float] = {}
    for study, by_setting in settings(left_out).items():
        lost: list[float] = []
        for cells in by_setting.values():
            methods: dict[str, list[LeftOut]] = defaultdict(list)
            for one in cells:
                methods[one.cell.question.method].append(one)
            if "lora" not in methods:
                continue
            truth = {name: fmean(one.cell.effect for one in group) for name, group in methods.items()} | {"full": 0.0}
            lost.append(max(truth.values()) - truth[pick(methods)])
        if lost:
            found[study] = fmean(lost)
    return found


def coverage_by_study(left_out: Sequence[LeftOut], stretch: float = STRETCH) -> dict[str, tuple[float, float]]:
    """study -> (share of its rows inside the 90 % interval, median width in points), its spread fitted without it."""
    found: dict[str, tuple[float, float]] = {}
    for study in settings(left_out):
        spread = fit_spread([one for one in left_out if one.cell.study != study], stretch)
        mine = [one for one in left_out if one.cell.study == study and one.cell.referenced]
        means, variances = (np.array([getattr(one, name) for one in mine]) for name in ("mean", "variance"))
        scales = spread.scale([one.blind for one in mine], means, variances)
        low, high = (spread.quantiles[i] for i in (2, -3))
        inside: list[float] = []
        widths: list[float] = []
        for one, scale in zip(mine, scales, strict=True):
            middle = blind(one)
            ends = middle + scale * low, middle + scale * high
            inside += [float(ends[0] <= effect <= ends[1]) for effect in one.cell.effects]
            widths.append(ends[1] - ends[0])
        found[study] = fmean(inside), float(np.median(widths))
    return found


def coverage(left_out: Sequence[LeftOut], stretch: float = STRETCH) -> tuple[float, float]:
    """(mean over studies of the share inside, share of all rows inside)."""
    found = coverage_by_study(left_out, stretch)
    rows = {study: sum(len(one.cell.effects) for one in left_out if one.cell.study == study) for study in found}
    pooled = sum(found[study][0] * rows[study] for study in found) / sum(rows.values())
    return fmean(inside for inside, _ in found.values()), pooled
