"""No method is proposed with its trained weights in 16 bits where that loses what they learn."""

from __future__ import annotations

import pytest
import torch

from advisor.assembly.adapters.module_search import heads
from advisor.assembly.attach import attach
from advisor.catalog.gpus import find_gpu
from advisor.catalog.methods import methods
from advisor.catalog.training_precision import (
    HALF_A_BIT,
    float16_overflow,
    needs_float32_weights,
    precision_warning,
    rate_of,
)
from advisor.errors import IllegalRecipe
from advisor.estimator.gpu_request import dtype_asked
from advisor.recommender.recipe_space import make_recipe, precisions_to_try
from advisor.recommender.recommend_request import checked, resolve
from tests.conformance.tiny import DECODER, ENCODER, ENCODER_DECODER, recipe_of

TRAINABLE = [m for m in methods() if not m.cannot]
EVERY_METHOD = pytest.mark.parametrize("method", TRAINABLE, ids=lambda m: m.name)
ENDINGS = ("classifier", "score", "head")


def stored_in_16_bits(method) -> bool | None:
    """Whether any trained tensor but a new head is in the base's dtype on any tiny model; None where none is built."""
    built = False
    for tiny in (DECODER, ENCODER, ENCODER_DECODER):
        try:
            model = attach(tiny.fresh("meta", torch.bfloat16), tiny.spec, tiny.workload, recipe_of(method))
        except IllegalRecipe:
            continue
        built = True
        for name, parameter in model.named_parameters():
            is_head = tiny is ENCODER and any(f"{end}." in f"{name}." for end in (*heads(model), *ENDINGS))
            if parameter.requires_grad and parameter.dtype != torch.float32 and not is_head:
                return True
    return False if built else None


@EVERY_METHOD
def test_the_catalogue_says_what_is_trained_in_the_base_dtype(method):
    found = stored_in_16_bits(method)
    if found is None:
        pytest.skip("runs on none of the tiny models")
    assert found == method.trains_in_base_dtype


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@EVERY_METHOD
def test_the_first_proposal_loses_no_update(method, dtype):
    gpu = {"bfloat16": "H100", "float16": "T4"}[dtype]
    question = resolve(checked({"model": "meta-llama/Llama-3.2-1B", "gpu": gpu, "samples": 100}))
    if "dtype" not in method.bases:
        return
    recipe = make_recipe(question, method, "dtype", checkpointing=False)
    assert not precision_warning(method, recipe, "causal-lm")
    if method.trains_in_base_dtype and (dtype == "float16" or rate_of(method) <= 1e-4):
        assert (recipe.dtype, recipe.compute_dtype) == ("float32", dtype)
    tried = list(precisions_to_try(question, method, "dtype"))
    if dtype == "float16" and method.trains_in_base_dtype:
        assert all(fields["dtype"] == "float32" for fields in tried), "float16 weights are never trained"


@EVERY_METHOD
def test_16_bits_alone_are_warned_of(method):
    for dtype in ("bfloat16", "float16"):
        recipe = recipe_of(method).model_copy(update={"dtype": dtype})
        if recipe.base != "dtype":
            continue
        warned = precision_warning(method, recipe, "causal-lm")
        assert bool(warned) == needs_float32_weights(method, dtype, "causal-lm")
        for flag in ("bf16", "no"):
            safe = recipe.model_copy(update={"dtype": "float32", "mixed_precision": flag})
            assert not precision_warning(method, safe, "causal-lm")
            mixed = recipe.model_copy(update={"mixed_precision": flag})
            assert bool(precision_warning(method, mixed, "causal-lm")) == bool(warned), "autocast widens no weight"


def test_a_step_below_half_a_bit_is_lost_and_one_above_is_not():
    weight = torch.ones(1000, dtype=torch.bfloat16)
    assert torch.equal(weight - 0.9 * HALF_A_BIT, weight)
    assert not torch.equal(weight - 1.1 * HALF_A_BIT, weight)


def test_modules_saved_in_float16_are_warned_of():
    lora = next(m for m in methods() if m.name == "lora")
    recipe = recipe_of(lora).model_copy(update={"dtype": "float16"})
    saved = recipe.model_copy(update={"adapter_config": {"peft_type": "LORA", "modules_to_save": ["lm_head"]}})
    assert "no GradScaler takes float16" in precision_warning(lora, saved, "causal-lm")
    assert not precision_warning(lora, recipe, "causal-lm")
    assert "no GradScaler" in precision_warning(lora, recipe, "sequence-classification")


def test_modules_saved_in_bfloat16_that_lose_their_updates_are_warned_of():
    lora = next(m for m in methods() if m.name == "lora")
    recipe = recipe_of(lora).model_copy(update={"dtype": "bfloat16", "learning_rate": 1e-5})
    saved = recipe.model_copy(update={"adapter_config": {"peft_type": "LORA", "modules_to_save": ["lm_head"]}})
    assert "below half a bit" in precision_warning(lora, saved, "causal-lm")
    assert not precision_warning(lora, recipe, "causal-lm"), "adapters alone are float32"
    assert not precision_warning(lora, saved.model_copy(update={"learning_rate": 2e-3}), "causal-lm")


@pytest.mark.parametrize("model", ["google-t5/t5-large", "google/flan-t5-base", "google/mt5-base"])
def test_a_model_that_overflows_float16_is_run_in_float32(model):
    question = resolve(checked({"model": model, "gpu": "Tesla T4", "samples": 100, "seq_len": 64}))
    assert question.dtype == "float32"
    assert any("http" in note and "float32" in note for note in question.machine_notes)
    asked = resolve(checked({"model": model, "gpu": "T4", "samples": 100, "seq_len": 64, "dtype": "float16"}))
    assert asked.dtype == "float16"
    assert any("NaN" in note for note in asked.machine_notes)


def test_what_overflows_is_told_by_the_kind_of_model():
    for kind, overflows in (("t5", True), ("gemma3_text", True), ("llama", False), ("bert", False)):
        spec = DECODER.spec.model_copy(update={"config": {**DECODER.spec.config, "model_type": kind}})
        assert bool(float16_overflow(spec)) == overflows
        dtype, _ = dtype_asked(None, find_gpu("T4")[0], spec)
        assert dtype == ("float32" if overflows else "float16")
        assert dtype_asked(None, find_gpu("A100")[0], spec) == ("bfloat16", ())


def test_kahan_summation_is_tried_before_bfloat16_alone_and_its_doubt_told():
    from advisor.catalog.training_precision import keeps_updates
    from advisor.literature.quality.precision import UNSTUDIED, with_kahan_summation, with_lost_updates
    from advisor.literature.quality.quality_prediction import predict_quality

    full = next(m for m in methods() if m.name == "full")
    question = resolve(checked({"model": "meta-llama/Llama-3.2-1B", "gpu": "H100", "samples": 100}))
    tried = [(f["dtype"], f.get("optimizer")) for f in precisions_to_try(question, full, "dtype")]
    assert tried == [
        ("float32", None), ("float32", "adamw_bnb_8bit"), ("bfloat16", "stable_adamw"), ("bfloat16", None)
    ]  # fmt: skip
    old = resolve(checked({"model": "meta-llama/Llama-3.2-1B", "gpu": "T4", "samples": 100}))
    assert all(f.get("optimizer") != "stable_adamw" for f in precisions_to_try(old, full, "dtype"))
    asked = resolve(checked({"model": "meta-llama/Llama-3.2-1B", "gpu": "H100", "optimizer": "stable_adamw"}))
    assert [f["dtype"] for f in precisions_to_try(asked, full, "dtype")] == ["bfloat16"]
    recipe = recipe_of(full).model_copy(update={"dtype": "bfloat16", "optimizer": "stable_adamw"})
    assert keeps_updates(recipe)
    assert precision_warning(full, recipe, "causal-lm") == ""
    quality = predict_quality(
        "full",
        architecture="decoder",
        model_parameters=10**9,
        task_type=None,
        samples=100,
        trainable_parameters=10**9,
        options={},
        learning_rate_tuned=True,
        own_method=False,
    )
    assert with_kahan_summation(quality).effect.mid == quality.effect.mid
    assert with_kahan_summation(quality).effect.low == with_lost_updates(quality, "x").effect.low < quality.effect.low
    assert with_kahan_summation(quality).warnings[-1] == UNSTUDIED
