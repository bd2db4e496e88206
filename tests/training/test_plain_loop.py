"""The plain loop: a step over micro-batches is the step over all their rows at once."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from advisor.dataset.encoding import IGNORED, EncodedExample
from advisor.domain.recipe import Recipe
from advisor.training.trainers.loop import LOOP


class Bigrams(torch.nn.Module):
    """Says the next token by the last one; its loss is the mean over the tokens that are learned, as transformers'."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(16, 16)

    def forward(self, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
        logits = self.table(input_ids)[:, :-1]
        return SimpleNamespace(loss=cross_entropy(logits.reshape(-1, 16), labels[:, 1:].reshape(-1)))


def row(length: int, prompt: int) -> EncodedExample:
    ids = [3 + (7 * i + length) % 13 for i in range(length)]
    return EncodedExample(ids, [IGNORED] * prompt + ids[prompt:], ids[:prompt], "", False)


def after_a_step(micro: int, accumulation: int, **recipe: Any) -> tuple[torch.Tensor, float]:
    """The weights after one step over six rows, and the loss that is told."""
    told: list[float] = []
    model = Bigrams()
    work: Any = SimpleNamespace(
        job=SimpleNamespace(
            seed=0,
            recipe=Recipe(
                method="full", dtype="float32", trainer="loop", micro_batch_size=micro, schedule="constant",
                warmup_ratio=0.0, gradient_accumulation=accumulation, **recipe,
            ),
        ),
        monitor=SimpleNamespace(
            steps=1,
            after_optimizer=lambda step: None,
            after_step=lambda step, loss: told.append(loss) or SimpleNamespace(checkpoint=False, stop=True),
        ),
        model=model,
        examples=[row(3, 1), row(12, 1), row(5, 3), row(9, 7), row(4, 1), row(11, 2)],
        tokenizer=SimpleNamespace(pad_token_id=0),
        device="cpu",
        resume=None,
        autocast=nullcontext,
        optimizer=lambda: torch.optim.SGD(model.parameters(), lr=1.0),
    )  # fmt: skip
    LOOP.train(work)
    return model.table.weight.detach(), told[0]


@pytest.mark.parametrize(("micro", "accumulation"), [(1, 6), (2, 3), (3, 2)])
@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_rows_weigh_by_their_learned_tokens_however_they_are_split(micro: int, accumulation: int, clip: float):
    whole, loss = after_a_step(6, 1, max_grad_norm=clip)
    parts, same = after_a_step(micro, accumulation, max_grad_norm=clip)
    assert torch.allclose(parts, whole, atol=1e-6)
    assert same == pytest.approx(loss, rel=1e-5)
    assert bool((whole != Bigrams().table.weight).any())
