"""The losses of TRL's GRPOTrainer and RLOOTrainer on completions that were generated before, tensor by tensor.

Shapes here: B completions, S tokens of a prompt with its completion, T of the completion alone.
Source: trl 1.16, `GRPOTrainer._generate_and_score_completions` and `_compute_loss` (loss_type dapo, TRL's own default;
the others allocate the same but for single numbers), and `RLOOTrainer`'s functions of these names. What is scored for
a whole generation at once, micro-batch by micro-batch, is scored here before each of them: the peak lies elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from advisor.assembly.objectives.reference_model import ReferencePass
from advisor.assembly.objectives.referenced_losses import router_logits
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload

if TYPE_CHECKING:
    import torch
    from torch import nn

POLICY_OUTPUTS = ("log_probs", "entropy")
"""What both trainers ask TRL's head for."""
EPSILON = 0.2
"""TRL's own default; its value changes no tensor, as BETA's."""


@dataclass(frozen=True, slots=True)
class Scoring:
    """What is computed of completions before they are learned from: `old` the policy's own log-probabilities.

    `engine`: they came from another engine's, whose log-probabilities are corrected for.
    """

    old: bool
    engine: bool = False


def scoring_of(workload: Workload, recipe: Recipe) -> Scoring:
    """What TRL scores: RLOO always the old log-probabilities, GRPO where steps and generations do not coincide, or
    where vLLM generated (`vllm_importance_sampling_correction`, on by default)."""
    rollout = workload.rollout
    assert rollout is not None
    if workload.objective == "rloo":
        return Scoring(old=True)
    every = rollout.batches(recipe.gradient_accumulation) * rollout.num_iterations
    other = rollout.engine != "transformers"
    return Scoring(old=other or recipe.gradient_accumulation % every != 0, engine=other)


def grpo_loss(model: nn.Module, inputs: dict[str, Any], reference: ReferencePass, scoring: Scoring) -> torch.Tensor:
    """The clipped ratio of each token times its advantage, and the divergence from the reference where there is one."""
    import torch

    _score(model, inputs, reference, scoring)
    mask = inputs["completion_mask"]
    ids, attention = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    outputs, per_token, entropy = _log_probabilities(model, ids, attention, mask.size(1))
    advantages = inputs["advantages"].unsqueeze(1)
    old = inputs.get("old_per_token_logps")
    old = per_token.detach() if old is None else old
    log_ratio = per_token - old
    ratio = torch.exp(log_ratio)
    if reference.how is not None:
        far = inputs["ref_per_token_logps"]
        divergence = torch.exp(far - per_token) - (far - per_token) - 1
        divergence = divergence * ratio
    clipped = torch.clamp(ratio, 1 - EPSILON, 1 + EPSILON)
    one, other = ratio * advantages, clipped * advantages
    each = -torch.minimum(one, other)
    if scoring.engine:
        each = each * inputs["importance_sampling_ratio"]
    if reference.how is not None:
        each = each + 0.1 * divergence  # pyright: ignore[reportPossiblyUnboundVariable]
    loss = (each * mask).sum() / inputs["num_items_in_batch"].clamp(min=1.0)
    if outputs.aux_loss is not None:
        loss = loss + outputs.aux_loss
    low, high = (ratio < 1 - EPSILON) & (advantages < 0), (ratio > 1 + EPSILON) & (advantages > 0)
    region = low | high
    for value in (entropy, *(hit.float() for hit in (low, high, region))):
        ((value * mask).sum() / mask.sum().float().clamp(min=1.0)).item()
    return loss


def rloo_loss(model: nn.Module, inputs: dict[str, Any], reference: ReferencePass, scoring: Scoring) -> torch.Tensor:
    """The clipped ratio of each completion times its advantage; the divergence is part of the reward."""
    import torch

    _score(model, inputs, reference, scoring)
    mask = inputs["completion_mask"]
    ids, attention = inputs["input_ids"].clone(), inputs["attention_mask"].clone()
    outputs, per_token, entropy = _log_probabilities(model, ids, attention, mask.size(1))
    sums = (per_token * mask).sum(1)
    ratio = torch.exp(sums - inputs["old_logps"])
    clipped = torch.clamp(ratio, 1 - EPSILON, 1 + EPSILON)
    one, other = ratio * inputs["advantages"], clipped * inputs["advantages"]
    each = -torch.minimum(one, other)
    loss = each.mean()
    if outputs.aux_loss is not None:
        loss = loss + outputs.aux_loss
    ((entropy * mask).sum() / mask.sum().float()).item()
    (ratio < 1 - EPSILON).float().mean().item()
    return loss


def _score(model: nn.Module, inputs: dict[str, Any], reference: ReferencePass, scoring: Scoring) -> None:
    """The forward passes without gradients that come before: what they yield stands in the inputs already."""
    import torch

    ids, attention = inputs["input_ids"], inputs["attention_mask"]
    length = inputs["completion_mask"].size(1)
    if scoring.old:
        with torch.no_grad():
            _log_probabilities(model, ids, attention, length)
    if reference.how is not None:
        with reference.entered(model) as frozen:
            _log_probabilities(frozen, ids, attention, length)


def _log_probabilities(
    model: Any, ids: torch.Tensor, attention: torch.Tensor, length: int
) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """What the head answers, and of it log-probabilities [B,T] and entropies [B,T] of the completions' tokens."""
    import torch

    passed = {"input_ids": ids, "attention_mask": attention}
    balance = router_logits(model) if torch.is_grad_enabled() else {}
    labels = ids.masked_fill(attention == 0, -100)
    if labels.device.type != "meta":
        labels[:, :-length] = -100
    # without a device no mask tells which tokens are learned
    learned = {"learned": length} if labels.device.type == "meta" else {}
    outputs: Any = model(**passed, **balance, labels=labels, fused_lm_head=True, **learned)
    kept = torch.cat([outputs.log_probs[:, -length:]], dim=0)
    entropy = outputs.entropy
    return outputs, kept, kept if entropy is None else torch.cat([entropy[:, -length:]], dim=0)
