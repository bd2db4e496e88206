"""Fits the cost model to what devices measured, and says how wrong it then is on runs it did not see."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from advisor import store
from advisor.catalog.constants import load_constants
from advisor.domain.profile import Calibration, Coefficient, HeldOut, Profile
from advisor.domain.request.validation import check_folder
from advisor.errors import BadRequest, UnknownName
from advisor.estimator import measurements as known
from advisor.estimator.calibration.cross_validation import (
    TARGETS,
    HeldOutPrediction,
    PredictedBytes,
    conformal,
    fit_memory,
    leave_out,
    predicted_bytes,
    summary,
)
from advisor.estimator.calibration.fit import TimeFit, fit_time
from advisor.estimator.calibration.measured_runs import Progress, Run, prepare
from advisor.estimator.calibration.optimal_design import would_narrow
from advisor.estimator.cpu_device import PREFIX, measured_name
from advisor.estimator.measurements import POOLED
from advisor.estimator.memory.memory_prediction import Correction
from advisor.estimator.step_time.step_simulator import BOUNDS, TIME_NAMES, run_clocks

FEWEST: Final = 3
"""Runs below which a device is not fitted: an interval from two errors would be none."""


def calibrate(
    gpu: str | None = None,
    *,
    write: bool = True,
    out: str | Path | None = None,
    on_progress: Progress | None = None,
) -> tuple[Calibration, ...]:
    """A calibration per device with enough measured runs, and one pooled over accelerators where there are several.

    Deterministic: the same profiles and libraries give the same constants.

    Args:
        gpu: fit only this device.
        write: store the result; `out` names the folder, else the user's own calibration folder.
    Raises:
        BadRequest: `out` is a file; no device has enough complete profiles whose recipes can still be traced.
        BadFile: a profile is damaged or of another schema; names the file and field.
        StoreUnavailable: the folder cannot be written.
    """
    check_folder(out)
    chosen = _chosen(gpu)
    notes: list[str] = []
    runs = prepare(
        chosen, progress=on_progress, left_out=lambda profile, why: notes.append(f"left out {profile.id}: {why}")
    )
    by_device: dict[str, list[Run]] = {}
    for run in runs:
        by_device.setdefault(run.profile.device, []).append(run)
    fits = [fit_device(name, own, notes, on_progress) for name, own in by_device.items() if len(own) >= FEWEST]
    if not fits:
        raise BadRequest(
            f"no device has {FEWEST} complete profiles to fit",
            cause="; ".join(notes[:3]),
            hints=["to measure: advisor profile", "profiles are read from profiles/ and from the user's data folder"],
        )
    # a processor reaches other shares of its rates than any accelerator: not one family
    cards = [run for run in runs if not run.profile.device.startswith(PREFIX)]
    if gpu is None and len({run.profile.device for run in cards}) > 1:
        fits.append(fit_device(POOLED, cards, notes, on_progress))
    if write:
        folder = Path(out) if out is not None else store.home("data") / known.CALIBRATION
        for fitted in fits:
            store.write(fitted, folder / f"{fitted.device.lower().replace(' ', '-')}.json")
        known.forget()
    return tuple(fits)


def fit_device(name: str, runs: Sequence[Run], notes: Sequence[str], progress: Progress | None = None) -> Calibration:
    """One device's calibration from its runs; for POOLED, from all runs, judged on devices left out."""
    predicted = [predicted_bytes(run.asked) for run in runs]
    whole = fit_time(runs)
    correction = fit_memory(runs, predicted)
    schemes = ["leave-one-device"] if name == POOLED else ["leave-one-run", "leave-one-method", "leave-one-model"]
    held: list[HeldOut] = []
    widest: list[HeldOutPrediction] = []
    for scheme in schemes:
        missed = leave_out(runs, scheme, whole=whole, predicted=predicted, progress=progress)
        held.extend(found for target in TARGETS if (found := summary(missed, target, scheme)) is not None)
        if scheme in ("leave-one-method", "leave-one-device") or not widest:
            widest = missed or widest
    return Calibration.model_validate(
        {
            "device": name,
            "fitted_on": {run.profile.id: run.sha256 for run in runs},
            "devices": tuple(sorted({run.profile.device for run in runs})) if name == POOLED else (),
            "models": tuple(sorted({run.model for run in runs})),
            "time": tuple(_time_coefficients(whole)) if any(run.step_seconds for run in runs) else (),
            "memory": tuple(_memory_coefficients(runs, predicted, correction)),
            "time_interval": _interval(widest, "step_time"),
            "memory_interval": _interval(widest, "peak_reserved"),
            "largest_shares": _largest_shares(runs, whole),
            "held_out": tuple(held),
            "would_narrow": would_narrow(whole, [run.asked for run in runs]),
            "versions": _versions(runs),
            "fitted_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "notes": "; ".join(notes),
        }
    )


def _chosen(gpu: str | None) -> list[Profile]:
    found = [profile for _, profile in known.profiles()]
    if gpu is None:
        return found
    name = measured_name(gpu, found)
    own = [profile for profile in found if profile.device == name]
    if not own:
        raise UnknownName(
            f"no profile of {name} is in the store",
            hints=[f"measured devices: {', '.join(sorted({p.device for p in found})) or 'none'}"],
            gpu=name,
        )
    return own


def _time_coefficients(fit: TimeFit) -> Iterable[Coefficient]:
    constants = load_constants("time")
    for name, value in zip(TIME_NAMES, fit.constants.tolist(), strict=True):
        prior = constants[name]
        yield Coefficient(
            name=name,
            value=value,
            error=value * fit.log_error(name),
            unit=prior.unit,
            prior=prior.value,
            says=prior.says,
        )


def _memory_coefficients(
    runs: Sequence[Run], predicted: Sequence[PredictedBytes], correction: Correction
) -> Iterable[Coefficient]:
    after = [
        (run.profile.allocated_after_step_bytes - p.allocated_after_step)
        for run, p in zip(runs, predicted, strict=True)
        if run.profile.allocated_after_step_bytes is not None
    ]
    scales = [
        run.profile.peak_reserved_bytes / p.peak_reserved
        for run, p in zip(runs, predicted, strict=True)
        if run.profile.peak_reserved_bytes is not None
    ]
    yield Coefficient(
        name="after_step_bytes",
        value=correction.after_step_bytes,
        error=_robust_error(after),
        unit="B",
        prior=0.0,
        says="true less replayed bytes alive between steps: lengths of real batches, and what libraries keep",
    )
    yield Coefficient(
        name="reserved_scale",
        value=correction.reserved_scale,
        error=_robust_error(scales),
        unit="ratio",
        prior=1.0,
        says="true over replayed peak reserved: the order and the longest batch of real data",
    )
    contexts = [run.profile.context_bytes for run in runs if run.profile.context_bytes is not None]
    if contexts:
        yield Coefficient(
            name="context",
            value=float(np.median(contexts)),
            error=float(np.std(contexts)),
            unit="B",
            prior=load_constants("memory")["context"].value,
            says="CUDA context with its kernels, outside the allocator",
        )


def _largest_shares(runs: Sequence[Run], fit: TimeFit) -> dict[str, float]:
    """Per bound, the largest share of a step it had in any run."""
    shares = [
        clocks.bound_s.mean(axis=0) / clocks.step_s.mean()
        for clocks in (run_clocks(run.asked.ops, run.asked.rates, fit.constants) for run in runs)
    ]
    return {name: round(float(share), 4) for name, share in zip(BOUNDS, np.max(shares, axis=0), strict=True)}


def _robust_error(values: Sequence[float]) -> float | None:
    """Standard error of a median, from the median absolute deviation; None below three values."""
    if len(values) < FEWEST:
        return None
    spread = 1.4826 * float(np.median(np.abs(np.array(values) - np.median(values))))
    return 1.2533 * spread / math.sqrt(len(values))


def _interval(missed: Sequence[HeldOutPrediction], target: str) -> tuple[float, float] | None:
    """Ends relative to the prediction, so of measured over predicted, which large errors set apart from its inverse."""
    errors = [m.measured / m.predicted - 1 for m in missed if m.target == target]
    if len(errors) < FEWEST:
        return None
    half = conformal(errors)
    return (-half, half)


def _versions(runs: Sequence[Run]) -> dict[str, str]:
    """What the runs measured with, and what they were traced with; several versions are listed."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for library, version in run.profile.versions.items():
            found.setdefault(library, set()).add(version)
    named = {library: ", ".join(sorted(seen)) for library, seen in sorted(found.items())}
    for library in ("torch", "transformers", "peft"):
        named[f"traced with {library}"] = importlib.metadata.version(library)
    return named
