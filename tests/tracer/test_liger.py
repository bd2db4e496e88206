"""What a step allocates with Liger's kernels is what Liger's own code allocates, to the byte.

The figures were recorded of liger-kernel 0.8.5's own Python (its patches, autograd functions and loss, on the meta
device, each Triton kernel taken to allocate nothing), over the same model, batch and trainer.
"""

from __future__ import annotations

import json

import pytest

from advisor.catalog.fused_kernels import OTHERS_OF_LIGER, TRACED_OF_LIGER
from advisor.catalog.models import resolve_model
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.record_step import BatchShape, TraceRequest, record
from tests.selection import one_in

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {"gemma3_text": "Gemma3ForCausalLM", "smollm3": "SmolLM3ForCausalLM"}
OF_LIGER = {
    "llama": (16501156, 12551200, 9239960, 821248),
    "mistral": (16501156, 12551200, 9239960, 821248),
    "ministral": (16697764, 12551200, 9239960, 821248),
    "qwen2": (16502180, 12551200, 9240984, 821248),
    "qwen3": (17128100, 13177888, 9553560, 821248),
    "gemma": (16245158, 12551200, 8983962, 821248),
    "gemma2": (28813702, 24728576, 15660426, 1411072),
    "gemma3_text": (17668774, 13976608, 9694874, 821248),
    "phi3": (15124900, 9896992, 9399704, 821248),
    "smollm3": (16245156, 12551200, 8983960, 821248),
    "olmo2": (17923236, 13975584, 10063000, 854016),
    "olmo3": (18119844, 13975584, 10063000, 854016),
    "glm4": (17610084, 12465184, 10346840, 804864),
    "exaone4": (17521316, 13377568, 9747096, 821248),
}
"""Bytes of LoRA's step over 3 x 256 tokens: alive at most and kept for the backward pass, in bfloat16; the same with
bfloat16 autocast and checkpointing."""
EVERYDAY = ("llama", "olmo2")


def test_every_model_type_has_its_figures():
    assert set(OF_LIGER) == set(TRACED_OF_LIGER)
    assert not TRACED_OF_LIGER & OTHERS_OF_LIGER


@pytest.mark.slow
@pytest.mark.parametrize(
    "model_type",
    [
        *EVERYDAY,
        *one_in(6, [pytest.param(t, marks=pytest.mark.slow) for t in sorted(OF_LIGER) if t not in EVERYDAY]),
    ],
)
def test_a_step_allocates_what_ligers_own_code_does(model_type, tmp_path):
    spec = spec_of(model_type, tmp_path)
    found = []
    for mixed, checkpointing in (("no", False), ("bf16", True)):
        recipe = Recipe.model_validate(
            {
                "method": "lora",
                "layer_kernels": "liger",
                "fused_loss": "liger",
                "mixed_precision": mixed,
                "gradient_checkpointing": checkpointing,
                "micro_batch_size": 3,
            }
        )
        asked = TraceRequest(spec, Workload.model_validate({"model": spec.name}), recipe, 8.0, True)
        recorded = record(asked, BatchShape(3, 256, 0), None)
        kept = (s.size for s in recorded.storages if s.category == "saved activations" and s.born_step == 2)
        found += [most_alive(recorded.events), sum(kept)]
    assert tuple(found) == OF_LIGER[model_type]


def spec_of(model_type, folder):
    from transformers import AutoConfig

    config = AutoConfig.for_model(model_type, **SMALL).to_dict()
    config["architectures"] = [ARCHITECTURES.get(model_type, f"{model_type.capitalize()}ForCausalLM")]
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return resolve_model(str(folder))


def most_alive(events):
    sizes: dict[int, int] = {}
    alive = most = 0
    for event in events:
        if event.kind == 0:
            sizes[event.storage] = event.size
            alive += event.size
            most = max(most, alive)
        elif event.kind == 1:
            alive -= sizes[event.storage]
    return most
