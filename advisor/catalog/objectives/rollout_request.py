"""The arguments of reinforcement objectives as fields of a request; apart, so that help loads no pydantic for them."""

from __future__ import annotations

from advisor.domain.request.rollout_options import (
    Beta,
    CompletionLength,
    Generation,
    NumGenerations,
    NumIterations,
    StepsPerGeneration,
    VllmMemory,
)
from advisor.domain.stored import Value


class RolloutRequest(Value):
    """The same as fields of a request; None: TRL's own default of the objective."""

    num_generations: NumGenerations | None = None
    completion_length: CompletionLength | None = None
    generation: Generation | None = None
    vllm_gpu_memory_utilization: VllmMemory | None = None
    beta: Beta | None = None
    steps_per_generation: StepsPerGeneration | None = None
    num_iterations: NumIterations | None = None
