"""How much each of our own adapters trains on a model of two blocks, counted from the papers' definitions by hand."""

from __future__ import annotations

import warnings

import pytest
import torch

from advisor.assembly.attach import attach
from advisor.assembly.parameter_count import trainable_parameters
from advisor.catalog.methods import find_method
from tests.conformance.tiny import DECODER, VOCABULARY, recipe_of

BLOCKS, HIDDEN, NARROW, FEED_FORWARD = 2, 64, 32, 128
"""Two of four heads hold keys and values, so their products are half as wide."""
LINEARS = [(64, 64), (64, 32), (64, 32), (64, 64), (64, 128), (64, 128), (128, 64)]
"""(in, out) of q, k, v, o, gate, up, down."""
WEIGHTS = BLOCKS * sum(i * o for i, o in LINEARS)
NORMS = (2 * BLOCKS + 1) * HIDDEN
RANK, MIDDLE, VIRTUAL, BASES, TERMS = 4, 8, 6, 16, 4
BOTTLENECK = 2 * HIDDEN * MIDDLE + MIDDLE + HIDDEN
LORA = BLOCKS * sum(RANK * (i + o) for i, o in LINEARS)
PREFIX = BLOCKS * 2 * VIRTUAL * NARROW
# a Kronecker product of factors of rank one, TERMS of them; the small factors are shared by all
KRONECKER = TERMS * 2 * (HIDDEN // TERMS + MIDDLE // TERMS) + MIDDLE + HIDDEN

COUNTS = {
    "adapter-houlsby": BLOCKS * 2 * BOTTLENECK,
    "adapter-pfeiffer": BLOCKS * BOTTLENECK,
    "adapter-series": BLOCKS * BOTTLENECK,
    "adapter-parallel": BLOCKS * BOTTLENECK,
    "adapter-scaled-parallel": BLOCKS * BOTTLENECK,
    "adapter-drop": BLOCKS // 2 * BOTTLENECK,
    "compacter": TERMS**3 + BLOCKS * 2 * KRONECKER,
    "compacter-plus": TERMS**3 + BLOCKS * KRONECKER,
    # the most even factors: 64 x 64 of q is 8x8 (x) 8x8, 32 x 64 of v is 4x8 (x) 8x8
    "krona": BLOCKS * (2 * 8 * 8 + 4 * 8 + 8 * 8),
    "ssf": BLOCKS * 2 * sum(o for _, o in LINEARS),
    "red": BLOCKS * 2 * HIDDEN,
    "nola": BLOCKS * len(LINEARS) * 2 * BASES,
    "svft": BLOCKS * sum(min(pair) for pair in LINEARS),
    "dylora": LORA,
    "diff-pruning": 2 * WEIGHTS,
    # one weight in 200 of each matrix
    "fish-mask": BLOCKS * sum(round(i * o / 200) for i, o in LINEARS),
    "mam": BLOCKS * BOTTLENECK + PREFIX,
    # low rank in q and v, an adapter, a prefix, and one gate of HIDDEN + 1 for each of the four
    "unipelt": BLOCKS * (RANK * (128 + 96) + BOTTLENECK + 4 * (HIDDEN + 1)) + PREFIX,
    "partial": WEIGHTS // BLOCKS + 2 * HIDDEN + HIDDEN,
    "linear-probe": HIDDEN * VOCABULARY,
    "embedding-tuning": HIDDEN * VOCABULARY,
    "galore": WEIGHTS + NORMS + 2 * HIDDEN * VOCABULARY,
    "full": WEIGHTS + NORMS + 2 * HIDDEN * VOCABULARY,
}


@pytest.mark.parametrize("name", COUNTS)
def test_what_is_trained_is_what_the_paper_defines(name: str):
    torch.manual_seed(7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = attach(DECODER.fresh("meta"), DECODER.spec, DECODER.workload, recipe_of(find_method(name)))
    assert trainable_parameters(model) == COUNTS[name]
