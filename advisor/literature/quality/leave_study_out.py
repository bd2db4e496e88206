"""How well left-out studies were predicted: order of methods, coverage, error, regret. Each study counts once."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np

from advisor.literature.quality.features import SPREAD_FEATURES
from advisor.literature.quality.hierarchical_fit import STRETCH, HeldOutStudy, fit_spread

Predictor = Callable[[HeldOutStudy], float]


def told_score(one: HeldOutStudy) -> float:
    """Predicted effect in points when the study's fairness is known."""
    return math.sinh(one.told_mean)


def blind(one: HeldOutStudy) -> float:
    """Predicted effect in points when nothing is known of the study's fairness: what `--predict` answers."""
    return math.sinh(one.mean)


def settings(
    left_out: Sequence[HeldOutStudy], *, without_full: bool = False
) -> dict[str, dict[str, list[HeldOutStudy]]]:
    """study -> setting -> its cells; only settings that full fine-tuning was run in, or all (`without_full`)."""
    found: dict[str, dict[str, list[HeldOutStudy]]] = defaultdict(lambda: defaultdict(list))
    for one in left_out:
        if one.cell.referenced or without_full:
            found[one.cell.study][one.cell.setting].append(one)
    return found


def order_by_study(
    left_out: Sequence[HeldOutStudy],
    predict: Predictor,
    apart: float = 1.0,
    with_full: bool = True,
    every_setting: bool = False,
) -> dict[str, float]:
    """Share of pairs of methods, more than `apart` points from each other, whose order was predicted; a tie is half.

    Full fine-tuning takes part as effect 0 (`with_full`). Pairs nearer than one point are equal for our purpose, and
    within the noise of most studies' seeds. `every_setting`: also those that full fine-tuning was not run in.
    """
    shares: dict[str, float] = {}
    for study, by_setting in settings(left_out, without_full=every_setting).items():
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


def pairwise_order(
    left_out: Sequence[HeldOutStudy], *, told: bool, apart: float = 1.0, with_full: bool = True
) -> float:
    """Mean over studies of `order_by_study`."""
    predict = told_score if told else blind
    return fmean(order_by_study(left_out, predict, apart, with_full).values())


Pick = Callable[[dict[str, list[HeldOutStudy]]], str]


def model_pick(predict: Predictor) -> Pick:
    """The method of the best expected effect, full fine-tuning's being 0: the choice of who reads `mid` alone."""

    def pick(methods: dict[str, list[HeldOutStudy]]) -> str:
        worth = {name: fmean(predict(one) for one in cells) for name, cells in methods.items()} | {"full": 0.0}
        return max(worth, key=lambda name: (worth[name], name))

    return pick


def always_lora(methods: dict[str, list[HeldOutStudy]]) -> str:
    """The usual advice."""
    return "lora"


def pu_table(methods: dict[str, list[HeldOutStudy]]) -> str:
    """Pu et al. 2023 (arXiv 2304.14999): LoRA (or BitFit) up to 1,000 samples, full fine-tuning above."""
    samples = next(iter(methods.values()))[0].cell.question.samples
    return "full" if samples is not None and samples > 1_000 else "lora"


def regret_by_study(left_out: Sequence[HeldOutStudy], pick: Pick) -> dict[str, float]:
    """Points lost by a pick against the best method of its setting; only settings where LoRA was run too."""
    found: dict[str, float] = {}
    for study, by_setting in settings(left_out).items():
        lost: list[float] = []
        for cells in by_setting.values():
            methods: dict[str, list[HeldOutStudy]] = defaultdict(list)
            for one in cells:
                methods[one.cell.question.method].append(one)
            if "lora" not in methods:
                continue
            truth = {name: fmean(one.cell.effect for one in group) for name, group in methods.items()} | {"full": 0.0}
            lost.append(max(truth.values()) - truth[pick(methods)])
        if lost:
            found[study] = fmean(lost)
    return found


MISSED: Final = 2 / 0.1
"""What a point outside a 90 % interval costs in the interval score, in points of width."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """A study's rows against their 90 % intervals: share inside, median width, mean interval score, both in points.

    The interval score (Winkler 1972) is the width and 20 times what a row lies outside by: it is least for the
    true quantiles, so a model can gain nothing by being wider or narrower than it should.
    """

    inside: float
    width: float
    score: float


def intervals_by_study(
    left_out: Sequence[HeldOutStudy], stretch: float = STRETCH, names: tuple[str, ...] = SPREAD_FEATURES
) -> dict[str, Intervals]:
    """Every referenced study's rows in intervals whose spread was fitted without it."""
    found: dict[str, Intervals] = {}
    for study in settings(left_out):
        spread = fit_spread([one for one in left_out if one.cell.study != study], stretch, names)
        mine = [one for one in left_out if one.cell.study == study and one.cell.referenced]
        means, variances = (np.array([getattr(one, name) for one in mine]) for name in ("mean", "variance"))
        scales = spread.scale([one.blind for one in mine], means, variances)
        low, high = (spread.quantiles[i] for i in (2, -3))
        inside: list[float] = []
        widths: list[float] = []
        scores: list[float] = []
        for one, scale in zip(mine, scales, strict=True):
            ends = blind(one) + scale * low, blind(one) + scale * high
            for effect in one.cell.effects:
                outside = max(0.0, ends[0] - effect, effect - ends[1])
                inside.append(float(outside == 0))
                scores.append(ends[1] - ends[0] + MISSED * outside)
            widths.append(ends[1] - ends[0])
        found[study] = Intervals(fmean(inside), float(np.median(widths)), fmean(scores))
    return found


def coverage(left_out: Sequence[HeldOutStudy], stretch: float = STRETCH) -> tuple[float, float]:
    """(mean over studies of the share inside, share of all rows inside)."""
    return coverage_of(intervals_by_study(left_out, stretch), left_out)


def coverage_of(found: dict[str, Intervals], left_out: Sequence[HeldOutStudy]) -> tuple[float, float]:
    """As `coverage`, of intervals that are there already."""
    rows = {study: sum(len(one.cell.effects) for one in left_out if one.cell.study == study) for study in found}
    pooled = sum(found[study].inside * rows[study] for study in found) / sum(rows.values())
    return fmean(one.inside for one in found.values()), pooled
