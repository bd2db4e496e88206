"""Which batches carry a padding mask, as a trace is made and kept by."""

from __future__ import annotations

import pytest

from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.trace import is_padded


@pytest.mark.parametrize("objective", ["sft", "dpo"])
@pytest.mark.parametrize("batching", ["padded", "grouped", "packed", "padding-free"])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_mask_is_there_where_several_sequences_are_padded_to_one_length(objective, batching, batch):
    recipe = Recipe(method="lora", micro_batch_size=batch, batching=batching)
    # a pair is two sequences, even alone in its batch
    several = batch > 1 or objective == "dpo"
    assert is_padded(recipe, Workload(model="m", objective=objective)) == (
        several and batching in ("padded", "grouped")
    )
