"""How a reinforcement objective's completions are generated, as asked for and as TRL has it where nobody says.

Sources: trl 1.16, `GRPOConfig` and `RLOOConfig`: defaults, and `__post_init__` for what a generation must hold.
"""

from __future__ import annotations

import math
from typing import Any, Final

from advisor.catalog.objectives.objective_table import find_objective
from advisor.catalog.objectives.rollout_request import RolloutRequest
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import Rollout
from advisor.errors import BadRequest, IllegalRecipe

DEFAULTS: Final[dict[Objective, dict[str, Any]]] = {
    "grpo": {"num_generations": 8, "beta": 0.0},
    "rloo": {"num_generations": 2, "beta": 0.05},
}
"""TRL's own, where they differ."""
PROMPT_TOKENS: Final = 512
"""Tokens of the longest prompt where nobody says: TRL's own default for max_prompt_length while it had one (GRPOConfig,
trl 0.12 to 0.24)."""
ASKED: Final = {
    "num_generations": "num_generations",
    "completion_length": "completion_length",
    "generation": "engine",
    "vllm_gpu_memory_utilization": "vllm_gpu_memory_utilization",
    "beta": "beta",
    "steps_per_generation": "steps_per_generation",
    "num_iterations": "num_iterations",
}
"""Option -> field of a rollout."""


def rollout_for(objective: Objective, asked: RolloutRequest) -> Rollout | None:
    """The rollout that was asked for; None where the objective generates nothing.

    Raises:
        BadRequest: an option of generation beside another objective, or vLLM's memory where it is not on the card.
    """
    given = {option: value for option in ASKED if (value := getattr(asked, option)) is not None}
    if not find_objective(objective).generates:
        if given:
            option = next(iter(given)).replace("_", "-")
            raise BadRequest(
                f"--{option} is of objectives that generate what they learn from, and {objective} is none",
                hints=[f"leave --{option} out", "objectives that generate: grpo, rloo"],
                objective=objective,
            )
        return None
    rollout = Rollout.model_validate({**DEFAULTS[objective], **{ASKED[name]: value for name, value in given.items()}})
    if "vllm_gpu_memory_utilization" in given and rollout.engine in ("transformers", "vllm-server"):
        where = "has a card of its own" if rollout.engine == "vllm-server" else "is not asked to generate"
        raise BadRequest(
            f"--vllm-gpu-memory-utilization is of this card, and vLLM {where}",
            hints=["add: --generation vllm, or vllm-sleep", "or leave it out"],
        )
    return rollout


def usual_accumulation(rollout: Rollout, micro: int) -> int:
    """The fewest micro-batches whose completions are whole groups."""
    return rollout.num_generations // math.gcd(rollout.num_generations, micro)


def check_groups(rollout: Rollout, micro: int, accumulation: int, ranks: int = 1) -> None:
    """Refuse a generation that does not hold whole groups of completions.

    Raises:
        IllegalRecipe: with the nearest gradient accumulation that does.
    """
    at_once = micro * rollout.batches(accumulation) * ranks
    if at_once % rollout.num_generations == 0:
        return
    steps = usual_accumulation(rollout, micro * ranks)
    option = "--steps-per-generation" if rollout.steps_per_generation else "--gradient-accumulation"
    raise IllegalRecipe(
        f"{at_once} completions are generated at once, which are not whole groups of {rollout.num_generations}",
        cause="--batch-size counts completions, and each prompt has --num-generations of them",
        hints=[f"nearest legal choice: {option} {steps}, or a multiple of it"],
        num_generations=rollout.num_generations,
    )


def check_lengths_of(rollout: Rollout, seq_len: int) -> None:
    """Refuse completions that leave no room for a prompt in the longest sequence.

    Raises:
        BadRequest: with the shortest sequence that would do.
    """
    if rollout.completion_length >= seq_len:
        raise BadRequest(
            f"--seq-len {seq_len} is a prompt with its completion, and a completion alone has up to "
            f"{rollout.completion_length} tokens",
            hints=[
                f"add the prompt's tokens: --seq-len {rollout.completion_length + PROMPT_TOKENS}, for example",
                "or shorter completions: --completion-length 256",
            ],
            seq_len=seq_len,
            completion_length=rollout.completion_length,
        )


def in_words(rollout: Rollout) -> tuple[str, ...]:
    """What is said of a rollout in every answer."""
    how = {
        "transformers": "transformers, in the policy itself",
        "vllm": "vLLM on the same card, which keeps its share of the memory",
        "vllm-sleep": "vLLM on the same card, asleep while the policy is trained",
        "vllm-server": "a vLLM server on a card of its own, which is neither in this card's memory nor in the price",
    }[rollout.engine]
    return (
        f"completions: {rollout.num_generations} of each prompt, all {rollout.completion_length} tokens long, made "
        f"by {how}; shorter ones take less time",
        "reward: a function of the host, without a model and without time of its own",
        *((f"each generation is learned from {rollout.num_iterations} times",) if rollout.num_iterations > 1 else ()),
    )
