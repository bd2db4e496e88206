"""A prompt takes positions from the sample it stands before: what peft really does, and that we refuse just that."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5Config,
    T5ForConditionalGeneration,
)

from advisor.assembly.attach import attach
from advisor.catalog.methods import check_recipe, methods
from advisor.catalog.models.spec import context_of
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

CONTEXT, PROMPT = 32, 8
PLAIN = {"vocab_size": 100}
WIDE = {**PLAIN, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TABLE = {"max_position_embeddings": CONTEXT}
MODELS: dict[str, tuple[type, Any, str, str]] = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, **PLAIN),
             "decoder", "causal-lm"),
    "opt": (OPTForCausalLM, OPTConfig(ffn_dim=64, word_embed_proj_dim=32, **WIDE, **TABLE), "decoder", "causal-lm"),
    "llama": (LlamaForCausalLM, LlamaConfig(intermediate_size=64, num_key_value_heads=4, **WIDE, **TABLE),
              "decoder", "causal-lm"),
    "bert": (BertForSequenceClassification, BertConfig(intermediate_size=64, **WIDE, **TABLE),
             "encoder", "sequence-classification"),
    # RoBERTa counts positions from its padding token's number on
    "roberta": (RobertaForSequenceClassification,
                RobertaConfig(intermediate_size=64, **WIDE, max_position_embeddings=CONTEXT + 2),
                "encoder", "sequence-classification"),
    "bart": (BartForConditionalGeneration,
             BartConfig(d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
                        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, **PLAIN, **TABLE),
             "encoder-decoder", "seq2seq"),
    "t5": (T5ForConditionalGeneration,
           T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, n_positions=CONTEXT,
                    decoder_start_token_id=0, **PLAIN),
           "encoder-decoder", "seq2seq"),
}  # fmt: skip
WITHOUT_LIMIT = ("llama", "t5")
"""Rotary and relative positions: nothing fails beyond the context."""
PROMPTS = [m.name for m in methods() if m.prompt and not m.cannot]


def recipe_of(method: str) -> Recipe:
    options: dict[str, Any] = {"tokens": [1] * PROMPT} if method == "cpt" else {"virtual_tokens": PROMPT}
    if method == "p-tuning":
        options["encoder_hidden_size"] = 16
    if method == "cartridge":
        options["frozen_tokens"] = 0
    return Recipe(method=method, options=options, base="dtype", dtype="float32", trainer="loop")


def asked(model: str, seq_len: int, target_len: int) -> tuple[ModelSpec, Workload]:
    _, config, architecture, task = MODELS[model]
    spec = ModelSpec.model_validate(
        {
            "name": model,
            "asked": model,
            "source": "folder",
            "where": "",
            "config": config.to_dict(),
            "task_class": "CausalLM",
            "architecture": architecture,
            "context_length": context_of(config.to_dict()),
        }
    )
    fields = {"model": model, "task": task, "seq_len": seq_len}
    return spec, Workload.model_validate(fields | ({"target_len": target_len} if task == "seq2seq" else {}))


def refused(method: str, model: str, seq_len: int, target_len: int) -> str:
    spec, workload = asked(model, seq_len, target_len)
    try:
        check_recipe(spec, recipe_of(method), workload)
    except IllegalRecipe as error:
        return f"{error.message} | {'; '.join(error.hints)}"
    return ""


def fails(method: str, model: str, seq_len: int, target_len: int) -> bool:
    """Whether a forward pass of the real thing runs out of positions."""
    made, config, _, task = MODELS[model]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # attached for a short sample: what is asked here is what peft and the model make of a long one
        attached = attach(made(config), *asked(model, 1, 1), recipe_of(method))
        tokens = torch.randint(3, 99, (2, seq_len))
        labels = torch.tensor([0, 1]) if task == "sequence-classification" else tokens
        if task == "seq2seq":
            labels = torch.randint(3, 99, (2, target_len))
        try:
            attached(input_ids=tokens, attention_mask=torch.ones_like(tokens), labels=labels)
        except (IndexError, RuntimeError) as error:
            if "index" not in str(error) and "expanded size" not in str(error):
                raise
            return True
    return False


def cases() -> list[tuple[str, str]]:
    return [
        (method, model)
        for method in PROMPTS
        for model in MODELS
        if not refused(method, model, 1, 1)
    ]  # fmt: skip


def test_every_prompt_is_tried_on_some_model_with_a_table_of_positions() -> None:
    assert {method for method, model in cases() if model not in WITHOUT_LIMIT} == set(PROMPTS)


@pytest.mark.parametrize(("method", "model"), cases())
def test_the_longest_sample_that_runs_is_the_longest_that_is_legal(method: str, model: str) -> None:
    most = CONTEXT - PROMPT
    for lengths in ((most, most), (most + 1, most), (most, most + 1), (most + 1, 1), (1, most + 1)):
        said = refused(method, model, *lengths)
        if model not in WITHOUT_LIMIT:
            assert bool(said) == fails(method, model, *lengths), (lengths, said)
        elif model == "t5":
            assert not said
            assert not fails(method, model, *lengths)
        else:
            # nothing fails, and positions lie beyond those trained
            assert bool(said) == (lengths[0] > most)


def test_the_refusal_names_the_prompt_the_context_and_both_ways_out() -> None:
    said = refused("prefix-tuning", "gpt2", 30, 1)
    assert "its prompt of 8 tokens and seq_len 30 exceed the context, 32 tokens" in said
    assert "--seq-len 24" in said
    assert "a prompt of at most 2 tokens" in said
    assert "--target-len 24" in refused("prefix-tuning", "bart", 4, 30)


@pytest.mark.parametrize(
    "config",
    [
        {"peft_type": "PREFIX_TUNING", "num_virtual_tokens": PROMPT},
        {"peft_type": "P_TUNING", "num_virtual_tokens": PROMPT},
        {"peft_type": "CPT", "cpt_token_ids": [1] * PROMPT, "cpt_mask": [1] * PROMPT},
    ],
)
def test_a_prompt_of_a_users_own_config_counts_too(config: dict[str, Any]) -> None:
    made, settings, *_ = MODELS["gpt2"]
    for length, legal in ((24, True), (25, False)):
        spec, workload = asked("gpt2", length, 1)
        recipe = Recipe(method="lora", adapter_config=config, dtype="float32")
        with torch.device("meta"):
            model = made(settings)
        if legal:
            attach(model, spec, workload, recipe)
        else:
            with pytest.raises(IllegalRecipe, match="exceed the context"):
                attach(model, spec, workload, recipe)
