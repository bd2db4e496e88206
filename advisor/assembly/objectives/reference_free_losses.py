"""The losses of TRL's ORPOTrainer, CPOTrainer and RewardTrainer, tensor by tensor.

Shapes here: B samples, S tokens of the longest sequence, V words.
Source: trl 1.16, `experimental.orpo.ORPOTrainer`, `experimental.cpo.CPOTrainer` (`concatenated_forward`,
`get_batch_loss_metrics`) and `RewardTrainer.compute_loss`. The first two build whole logits [2B,S,V].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from advisor.assembly.objectives.referenced_losses import BETA

if TYPE_CHECKING:
    import torch
    from torch import nn

SelectiveLogSoftmax = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
"""(logits[R,S,V], ids[R,S]) -> log-probabilities[R,S]: TRL's kernel on a GPU, or what stands in for it."""


def reward_loss(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
    """The preferred answer's score above the rejected one's, and the metrics that are logged."""
    import torch
    import torch.nn.functional as F

    outputs: Any = model(**inputs, use_cache=False)
    chosen, rejected = torch.chunk(outputs.logits.squeeze(-1), chunks=2)
    loss = -F.logsigmoid(chosen - rejected).mean()
    inputs["attention_mask"].sum().item()
    with torch.no_grad():
        for value in (outputs.logits.min(), outputs.logits.mean(), outputs.logits.max()):
            value.item()
        (chosen > rejected).float().mean().item()
        (chosen - rejected).mean().item()
    return loss


def orpo_loss(model: nn.Module, inputs: dict[str, Any], log_softmax: SelectiveLogSoftmax) -> torch.Tensor:
    """Next tokens of the preferred sequences, prompts included, and the odds ratio of both answers."""
    import torch
    import torch.nn.functional as F

    ids, mask, answers = _both(inputs)
    outputs: Any = model(ids, attention_mask=mask, use_cache=False)
    logits = outputs.logits
    every = torch.where(mask == 1, ids.clone(), -100)
    batch = inputs["chosen_labels"].shape[0]
    likelihood = _next_tokens(logits[:batch], every[:batch])
    means = _log_probabilities(logits, answers, log_softmax, mean=True)
    chosen, rejected = means[:batch].float(), means[batch:].float()
    odds = (chosen - rejected) - (_log_one_minus_exp(chosen) - _log_one_minus_exp(rejected))
    ratio = F.logsigmoid(odds)
    loss = likelihood - (BETA * ratio).mean()
    rewards = (BETA * chosen.detach(), BETA * rejected.detach())
    more = (likelihood, ratio.mean(), odds.mean())
    _metrics(rewards, (means[:batch], means[batch:]), (logits[batch:, :-1], logits[:batch, :-1]), more)
    return loss


def cpo_loss(
    model: nn.Module, inputs: dict[str, Any], log_softmax: SelectiveLogSoftmax, *, simpo: bool
) -> torch.Tensor:
    """DPO's loss without its reference; CPO adds the preferred answers' next tokens, SimPO a margin."""
    import torch
    import torch.nn.functional as F

    ids, mask, answers = _both(inputs)
    outputs: Any = model(ids, attention_mask=mask, use_cache=False)
    logits = outputs.logits
    labels = answers.clone()
    batch = inputs["chosen_labels"].shape[0]
    likelihood = torch.zeros((), device=logits.device) if simpo else _next_tokens(logits[:batch], labels[:batch])
    sums = _log_probabilities(logits, answers, log_softmax, mean=simpo)
    chosen, rejected = sums[:batch], sums[batch:]
    gap = chosen - rejected
    if simpo:
        gap = gap - 0.5 / BETA
    losses = -F.logsigmoid(BETA * gap) - F.logsigmoid(-BETA * gap) * 0.0
    loss = losses.mean() + (0.0 if simpo else 1.0) * likelihood
    rewards = (BETA * chosen.detach(), BETA * rejected.detach())
    _metrics(rewards, (chosen, rejected), (logits[batch:], logits[:batch]), (likelihood,))
    return loss


def _both(inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Preferred and rejected sequences in one: ids, mask and answers [2B,S]."""
    import torch

    answers, ids, mask = (
        torch.cat((inputs[f"chosen_{name}"], inputs[f"rejected_{name}"]), dim=0)
        for name in ("labels", "input_ids", "attention_mask")
    )
    return ids, mask, answers


def _next_tokens(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    import torch.nn.functional as F

    shifted = logits[..., :-1, :].contiguous()
    wanted = labels[..., 1:].contiguous()
    return F.cross_entropy(shifted.view(-1, shifted.shape[-1]), wanted.view(-1))


def _log_probabilities(
    logits: torch.Tensor, answers: torch.Tensor, log_softmax: SelectiveLogSoftmax, *, mean: bool
) -> torch.Tensor:
    """[2B] of each answer: the sum over its tokens, or their mean."""
    import torch

    wanted = answers[:, 1:].clone()
    kept = wanted != -100
    wanted = torch.where(wanted == -100, 0, wanted)
    per_token = log_softmax(logits[:, :-1, :], wanted)
    total = (per_token * kept).sum(-1)
    return total / kept.sum(-1) if mean else total


def _log_one_minus_exp(values: torch.Tensor) -> torch.Tensor:
    """Without cancellation on either side of half a probability."""
    import torch

    return torch.where(values < -0.6931471805599453, torch.log1p(-torch.exp(values)), torch.log(-torch.expm1(values)))


def _metrics(
    rewards: tuple[torch.Tensor, torch.Tensor],
    sums: tuple[torch.Tensor, torch.Tensor],
    logits: tuple[torch.Tensor, torch.Tensor],
    more: tuple[torch.Tensor, ...],
) -> None:
    """Each reads one number back; the means of the logits read all of them."""
    gained, lost = rewards
    right = (gained > lost).float()
    for value in (gained, lost, right, gained - lost, *sums, *logits, *more):
        value.detach().mean().item()
