"""Which loss a step of each objective computes, and what TRL's trainers change in the model for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from advisor.assembly.denoisers.denoising_loss import denoising_loss
from advisor.assembly.objectives.policy_losses import POLICY_OUTPUTS, grpo_loss, rloo_loss, scoring_of
from advisor.assembly.objectives.reference_free_losses import SelectiveLogSoftmax, cpo_loss, orpo_loss, reward_loss
from advisor.assembly.objectives.reference_model import ReferencePass, disable_dropout
from advisor.assembly.objectives.referenced_losses import (
    DPO_OUTPUTS,
    KTO_OUTPUTS,
    SFT_OUTPUTS,
    dpo_loss,
    kto_loss,
    sft_loss,
)
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

if TYPE_CHECKING:
    import torch
    from torch import nn

Loss = Callable[["nn.Module", dict[str, Any]], "torch.Tensor"]

FUSED_OUTPUTS: Final[dict[Objective, tuple[str, ...]]] = {
    "sft": SFT_OUTPUTS,
    "dpo": DPO_OUTPUTS,
    "ipo": DPO_OUTPUTS,
    "kto": KTO_OUTPUTS,
    "grpo": POLICY_OUTPUTS,
    "rloo": POLICY_OUTPUTS,
}
"""Objectives whose TRL trainer never builds whole logits, and what it asks of the head in their place."""


def fuses_head(spec: ModelSpec, workload: Workload, recipe: Recipe) -> bool:
    """Whether the trainer takes log-probabilities from TRL's fused head: no tokens x vocabulary logits."""
    causal = workload.task == "causal-lm" and spec.architecture == "decoder"
    return recipe.trainer == "trl" and causal and workload.objective in FUSED_OUTPUTS


def loss_of(
    spec: ModelSpec, workload: Workload, recipe: Recipe, reference: ReferencePass, log_softmax: SelectiveLogSoftmax
) -> Loss | None:
    """The loss of a step, from the model and its inputs; None: the model's own."""
    objective = workload.objective
    if workload.task == "denoising":
        return denoising_loss
    if objective in ("dpo", "ipo"):
        return lambda model, inputs: dpo_loss(model, inputs, reference, ipo=objective == "ipo")
    if objective == "kto":
        return lambda model, inputs: kto_loss(model, inputs, reference)
    if objective in ("grpo", "rloo"):
        scoring, of_policy = scoring_of(workload, recipe), grpo_loss if objective == "grpo" else rloo_loss
        return lambda model, inputs: of_policy(model, inputs, reference, scoring)
    if objective == "orpo":
        return lambda model, inputs: orpo_loss(model, inputs, log_softmax)
    if objective in ("cpo", "simpo"):
        return lambda model, inputs: cpo_loss(model, inputs, log_softmax, simpo=objective == "simpo")
    if objective == "reward":
        return reward_loss
    return sft_loss if fuses_head(spec, workload, recipe) else None


def prepare_policy(model: nn.Module, workload: Workload, recipe: Recipe) -> None:
    """What TRL's trainers but SFTTrainer do to the policy: no dropout where it learns from given answers, and no
    adapter where they refuse it.

    Raises:
        IllegalRecipe: an adapter on the output embeddings, whose weight TRL's fused head reads past it, or one that
            cannot be switched off for the reference.
    """
    if workload.objective == "sft":
        return
    if workload.rollout is None:
        disable_dropout(model)
    if recipe.reference == "adapter-off" and not hasattr(model, "disable_adapter"):
        raise IllegalRecipe(
            f"{recipe.method} has no peft adapter that could be switched off for the reference",
            hints=["nearest legal choice: --reference copy"],
            method=recipe.method,
        )
    if workload.objective in FUSED_OUTPUTS and _adapted_head(model):
        raise IllegalRecipe(
            f"an adapter on the output embeddings would not be trained by {workload.objective}: TRL refuses it",
            cause="log-probabilities are computed from the head's own weight",
            hints=["nearest legal choice: leave lm_head out of --target-modules"],
            method=recipe.method,
        )


def _adapted_head(model: Any) -> bool:
    from peft.tuners.tuners_utils import BaseTunerLayer

    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return isinstance(head, BaseTunerLayer)
