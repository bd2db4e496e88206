"""What peft, TRL and accelerate cast, against those libraries on tiny models on the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from advisor.assembly.attach import attach
from advisor.assembly.base_model import build
from advisor.assembly.trainer_casts import cast_trained, hand_on_in_float32
from advisor.domain.recipe import Recipe
from tests.conformance.tiny import DECODER

pytest.importorskip("bitsandbytes")


def dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    return {name: p.dtype for name, p in model.named_parameters()}


def made(recipe: Recipe, device: str) -> nn.Module:
    model = build(DECODER.spec, DECODER.workload, recipe, device=device)
    model = attach(model, DECODER.spec, DECODER.workload, recipe)
    cast_trained(model, DECODER.workload, recipe)
    return model


@pytest.mark.parametrize("base", ["nf4", "int8"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_prepared_base_is_what_pefts_own_function_makes_of_a_real_one(base: Any, dtype: Any):
    from peft import prepare_model_for_kbit_training

    recipe = Recipe(method="lora", base=base, dtype=dtype, prepare_kbit_training=True)
    plain = recipe.model_copy(update={"prepare_kbit_training": False})
    real = build(DECODER.spec, DECODER.workload, plain, device="cpu")
    before = dtypes(real)
    real = prepare_model_for_kbit_training(real, use_gradient_checkpointing=False)
    ours = build(DECODER.spec, DECODER.workload, recipe)
    assert dtypes(ours) == dtypes(real) != before
    assert all(p.device.type == "meta" for p in ours.parameters())


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_adapters_beside_a_quantised_base_are_what_sft_trainer_makes_of_them(method: str, tmp_path: Any):
    trainer = pytest.importorskip("trl.trainer.sft_trainer")
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast
    from trl.trainer.sft_config import SFTConfig

    recipe = Recipe(method=method, base="nf4", trainer="trl")
    bare = made(recipe.model_copy(update={"trainer": "hf"}), "cpu")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=_tokens(), pad_token="0", eos_token="1")
    rows = Dataset.from_list([{"input_ids": [4, 5, 6], "labels": [4, 5, 6]}])
    settings = SFTConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    real = trainer.SFTTrainer(model=bare, args=settings, train_dataset=rows, processing_class=tokenizer).model
    assert dtypes(made(recipe, "meta")) == dtypes(real)


def _tokens() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    return Tokenizer(WordLevel({str(i): i for i in range(32)}, unk_token="0"))


def test_outputs_under_autocast_are_float32_as_accelerate_hands_them_on():
    model = DECODER.fresh("cpu").to(torch.bfloat16)
    batch = {name: value for name, value in DECODER.batch(0).items() if name != "labels"}
    wide, narrow = torch.float32, torch.bfloat16
    for trainer, flag, dtype in (("hf", "bf16", wide), ("loop", "bf16", narrow), ("hf", "no", narrow)):
        wrapped: Any = copy.copy(model)
        recipe = Recipe.model_validate({"method": "full", "trainer": trainer, "mixed_precision": flag})
        hand_on_in_float32(wrapped, recipe)
        assert wrapped(**batch).logits.dtype == dtype
