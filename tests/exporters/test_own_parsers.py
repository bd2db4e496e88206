"""What is written is read by the tool's own parser, where it is installed here."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path

import pytest
import yaml

from advisor.catalog.methods import methods
from advisor.catalog.trainer_formats import trainer_format
from advisor.errors import IllegalRecipe
from advisor.exporters.export import exported
from advisor.exporters.formats import find_exporter
from advisor.exporters.scripts.hf_script import OWN_KEYS
from advisor.libraries import installed_versions
from tests.conformance.tiny import DECODER, ENCODER
from tests.exporters.jobs import job_for, published
from tests.selection import one_in

warnings.filterwarnings("ignore", category=FutureWarning)


def write(found, folder: Path) -> dict[str, Path]:
    for file in found.files:
        (folder / file.name).write_text(file.text)
    return {file.name: folder / file.name for file in found.files}


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "lora"},
        {"method": "qlora"},
        {"method": "full", "dtype": "float32", "mixed_precision": "bf16"},
        {"target_modules": ["q_proj"]},
    ],
    ids=["lora", "qlora", "full", "one-target"],
)
def test_trls_own_parser_takes_every_key(changes, tmp_path, monkeypatch):
    from trl import ModelConfig, ScriptArguments, SFTConfig, TrlParser, get_peft_config
    from trl.scripts.utils import DatasetMixtureConfig

    monkeypatch.chdir(tmp_path)
    method = changes.pop("method", "lora")
    found = exported(published(method, **changes), find_exporter("trl"))
    files = write(found, tmp_path)
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    with contextlib.redirect_stderr(io.StringIO()) as said:
        # a machine without a GPU refuses bf16 unless it is told to use its processor
        script, training, model, data = parser.parse_args_and_config(
            ["--config", str(files["trl.yaml"]), "--use_cpu", "true"], fail_with_unknown_args=True
        )
    assert "error" not in said.getvalue()
    recipe = found.recipe
    assert training.per_device_train_batch_size == recipe.micro_batch_size
    assert training.gradient_accumulation_steps == recipe.gradient_accumulation
    assert training.warmup_steps == recipe.warmup_ratio
    assert (training.bf16, training.fp16) == (recipe.mixed_precision == "bf16", False)
    assert training.gradient_checkpointing is recipe.gradient_checkpointing
    assert training.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert model.dtype == recipe.dtype
    assert (model.load_in_4bit, model.use_peft) == (recipe.base == "nf4", method != "full")
    assert data.datasets[0].data_files == {"train": "train.jsonl"}
    assert script.dataset_name is None
    config = get_peft_config(model)
    assert (config is None) == (method == "full")
    if changes.get("target_modules"):
        import re

        assert re.fullmatch(config.target_modules, "model.layers.0.self_attn.q_proj")
        assert not re.fullmatch(config.target_modules, "model.layers.0.self_attn.k_proj")


def test_transformers_own_parser_takes_every_key(tmp_path):
    from transformers import HfArgumentParser, TrainingArguments

    found = exported(published("lora"), find_exporter("hf"))
    document = json.loads(write(found, tmp_path)["training_args.json"].read_text())
    arguments = {key: value for key, value in document.items() if key not in OWN_KEYS}
    (made,) = HfArgumentParser(TrainingArguments).parse_dict({**arguments, "use_cpu": True})
    assert made.activation_checkpointing is True
    assert made.activation_checkpointing_kwargs == {"use_reentrant": False}
    assert made.learning_rate == found.recipe.learning_rate
    assert made.optim == "adamw_torch"


@pytest.mark.parametrize("method", [m for m in methods() if m.peft_type and not m.cannot], ids=lambda m: m.name)
@pytest.mark.parametrize("tiny", one_in(2, [DECODER, ENCODER]), ids=lambda t: t.name)
def test_pefts_own_parser_takes_every_key(tiny, method, tmp_path):
    """And what it makes of the file trains as many parameters as the method itself does."""
    from peft import PeftConfig, get_peft_model

    from advisor.assembly.attach import attach
    from advisor.assembly.parameter_count import trainable_parameters

    job = job_for(method, tiny, base="dtype", dtype="float32")
    try:
        found = exported(job, find_exporter("peft"))
        direct = attach(tiny.fresh(), tiny.spec, job.workload, job.recipe)
    except IllegalRecipe as refused:
        pytest.skip(refused.message)
    write(found, tmp_path)
    with warnings.catch_warnings():
        # peft warns of a key that it ignores
        warnings.simplefilter("error", UserWarning)
        config = PeftConfig.from_pretrained(str(tmp_path))
    made = get_peft_model(tiny.fresh(), config)
    assert trainable_parameters(made) == trainable_parameters(direct)


def test_accelerates_own_loader_takes_every_key(tmp_path):
    from accelerate.commands.config.config_args import load_config_from_file

    files = write(exported(published("lora", mixed_precision="bf16"), find_exporter("accelerate")), tmp_path)
    config = load_config_from_file(str(files["accelerate.yaml"]))
    assert (config.mixed_precision, config.num_processes) == ("bf16", 1)


def test_sentence_transformers_own_arguments_take_every_key(tmp_path):
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments

    job = published("lora", "google-bert/bert-base-uncased", seq_len=128, head_learning_rate=7e-3)
    found = exported(job, find_exporter("sentence-transformers"))
    scope: dict = {}
    text = next(line for line in found.files[0].text.split("\n\n") if "ARGUMENTS = {" in line)
    exec(text[text.index("ARGUMENTS") : text.index("MODEL = ")], scope)
    made = CrossEncoderTrainingArguments(**scope["ARGUMENTS"], use_cpu=True)
    assert list(made.learning_rate_mapping.values()) == [7e-3]


@pytest.mark.parametrize("name", ["trl", "hf", "peft", "accelerate", "sentence-transformers"])
def test_the_formats_are_of_the_versions_that_are_tested(name):
    known = trainer_format(name)
    assert installed_versions([known.package]) == {known.package: known.version}


@pytest.mark.parametrize("name", ["hf", "trl"])
def test_the_keys_that_are_catalogued_are_the_dataclasses_own(name):
    import dataclasses

    from transformers import TrainingArguments
    from trl import ModelConfig, SFTConfig

    kinds = {"hf": (TrainingArguments,), "trl": (SFTConfig, ModelConfig)}[name]
    own = {field.name for kind in kinds for field in dataclasses.fields(kind) if field.init and field.name[0] != "_"}
    assert own <= set(trainer_format(name).keys)
    for key, value in trainer_format(name).defaults.items():
        field = next((f for kind in kinds for f in dataclasses.fields(kind) if f.name == key), None)
        if field is not None and field.default is not None and key != "bf16":
            assert field.default == value, key


def test_yaml_reads_back_what_was_written():
    """Numbers stay numbers: YAML 1.1 takes 1e-5 for a text, and 1.0e-05 for a number."""
    found = exported(published("lora", learning_rate=1e-5), find_exporter("trl"))
    assert yaml.safe_load(found.files[0].text)["learning_rate"] == 1e-5
