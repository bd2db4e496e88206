"""One recipe on several GPUs: the traced step as one rank runs it, and what a whole job's figures are then."""

from __future__ import annotations

from dataclasses import dataclass

from advisor.catalog.constants import load_constants
from advisor.catalog.interconnects import exchange_of
from advisor.domain.candidate import Memory, Time
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.quantity import Quantity
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Timeline
from advisor.domain.units import duration, plural, weakest
from advisor.domain.workload import Workload
from advisor.estimator.memory.timeline_memo import TimelineMemo
from advisor.estimator.parallelism.exchanged import MicroBatchSeconds, waited
from advisor.estimator.parallelism.layout import RankLayout
from advisor.estimator.parallelism.rank_timeline import rank_timeline, units_of
from advisor.estimator.parallelism.strategies import layout_of

_KEPT: TimelineMemo[Timeline] = TimelineMemo(32)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of several ranks: its machine, how it is laid out, and the recipe asked for and the one traced."""

    hardware: Hardware
    layout: RankLayout
    asked: Recipe

    def rank(self, timeline: Timeline) -> Timeline:
        """What one rank runs."""
        return _KEPT.get(timeline, (self.layout,), lambda: rank_timeline(timeline, self.layout))

    def notes(self) -> list[str]:
        """What holds of such a job and of none on one GPU."""
        hardware, sharding = self.hardware, self.hardware.sharding
        exchange = exchange_of(hardware.gpu, hardware.count, hardware.nodes)
        said = [f"parallelism: {sharding} over {hardware.count} GPUs; {exchange.says}"]
        if self.layout.gradients and not self.layout.reduces_each:
            said.append(
                "parallelism: under accumulation the trainer keeps whole gradients on every rank until the last "
                "micro-batch; accelerator_config gradient_accumulation_kwargs sync_each_batch=true keeps shards"
            )
        if self.layout.weights and self.layout.parts_whole:
            said.append("parallelism: a quantised base is sharded only with bnb_4bit_quant_storage of a floating type")
        if sharding is not None and sharding.startswith("zero"):
            said.append("parallelism: DeepSpeed's buffers by its documents; not compared with its own step")
        return said


def job_of(hardware: Hardware, asked: Recipe, traced: Recipe, spec: ModelSpec) -> Job:
    """The job of a recipe on a machine of several GPUs."""
    assert hardware.sharding is not None
    return Job(hardware, layout_of(hardware.sharding, hardware.count, asked, traced, spec), asked)


def nccl_bytes(count: int) -> float:
    """What NCCL takes beside the CUDA context; one GPU alone has none."""
    if count == 1:
        return 0.0
    constants = load_constants("memory")
    return constants["nccl_of_two" if count == 2 else "nccl"].value


def memory_of_rank(memory: Memory, job: Job) -> Memory:
    """The memory of one rank, with NCCL's; wider for what several streams keep apart."""
    constants = load_constants("memory")
    streams = constants[f"streams_{job.hardware.sharding}" if job.layout.weights else "streams_ddp"]
    error = constants["rank_error"]
    extra = nccl_bytes(job.hardware.count)

    def wider(found: Quantity, most: float, least: float) -> Quantity:
        return found.model_copy(update={"low": found.low * least, "high": found.high * most})

    reserved = wider(memory.peak_reserved, streams.high, 1.0)
    device = wider(memory.peak_device, streams.high, 1.0)
    nccl = Quantity.around(extra, 0.3, 0.3, "B", "assumed", "NCCL")
    return memory.model_copy(
        update={
            "peak_allocated": wider(memory.peak_allocated, error.high, error.low),
            "peak_reserved": reserved,
            "peak_device": device.plus(nccl, f"{device.why}, and NCCL; of one rank"),
            "breakdown": {**memory.breakdown, "context": memory.breakdown["context"] + round(extra)},
        }
    )


def time_of_job(time: Time, timeline: Timeline, workload: Workload, job: Job) -> Time:
    """The time of a step of all ranks: the slowest one's, with what it waits for the others.

    Args:
        time: of one rank alone.
        timeline: the traced step, of one device.
    """
    hardware, accumulation = job.hardware, job.asked.gradient_accumulation
    assert hardware.sharding is not None
    exchange = exchange_of(hardware.gpu, hardware.count, hardware.nodes)
    phases = time.phases
    work = MicroBatchSeconds(
        (phases.get("forward", 0.0) + phases.get("loss", 0.0)) / accumulation,
        phases.get("backward", 0.0) / accumulation,
        accumulation,
    )
    units = units_of(timeline, split_root=not job.layout.whole_root)
    low, mid, high = waited(hardware.sharding, job.layout, units, exchange, work)
    noise = load_constants("time")["ranks_noise"]
    step = Quantity(
        low=(time.step.low + low) * noise.low,
        mid=time.step.mid + mid,
        high=(time.step.high + high) * noise.high,
        unit="s",
        basis=weakest(time.step.basis, exchange.basis),
        why=f"{time.step.why}; of it {duration(mid)} waits for other ranks",
    )
    tokens = time.tokens_per_second.mid * time.step.mid * hardware.count
    steps = workload.optimizer_steps()
    return time.model_copy(
        update={
            "step": step,
            "tokens_per_second": Quantity(
                low=tokens / step.high,
                mid=tokens / step.mid,
                high=tokens / step.low,
                unit="tokens/s",
                basis=step.basis,
                why=f"{tokens:.0f} padded tokens a step of all ranks",
            ),
            "training": None if steps is None else step.times(steps, "s", plural(steps, "step")),
            "phases": {**phases, "exchange": mid},
            "bound_by": {
                **{name: round(share * time.step.mid / step.mid, 4) for name, share in time.bound_by.items()},
                "exchange": round(mid / step.mid, 4),
            },
        }
    )
