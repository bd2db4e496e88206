"""Fits the constants of the time model to measured runs: few runs, so every constant is pulled to a prior.

Minimised, in logarithms: squared relative errors of step time over the runs' noise, plus squared departures of
the constants from the catalogue's values over the catalogue's ranges. Those of the host's processor depart
together. C constants, R runs.
"""

# pyright: reportUnknownMemberType=false
# scipy has no types

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.domain.trace.timeline import Floats
from advisor.estimator.calibration.measured_runs import Run, TracedCase
from advisor.estimator.step_time.step_simulator import (
    HOST_NAMES,
    TIME_NAMES,
    accumulate,
    default_time,
    run_clocks,
    step_seconds,
)

NOISE: Final = 0.02
"""Relative noise of one measured step time, as the fit sees it: repeated runs of one recipe on one L40S differed by
0.2 to 1.2 %, and the model itself misses the runs it was fitted to by as much again or more.

Source: feasibility study on peft's public method comparison; residuals of our fit to its 17 runs, 0.7 % median, 3 %
worst. A smaller noise lets a few runs pull constants far from physics for the sake of what the model leaves out.
"""
SHARED: Final = 0.6
"""Correlation of the host's constants before any run was seen: one processor issues every op, view and launch.

An assumption: most of what separates two machines' costs of an op also separates their costs of a view.
"""
STEP: Final = 0.01
"""Of the finite differences, in the logarithm of a constant."""
TOLERANCE: Final = 1e-4
"""The fit ends when the sum of squares falls by a smaller share: further steps move predictions by less than 0.1 %."""


@dataclass(frozen=True, slots=True)
class TimeFit:
    """[C] constants, and the covariance [C, C] of their logarithms."""

    constants: Floats
    covariance: Floats

    def log_error(self, name: str) -> float:
        """Standard deviation of one constant's logarithm."""
        at = TIME_NAMES.index(name)
        return math.sqrt(max(0.0, float(self.covariance[at, at])))


def prior_deviations() -> Floats:
    """[C] standard deviations of the logarithms of the catalogue's constants."""
    constants = load_constants("time")
    return np.array([max(constants[name].log_deviation, 1e-6) for name in TIME_NAMES])


def prior_precision() -> Floats:
    """[C, C] inverse covariance of the logarithms of the catalogue's constants."""
    deviations = prior_deviations()
    covariance = np.diag(deviations**2)
    host = [TIME_NAMES.index(name) for name in HOST_NAMES]
    for i in host:
        for j in host:
            if i != j:
                covariance[i, j] = SHARED * deviations[i] * deviations[j]
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64)


def predict(asked: TracedCase, constants: Floats) -> float:
    """Mean seconds of an optimizer step."""
    if asked.recipe.gradient_accumulation == 1:
        return float(step_seconds(asked.ops, asked.rates, constants).mean())
    clocks = run_clocks(asked.ops, asked.rates, constants)
    return float(accumulate(clocks, asked.recipe.gradient_accumulation).step_s.mean())


def sensitivity(asked: TracedCase, constants: Floats) -> Floats:
    """[C] change of log(step time) per change of log(constant)."""
    here = math.log(predict(asked, constants))
    out = np.zeros(len(constants))
    for i in range(len(constants)):
        moved = constants.copy()
        moved[i] *= math.exp(STEP)
        out[i] = (math.log(predict(asked, moved)) - here) / STEP
    return out


def fit_time(runs: Sequence[Run], *, start: Floats | None = None, noise: float = NOISE) -> TimeFit:
    """The constants that explain the runs' step times best, given the catalogue's ranges.

    Runs without step times do not bear on it. Deterministic: there is nothing random in it.

    Args:
        start: [C] where the search begins; the catalogue's constants unless given.
        noise: least relative doubt of a step time; a run whose repetitions differ more counts less.
    """
    from scipy import optimize

    prior: Floats = np.log(default_time())
    # squared lengths of `root @ x` are x' precision x: the priors are rows of the same least squares
    root = np.linalg.cholesky(prior_precision()).T
    timed = [run for run in runs if run.step_seconds]
    seen = np.array([math.log(run.step_seconds) for run in timed if run.step_seconds])
    weight = np.array([1 / math.hypot(noise, run.spread) for run in timed])

    def residuals(here: Floats) -> Floats:
        said = np.array([math.log(predict(run.asked, np.exp(here))) for run in timed])
        return np.asarray(np.concatenate([(said - seen) * weight, root @ (here - prior)]), dtype=np.float64)

    def jacobian(here: Floats) -> Floats:
        rows = np.array([sensitivity(run.asked, np.exp(here)) for run in timed]).reshape(len(timed), len(here))
        return np.asarray(np.vstack([rows * weight[:, None], root]), dtype=np.float64)

    begin: Floats = prior if start is None else np.log(start)
    # scipy has no types: a checker reads the argument's from its default, a text
    at: Floats = np.asarray(
        optimize.least_squares(residuals, begin, jac=jacobian, ftol=TOLERANCE).x,  # pyright: ignore[reportArgumentType]
        dtype=np.float64,
    )
    last = jacobian(at)
    return TimeFit(np.exp(at), np.asarray(np.linalg.inv(last.T @ last), dtype=np.float64))
