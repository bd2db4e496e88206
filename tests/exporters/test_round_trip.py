"""What is exported and read back is the same recipe, and costs the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from advisor.catalog.methods import methods, options_of
from advisor.catalog.models import resolve_model
from advisor.config_reader import parse_json, parse_yaml
from advisor.domain.recipe import Recipe
from advisor.errors import IllegalRecipe
from advisor.estimator.estimate import answer, from_case
from advisor.estimator.estimate_request import recipe_of, workload_of
from advisor.exporters.export import exported
from advisor.exporters.export_job import Exporter, ExportJob
from advisor.exporters.formats import EXPORTERS
from advisor.exporters.from_config import ReadConfig, read_config_document
from tests.exporters.jobs import published

READ = [e for e in EXPORTERS if e.name in ("trl", "hf", "axolotl", "llamafactory", "unsloth", "ms-swift")]
STEPS_ALONE = {"unsloth"}
"""Tools that count a warm-up in steps, which no reader turns back into a share."""
ON = {"decoder": "meta-llama/Llama-3.2-1B-Instruct", "encoder": "google-bert/bert-base-uncased"}


def read_back(job: ExportJob, exporter: Exporter) -> tuple[ReadConfig, Recipe]:
    """The config's case, and the recipe that was written."""
    found = exported(job, exporter)
    file = next(f for f in found.files if f.name not in ("train.py", "dataset_info.json"))
    parse = parse_json if file.name.endswith(".json") else parse_yaml
    return read_config_document(parse(file.text, Path(file.name)), Path(file.name), {"gpu": "H100"}), found.recipe


def plain(recipe: Recipe, *, without: set[str]) -> dict:
    """A recipe with every option of its method written out; LoRA on a quantised base is QLoRA."""
    from advisor.catalog.methods import find_method

    name = "qlora" if recipe.method == "lora" and recipe.base != "dtype" else recipe.method
    fields = recipe.model_dump() | {"method": name}
    if recipe.adapter_config is None:
        options = options_of(find_method(recipe.method), recipe.options)
        fields["options"] = {key: value for key, value in options.items() if key in find_method(name).options}
    return {key: value for key, value in fields.items() if key not in without}


@pytest.mark.parametrize("exporter", READ, ids=lambda e: e.name)
@pytest.mark.parametrize("architecture", ON)
def test_every_method_comes_back_as_it_was(exporter, architecture):
    compared = 0
    for method in methods():
        if architecture not in method.architectures or method.cannot:
            continue
        try:
            job = published(method.name, ON[architecture], seq_len=256)
            read, written = read_back(job, exporter)
        except IllegalRecipe:
            continue
        again = recipe_of(from_case(read.case).model_copy(update={"dtype": read.case["dtype"]}))
        without = {"warmup_ratio"} if exporter.name in STEPS_ALONE else set()
        mine, theirs = plain(written, without=without), plain(again, without=without)
        # what is None was chosen by the model's widths, and comes back as the number it became
        open_options = {key for key, value in mine.get("options", {}).items() if value is None}
        for recipe in (mine, theirs):
            recipe["options"] = {k: v for k, v in recipe["options"].items() if k not in open_options}
        assert theirs == mine, method.name
        workload, _ = workload_of(from_case(read.case), resolve_model(ON[architecture]), again)
        for field in ("seq_len", "epochs", "task", "effective_batch_size"):
            assert getattr(workload, field) == getattr(job.workload, field), (method.name, field)
        compared += 1
    if architecture == "decoder":
        assert compared >= 4
    assert compared or exporter.name != "hf"


CHANGES = {
    "nf4 under bf16": {"base": "nf4", "mixed_precision": "bf16"},
    "float32": {"dtype": "float32"},
    "float16 under fp16": {"dtype": "float16", "mixed_precision": "fp16"},
    "float32 under bf16": {"dtype": "float32", "mixed_precision": "bf16"},
    "bfloat16 under bf16": {"dtype": "bfloat16", "mixed_precision": "bf16"},
    "prepared nf4": {"base": "nf4", "prepare_kbit_training": True},
    "optimizer": {"optimizer": "paged_adamw_8bit", "schedule": "linear", "weight_decay": 0.1, "warmup_ratio": 0.0},
    "packed": {"attn_implementation": "flash_attention_2", "batching": "packed", "trainer": "trl"},
    "unclipped": {"attn_implementation": "eager", "max_grad_norm": 0.0, "gradient_checkpointing": False},
    "one target": {"target_modules": ["q_proj"], "rank": 8, "alpha": 8, "dropout": 0.05},
    "named targets": {"target_modules": "attention-qv"},
    "grouped": {"batching": "grouped"},
}
REFUSED = {
    "float32": {"unsloth", "llamafactory"},
    "float16 under fp16": {"unsloth"},
    "float32 under bf16": {"unsloth", "llamafactory", "axolotl"},
    "prepared nf4": {"trl", "hf", "llamafactory", "unsloth", "ms-swift"},
    "packed": {"hf"},
    "unclipped": {"unsloth"},
    "grouped": {"unsloth"},
}
"""What a tool cannot do and says so; everything else is written and comes back."""


@pytest.mark.parametrize("exporter", READ, ids=lambda e: e.name)
@pytest.mark.parametrize("change", CHANGES)
def test_every_setting_comes_back_or_is_refused(exporter, change):
    job = published("lora", **CHANGES[change])
    if exporter.name in REFUSED.get(change, ()):
        with pytest.raises(IllegalRecipe, match="cannot run this recipe"):
            read_back(job, exporter)
        return
    read, written = read_back(job, exporter)
    again = recipe_of(from_case(read.case).model_copy(update={"dtype": read.case["dtype"]}))
    without = {"warmup_ratio"} if exporter.name in STEPS_ALONE else set()
    assert plain(again, without=without) == plain(written, without=without)


@pytest.mark.exhaustive
@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
@pytest.mark.parametrize("exporter", READ, ids=lambda e: e.name)
def test_it_costs_the_same(exporter, method):
    from dataclasses import replace

    from advisor.catalog.gpus import find_gpu
    from advisor.domain.hardware import Hardware
    from advisor.estimator.estimate import price

    job = published(method, seq_len=512)
    read, written = read_back(job, exporter)
    again = answer(from_case({**read.case, "samples": 2000}))
    job = replace(job, recipe=written)
    direct = price(job.workload, job.recipe, Hardware.model_validate({"gpu": find_gpu("H100")[0]}), job.spec)
    assert again.memory == direct.memory
    assert again.time == direct.time


def test_an_adapter_config_comes_back_as_its_method():
    peft = next(e for e in EXPORTERS if e.name == "peft")
    compared = 0
    for method in methods():
        try:
            read, written = read_back(published(method.name), peft)
        except IllegalRecipe:
            continue
        again = recipe_of(from_case(read.case))
        named = {"lora"} if written.method == "qlora" else {written.method}
        assert again.method in named | {"qlora"}, method.name
        if again.adapter_config is None and again.method == written.method:
            mine, theirs = (plain(recipe, without=set())["options"] for recipe in (written, again))
            # what is None was chosen by the model's widths, and comes back as the number it became
            assert {k: theirs[k] for k, value in mine.items() if value is not None} == {
                k: value for k, value in mine.items() if value is not None
            }, method.name
            compared += 1
    assert compared >= 20
