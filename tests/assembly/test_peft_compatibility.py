"""What peft rewrites, cannot adapt, or ties: said before it goes wrong, with what to write instead."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from torch import nn

from advisor.assembly.attach import attach, attach_and_tell
from advisor.assembly.base_model import build
from advisor.assembly.parameter_count import trainable_parameters
from advisor.catalog.models import resolve_model
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe
from tests.conformance.tiny import DECODER, ENCODER_DECODER, MIXTURE, Tiny

LORA: dict[str, Any] = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "lora_dropout": 0.0}


def recipe(**changes: Any) -> Recipe:
    return Recipe(method="lora", adapter_config={**LORA, **changes})


def attached(tiny: Tiny, **changes: Any) -> nn.Module:
    return attach(tiny.fresh("meta"), tiny.spec, tiny.workload, recipe(**changes))


def told(tiny: Tiny, **changes: Any) -> str:
    return " ".join(attach_and_tell(tiny.fresh("meta"), tiny.spec, tiny.workload, recipe(**changes)).notices)


def test_projections_of_experts_are_the_fused_parameters_that_peft_makes_of_them():
    names = ["gate_proj", "up_proj", "down_proj"]
    made = attached(MIXTURE, target_modules=names)
    trained = {name for name, p in made.named_parameters() if p.requires_grad}
    assert trained
    assert all(".mlp.experts." in name for name in trained)
    assert "gate_up_proj" in told(MIXTURE, target_modules=names)
    # by hyperparameters the same adapter comes out
    options = {"target_modules": names, "rank": 4, "alpha": 8, "dropout": 0.0}
    own = attach(MIXTURE.fresh("meta"), MIXTURE.spec, MIXTURE.workload, Recipe(method="lora", options=options))
    assert {name for name, p in own.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize(("names", "reached"), [(["gate_proj", "up_proj", "down_proj"], True), (["q_proj"], False)])
def test_experts_are_said_to_be_left_out_only_where_they_are(names: list[str], reached: bool):
    from advisor.tracer.trace import make_trace

    made = make_trace(MIXTURE.spec, MIXTURE.workload, recipe(target_modules=names))
    assert any("are not adapted" in said for said in made.assumptions) is not reached


def test_one_of_two_fused_projections_alone_is_refused():
    with pytest.raises(IllegalRecipe, match="up_proj"):
        attached(MIXTURE, target_modules=["gate_proj"])


def test_a_name_that_peft_does_not_rewrite_is_still_refused():
    with pytest.raises(IllegalRecipe, match="'w1' matches nothing"):
        attached(DECODER, target_modules=["q_proj", "w1"])
    with pytest.raises(IllegalRecipe, match="near names: gate_up_proj"):
        attached(MIXTURE, target_modules=["q_proj"], target_parameters=["experts.gate_up"])


def tied(name: str, **changes: Any) -> list[str]:
    spec = resolve_model(name)
    workload, asked = Workload(model=spec.name), recipe(**changes)
    return list(attach_and_tell(build(spec, workload, asked), spec, workload, asked).tied)


def test_an_adapter_on_a_tied_weight_is_told_from_one_on_a_weight_of_its_own():
    small = "google/gemma-3-270m"
    assert tied(small, target_modules=["lm_head"]) == ["lm_head"]
    assert tied(small, target_modules=["q_proj"], modules_to_save=["embed_tokens"]) == ["model.embed_tokens"]
    assert tied(small, target_modules=r".*(embed_tokens|q_proj)") == ["model.embed_tokens"]
    assert tied(small, target_modules=["q_proj"]) == []
    assert tied(small, target_modules=["embed_tokens"], ensure_weight_tying=True) == []
    assert tied(small, target_modules=["q_proj"], trainable_token_indices=[1, 2]) == []
    workload = DECODER.workload
    asked = recipe(target_modules=["lm_head"])
    assert attach_and_tell(DECODER.fresh("meta"), DECODER.spec, workload, asked).tied == ()
    assert "share" not in told(DECODER, target_modules=["lm_head"])


class Clipped(nn.Module):
    """A layer that peft does not know, under a name that it is asked for."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.linear = inner


def with_a_tower() -> nn.Module:
    """A language model with a vision tower whose projections are wrapped, as Gemma 4's are."""
    model = DECODER.fresh("meta")
    with torch.device("meta"):
        tower = nn.Module()
        tower.layers = nn.ModuleList()
        for _ in range(2):
            layer = nn.Module()
            layer.q_proj = Clipped(nn.Linear(8, 8))
            tower.layers.append(layer)
    model.vision_tower = tower  # type: ignore[assignment]
    return model


@pytest.mark.parametrize("peft_type", ["LORA", "LOHA", "IA3"])
def test_layers_that_peft_cannot_adapt_are_named_with_targets_that_work(peft_type: str):
    config = {"peft_type": peft_type, "task_type": "CAUSAL_LM", "target_modules": ["q_proj", "v_proj"]}
    config |= {"feedforward_modules": []} if peft_type == "IA3" else {"r": 4}
    with pytest.raises(IllegalRecipe) as refused:
        attach(with_a_tower(), DECODER.spec, DECODER.workload, Recipe(method="lora", adapter_config=config))
    assert "vision_tower.layers.*.q_proj (2)" in str(refused.value)
    assert "Clipped" in str(refused.value)
    hints = [re.search(r'"(\w+)": ("(?:[^"\\]|\\.)*")', hint) for hint in refused.value.hints]
    offers = {match[1]: json.loads(match[2]) for match in hints if match}
    assert set(offers) == {"exclude_modules", "target_modules"}
    for key, value in offers.items():
        made = attach(
            with_a_tower(), DECODER.spec, DECODER.workload, Recipe(method="lora", adapter_config={**config, key: value})
        )
        assert trainable_parameters(made) > 0
        assert not any(p.requires_grad for p in made.base_model.model.vision_tower.parameters())  # type: ignore[union-attr]


def test_layers_of_a_class_that_no_target_avoids_are_answered_by_those_there_are():
    with pytest.raises(IllegalRecipe, match="q_proj"):
        attached(DECODER, target_modules=["mlp"])


def dropping() -> ModelSpec:
    config = {
        "model_type": "m2m_100", "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 64,
        "encoder_layerdrop": 0.5, "decoder_layerdrop": 0.5, "is_encoder_decoder": True, "pad_token_id": 1,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    return ENCODER_DECODER.spec.model_copy(update={"name": "dropping", "config": config, "context_length": 256})


@pytest.mark.slow
def test_layers_that_would_be_dropped_at_random_are_all_run_and_said():
    from advisor.tracer.trace import make_trace

    spec = dropping()
    made = make_trace(spec, Workload(model="dropping", task="seq2seq"), Recipe(method="lora"))
    assert any("LayerDrop (encoder_layerdrop 0.5, decoder_layerdrop 0.5)" in said for said in made.assumptions)
