"""FlashAttention on padded batches copies what sdpa reads in place, and keys and values are never repeated."""

from __future__ import annotations

import pytest

from advisor.catalog.models import resolve_model
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.record_step import BatchShape, TraceRequest, record
from advisor.tracer.trace import trace_key
from tests.selection import one_in

MODEL = "HuggingFaceTB/SmolLM2-135M"
BATCH, LENGTH, WIDTH, HEADS, KEY_HEADS = 3, 256, 64, 9, 3


def recorded(attention, *, padded):
    spec = resolve_model(MODEL)
    recipe = Recipe.model_validate({"method": "lora", "attention": attention, "micro_batch_size": BATCH})
    asked = TraceRequest(spec, Workload.model_validate({"model": spec.name}), recipe, 8.0, padded)
    return record(asked, BatchShape(BATCH, LENGTH, 0), {"num_hidden_layers": 2})


def kept(recording):
    return sum(s.size for s in recording.storages if s.category == "saved activations" and s.born_step == 2)


def names(recording):
    return [event.name for event in recording.events if event.step == 2 and event.phase == "forward"]


@pytest.mark.parametrize("padded", [True, False])
def test_padding_is_taken_out_where_there_is_some(padded):
    found = names(recorded("flash_attention_2", padded=padded))
    flash = [name for name in found if "flash" in name]
    assert len(flash) == 2
    assert not any("efficient" in name for name in found)
    # queries, keys, values of two layers, each picked out by the mask
    assert found.count("index") >= (6 if padded else 0)
    assert ("nonzero" in " ".join(found)) <= padded


def test_float32_queries_are_cast_as_under_autocast():
    spec = resolve_model(MODEL)
    fields = {"method": "full", "attention": "flash_attention_2", "dtype": "float32", "mixed_precision": "bf16"}
    recipe = Recipe.model_validate({**fields, "micro_batch_size": BATCH})
    asked = TraceRequest(spec, Workload.model_validate({"model": spec.name}), recipe, 8.0, True)
    found = record(asked, BatchShape(BATCH, LENGTH, 0), {"num_hidden_layers": 2})
    assert sum("flash" in name for name in names(found)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("mixed", one_in(2, ["no", "bf16"]))
def test_a_checkpointed_step_keeps_no_more_than_its_layers_inputs(mixed):
    """Whatever stands in for the library must hold none of the tensors it is given."""
    peaks = []
    for attention in ("sdpa", "flash_attention_2"):
        spec = resolve_model(MODEL)
        fields = {"method": "lora", "attention": attention, "mixed_precision": mixed, "gradient_checkpointing": True}
        recipe = Recipe.model_validate({**fields, "micro_batch_size": BATCH})
        asked = TraceRequest(spec, Workload.model_validate({"model": spec.name}), recipe, 8.0, True)
        found = record(asked, BatchShape(BATCH, LENGTH, 0), {"num_hidden_layers": 6})
        of_layers = [s for s in found.storages if s.home and s.born_step == 2 and s.born_phase == "forward"]
        peaks.append(sum(s.size for s in of_layers if s.freed_phase != "forward"))
    assert peaks[1] <= 1.05 * peaks[0]


@pytest.mark.parametrize("rows", [1, BATCH])
def test_a_trace_of_flash_attention_has_a_key(rows):
    spec = resolve_model(MODEL)
    recipe = Recipe.model_validate({"method": "lora", "attention": "flash_attention_2", "micro_batch_size": rows})
    assert len(trace_key(spec, Workload.model_validate({"model": spec.name}), recipe)) == 64


@pytest.mark.slow
def test_a_padded_batch_keeps_its_copies_and_no_repeated_heads():
    padded = kept(recorded("flash_attention_2", padded=True))
    full = kept(recorded("flash_attention_2", padded=False))
    sdpa = kept(recorded("sdpa", padded=True))
    copies = 2 * 2 * BATCH * LENGTH * WIDTH * (HEADS + 2 * KEY_HEADS)
    assert full < padded <= full + 2 * copies
    # sdpa with a mask repeats keys and values for every query head
    assert padded < sdpa
