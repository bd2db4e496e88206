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
