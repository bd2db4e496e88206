"""Memory while completions are generated, beside that of the training step: the larger of the two is the peak.

Shapes here: G completions at once, P tokens of a prompt, T of a completion, V words, H hidden, I inside the
feed-forward. Sources: transformers 5.23, `generation/utils.py` (`_sample`: the last position's logits in float32, their
softmax and what multinomial draws by) and `cache_utils.DynamicLayer.update` (each token's keys are appended by a copy
of all before); trl 1.16, `generation/vllm_generation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from advisor.catalog.constants import load_constants
from advisor.domain.candidate import Memory
from advisor.domain.hardware import Gpu, Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.units import gib, weakest
from advisor.domain.workload import Rollout, Workload
from advisor.errors import IllegalRecipe
from advisor.estimator.generation.key_value_cache import cache_bytes, layers_of
from advisor.estimator.memory.caching_allocator import Block, CachingAllocator

GROWN: Final = 64
"""How many lengths of the growing cache are replayed: as many as show how its blocks fit into each other."""
ITEM: Final = {"float32": 4, "bfloat16": 2, "float16": 2}
CACHE: Final = "key-value cache"
ENGINE: Final = "vLLM"


@dataclass(frozen=True, slots=True)
class GenerationBytes:
    """Bytes in use beside what lies on the device between two steps, of it the cache's; and reserved for them."""

    in_use: float
    cache: float
    reserved: float


def completions_at_once(rollout: Rollout, recipe: Recipe) -> int:
    """G on one device."""
    return recipe.micro_batch_size * rollout.batches(recipe.gradient_accumulation)


def own_generation(spec: ModelSpec, workload: Workload, recipe: Recipe) -> GenerationBytes:
    """What generation by transformers takes: cache and, of prompt and of tokens, the larger passing need."""
    rollout = workload.rollout
    assert rollout is not None
    count, item = completions_at_once(rollout, recipe), ITEM[recipe.compute_dtype]
    prompt, last = workload.seq_len - rollout.completion_length, workload.seq_len
    cache = count * cache_bytes(spec, last, item)
    words = spec.vocabulary or 0
    logits = count * words * (item + 3 * 4)
    inside = _inside(spec)
    pass_of_prompt = count * prompt * (2 * (spec.hidden or 0) + 3 * inside) * item
    of_one_layer = cache / max(1, layers_of(spec))
    at_end = cache + max(of_one_layer / 2, logits)
    in_use = max(at_end, count * cache_bytes(spec, prompt, item, windowed=False) + max(pass_of_prompt, logits))
    return GenerationBytes(in_use, cache, max(in_use, _reserved(spec, count, prompt, last, item) + logits))


def _inside(spec: ModelSpec) -> int:
    """I of the widest layer; four times the hidden width where the family has no word for it."""
    found: Any = spec.text_config.get("intermediate_size") or spec.text_config.get("n_inner")
    return int(max(found) if is_list(found) else found or 4 * (spec.hidden or 0))


def _reserved(spec: ModelSpec, count: int, prompt: int, last: int, item: int) -> float:
    """Reserved bytes of a cache that grows token by token: each layer's new block is there before its old one goes."""
    allocator, layers = CachingAllocator(), layers_of(spec)
    held: dict[int, Block] = {}
    lengths = sorted({prompt + round((last - prompt) * step / GROWN) for step in range(GROWN + 1)})
    for length in lengths:
        size = max(1, round(count * cache_bytes(spec, length, item) / (2 * layers)))
        for tensor in range(2 * layers):
            grown = allocator.malloc(size)
            if tensor in held:
                allocator.free(held[tensor])
            held[tensor] = grown
    return float(allocator.peak_reserved)


def with_generation(memory: Memory, spec: ModelSpec, workload: Workload, recipe: Recipe, hardware: Hardware) -> Memory:
    """The memory of a training whose steps generate: the larger of training and generation, and the engine beside.

    Raises:
        IllegalRecipe: vLLM's share of the card does not hold its weights and the cache of one sequence.
        UnsupportedModel: as `cache_bytes`.
    """
    rollout = workload.rollout
    if rollout is None:
        return memory
    if rollout.engine == "transformers":
        return _beside_own(memory, own_generation(spec, workload, recipe), hardware.limit_bytes)
    if rollout.engine == "vllm-server":
        return memory
    share = rollout.vllm_gpu_memory_utilization * hardware.gpu.memory_bytes
    check_engine(spec, workload, recipe, hardware)
    why = f"{gib(share)} of it vLLM's, {rollout.vllm_gpu_memory_utilization:g} of the card"
    if rollout.engine == "vllm":
        engine = Quantity.around(round(share), 0.0, 0.05, "B", "assumed", why)
        return _with_engine(memory, engine, why)
    return _with_sleeper(memory, share, why)


def check_engine(spec: ModelSpec, workload: Workload, recipe: Recipe, hardware: Hardware) -> None:
    """Refuse a share of the card on which vLLM would not start."""
    rollout, constants = workload.rollout, load_constants("generation")
    assert rollout is not None
    if recipe.base == "int8":
        raise IllegalRecipe(
            "TRL's vLLM beside the trainer cannot generate with an int8 base",
            hints=["nearest legal choice: --base nf4, or --generation transformers"],
            method=recipe.method,
        )
    if spec.parameters is None:
        return
    needed = engine_weights(spec, recipe) * constants["engine_beside_cache"].low + cache_bytes(
        spec, workload.seq_len, 2
    )
    total = hardware.gpu.memory_bytes
    if needed > rollout.vllm_gpu_memory_utilization * total:
        least = min(0.95, round(needed * constants["engine_beside_cache"].value / total + 0.005, 2))
        raise IllegalRecipe(
            f"vLLM would not start: weights and the cache of one sequence are {gib(needed)}, and it may take "
            f"{gib(rollout.vllm_gpu_memory_utilization * total)}",
            hints=[
                f"nearest that may do: --vllm-gpu-memory-utilization {least:g}",
                "or --generation vllm-server, on a card of its own",
            ],
            needed_bytes=round(needed),
        )


def engine_bytes(workload: Workload, gpu: Gpu) -> int:
    """What of the card vLLM holds while the policy is trained."""
    rollout = workload.rollout
    if rollout is None or rollout.engine in ("transformers", "vllm-server"):
        return 0
    kept = load_constants("generation")["sleeping_engine"].value if rollout.engine == "vllm-sleep" else 1.0
    return round(kept * rollout.vllm_gpu_memory_utilization * gpu.memory_bytes)


def engine_weights(spec: ModelSpec, recipe: Recipe) -> float:
    """Bytes of vLLM's own copy of the weights: in 16 bits, or in 4 beside a 4-bit base, as TRL asks for."""
    return (spec.parameters or 0) * (0.6 if recipe.base == "nf4" else 2.0)


def _beside_own(memory: Memory, found: GenerationBytes, limit: int) -> Memory:
    """The larger of the training's peak and the generation's, each end by itself.

    Args:
        limit: bytes the device may hold: where it is full the allocator gives back what it caches, and then reserves
            no more than is there, or than is in use.
    """
    room = limit - (memory.peak_device.mid - memory.peak_reserved.mid)
    error = load_constants("generation")["own_generation_memory"]
    after = memory.allocated_after_step
    in_use = Quantity(
        low=after.low + found.in_use * error.low,
        mid=after.mid + found.in_use,
        high=after.high + found.in_use * error.high,
        unit="B",
        basis="modelled",
        why=f"what lies there between two steps, and {gib(found.cache)} of key-value cache",
    )
    cached = (after.high + found.reserved) * load_constants("memory")["fragmentation"].high
    reserved = Quantity(
        low=in_use.low,
        mid=max(in_use.mid, min(after.mid + found.reserved, room)),
        high=max(in_use.high, min(cached, room)),
        unit="B",
        basis="modelled",
        why=in_use.why,
    )
    device, its = memory.peak_device, memory.peak_reserved
    beside = (device.low - its.low, device.mid - its.mid, device.high - its.high)
    larger = _larger(memory.peak_reserved, reserved)
    update = {
        "peak_allocated": _larger(memory.peak_allocated, in_use),
        "peak_reserved": larger,
        "peak_device": Quantity(
            low=larger.low + beside[0],
            mid=larger.mid + beside[1],
            high=larger.high + beside[2],
            unit="B",
            basis=weakest(larger.basis, memory.peak_device.basis),
            why=f"{memory.peak_device.why}; the larger of training and generation",
        ),
    }
    if reserved.mid > memory.peak_reserved.mid:
        update |= {"peak_phase": "generation", "breakdown": _generating(memory, found, update["peak_reserved"].mid)}
    return memory.model_copy(update=update)


def _generating(memory: Memory, found: GenerationBytes, reserved: float) -> dict[str, int]:
    """The parts of the peak while completions are generated; they add up to what the device holds."""
    kept = ("base weights", "adapter", "optimizer state", "workspace", "context")
    parts = {name: size if name in kept else 0 for name, size in memory.breakdown.items()}
    parts[CACHE] = round(found.cache)
    parts["temporaries"] = round(found.in_use - found.cache)
    parts["fragmentation"] = round(reserved) - sum(size for name, size in parts.items() if name != "context")
    return parts


def _with_engine(memory: Memory, engine: Quantity, why: str) -> Memory:
    device = memory.peak_device.plus(engine, f"{memory.peak_device.why}; {why}")
    return memory.model_copy(
        update={"peak_device": device, "breakdown": {**memory.breakdown, ENGINE: round(engine.mid)}}
    )


def _with_sleeper(memory: Memory, share: float, why: str) -> Memory:
    """vLLM wakes while the trainer's cached blocks are given back: the larger of the two, and what sleep leaves."""
    asleep = load_constants("generation")["sleeping_engine"]
    left = Quantity(
        low=share * asleep.low,
        mid=round(share * asleep.value),
        high=share * asleep.high,
        unit="B",
        basis="assumed",
        why=why,
    )
    training = _with_engine(memory, left, f"{why}, which it gives back asleep")
    context = memory.peak_device.mid - memory.peak_reserved.mid
    awake = memory.allocated_after_step.times(1.0, "B", why).plus(
        Quantity.around(round(share) + context, 0.0, 0.05, "B", "assumed", why),
        f"weights and optimizer state, and {why}",
    )
    if awake.mid <= training.peak_device.mid:
        return training.model_copy(update={"peak_device": _larger(training.peak_device, awake)})
    kept = ("base weights", "adapter", "optimizer state", "workspace", "context")
    parts = {name: size if name in kept else 0 for name, size in memory.breakdown.items()} | {ENGINE: round(share)}
    parts["fragmentation"] = round(awake.mid) - sum(parts.values())
    return training.model_copy(
        update={
            "peak_device": _larger(training.peak_device, awake),
            "breakdown": parts,
            "peak_phase": "generation",
        }
    )


def _larger(one: Quantity, other: Quantity) -> Quantity:
    """The larger of two, each end by itself; the reason is the larger middle's."""
    chosen = one if one.mid >= other.mid else other
    return Quantity(
        low=max(one.low, other.low),
        mid=chosen.mid,
        high=max(one.high, other.high),
        unit=one.unit,
        basis=weakest(one.basis, other.basis),
        why=chosen.why,
    )
