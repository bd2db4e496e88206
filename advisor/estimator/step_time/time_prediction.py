"""From two replayed clocks to what a reader is told: step time with its range, phases, bounds, advice."""

from __future__ import annotations

from advisor.catalog.constants import time_constants
from advisor.domain.candidate import Time
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Calibration
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Floats, Timeline
from advisor.domain.trace.trace_schema import PHASES
from advisor.domain.units import Basis, Unit, plural
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import BatchLengths
from advisor.estimator.measurements import POOLED
from advisor.estimator.memory.timeline_memo import TimelineMemo
from advisor.estimator.step_time.step_simulator import (
    BOUNDS,
    TIME_NAMES,
    Clocks,
    Ops,
    accumulate,
    default_time,
    rates_of,
    run_clocks,
)

FLASH = "flash_attention"
OTHER_MODEL_WIDENS = 1.5
"""A fit on other models' runs is off by more on this one; the factor is ours until runs of many models are in."""
MOST_BELOW = 0.95
"""A step takes some time, however far off the fitted runs were: no lower end below a twentieth of the prediction."""
DEVICES_TO_NARROW = 4
"""Measured devices from which what leaving one out missed says how far a new one may be; the number is ours."""
STRANGE_BOUND_WIDENS = 3.0
"""Widening for each share of a step that is bound as no fitted run was (all of it: fourfold); the factor is ours."""

_KEPT_OPS: TimelineMemo[Ops] = TimelineMemo(8)
_KEPT_CLOCKS: TimelineMemo[Clocks] = TimelineMemo(128)


def time_of(
    timeline: Timeline,
    lengths: BatchLengths,
    workload: Workload,
    recipe: Recipe,
    gpu: Gpu,
    calibration: Calibration | None = None,
    *,
    causal: bool = False,
) -> tuple[Time, tuple[str, ...]]:
    """Seconds of one optimizer step and of the whole training on one device, and notes on missing figures.

    Args:
        calibration: the device's own; or the one pooled over others, whose constants it borrows, and says so.
        causal: the model is a decoder (`is_causal`).

    Raises:
        BadRequest: the catalogue lacks the device's bandwidth or compute rates.
    """
    rates = rates_of(gpu, recipe.compute_dtype)
    ops = _ops_of(timeline, recipe.micro_batch_size, lengths, causal)
    constants = constants_of(calibration, gpu.generation)
    key = (*_key(recipe.micro_batch_size, lengths, causal), rates, constants.tobytes())
    once = _KEPT_CLOCKS.get(timeline, key, lambda: run_clocks(ops, rates, constants))
    clocks = accumulate(once, recipe.gradient_accumulation)
    mean = float(clocks.step_s.mean())
    shares = clocks.bound_s.mean(axis=0) / mean
    below, above, basis, why = _interval(calibration, gpu, workload.model, shares, bool(rates.notes))
    if calibration is not None and basis == "calibrated" and _flash_unfitted(calibration, ops):
        # its rate is the catalogue's, whatever else was fitted
        rate, share = time_constants(gpu.generation)[FLASH], float(shares[BOUNDS.index("attention")])
        below, above = below + share * (1 - rate.value / rate.high), above + share * (rate.value / rate.low - 1)
        why += ", flash attention not among what was fitted: range widened"
    if gpu.like is not None:
        basis, why = "assumed", f"as fast as {gpu.like}, as described; {why}"
    step = Quantity.around(mean, min(below, MOST_BELOW), above, "s", basis, why)
    return described(step, clocks, lengths, workload, recipe), rates.notes


def _ops_of(timeline: Timeline, batch: int, lengths: BatchLengths, causal: bool) -> Ops:
    """The ops of a step, which no card changes; the last few are kept."""
    key = _key(batch, lengths, causal)
    return _KEPT_OPS.get(timeline, key, lambda: Ops(timeline, batch, lengths.typical, lengths.targets, causal=causal))


def _key(batch: int, lengths: BatchLengths, causal: bool) -> tuple[object, ...]:
    """What of a question the ops of its step hang on, beside the timeline."""
    return (batch, lengths.typical.tobytes(), lengths.targets.tobytes(), causal)


def _flash_unfitted(calibration: Calibration, ops: Ops) -> bool:
    """Whether the step holds flash attention that no fitted run of the calibration did."""
    return bool(ops.is_flash.any()) and FLASH not in {constant.name for constant in calibration.time}


def described(step: Quantity, clocks: Clocks, lengths: BatchLengths, workload: Workload, recipe: Recipe) -> Time:
    """The Time of a step whose seconds are `step`; phases and bounds keep the replay's proportions."""
    rows = recipe.micro_batch_size * recipe.gradient_accumulation * workload.sequences
    unit: Unit = "images/s" if workload.image_size is not None else "samples/s"
    if workload.image_size is None and workload.audio_seconds is None:
        unit = "tokens/s"
    tokens = rows * float(lengths.typical.mean()) if unit == "tokens/s" else float(rows)
    rate = Quantity(
        low=tokens / step.high,
        mid=tokens / step.mid,
        high=tokens / step.low,
        unit=unit,
        basis=step.basis,
        why=f"{tokens:.0f} {'padded tokens' if unit == 'tokens/s' else unit.removesuffix('/s')} a step",
    )
    steps = workload.optimizer_steps()
    training = None if steps is None else step.times(steps, "s", plural(steps, "step"))
    total = float(clocks.step_s.mean())
    phases = clocks.phase_s.mean(axis=0) * (step.mid / total)
    bounds = clocks.bound_s.mean(axis=0) / total
    shares = {name: round(float(share), 4) for name, share in zip(BOUNDS, bounds, strict=True)}
    return Time(
        step=step,
        tokens_per_second=rate,
        training=training,
        phases={name: float(s) for name, s in zip(PHASES, phases, strict=True) if s > 0},
        bound_by=dict(sorted(shares.items(), key=lambda item: -item[1])),
        advice=tuple(_advice(shares, phases / max(step.mid, 1e-12), recipe)),
    )


def is_causal(spec: ModelSpec) -> bool:
    """A decoder's tokens attend to those before them; one with an encoder mixes both, and is charged in full."""
    return spec.architecture == "decoder"


def constants_of(calibration: Calibration | None, generation: str = "") -> Floats:
    """[len(TIME_NAMES)] the fitted constants of a device where it has them, else the catalogue's for its generation."""
    constants = default_time(generation)
    for fitted in calibration.time if calibration else ():
        if fitted.name in TIME_NAMES:
            constants[TIME_NAMES.index(fitted.name)] = fitted.value
    return constants


def _interval(
    calibration: Calibration | None, gpu: Gpu, model: str, shares: Floats, rates_missing: bool
) -> tuple[float, float, Basis, str]:
    """Relative ends of a step's range: fitted where runs of this device are at hand, else the catalogue's."""
    below, above = _unmeasured(gpu.generation, shares)
    if calibration is not None and calibration.device == POOLED:
        worse = 2 if rates_missing else 1
        return _borrowed(calibration, gpu, worse * below, worse * above)
    if calibration is not None and calibration.time_interval is not None:
        low, high = calibration.time_interval
        why = f"fitted on {len(calibration.fitted_on)} {gpu.name} runs"
        widen = 1.0
        if calibration.models and model not in calibration.models:
            widen = OTHER_MODEL_WIDENS
            why += ", none of this model: range widened"
        strange, beyond = _beyond(calibration, shares)
        if beyond > 0.05:
            widen *= 1 + STRANGE_BOUND_WIDENS * beyond
            why += f", none bound so much by {strange}: range widened"
        # a device that was measured is never less known than one that was not
        return (
            max(0.0, -low, min(-low * widen, below)),
            max(0.0, high, min(high * widen, above)),
            "calibrated",
            why,
        )
    if rates_missing:
        return 2 * below, 2 * above, "modelled", "simulated with constants of no one GPU and a stand-in rate"
    return below, above, "modelled", f"simulated with constants of no one GPU; no measured run of {gpu.name}"


def _unmeasured(generation: str, shares: Floats) -> tuple[float, float]:
    """Relative ends of a step's range on a card nobody measured: wider, the more the host or launches bound it."""
    constants = time_constants(generation)
    device, host = constants["time_error"], constants["host_time_error"]
    share = float(shares[BOUNDS.index("host")] + shares[BOUNDS.index("launches")])
    low = device.low + share * (min(device.low, host.low) - device.low)
    high = device.high + share * (max(device.high, host.high) - device.high)
    return device.value - low, high - device.value


def _borrowed(pooled: Calibration, gpu: Gpu, below: float, above: float) -> tuple[float, float, Basis, str]:
    """The range of a device whose constants are others': what leaving a device out missed; from few devices, more."""
    low, high = pooled.time_interval or (-below, above)
    why = f"constants pooled over {len(pooled.fitted_on)} runs of {', '.join(pooled.devices)}; none of {gpu.name}"
    if len(pooled.devices) < DEVICES_TO_NARROW:
        return max(-low, below), max(high, above), "modelled", why
    return -low, high, "modelled", why


def _beyond(calibration: Calibration, shares: Floats) -> tuple[str, float]:
    """The bound that exceeds its largest share in the fitted runs by most, and by how much; 0 where none does."""
    seen = calibration.largest_shares
    if not seen:
        return "", 0.0
    excess = {name: float(share) - seen.get(name, 0.0) for name, share in zip(BOUNDS, shares, strict=True)}
    name = max(excess, key=lambda bound: excess[bound])
    return name, max(0.0, excess[name])


def _advice(shares: dict[str, float], phases: Floats, recipe: Recipe) -> list[str]:
    """What would speed the step up, largest share first; only what the shares show."""
    found: list[tuple[float, str]] = []
    host = shares["host"] + shares["launches"]
    if host > 0.25:
        remedy = "a larger micro-batch" if recipe.gradient_accumulation > 1 else "a larger micro-batch if memory allows"
        found.append(
            (host, f"{host:.0%} of the step goes into issuing ops: {remedy}; torch.compile might, but is not modelled")
        )
    if shares["transfers"] > 0.1:
        found.append((shares["transfers"], f"{shares['transfers']:.0%} waits for copies between host and device"))
    optimizer = float(phases[PHASES.index("optimizer")] + phases[PHASES.index("clip")])
    if optimizer > 0.2:
        found.append(
            (optimizer, f"{optimizer:.0%} is clipping and the optimizer: more gradient accumulation spreads it")
        )
    if shares["bandwidth"] > 0.4:
        found.append((shares["bandwidth"], f"{shares['bandwidth']:.0%} is memory traffic of small ops: fused kernels"))
    if recipe.gradient_checkpointing:
        saved = float(phases[PHASES.index("backward")]) * 0.25
        found.append((saved, "gradient checkpointing runs the forward pass twice: without it the step is shorter"))
    return [text for _, text in sorted(found, key=lambda item: -item[0])]
