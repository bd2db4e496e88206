"""The losses of preference and reinforcement objectives, worked out by hand for a head of known log-probabilities.

Their steps are compared with TRL's, byte by byte, in tests/conformance; here it is what they say.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from advisor.assembly.objectives.policy_losses import EPSILON, Scoring, grpo_loss, rloo_loss
from advisor.assembly.objectives.reference_free_losses import cpo_loss
from advisor.assembly.objectives.reference_model import ReferencePass
from advisor.assembly.objectives.referenced_losses import BETA

PROMPT, COMPLETION = 2, 3
LOG_PROBABILITIES = torch.tensor([[-1.0, -0.5, -9.0], [-0.2, -0.3, -0.4]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])
ADVANTAGES = torch.tensor([1.0, -2.0])


class Head(nn.Module):
    """Answers with log-probabilities that were given to it."""

    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())

    def __init__(self, log_probabilities: torch.Tensor):
        super().__init__()
        padded = torch.cat([torch.zeros(len(log_probabilities), PROMPT), log_probabilities], dim=1)
        self.log_probabilities = nn.Parameter(padded)

    def forward(self, **_: Any) -> Any:
        return SimpleNamespace(
            log_probs=self.log_probabilities, entropy=self.log_probabilities.detach() * 0, aux_loss=None
        )


def inputs(**more: torch.Tensor) -> dict[str, Any]:
    ones = torch.ones(len(MASK), PROMPT + COMPLETION, dtype=torch.long)
    return {"input_ids": ones, "attention_mask": ones, "completion_mask": MASK, "advantages": ADVANTAGES, **more}


def clipped(ratio: float, advantage: float) -> float:
    return -min(ratio * advantage, min(max(ratio, 1 - EPSILON), 1 + EPSILON) * advantage)


def test_rloo_weighs_the_clipped_ratio_of_whole_completions_by_their_advantage() -> None:
    old = torch.tensor([-1.6, -0.8])
    said = rloo_loss(Head(LOG_PROBABILITIES), inputs(old_logps=old), ReferencePass(), Scoring(old=True))
    # what the mask hides is in no sum: -1.0 - 0.5, and -0.2 - 0.3 - 0.4
    ratios = [math.exp(-1.5 + 1.6), math.exp(-0.9 + 0.8)]
    wanted = sum(clipped(r, a) for r, a in zip(ratios, ADVANTAGES.tolist(), strict=True)) / 2
    assert said.item() == pytest.approx(wanted)


def test_grpo_weighs_each_token_and_divides_by_all_that_are_learned() -> None:
    old = LOG_PROBABILITIES - torch.tensor([[0.5, 0.1, 0.1], [0.1, -0.5, 0.0]])
    asked = inputs(old_per_token_logps=old, num_items_in_batch=torch.tensor(5.0))
    said = grpo_loss(Head(LOG_PROBABILITIES), asked, ReferencePass(), Scoring(old=True))
    moved = [(0.5, 1.0), (0.1, 1.0), (0.1, -2.0), (-0.5, -2.0), (0.0, -2.0)]
    assert said.item() == pytest.approx(sum(clipped(math.exp(by), advantage) for by, advantage in moved) / 5)


@pytest.mark.parametrize("simpo", [True, False])
def test_the_preferred_answers_gap_is_learned_with_simpos_margin_or_cpos_likelihood(simpo: bool) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 4, 5)

    def answer(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(logits=logits)

    labels = torch.tensor([[-100, -100, 3, 1], [-100, 2, 4, 0]])
    ids = torch.ones(1, 4, dtype=torch.long)
    asked = {
        f"{which}_{name}": value
        for which, at in (("chosen", 0), ("rejected", 1))
        for name, value in (("labels", labels[at : at + 1]), ("input_ids", ids), ("attention_mask", ids))
    }

    def chosen_words(scores: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return scores.log_softmax(-1).gather(-1, words.unsqueeze(-1)).squeeze(-1)

    said = cpo_loss(answer, asked, chosen_words, simpo=simpo)  # type: ignore[arg-type]
    of = logits.log_softmax(-1)
    chosen, rejected = of[0, 1, 3] + of[0, 2, 1], of[1, 0, 2] + of[1, 1, 4] + of[1, 2, 0]
    if simpo:
        wanted = -nn.functional.logsigmoid(BETA * (chosen / 2 - rejected / 3) - 0.5)
    else:
        wanted = -nn.functional.logsigmoid(BETA * (chosen - rejected)) - chosen / 2
    assert said.item() == pytest.approx(wanted.item(), rel=1e-5)
