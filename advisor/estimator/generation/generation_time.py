"""Seconds that a step spends on generating its completions, and the step's time with them.

A token of transformers' costs the traced forward pass at one token a sequence: its weights are read and its ops issued
as in training; beside it the cache is read, repeated for the heads that share it, and copied to grow by one. A token of
vLLM's costs the bytes of weights and cache over the share of the bandwidth that engines reach, or its products.
Source: the bandwidth bound of decoding is arXiv:2211.05102, section 3.1; the shares are constants of the catalogue.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from advisor.assembly.objectives.rollout_batch import scored_before
from advisor.catalog.constants import load_constants
from advisor.domain.candidate import Time
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Calibration
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import PHASES
from advisor.domain.units import duration, plural, weakest
from advisor.domain.workload import Rollout, Workload
from advisor.estimator.generation.generation_memory import ITEM, completions_at_once, engine_weights
from advisor.estimator.generation.key_value_cache import cache_bytes, groups_of
from advisor.estimator.step_time.step_simulator import TIME_NAMES, Ops, Rates, rates_of, run_clocks
from advisor.estimator.step_time.time_prediction import constants_of


@dataclass(frozen=True, slots=True)
class GeneratedAtOnce:
    """One generation: G completions, tokens of a prompt and of a completion as usual batches have them."""

    count: int
    prompt: float
    completion: float

    @property
    def mean_length(self) -> float:
        """Tokens in the cache on average while the completion grows."""
        return self.prompt + self.completion / 2


def with_generation_time(
    time: Time,
    timeline: Timeline,
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    gpu: Gpu,
    calibration: Calibration | None,
) -> Time:
    """The time of a step that generates first what it learns from; as it is where nothing is generated.

    Raises:
        UnsupportedModel: as `cache_bytes`.
    """
    rollout = workload.rollout
    if rollout is None:
        return time
    time = _scored_once(time, workload, recipe, rollout)
    asked = _at_once(workload, recipe, rollout)
    rates = rates_of(gpu, recipe.compute_dtype)
    if rollout.engine == "transformers":
        constants = constants_of(calibration, gpu.generation)
        seconds = _own_seconds(timeline, spec, workload, recipe, rates, constants, asked)
    else:
        seconds = _engine_seconds(spec, recipe, rollout, rates, gpu, asked)
    seconds = seconds.times(rollout.generations_a_step(recipe.gradient_accumulation), "s", seconds.why)
    return _together(time, seconds, workload)


def _at_once(workload: Workload, recipe: Recipe, rollout: Rollout) -> GeneratedAtOnce:
    completion = min(float(rollout.completion_length), workload.mean_length)
    if workload.mean_length <= rollout.completion_length:
        completion *= rollout.completion_length / workload.seq_len
    return GeneratedAtOnce(completions_at_once(rollout, recipe), workload.mean_length - completion, completion)


def _passes(workload: Workload, recipe: Recipe) -> int:
    """Forward passes of a traced micro-batch: the policy's own, and those that score."""
    return 1 + len(scored_before(workload, recipe) - {"engine"})


def _scored_once(time: Time, workload: Workload, recipe: Recipe, rollout: Rollout) -> Time:
    """Completions that are learned from several times are scored once: the trace scores each time."""
    passes = _passes(workload, recipe)
    spared = time.phases.get("forward", 0.0) * (1 - 1 / passes) * (1 - 1 / rollout.num_iterations)
    if not spared:
        return time
    share = 1 - spared / time.step.mid
    phases = {**time.phases, "forward": time.phases["forward"] - spared}
    return time.model_copy(update={"step": time.step.times(share, "s", time.step.why), "phases": phases})


def _own_seconds(
    timeline: Timeline,
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    rates: Rates,
    constants: np.ndarray,
    asked: GeneratedAtOnce,
) -> Quantity:
    """Seconds of one generation by transformers."""
    lengths = np.array([1.0, max(2.0, asked.prompt)])
    ops = Ops(timeline, asked.count, lengths, np.array([1.0, 1.0]), causal=True)
    forward = run_clocks(ops, rates, constants).phase_s[:, PHASES.index("forward")] / _passes(workload, recipe)
    reached = rates.bytes_s * dict(zip(TIME_NAMES, constants.tolist(), strict=True))["bandwidth"]
    cache = asked.count * cache_bytes(spec, asked.mean_length, ITEM[recipe.compute_dtype])
    repeated = 2 * groups_of(spec) if groups_of(spec) > 1 and asked.count > 1 else 0.0
    of_cache = cache * (3 + repeated) / reached
    token = float(forward[0]) + of_cache
    mid = float(forward[1]) + asked.completion * token
    error = load_constants("generation")["own_generation"]
    why = f"{asked.completion:.0f} tokens of {asked.count} completions one after another, {duration(token)} each"
    return Quantity(low=mid * error.low, mid=mid, high=mid * error.high, unit="s", basis="modelled", why=why)


def _engine_seconds(
    spec: ModelSpec, recipe: Recipe, rollout: Rollout, rates: Rates, gpu: Gpu, asked: GeneratedAtOnce
) -> Quantity:
    """Seconds of one generation by vLLM; prompts of a group share their cache, and what exceeds it waits."""
    constants = load_constants("generation")
    weights, each = engine_weights(spec, recipe), cache_bytes(spec, asked.mean_length, 2)
    parameters = spec.parameters or 0
    turns = 1.0
    if rollout.engine in ("vllm", "vllm-sleep"):
        share = rollout.vllm_gpu_memory_utilization * gpu.memory_bytes
        room = max(each, share - weights * constants["engine_beside_cache"].value)
        turns = max(1.0, asked.count * each / room)

    def seconds(bandwidth: float, flop: float, beside: float) -> float:
        count = asked.count / turns
        read = (weights + count * each) / (rates.bytes_s * bandwidth)
        token = max(read, 2 * parameters * count / (rates.half_flop_s * flop)) + beside
        prompts = asked.count / rollout.num_generations * asked.prompt
        return turns * asked.completion * token + 2 * parameters * prompts / (rates.half_flop_s * flop)

    bandwidth, flop, beside = (constants[f"engine_{name}"] for name in ("bandwidth", "flop", "step"))
    mid = seconds(bandwidth.value, flop.value, beside.value)
    return Quantity(
        low=seconds(bandwidth.high, flop.high, beside.low),
        mid=mid,
        high=seconds(bandwidth.low, flop.low, beside.high),
        unit="s",
        basis="modelled",
        why=f"{asked.completion:.0f} tokens of {asked.count} completions at {bandwidth.value:.0%} of the bandwidth"
        + (f", of which its cache holds one part in {turns:.1f}" if turns > 1 else ""),
    )


def _together(time: Time, generation: Quantity, workload: Workload) -> Time:
    """A step's time with its generation in it."""
    share = generation.mid / (time.step.mid + generation.mid)
    step = Quantity(
        low=time.step.low + generation.low,
        mid=time.step.mid + generation.mid,
        high=time.step.high + generation.high,
        unit="s",
        basis=weakest(time.step.basis, generation.basis),
        why=f"{time.step.why}; {share:.0%} of it generates",
    )
    tokens = time.tokens_per_second.mid * time.step.mid
    steps = workload.optimizer_steps()
    rate = Quantity(
        low=tokens / step.high,
        mid=tokens / step.mid,
        high=tokens / step.low,
        unit=time.tokens_per_second.unit,
        basis=step.basis,
        why=time.tokens_per_second.why,
    )
    bound = {name: round(value * (1 - share), 4) for name, value in time.bound_by.items()}
    bound["generation"] = round(share, 4)
    return time.model_copy(
        update={
            "step": step,
            "generation": generation,
            "tokens_per_second": rate,
            "training": None if steps is None else step.times(steps, "s", plural(steps, "step")),
            "phases": {**time.phases, "generation": generation.mid},
            "bound_by": dict(sorted(bound.items(), key=lambda item: -item[1])),
        }
    )
