"""How wrong predictions are on runs the fit did not see: the one place where runs are left out and predicted.

A relative error is predicted / measured - 1. Intervals are conformal: their half-width is a quantile of the
absolute held-out errors of the other runs, so that nine of ten new runs of the same kind fall inside whatever
the errors' law is. R runs.

Source: Barber et al. 2021, arXiv:1905.02928 (jackknife+, cross-validation+), in its symmetric form.
"""

# pyright: reportUnknownMemberType=false
# scikit-learn has no types

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

import numpy as np

from advisor.domain.profile import HeldOut
from advisor.domain.trace.timeline import Floats
from advisor.estimator.calibration.fit import TimeFit, fit_time, predict
from advisor.estimator.calibration.measured_runs import Progress, Run, TracedCase
from advisor.estimator.memory.memory_prediction import Correction, memory_of

Target = Literal["step_time", "peak_reserved", "peak_allocated", "allocated_after_step"]
TARGETS: Final[tuple[Target, ...]] = ("step_time", "peak_reserved", "peak_allocated", "allocated_after_step")
COVERAGE: Final = 0.9

SCHEMES: Final[dict[str, Callable[[Run], str]]] = {
    "leave-one-run": lambda run: run.profile.id,
    "leave-one-method": lambda run: run.method,
    "leave-one-model": lambda run: run.model,
    "leave-one-device": lambda run: run.profile.device,
}
"""Scheme -> what all runs left out together have in common."""


@dataclass(frozen=True, slots=True)
class PredictedBytes:
    """Predicted bytes of one run, before any correction."""

    peak_reserved: float
    peak_allocated: float
    allocated_after_step: float


@dataclass(frozen=True, slots=True)
class HeldOutPrediction:
    """One run that was predicted without having been seen; `low`..`high` is its 90 % interval."""

    run: Run
    target: Target
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1

    @property
    def inside(self) -> bool:
        return self.low <= self.measured <= self.high


def measured(run: Run, target: Target) -> float | None:
    """What the run measured of a target, None where it did not."""
    if target == "step_time":
        return run.step_seconds
    value: int | None = getattr(run.profile, f"{target}_bytes")
    return None if value is None else float(value)


def predicted_bytes(asked: TracedCase) -> PredictedBytes:
    """The allocator replayed, no correction applied."""
    memory, _ = memory_of(asked.timeline, asked.lengths, asked.recipe, asked.gpu)
    return PredictedBytes(memory.peak_reserved.mid, memory.peak_allocated.mid, memory.allocated_after_step.mid)


def corrected(target: Target, predicted: PredictedBytes, correction: Correction) -> float:
    """The bytes of one target with a fit's correction."""
    if target == "peak_reserved":
        return predicted.peak_reserved * correction.reserved_scale
    if target == "peak_allocated":
        return predicted.peak_allocated
    return predicted.allocated_after_step + correction.after_step_bytes


def fit_memory(runs: Sequence[Run], predicted: Sequence[PredictedBytes]) -> Correction:
    """Medians of what is off: few runs are odd, and those must not pull the rest along.

    Each is drawn towards no correction as if two further runs had needed none.
    """
    offsets = [run.profile.allocated_after_step_bytes for run in runs]
    missing = [m - p.allocated_after_step for m, p in zip(offsets, predicted, strict=True) if m is not None]
    reserved = [run.profile.peak_reserved_bytes for run in runs]
    scales = [math.log(m / p.peak_reserved) for m, p in zip(reserved, predicted, strict=True) if m is not None]
    offset = float(np.median([*missing, 0.0, 0.0])) if missing else 0.0
    scale = float(np.median([*scales, 0.0, 0.0])) if scales else 0.0
    return Correction(offset, math.exp(scale))


def conformal(errors: Sequence[float], share: float = COVERAGE) -> float:
    """The half-width that covers `share` of further errors of the same law; the largest where there are too few."""
    if not errors:
        return math.inf
    ordered = sorted(abs(e) for e in errors)
    at = math.ceil((len(ordered) + 1) * share)
    return ordered[min(at, len(ordered)) - 1]


def leave_out(
    runs: Sequence[Run],
    scheme: str,
    *,
    whole: TimeFit | None = None,
    predicted: Sequence[PredictedBytes] | None = None,
    targets: Sequence[Target] = TARGETS,
    progress: Progress | None = None,
) -> list[HeldOutPrediction]:
    """Every run predicted by a fit of the runs that do not share its group.

    Args:
        whole: the fit of all runs, from which each refit starts; only a matter of speed.
    Returns:
        one entry a run and target it measured; empty where all runs are of one group.
    """
    from sklearn.model_selection import LeaveOneGroupOut

    groups = [SCHEMES[scheme](run) for run in runs]
    if len(set(groups)) < 2:
        return []
    bytes_of = list(predicted) if predicted is not None else [predicted_bytes(run.asked) for run in runs]
    guesses: dict[tuple[int, Target], float] = {}
    folds = cast("Iterable[tuple[Iterable[int], Iterable[int]]]", LeaveOneGroupOut().split(groups, groups=groups))
    for number, (rest, held) in enumerate((list(map(int, most)), list(map(int, left_out))) for most, left_out in folds):
        if progress:
            progress(number, len(set(groups)), f"{scheme}: {groups[held[0]]}")
        constants: Floats | None = None
        if "step_time" in targets:
            constants = fit_time([runs[i] for i in rest], start=whole.constants if whole else None).constants
        correction = fit_memory([runs[i] for i in rest], [bytes_of[i] for i in rest])
        for i in held:
            for target in targets:
                if target != "step_time":
                    guesses[i, target] = corrected(target, bytes_of[i], correction)
                elif constants is not None:
                    guesses[i, target] = predict(runs[i].asked, constants)
    return _with_intervals(runs, guesses, targets)


def _with_intervals(
    runs: Sequence[Run], guesses: dict[tuple[int, Target], float], targets: Sequence[Target]
) -> list[HeldOutPrediction]:
    """Each guess with the interval that the other runs' held-out errors give it."""
    out: list[HeldOutPrediction] = []
    for target in targets:
        seen = {i: value for i, run in enumerate(runs) if (value := measured(run, target)) is not None}
        errors = {i: value / guesses[i, target] - 1 for i, value in seen.items()}
        for i, value in seen.items():
            half = conformal([e for j, e in errors.items() if j != i])
            guess = guesses[i, target]
            low, high = (0.0, math.inf) if math.isinf(half) else (guess * (1 - half), guess * (1 + half))
            out.append(HeldOutPrediction(runs[i], target, value, guess, low, high))
    return out


def summary(missed: Sequence[HeldOutPrediction], target: Target, scheme: str) -> HeldOut | None:
    """Error and coverage of one target; None where nothing was held out."""
    errors = [abs(m.error) for m in missed if m.target == target]
    if not errors:
        return None
    return HeldOut.model_validate(
        {
            "target": target,
            "scheme": scheme,
            "runs": len(errors),
            "median": float(np.median(errors)),
            "p90": float(np.quantile(errors, 0.9)),
            "worst": max(errors),
            "coverage": sum(m.inside for m in missed if m.target == target) / len(errors),
        }
    )
