"""The losses of TRL's DPOTrainer and KTOTrainer, tensor by tensor: what they keep alive is what is priced.

Shapes here: B samples, S tokens of the longest sequence, R rows of a forward pass (2B for pairs).
Source: trl 1.16, `DPOTrainer._compute_loss` and `KTOTrainer._compute_loss`. Both call a model whose forward pass takes
`fused_lm_head` and answers with per-token log-probabilities [R,S-1] in float32, zero outside the answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from advisor.assembly.objectives.reference_model import ReferencePass

if TYPE_CHECKING:
    import torch
    from torch import nn

DPO_OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")
KTO_OUTPUTS = ("log_probs", "entropy", "mean_logits")
SFT_OUTPUTS = ("log_probs", "entropy", "is_top1")
REFERENCE_OUTPUTS = ("log_probs",)
"""What each trainer asks TRL's head for, and what of the reference's."""
BETA = 0.1
"""TRL's own default; its value changes no tensor."""


def sft_loss(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """SFTTrainer's: the mean over the tokens that are learned, and two metrics."""
    import torch

    outputs: Any = model(**inputs, **router_logits(model), use_cache=False, fused_lm_head=True)
    loss = -outputs.log_probs.sum() / outputs.label_mask.sum().clamp(min=1)
    if outputs.aux_loss is not None:
        loss = loss + outputs.aux_loss
    with torch.no_grad():
        (outputs.entropy.sum() / outputs.label_mask.sum()).item()
        (outputs.is_top1.sum() / outputs.label_mask.sum()).item()
    return loss


def router_logits(model: Any) -> dict[str, bool]:
    """The argument by which TRL asks a mixture of experts for its load-balancing loss; none of other models."""
    config = model.config.get_text_config()
    balanced = hasattr(config, "output_router_logits") and getattr(config, "router_aux_loss_coef", 0.0)
    return {"output_router_logits": True} if balanced else {}


def dpo_loss(model: nn.Module, inputs: dict[str, Any], reference: ReferencePass, *, ipo: bool) -> torch.Tensor:
    """DPO's sigmoid loss, or IPO's squared one, with the metrics that are logged at each step."""
    import torch.nn.functional as F

    mask = inputs["completion_mask"]
    passed = {name: inputs[name] for name in ("input_ids", "attention_mask")} | {"use_cache": False}
    answers = mask[..., 1:]
    labels = inputs["input_ids"].masked_fill(mask == 0, -100)
    outputs: Any = model(**passed, **router_logits(model), labels=labels, fused_lm_head=True)
    length = answers.size(1)
    sums = outputs.log_probs[:, -length:].sum(dim=1)
    chosen, rejected = sums.chunk(2, dim=0)
    if reference.how == "precomputed":
        far_chosen, far_rejected = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
    else:
        with reference.entered(model) as frozen:
            others = frozen(**passed, labels=labels, fused_lm_head=True)
        far_chosen, far_rejected = others.log_probs[:, -length:].sum(dim=1).chunk(2, dim=0)
    gained, lost = chosen - far_chosen, rejected - far_rejected
    if ipo:
        good, bad = mask.chunk(2, dim=0)
        gap = gained / good.sum(dim=1).clamp(min=1.0) - lost / bad.sum(dim=1).clamp(min=1.0)
        each = (gap - 1 / (2 * BETA)) ** 2
    else:
        each = -F.logsigmoid(BETA * (gained - lost))
    loss = each.mean()
    if outputs.aux_loss is not None:
        loss = loss + outputs.aux_loss
    _dpo_metrics(inputs, outputs, answers, (gained.detach(), lost.detach()), (chosen, rejected))
    return loss


def _dpo_metrics(
    inputs: dict[str, Any],
    outputs: Any,
    answers: torch.Tensor,
    rewards: tuple[torch.Tensor, torch.Tensor],
    sums: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Each reads one number back, as `.item()` does."""
    length = answers.size(1)
    (entropy := (outputs.entropy[:, -length:].detach() * answers).sum()).div(answers.sum()).item()
    del entropy
    inputs["attention_mask"].sum().item()
    for logits, part in zip(outputs.mean_logits[:, -length:].chunk(2, dim=0), answers.chunk(2, dim=0), strict=True):
        logits[part.bool()].sum().item()
        part.sum().item()
    right, _ = outputs.is_top1[:, -length:].chunk(2, dim=0)
    good, _ = answers.chunk(2, dim=0)
    ((right & good.bool()).sum() / good.sum()).item()
    gained, lost = (BETA * reward for reward in rewards)
    for value in (gained, lost, (gained > lost).float(), gained - lost, *sums):
        value.mean().item()


def kto_loss(model: nn.Module, inputs: dict[str, Any], reference: ReferencePass) -> torch.Tensor:
    """KTO's loss: mismatched answers first, without gradients, by the policy and by the reference."""
    import torch
    import torch.nn.functional as F

    label = inputs["label"]
    divergence = _mismatched(model, inputs)
    passed = {name: inputs[name] for name in ("input_ids", "attention_mask")} | {"use_cache": False}
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    outputs: Any = model(**passed, **router_logits(model), labels=labels, fused_lm_head=True)
    length = inputs["input_ids"].size(1) - 1
    sums = outputs.log_probs[:, -length:].sum(-1)
    good = torch.nonzero(label, as_tuple=False).view(-1)
    bad = torch.nonzero(~label, as_tuple=False).view(-1)
    chosen, rejected = sums.index_select(0, good), sums.index_select(0, bad)
    if reference.how == "precomputed":
        far, far_divergence = inputs["ref_logps"], inputs["ref_KL_logps"]
    else:
        with reference.entered(model) as frozen:
            far_divergence = _mismatched(frozen, inputs)
            far = frozen(**passed, labels=labels, fused_lm_head=True).log_probs[:, -length:].sum(-1)
    kl = (divergence - far_divergence).mean().detach().clamp(min=0)
    gained, lost = chosen - far.index_select(0, good), rejected - far.index_select(0, bad)
    losses = torch.cat((1 - F.sigmoid(BETA * (gained - kl)), 1 - F.sigmoid(BETA * (kl - lost))), 0)
    _kto_metrics(inputs, outputs, (good, bad), (kl, gained.detach(), lost.detach(), chosen, rejected))
    loss = losses.nanmean()
    return loss if outputs.aux_loss is None else loss + outputs.aux_loss


def _mismatched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
    import torch

    labels = inputs["KL_input_ids"].masked_fill(inputs["KL_completion_mask"] == 0, -100)
    with torch.no_grad():
        passed = {name: inputs[f"KL_{name}"] for name in ("input_ids", "attention_mask")}
        per_token = model(**passed, use_cache=False, labels=labels, fused_lm_head=True).log_probs
    return per_token[:, -(labels.size(1) - 1) :].sum(-1)


def _kto_metrics(
    inputs: dict[str, Any],
    outputs: Any,
    rows: tuple[torch.Tensor, torch.Tensor],
    values: tuple[torch.Tensor, ...],
) -> None:
    answers = inputs["completion_mask"][:, 1:]
    length = answers.size(1)
    ((outputs.entropy[:, -length:].detach() * answers).sum() / answers.sum()).item()
    inputs["attention_mask"].sum().item()
    logits = outputs.mean_logits[:, -length:]
    for chosen in rows:
        part = answers.index_select(0, chosen)
        logits.index_select(0, chosen)[part.bool()].sum().item()
        part.sum().item()
    for value in values:
        value.nansum().item()
