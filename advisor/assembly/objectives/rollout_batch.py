"""One micro-batch of completions as TRL's trainers buffer them, with what was scored of them before.

Shapes here: B completions, S tokens of a prompt with its completion, T of the completion alone.
Source: trl 1.16, the outputs of `GRPOTrainer._generate_and_score_completions` and of RLOOTrainer's. The parts of a
sequence are views of it: TRL's are tensors of their own with as many bytes in all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.assembly.objectives.preference_batch import Tokens
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

if TYPE_CHECKING:
    import torch


def rollout_batch(
    workload: Workload, scored: frozenset[str], tokens: Tokens, batch: int, length: int, target: int, *, padded: bool
) -> dict[str, torch.Tensor]:
    """Inputs of B = `batch` completions of T = `target` tokens, S = `length` with their prompts.

    Args:
        scored: `old`, `reference`, `engine`: which log-probabilities were computed before.
    """
    ids = tokens(batch, length)
    mask = ids.new_ones(ids.shape)
    if padded and ids.device.type != "meta":
        mask[0, 0] = 0
    floats = ids.new_empty(0).float()
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "completion_ids": ids[:, -target:],
        "completion_mask": mask[:, -target:],
        "advantages": floats.new_zeros(batch),
    }
    if workload.objective == "rloo":
        return inputs | {"old_logps": floats.new_zeros(batch)}
    inputs["num_items_in_batch"] = ids.new_ones(())
    names = {"old": "old_per_token_logps", "reference": "ref_per_token_logps", "engine": "sampling_per_token_logps"}
    inputs |= {name: floats.new_zeros(batch, target) for what, name in names.items() if what in scored}
    if "engine" in scored:
        inputs["importance_sampling_ratio"] = floats.new_ones(batch, 1)
    return inputs


def scored_before(workload: Workload, recipe: Recipe) -> frozenset[str]:
    """Which log-probabilities of a micro-batch are computed before it: `rollout_batch`'s `scored`."""
    from advisor.assembly.objectives.policy_losses import scoring_of

    scoring = scoring_of(workload, recipe)
    given = {"old": scoring.old, "engine": scoring.engine, "reference": recipe.reference is not None}
    return frozenset(name for name, is_so in given.items() if is_so)
