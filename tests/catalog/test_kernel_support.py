"""Fused kernels and the trainers that bring them: what is priced, what is said, and what is refused with a way out."""

from __future__ import annotations

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import resolve_model
from advisor.errors import IllegalRecipe
from advisor.estimator.estimate_request import from_case
from advisor.estimator.precision_request import recipe_asked

LLAMA = "HuggingFaceTB/SmolLM2-135M"


def asked(gpu="A100", model=LLAMA, **fields):
    request = from_case({"model": model, "method": "lora", "seq_len": 64, **fields})
    return recipe_asked(request, resolve_model(model), find_gpu(gpu)[0])


@pytest.mark.parametrize(
    ("fields", "layers", "loss"),
    [
        ({}, "none", "none"),
        ({"use_liger_kernel": True}, "liger", "liger"),
        ({"use_liger_kernel": True, "fused_loss": "none"}, "liger", "none"),
        ({"use_liger_kernel": True, "trainer": "trl"}, "liger", "none"),
        ({"use_liger_kernel": True, "trainer": "axolotl", "fused_loss": "cce"}, "liger", "cce"),
        ({"fused_loss": "cce"}, "none", "cce"),
        ({"use_liger_kernel": True, "model": "EleutherAI/pythia-14m"}, "none", "none"),
    ],
    ids=str,
)
def test_the_trainer_decides_what_its_liger_switch_means(fields, layers, loss):
    recipe, notes = asked(**fields)
    assert (recipe.layer_kernels, recipe.fused_loss) == (layers, loss)
    kernels = [note for note in notes if note.startswith("fused kernels")]
    assert bool(kernels) == ((layers, loss) != ("none", "none"))
    if "pythia" in str(fields):
        assert any("no kernels for gpt_neox" in note for note in notes)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"fused_loss": "liger", "trainer": "trl"}, "TRL patches"),
        ({"fused_loss": "cce", "gpu": "T4", "dtype": "float16"}, "compute capability 8"),
        ({"fused_loss": "cce", "dtype": "float32"}, "16 bits only"),
        ({"use_liger_kernel": True, "gpu": "Apple-M4-Max-64GB"}, "Triton"),
        ({"use_liger_kernel": True, "trainer": "unsloth"}, "of its own"),
        ({"use_liger_kernel": True, "task": "sequence-classification"}, "causal language models"),
        ({"lora_kernels": True}, "axolotl's and unsloth's"),
        ({"trainer": "unsloth", "method": "ia3"}, "trains LoRA"),
        ({"trainer": "unsloth", "base": "int8", "method": "qlora"}, "no 8-bit base"),
        ({"trainer": "axolotl", "model": "google/flan-t5-small"}, "causal language models"),
    ],
    ids=str,
)
def test_kernels_that_cannot_be_are_refused_with_a_way_out(fields, word):
    with pytest.raises(IllegalRecipe, match=word) as refused:
        asked(**fields)
    assert refused.value.hints


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"use_liger_kernel": True, "trainer": "unsloth"}, "leave --use-liger-kernel out"),
        ({"fused_loss": "cce", "trainer": "unsloth"}, "leave --fused-loss out"),
        ({"use_liger_kernel": True, "gpu": "Apple-M4-Max-64GB"}, "leave --use-liger-kernel out"),
        ({"fused_loss": "cce", "gpu": "T4", "dtype": "float16"}, "leave --fused-loss out"),
        ({"trainer": "unsloth", "gpu": "Apple-M4-Max-64GB"}, "--trainer trl"),
    ],
    ids=str,
)
def test_the_way_out_names_what_was_asked(fields, hint):
    with pytest.raises(IllegalRecipe) as refused:
        asked(**fields)
    assert any(hint in said for said in refused.value.hints), refused.value.hints


@pytest.mark.parametrize(
    ("fields", "precision", "lora"),
    [
        ({"trainer": "axolotl"}, "bfloat16 with bf16 autocast", True),
        ({"trainer": "axolotl", "lora_kernels": False}, "bfloat16 with bf16 autocast", False),
        ({"trainer": "axolotl", "method": "full"}, "bfloat16 with bf16 autocast", False),
        ({"trainer": "axolotl", "mixed_precision": "no", "dtype": "bfloat16"}, "bfloat16", True),
        (
            {"trainer": "axolotl", "method": "qlora"},
            "nf4 beside bfloat16, prepared for k-bit training with bf16 autocast",
            True,
        ),
        ({"trainer": "unsloth", "method": "qlora"}, "nf4 beside bfloat16 with bf16 autocast", True),
        ({"trainer": "unsloth", "method": "full"}, "float32 with bf16 autocast", False),
        ({"trainer": "unsloth", "gpu": "T4"}, "float16 with fp16 autocast", True),
    ],
    ids=str,
)
def test_axolotl_and_unsloth_are_priced_in_the_precision_they_take_of_their_own_accord(fields, precision, lora):
    recipe, notes = asked(**fields)
    assert (recipe.precision, recipe.lora_kernels) == (precision, lora)
    assert ("mixed_precision" in fields) != any("of its own accord" in note for note in notes)
