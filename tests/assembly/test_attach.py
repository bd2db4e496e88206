"""attach() on public adapter configs at full depth, and on requests that cannot be met."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from advisor.assembly.attach import adapter_settings, attach, peft_config
from advisor.assembly.parameter_count import total_parameters, trainable_parameters
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnknownName

PUBLIC = json.loads((Path(__file__).parent / "data" / "public_adapter_configs.json").read_text(encoding="utf-8"))
LLAMA = PUBLIC["model"]
SECONDS = 6.0
"""Four times what a full-depth attach may take alone: other work shares these cores."""


def spec_of(config: dict[str, Any]) -> ModelSpec:
    return ModelSpec(
        name="m", asked="m", source="catalogue", where="", config=config, task_class="CausalLM", architecture="decoder"
    )


def on_meta(config: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> nn.Module:
    sizes = {k: v for k, v in config.items() if k != "model_type"}
    with torch.device("meta"):
        made: nn.Module = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **sizes), dtype=dtype
        )
    return made


TINY = LlamaConfig(
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=64,
).to_dict()
WORKLOAD = Workload(model="m")


def tiny(**recipe: Any) -> nn.Module:
    return attach(on_meta(TINY), spec_of(TINY), WORKLOAD, Recipe(**recipe))


@pytest.mark.parametrize("run", PUBLIC["runs"], ids=lambda r: r["run"])
def test_public_configs_attach_with_pefts_own_count(run: dict[str, Any]) -> None:
    model = on_meta(LLAMA)
    began = time.perf_counter()
    config = run["adapter_config"]
    recipe = (
        Recipe(method="lora", adapter_config=config, optimizer=run["optimizer"]) if config else Recipe(method="full")
    )
    attached = attach(model, spec_of(LLAMA), WORKLOAD, recipe)
    assert trainable_parameters(attached) == run["trainable_parameters"]
    assert time.perf_counter() - began < SECONDS
    trained = {p.device.type for p in attached.parameters() if p.requires_grad}
    assert trained == {"meta"}


def test_what_stays_on_the_cpu_costs_no_memory_on_a_meta_model() -> None:
    boft = next(r for r in PUBLIC["runs"] if r["run"].startswith("boft"))
    attached = attach(
        on_meta(LLAMA), spec_of(LLAMA), WORKLOAD, Recipe(method="boft", adapter_config=boft["adapter_config"])
    )
    permutations = [b for n, b in attached.named_buffers() if n.endswith("boft_P")]
    assert len(permutations) == 56
    assert {b.device.type for b in permutations} == {"cpu"}
    assert all(b.shape == (1, 3072, 3072) and b.untyped_storage().nbytes() == 4 for b in permutations)


def test_total_parameters_count_packed_weights_whole() -> None:
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(torch.randn(64, 64), requires_grad=False, quant_type="nf4")
    assert total_parameters(layer.to("cpu")) == 64 * 64


def test_default_targets_are_all_linear_layers_of_the_blocks() -> None:
    config = peft_config(spec_of(TINY), WORKLOAD, Recipe(method="lora"), on_meta(TINY))
    wanted = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert {name.rpartition(".")[2] for name in config.target_modules} == wanted


def test_unknown_keys_of_a_newer_peft_are_left_out_and_said() -> None:
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "use_tomorrow": True, "quiet": None}
    settings, notices = adapter_settings(config, spec_of(TINY), "causal-lm")
    assert "use_tomorrow" not in settings
    assert "quiet" not in settings
    assert [n for n in notices if "use_tomorrow" in n]
    assert not [n for n in notices if "quiet" in n]
    assert trainable_parameters(tiny(method="lora", adapter_config=config)) == 2 * 4 * (64 + 64)


@pytest.mark.parametrize(
    "saved",
    [
        {"inference_mode": True},
        {"auto_mapping": {"base_model_class": "LlamaForCausalLM", "parent_library": "transformers"}},
        {"base_model_name_or_path": "elsewhere", "revision": "main", "peft_version": "0.18.0"},
    ],
)
def test_an_adapter_config_as_peft_saved_it_trains_what_it_trained(saved: dict[str, Any]) -> None:
    config = {"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"]}
    assert trainable_parameters(tiny(method="lora", adapter_config=config | saved)) == 2 * 4 * (64 + 64)


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"method": "lora", "options": {"target_modules": ["qproj"]}}, "q_proj"),
        ({"method": "lora", "options": {"target_modules": "no_such_layer"}}, "q_proj"),
        ({"method": "lora", "options": {"rank": 100000}}, "rank 64"),
        ({"method": "dylora", "options": {"rank": 500}}, "rank 64"),
        ({"method": "loreft", "options": {"rank": 100}}, "rank 64"),
        ({"method": "lora", "options": {"rank": 0}}, "positive"),
        ({"method": "lora", "options": {"rank": -4}}, "positive"),
        ({"method": "lora", "options": {"rank": 4.5}}, "whole"),
        ({"method": "lora", "options": {"rank": "big"}}, "number"),
        ({"method": "lora", "options": {"dropout": 7}}, "exceed 1"),
        ({"method": "lora", "options": {"rnak": 4}}, "rank"),
        ({"method": "c3a", "options": {"block_size": 48}}, "block size"),
        ({"method": "adapter-drop", "options": {"dropped": 2}}, "dropped 1"),
        ({"method": "partial", "options": {"blocks": 9}}, "blocks 2"),
        ({"method": "compacter", "options": {"terms": 3}}, "divide"),
        ({"method": "cross-attention-tuning"}, "decoder"),
        ({"method": "full", "base": "nf4"}, "nf4"),
        ({"method": "prefix-tuning", "gradient_checkpointing": True}, "checkpointing"),
        ({"method": "cpt", "trainer": "trl"}, "hf"),
        ({"method": "poly"}, "lora"),
        ({"method": "lora", "adapter_config": {"peft_type": "LORA", "target_modules": ["c_attn"]}}, "k_proj"),
        ({"method": "lora", "adapter_config": {"peft_type": "LORA", "target_modules": ["qq_proj"], "r": 4}}, "q_proj"),
        ({"method": "lora", "adapter_config": {"peft_type": "LOHRA", "target_modules": ["q_proj"]}}, "LOHA"),
        ({"method": "lora", "adapter_config": {"r": 8}}, "peft_type"),
        ({"method": "lora", "adapter_config": {"peft_type": "LORA", "r": 0, "target_modules": ["q_proj"]}}, "positive"),
        (
            {
                "method": "lora",
                "adapter_config": {
                    "peft_type": "LORA",
                    "r": 8,
                    "use_dora": True,
                    "init_lora_weights": "mica",
                    "target_modules": ["q_proj"],
                },
            },
            "",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason_and_the_nearest_choice(recipe: dict[str, Any], says: str) -> None:
    with pytest.raises(IllegalRecipe) as refused:
        tiny(**recipe)
    assert says in str(refused.value)


def test_an_unknown_method_names_the_near_ones() -> None:
    with pytest.raises(UnknownName) as refused:
        tiny(method="lorra")
    assert "lora" in refused.value.fields["near"]


@pytest.mark.parametrize(
    "name", ["LORA", "lora", "LoRA", "rsLoRA", "adapter_houlsby", "(IA)3", "prefix_tuning", "full_ft"]
)
def test_methods_answer_to_the_names_people_use(name: str) -> None:
    assert tiny(method=name)


def test_experts_in_fused_parameters_are_adapted_when_named() -> None:
    from transformers import Qwen3MoeConfig

    config = Qwen3MoeConfig(
        hidden_size=64, intermediate_size=64, moe_intermediate_size=32, num_experts=4, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, vocab_size=64,
    ).to_dict()  # fmt: skip
    counts = []
    for named in (None, ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]):
        options = {"rank": 4, **({"target_parameters": named} if named else {})}
        model = attach(on_meta(config), spec_of(config), WORKLOAD, Recipe(method="lora", options=options))
        counts.append(trainable_parameters(model))
    # per layer: 4 experts x rank 4 x (in + out) for each of the two fused parameters
    assert counts[1] - counts[0] == 2 * 4 * 4 * ((64 + 64) + (32 + 64))


def encoder(config: Any, method: str) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    spec = spec_of(config.to_dict()).model_copy(
        update={"architecture": "encoder", "task_class": "SequenceClassification"}
    )
    workload = Workload(model="m", task="sequence-classification")
    return attach(AutoModelForSequenceClassification.from_config(config), spec, workload, Recipe(method=method))


@pytest.mark.parametrize("method", ["prefix-tuning", "mam", "unipelt"])
def test_a_prefix_is_refused_where_nothing_takes_it(method: str) -> None:
    from transformers import DistilBertConfig

    config = DistilBertConfig(dim=32, hidden_dim=64, n_layers=2, n_heads=4, vocab_size=64)
    with pytest.raises(IllegalRecipe, match=r"past keys and values[\s\S]*prompt-tuning"):
        encoder(config, method)


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning"])
def test_a_prompt_is_as_wide_as_the_embeddings_not_as_the_layers(method: str) -> None:
    from transformers import ElectraConfig

    config = ElectraConfig(
        embedding_size=16,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=64,
    )
    ids = torch.randint(1, 60, (2, 6))
    output = encoder(config, method)(input_ids=ids, attention_mask=torch.ones_like(ids), labels=torch.tensor([0, 1]))
    assert output.loss.isfinite()


def test_a_new_classification_head_is_trained_by_every_kind_of_method() -> None:
    from transformers import BertConfig

    config = BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=64, num_labels=3
    )
    for method in ("lora", "ia3", "prompt-tuning", "adapter-pfeiffer", "bitfit", "ssf", "unipelt", "linear-probe"):
        trained = [n for n, p in encoder(config, method).named_parameters() if p.requires_grad]
        assert any("classifier" in n and n.endswith("weight") for n in trained), method


def test_routers_of_experts_are_no_targets() -> None:
    from advisor.assembly.adapters.module_search import linears

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mlp = nn.ModuleDict({"up_proj": nn.Linear(4, 8), "gate": nn.Linear(4, 2)})
            self.router = nn.ModuleDict({"proj": nn.Linear(4, 2)})

    body = nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()])})
    assert list(linears(body)) == ["layers.0.mlp.up_proj", "layers.1.mlp.up_proj"]
