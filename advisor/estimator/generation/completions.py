"""Memory and time of a training whose steps generate first what they learn from."""

from __future__ import annotations

from advisor.domain.candidate import Memory, Time
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Calibration
from advisor.domain.recipe import Recipe
from advisor.domain.trace.timeline import Timeline
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe
from advisor.estimator.generation.generation_memory import with_generation
from advisor.estimator.generation.generation_time import with_generation_time


def refuse_gathered(workload: Workload, hardware: Hardware) -> None:
    """Refuse generation by transformers on ranks that share the weights.

    TRL gathers the whole weights to generate (trl 1.16, trainer/grpo_trainer.py: `summon_full_params`; of ZeRO-3
    models/utils.py: `GatheredParameters`); what that holds and takes was not compared with a run. vLLM has weights of
    its own.

    Raises:
        IllegalRecipe: with what is priced instead.
    """
    if workload.rollout is not None and workload.rollout.engine == "transformers":
        raise IllegalRecipe(
            f"{workload.objective} under {hardware.sharding}: generation gathers the whole weights on every GPU, which "
            "is not priced",
            hints=["whole weights on each GPU: --parallelism ddp", "by weights of its own: --generation vllm"],
            parallelism=hardware.sharding,
        )


def with_completions(
    memory: Memory,
    time: Time,
    timeline: Timeline,
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    hardware: Hardware,
    calibration: Calibration | None,
) -> tuple[Memory, Time]:
    """Both, with what generation adds to those of the training step on one device.

    Args:
        spec: its parameters counted.
    Raises:
        IllegalRecipe, UnsupportedModel: as `with_generation`.
    """
    longer = with_generation_time(time, timeline, spec, workload, recipe, hardware.gpu, calibration)
    return with_generation(memory, spec, workload, recipe, hardware), longer
