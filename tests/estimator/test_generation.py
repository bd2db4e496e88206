"""What generation costs: its cache and memory against transformers' own, its time within what bandwidth allows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, LlamaConfig, MistralConfig, Qwen2Config

import advisor
from advisor.catalog.constants import load_constants
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import resolve_model
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Rollout, Workload
from advisor.errors import BadRequest, IllegalRecipe, UnsupportedModel
from advisor.estimator.generation.generation_memory import _inside, own_generation
from advisor.estimator.generation.generation_time import GeneratedAtOnce, _engine_seconds
from advisor.estimator.generation.key_value_cache import cache_bytes, layers_of
from advisor.estimator.step_time.step_simulator import rates_of
from tests.conformance.test_allocated_bytes import Counted

SIZES: dict[str, Any] = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4}
LAYERS: dict[str, Any] = {"num_hidden_layers": 4, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 63}
MIXED = ["sliding_attention"] * 3 + ["full_attention"]
CONFIGS: list[Any] = [
    LlamaConfig(**SIZES, **LAYERS),
    Qwen2Config(**SIZES, **LAYERS),
    MistralConfig(**SIZES, **LAYERS, sliding_window=8),
    Gemma3TextConfig(**SIZES, **LAYERS, head_dim=24, sliding_window=8, layer_types=MIXED),
    GPT2Config(vocab_size=64, n_embd=64, n_layer=4, n_head=4, pad_token_id=0, eos_token_id=63),
]  # fmt: skip
PROMPT, COMPLETION, COUNT = 24, 40, 6


def spec_of(config: Any) -> ModelSpec:
    return ModelSpec.model_validate(
        {"name": "tiny", "asked": "tiny", "source": "folder", "where": "made here", "config": config.to_dict(),
         "task_class": "CausalLM", "architecture": "decoder"}
    )  # fmt: skip


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.model_type)
def test_a_cache_holds_the_bytes_of_transformers_own(config: Any):
    with torch.no_grad():
        cache = model_of(config)(torch.ones(1, PROMPT, dtype=torch.long), use_cache=True).past_key_values
    held = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
    assert sum(tensor.numel() * tensor.element_size() for tensor in held) == cache_bytes(spec_of(config), PROMPT, 4)
    assert len(cache.layers) == layers_of(spec_of(config))


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS[:3], ids=lambda c: c.model_type)
def test_generation_has_in_use_what_is_predicted(config: Any):
    model = model_of(config)
    rollout = Rollout(num_generations=2, completion_length=COMPLETION)
    workload = Workload(
        model="tiny", objective="grpo", seq_len=PROMPT + COMPLETION, target_len=COMPLETION, rollout=rollout
    )
    recipe = Recipe(method="full", dtype="float32", micro_batch_size=COUNT)
    counted = Counted()
    with torch.no_grad(), counted:
        for tensor in (*model.parameters(), *model.buffers()):
            counted.see(tensor)
        before = counted.now
        ids = torch.ones(COUNT, PROMPT, dtype=torch.long)
        mask = torch.ones_like(ids)
        mask[0, 0] = 0
        model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=COMPLETION, min_new_tokens=COMPLETION, do_sample=True,
            top_k=0, disable_compile=True,
        )  # fmt: skip
    error = load_constants("generation")["own_generation_memory"]
    predicted = own_generation(spec_of(config), workload, recipe).in_use
    assert error.low <= (counted.peak - before) / predicted <= error.high, (counted.peak - before, predicted)


def test_layers_without_keys_and_values_are_refused_by_name():
    spec = spec_of(LlamaConfig(**SIZES, **LAYERS))
    hybrid = spec.model_copy(
        update={"config": {**spec.config, "layer_types": ["linear_attention", "full_attention"] * 2}}
    )
    with pytest.raises(UnsupportedModel, match="not all of its layers"):
        cache_bytes(hybrid, 8, 2)


@pytest.fixture(scope="module")
def asked() -> Any:
    def ask(**more: Any) -> Any:
        fields = {"method": "lora", "objective": "grpo", "batch_size": 8, "samples": 100, **more}
        return advisor.estimate("HuggingFaceTB/SmolLM2-135M", "A100-80GB-SXM", **fields)

    return ask


def test_a_step_is_its_training_and_its_generation(asked: Any):
    found = asked()
    time, memory = found.time, found.memory
    assert time.generation.low < time.generation.mid < time.generation.high
    assert time.phases["generation"] == time.generation.mid
    assert sum(time.phases.values()) == pytest.approx(time.step.mid, rel=1e-6)
    assert sum(time.bound_by.values()) == pytest.approx(1, abs=1e-3)
    assert sum(memory.breakdown.values()) == pytest.approx(memory.peak_device.mid, abs=2)
    # 100 prompts of 8 completions, 8 a step
    assert time.training.mid == pytest.approx(100 * time.step.mid)
    assert any("completions: 8 of each prompt" in text for text in found.assumptions)
    assert found.quality is None


def test_more_completions_at_once_take_a_larger_cache_and_less_time_each(asked: Any):
    few, many = asked(), asked(batch_size=2, gradient_accumulation=256)
    assert many.memory.peak_phase == "generation"
    assert many.memory.breakdown["key-value cache"] > 0
    # blocks that a growing cache leaves behind are given back where the card is full
    assert many.fits == (many.memory.peak_allocated.mid < many.limit_bytes)
    assert many.memory.breakdown["fragmentation"] < many.limit_bytes
    assert many.memory.peak_device.mid > few.memory.peak_device.mid
    assert sum(many.memory.breakdown.values()) == pytest.approx(many.memory.peak_device.mid, abs=2)
    assert many.time.generation.mid / 512 < few.time.generation.mid / 8


@pytest.mark.exhaustive
def test_vllm_takes_its_share_and_less_of_it_asleep(asked: Any):
    own, beside, asleep = asked(), asked(generation="vllm"), asked(generation="vllm-sleep")
    assert beside.memory.breakdown["vLLM"] == pytest.approx(0.3 * 80 * 2**30, rel=0.01)
    assert own.memory.peak_device.mid < asleep.memory.peak_device.mid < beside.memory.peak_device.mid
    server = asked(generation="vllm-server")
    assert "vLLM" not in server.memory.breakdown
    assert any("neither in this card's memory nor in the price" in text for text in server.assumptions)
    for one in (beside, asleep, server):
        # decoding reads every weight for every token
        weights = one.total_parameters * 2 / 2.04e12
        assert one.time.generation.low > 512 * weights


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 3, "gradient_accumulation": 1}, "whole groups of 8"),
        ({"seq_len": 400}, "leaves|a completion alone"),
        ({"objective": "dpo", "num_generations": 4}, "objectives that generate"),
        ({"vllm_gpu_memory_utilization": 0.5}, "not asked to generate"),
        ({"reference": "copy"}, "no reference model at --beta 0"),
        ({"beta": 0.1, "reference": "precomputed"}, "not generated yet"),
        ({"generation": "vllm", "vllm_gpu_memory_utilization": 0.001}, "would not start"),
        ({"gpus": 2, "parallelism": "fsdp2"}, "gathers the whole weights"),
    ],
)
def test_what_cannot_be_generated_is_refused_with_what_can(asked: Any, options: dict[str, Any], said: str):
    with pytest.raises(BadRequest, match=said) as caught:
        asked(**options)
    assert caught.value.hints


def test_a_group_is_made_whole_where_nobody_says(asked: Any):
    whole = asked(batch_size=4)
    assert whole.recipe.gradient_accumulation == 2
    assert "reference: none, for --beta is 0" in whole.assumptions
    with pytest.raises(IllegalRecipe, match="steps-per-generation 8"):
        asked(batch_size=3, steps_per_generation=3)


@pytest.mark.parametrize(("name", "inside"), [("openai-community/gpt2", 4 * 768), ("meta-llama/Llama-3.2-1B", 8192)])
def test_a_family_without_a_word_for_its_inner_width_has_four_times_the_hidden_one(name: str, inside: int):
    assert _inside(resolve_model(name)) == inside


@pytest.mark.parametrize("engine", ["vllm", "vllm-server"])
def test_an_engine_reads_the_prompt_of_a_group_once(engine: Any):
    spec, gpu = resolve_model("Qwen/Qwen2.5-7B"), find_gpu("H100-SXM")[0]
    recipe = Recipe(method="lora", micro_batch_size=8)
    asked = GeneratedAtOnce(count=64, prompt=2000.0, completion=100.0)

    def seconds(group: int) -> float:
        rollout = Rollout(num_generations=group, completion_length=100, engine=engine)
        return _engine_seconds(spec, recipe, rollout, rates_of(gpu), gpu, asked).mid

    flop = load_constants("generation")["engine_flop"].value * rates_of(gpu).half_flop_s
    spared = 2 * (spec.parameters or 0) * 2000 * (64 / 2 - 64 / 8)
    assert seconds(2) - seconds(8) == pytest.approx(spared / flop, rel=1e-6)
