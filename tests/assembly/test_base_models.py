"""The model that is priced is the checkpoint that loads: every catalogue model has the parameters its entry says."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from advisor.assembly.adapters.module_search import heads
from advisor.assembly.attach import attach
from advisor.assembly.base_model import build
from advisor.assembly.parameter_count import trainable_parameters
from advisor.catalog.methods import check_recipe
from advisor.catalog.models import models
from advisor.catalog.models.index import ModelEntry
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnsupportedModel
from tests.assembly.small_families import small


def on_meta(spec: ModelSpec, **recipe: Any) -> Any:
    workload = Workload(model=spec.name, task=spec.task, num_labels=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(spec, workload, Recipe(**{"method": "full", **recipe}))


def count(model: Any) -> int:
    return sum(p.numel() for p in model.parameters())


def spec_of(entry: ModelEntry) -> ModelSpec:
    from advisor.catalog.models.resolve import _of_catalogue  # pyright: ignore[reportPrivateUsage]

    return _of_catalogue(entry, entry.id, "")


def first_of_each_type() -> set[str]:
    return set({entry.model_type: entry.id for entry in reversed(models())}.values())


def entries() -> list[Any]:
    quick = set(sorted(first_of_each_type())[::2])
    return [
        pytest.param(entry, id=entry.id, marks=() if entry.id in quick else pytest.mark.exhaustive)
        for entry in models()
    ]


@pytest.mark.parametrize("entry", entries())
def test_a_catalogue_model_has_the_parameters_that_are_published(entry: ModelEntry) -> None:
    model = on_meta(spec_of(entry))
    built = count(model)
    assert built == entry.parameters
    head = sum(count(model.get_submodule(name)) for name in heads(model))
    said = {
        "total": lambda: built,
        "total-classifier": lambda: built - head,
        "total+stored_tied_head": lambda: built + count(model.get_input_embeddings()),
        "AutoModel": lambda: count(model.base_model),
    }
    if entry.count_rule in said:
        assert said[entry.count_rule]() == entry.published_parameters
    elif entry.verified == "rounded":
        assert built == pytest.approx(entry.published_parameters, rel=0.03)


def entry_of(name: str) -> ModelEntry:
    return next(entry for entry in models() if entry.id == name)


@pytest.mark.parametrize(("dtype", "kept"), [("float16", True), ("bfloat16", False), ("float32", True)])
def test_what_a_class_keeps_in_float32_is_loaded_so_under_float16(dtype: str, kept: bool) -> None:
    model = on_meta(spec_of(entry_of("google/flan-t5-small")), method="lora", dtype=dtype)
    inner = {str(p.dtype) for name, p in model.named_parameters() if name.endswith("DenseReluDense.wo.weight")}
    assert inner == {"torch.float32" if kept else f"torch.{dtype}"}


@pytest.mark.parametrize("labels", [1, 3])
def test_a_head_of_one_output_learns_numbers_and_others_classes(labels: int) -> None:
    spec = spec_of(entry_of("google-bert/bert-base-uncased"))
    saved = spec.model_copy(update={"config": {**spec.config, "problem_type": "regression"}})
    task = Workload(model=spec.name, task="sequence-classification", num_labels=labels)
    model: Any = build(saved, task, Recipe(method="full"))
    assert model.config.problem_type == ("regression" if labels == 1 else "single_label_classification")


def test_a_t5_without_a_start_token_begins_with_its_padding() -> None:
    spec = spec_of(entry_of("google-t5/t5-small"))
    config = {k: v for k, v in spec.config.items() if k != "decoder_start_token_id"}
    model = on_meta(spec.model_copy(update={"config": config}))
    assert model.config.decoder_start_token_id == model.config.pad_token_id


def test_code_in_a_models_own_repository_is_said_not_to_run() -> None:
    spec = spec_of(entry_of("google-t5/t5-small"))
    config = {**spec.config, "model_type": "nobody-has-this", "auto_map": {"AutoModel": "m.Own"}}
    with pytest.raises(UnsupportedModel, match="does not run remote code"):
        on_meta(spec.model_copy(update={"config": config}))


def test_a_prompt_needs_token_embeddings_to_stand_before() -> None:
    spec = spec_of(entry_of("google/vit-base-patch16-224"))
    for method in ("prompt-tuning", "prefix-tuning"):
        with pytest.raises(IllegalRecipe, match="takes pixels"):
            check_recipe(spec, Recipe(method=method), Workload(model=spec.name, task=spec.task))


def test_a_prompt_that_starts_from_a_text_needs_no_tokenizer_to_be_priced() -> None:
    spec = small(entry_of("Qwen/Qwen3-0.6B"))
    config = {
        "peft_type": "PROMPT_TUNING",
        "num_virtual_tokens": 8,
        "prompt_tuning_init": "TEXT",
        "prompt_tuning_init_text": "Classify",
        "tokenizer_name_or_path": "nobody/has-this",
    }
    recipe = Recipe(method="prompt-tuning", adapter_config=config)
    attached = attach(on_meta(spec), spec, Workload(model=spec.name, seq_len=64), recipe)
    assert sum(p.numel() for p in attached.parameters() if p.requires_grad) == 8 * 64


def test_dora_stands_on_packed_weights() -> None:
    spec = small(entry_of("Qwen/Qwen3-0.6B"))
    recipe = Recipe(method="dora", base="nf4", options={"rank": 4})
    packed = attach(on_meta(spec, method="dora", base="nf4"), spec, Workload(model=spec.name), recipe)
    plain = attach(on_meta(spec), spec, Workload(model=spec.name), recipe.model_copy(update={"base": "dtype"}))
    assert trainable_parameters(packed) == trainable_parameters(plain)
