"""Laws of lengths: gamma laws around a mean, the data's own lengths, the longest or the sum of several samples.

Shapes here: L equally likely lengths, P shares of all lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from advisor.domain.trace.timeline import Floats

Law = Callable[[Floats], Floats]
"""Lengths that shares of all lengths lie below: [P] -> [P], never falling."""

POINTS: Final = 256
"""Equally likely lengths by which the mean and the spread of a law are taken."""


def gamma_law(mean: float, longest: float, shape: float, points: int = POINTS) -> Law:
    """A gamma law around `mean`, none above `longest`.

    The law is cut at `longest`, and what the cut takes away is given back to the lengths below it, so that `points`
    equally likely lengths of it have the mean.

    Args:
        mean: below `longest`.
        shape: the gamma law's shape; its relative standard deviation is 1 / sqrt(shape).
    """
    lengths = _gamma_quantiles(middle(points), shape)
    low, high = 0.0, longest / float(lengths.min())
    for _ in range(100):
        scale = (low + high) / 2
        low, high = (scale, high) if np.minimum(lengths * scale, longest).mean() < mean else (low, scale)
    return lambda shares: np.minimum(_gamma_quantiles(shares, shape) * high, longest)


def longest_of(sizes: Floats, count: int) -> Law:
    """The longest of `count` samples drawn at random from ascending sizes."""
    last = len(sizes) - 1
    return lambda shares: sizes[np.minimum((shares ** (1 / count) * len(sizes)).astype(np.int64), last)]


def sum_of(samples: Law, count: int, most: float) -> Law:
    """The sum of `count` lengths drawn at random, none above `most`; of one it is the length itself.

    The sum of gamma laws of one scale is a gamma law with the sum's mean and variance; so is this one.
    """
    if count == 1:
        return samples
    lengths = samples(middle(POINTS))
    mean, variance = count * float(lengths.mean()), count * float(lengths.var())
    if variance == 0:
        return lambda shares: np.full(len(shares), min(mean, most))
    shape = mean * mean / variance
    return lambda shares: np.minimum(_gamma_quantiles(shares, shape) * (mean / shape), most)


def middle(points: int) -> Floats:
    """[points] shares in the middle of as many equal parts."""
    return (np.arange(points) + 0.5) / points


def _gamma_quantiles(shares: Floats, shape: float) -> Floats:
    """[P] quantiles of the gamma law of scale 1."""
    from scipy.special import gammaincinv  # imported in a tenth of the time of scipy.stats

    return np.asarray(gammaincinv(shape, shares), dtype=np.float64)
