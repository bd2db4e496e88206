"""What a model is scored by: the loss of the next token, classes, and nothing of padding."""

from __future__ import annotations

import math
from contextlib import nullcontext
from types import SimpleNamespace

import torch

from advisor.dataset.encoding import EncodedExample
from advisor.training.evaluator import Scorer
from advisor.training.metrics import find_metric


class Successor(torch.nn.Module):
    """Says that the next token is the last one plus 1, with probability `sure`."""

    def __init__(self, vocabulary: int, sure: float) -> None:
        super().__init__()
        self.vocabulary, self.sure = vocabulary, sure

    def forward(self, input_ids, attention_mask=None, **_):
        others = math.log((1 - self.sure) / (self.vocabulary - 1))
        logits = torch.full((*input_ids.shape, self.vocabulary), others)
        logits.scatter_(-1, ((input_ids + 1) % self.vocabulary)[..., None], math.log(self.sure))
        return SimpleNamespace(logits=logits)


def row(ids):
    return EncodedExample(input_ids=list(ids), labels=list(ids), prompt=[], reference="", cut=False)


def scorer(model):
    tokenizer = SimpleNamespace(pad_token_id=0, padding_side="right")
    return Scorer(model, tokenizer, "causal-lm", find_metric("loss", "causal-lm"), "cpu", 16, nullcontext)


def test_the_loss_is_of_the_token_that_follows():
    ids = [3, 4, 5, 6, 7]
    rows = [row(ids)]
    loss = scorer(Successor(16, 0.9)).score(rows)["loss"]
    assert abs(loss + math.log(0.9)) < 1e-5


def test_rows_of_other_lengths_do_not_change_a_rows_loss():
    long, short = [3, 4, 5, 6, 7, 8, 9], [10, 11, 12]
    rows = [row(ids) for ids in (long, short)]
    loss = scorer(Successor(16, 0.75)).score(rows)["loss"]
    assert abs(loss + math.log(0.75)) < 1e-5


class Repeater(torch.nn.Module):
    """Goes on with the last token of each prompt, so many times."""

    def forward(self, input_ids, attention_mask=None, **_):
        return SimpleNamespace(logits=torch.zeros(*input_ids.shape, 16))

    def generate(self, input_ids, attention_mask=None, max_new_tokens=1, **_):
        return torch.cat([input_ids, input_ids[:, -1:].expand(-1, max_new_tokens)], dim=1)


class Numbers:
    """A tokenizer whose words are numbers."""

    pad_token_id, padding_side = 0, "right"

    def __call__(self, text, **_):
        return {"input_ids": [int(word) for word in text.split()]}

    def batch_decode(self, rows, **_):
        return [" ".join(str(int(token)) for token in row) for row in rows]


def test_a_generated_answers_score_is_put_down_to_its_own_row():
    # (prompt, wanted): right where the prompt's last token is said once more
    asked = [([3], "3 3"), ([4, 5, 6], "9 9"), ([7, 8], "8 8"), ([], "1"), ([2, 3, 4, 5], "7 7")]
    rows = [
        EncodedExample(input_ids=prompt or [1], labels=prompt or [1], prompt=prompt, reference=wanted, cut=False)
        for prompt, wanted in asked
    ]
    made = Scorer(Repeater(), Numbers(), "causal-lm", find_metric("rouge1", "causal-lm"), "cpu", 16, nullcontext)
    scores = made.score(rows)
    kept = made.by_row["rouge1"]
    assert {place for place, (value, _) in kept.items() if value > 0} == {0, 2}
    assert set(kept) == {0, 1, 2, 4}, "a row without a prompt is not asked"
    assert scores["rouge1"] == sum(value for value, _ in kept.values()) / 4
