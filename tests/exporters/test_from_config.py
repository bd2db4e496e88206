"""Configs that people have: each key is used or named, contradictions and what is not modelled are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from peft import LoraConfig

from advisor.catalog.models import resolve_model
from advisor.config_reader import LARGEST_CONFIG_BYTES, read_config_file
from advisor.domain.recipe import Recipe
from advisor.errors import AdvisorError, BadFile, BadRequest, IllegalRecipe
from advisor.estimator.estimate import from_case
from advisor.estimator.precision_request import recipe_asked
from advisor.exporters.adapter_document import lora_settings
from advisor.exporters.export_source import job_of
from advisor.exporters.formats import EXPORTERS
from advisor.exporters.from_config import read_config

MODEL = "meta-llama/Llama-3.2-1B"
AXOLOTL = f"""
base_model: {MODEL}
adapter: lora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_linear: true
datasets:
  - path: train.jsonl
    type: chat_template
sequence_len: 1024
micro_batch_size: 4
gradient_accumulation_steps: 2
num_epochs: 3
optimizer: adamw_torch_fused
learning_rate: 2e-4
bf16: auto
flash_attention: true
gradient_checkpointing: true
output_dir: ./out
"""
TRL = f"""
model_name_or_path: {MODEL}
dataset_name: trl-lib/Capybara
dtype: bfloat16
use_peft: true
lora_r: 8
lora_target_modules: [q_proj, v_proj]
learning_rate: 2.0e-4
max_length: 512
"""
LLAMAFACTORY = f"""
model_name_or_path: {MODEL}
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
lora_rank: 8
dataset: identity
template: llama3
cutoff_len: 2048
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
bf16: true
"""
PEFT = json.dumps(
    {
        "peft_type": "LORA",
        "base_model_name_or_path": MODEL,
        "r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
    }
)
TEXTS = {"axolotl.yaml": AXOLOTL, "trl.yaml": TRL, "llamafactory.yaml": LLAMAFACTORY, "adapter_config.json": PEFT}


def put(folder: Path, text: str, name: str = "config.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("name", TEXTS)
def test_a_config_as_people_write_it_is_a_case(name, tmp_path):
    read = read_config(put(tmp_path, TEXTS[name], name), {"gpu": "H100"})
    request = from_case(read.case)
    assert request.model == MODEL
    assert request.method in ("lora", None)
    assert any("read as" in note for note in read.notes)


def test_the_tools_own_defaults_are_taken_and_not_ours(tmp_path):
    case = read_config(put(tmp_path, TRL)).case
    assert (case["batch_size"], case["gradient_checkpointing"], case["schedule"]) == (8, True, "linear")
    case = read_config(put(tmp_path, LLAMAFACTORY)).case
    assert (case["gradient_checkpointing"], case["attn_implementation"]) == (True, "sdpa")
    case = read_config(put(tmp_path, AXOLOTL)).case
    assert (case["learning_rate"], case["attn_implementation"]) == (2e-4, "flash_attention_2")


@pytest.mark.parametrize(
    ("name", "line", "alpha"),
    [
        # twice the rank: LLaMA-Factory, hparams/finetuning_args.py
        ("llamafactory.yaml", "", 16),
        ("llamafactory.yaml", "lora_alpha: 12\n", 12),
        ("axolotl.yaml", "", 32),
    ],
)
def test_the_scale_of_an_adapter_is_what_the_tool_takes_where_a_config_is_silent(name, line, alpha, tmp_path):
    assert read_config(put(tmp_path, TEXTS[name] + line)).case["options"]["alpha"] == alpha


@pytest.mark.parametrize("name", ["axolotl.yaml", "trl.yaml", "llamafactory.yaml"])
def test_every_key_is_used_or_named(name, tmp_path):
    """A key that nobody reads is in the notes; taking one line out changes the case, or the notes name the key."""
    import yaml

    whole = yaml.safe_load(TEXTS[name])
    full = read_config(put(tmp_path, yaml.safe_dump(whole)))
    for key in whole:
        less = {k: v for k, v in whole.items() if k != key}
        try:
            without = read_config(put(tmp_path, yaml.safe_dump(less)))
        except AdvisorError:
            continue
        named = any(key in note for note in full.notes)
        assert named or without.case != full.case or without.notes != full.notes or _is_a_default(full, key), key


def _is_a_default(read, key: str) -> bool:
    from advisor.catalog.trainer_formats import trainer_format

    return key in trainer_format(read.tool).defaults or key in ("stage", "adapter", "lora_target", "bf16")


LIGER = "plugins: [axolotl.integrations.liger.LigerPlugin]\nliger_rope: true\nliger_rms_norm: true\n"
CUT = "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]\n"


@pytest.mark.parametrize(
    ("more", "case"),
    [
        ("", {"trainer": "axolotl", "lora_kernels": True}),
        ("lora_mlp_kernel: false\n", {"lora_kernels": False}),
        (LIGER + "liger_glu_activation: true\n", {"use_liger_kernel": True, "fused_loss": "none"}),
        (LIGER + "liger_fused_linear_cross_entropy: true\n", {"use_liger_kernel": True, "fused_loss": "liger"}),
        (CUT, {"fused_loss": "cce"}),
        (CUT + "cut_cross_entropy: false\n", {}),
    ],
)
def test_axolotls_config_is_priced_as_axolotl_with_its_kernels(more, case, tmp_path):
    read = read_config(put(tmp_path, AXOLOTL + more))
    assert {key: read.case.get(key) for key in case} == case
    assert not any("not used" in note for note in read.notes if "plugins" in note or "liger" in note)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (TRL + "load_in_4bit: true\nload_in_8bit: true\n", "contradicts"),
        (TRL + "bf16: true\nfp16: true\n", "contradicts"),
        (TRL + "fp16: true\nbf16: false\n", "float16 over weights in bfloat16"),
        (TRL + "deepspeed: zero3.json\n", "not modelled"),
        (TRL + "activation_offloading: true\n", "not modelled"),
        (TRL.replace("use_peft: true", "load_in_4bit: true"), "cannot be trained"),
        (TRL + "per_device_train_batch_size: four\n", "not a number"),
        (AXOLOTL + "load_in_4bit: true\nload_in_8bit: true\n", "contradicts"),
        (AXOLOTL + "lora_target_modules: [q_proj]\n", "contradicts"),
        (AXOLOTL + "sdp_attention: true\n", "contradicts"),
        (AXOLOTL + "warmup_steps: 10\nwarmup_ratio: 0.1\n", "contradicts"),
        (AXOLOTL + "tiled_mlp: true\n", "not modelled"),
        (AXOLOTL + "plugins: [axolotl.integrations.spectrum.SpectrumPlugin]\n", "not modelled"),
        (AXOLOTL + "rl: dpo\n", "supervised"),
        (AXOLOTL.replace("adapter: lora", "adapter: qlora"), "contradicts"),
        (LLAMAFACTORY + "fp16: true\n", "contradicts"),
        (LLAMAFACTORY.replace("stage: sft", "stage: dpo"), "supervised"),
        (LLAMAFACTORY + "quantization_bit: 3\n", "not modelled"),
        (LLAMAFACTORY + "use_unsloth: true\n", "not modelled"),
    ],
)
def test_what_contradicts_or_is_not_modelled_is_refused_by_its_key(text, word, tmp_path):
    with pytest.raises(IllegalRecipe, match=word) as refused:
        read_config(put(tmp_path, text))
    # a key that is missing, use_peft, is named too
    assert refused.value.fields["key"] in f"{text} use_peft"


def test_keys_of_other_versions_are_said(tmp_path):
    read = read_config(put(tmp_path, TRL + "evaluation_strategy: steps\nlora_rnak: 4\nlogging_steps: 5\n"))
    said = "\n".join(read.notes)
    assert "evaluation_strategy is of an older version" in said
    assert "unknown to trl 1.16.0" in said
    assert "lora_rnak" in said
    assert "not used: " in said
    assert "logging_steps" in said


def test_options_win_over_the_config_and_that_is_said(tmp_path):
    read = read_config(put(tmp_path, TRL), {"gpu": "H100", "batch_size": 2})
    assert read.case["batch_size"] == 2
    assert any("overrule" in note and "batch_size" in note for note in read.notes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: 1\na: 2\n", "twice"),
        ("a: {b: 1, b: 2}\n", "twice"),
        ("a: &x [1]\nb: *x\n", "alias"),
        ("a: !!python/object/apply:os.system [id]\n", "constructor"),
        ("- 1\n- 2\n", "mapping"),
        ("a: [\n", "YAML"),
        ("x" * (LARGEST_CONFIG_BYTES + 1), "larger"),
        ("a: " + "[" * 5000, ""),
    ],
    ids=["twice", "twice-below", "alias", "tag", "list", "cut-off", "large", "deep"],
)
def test_a_file_that_is_no_honest_yaml_is_a_bad_file(text, word, tmp_path):
    with pytest.raises(BadFile, match=word):
        read_config_file(put(tmp_path, text))


def test_a_bomb_of_aliases_is_refused_before_it_is_built(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(BadFile, match="alias"):
        read_config_file(put(tmp_path, "\n".join(lines)))


def test_json_with_a_key_twice_is_refused(tmp_path):
    with pytest.raises(BadFile, match="twice"):
        read_config_file(put(tmp_path, '{"r": 1, "r": 2}', "adapter_config.json"))


@pytest.mark.parametrize(
    "text", ["a: 1\n", "compute_environment: LOCAL_MACHINE\n", "checkpointer: {}\n", "schema: x/1\n"]
)
def test_a_config_of_no_tool_that_we_read_is_refused(text, tmp_path):
    with pytest.raises((BadFile, BadRequest)):
        read_config(put(tmp_path, text))


def test_a_missing_file_is_a_bad_file(tmp_path):
    with pytest.raises(BadFile, match="there is no file"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("asked", "tools"),
    [
        ({"use_liger_kernel": True}, ["axolotl", "hf"]),
        ({"use_liger_kernel": True, "trainer": "trl"}, ["axolotl", "trl"]),
        ({"fused_loss": "cce"}, ["axolotl"]),
        ({"trainer": "axolotl"}, ["axolotl", "hf", "trl", "unsloth", "llamafactory"]),
    ],
    ids=str,
)
def test_fused_kernels_are_written_where_the_tool_has_a_switch_for_just_these(asked, tools, tmp_path):
    case = {"model": "HuggingFaceTB/SmolLM2-135M", "method": "lora", "seq_len": 256, "samples": 100, **asked}
    priced = job_of(case).recipe
    for name in ("axolotl", "hf", "trl", "unsloth", "llamafactory"):
        exporter = next(one for one in EXPORTERS if one.name == name)
        job, _ = exporter.as_run(job_of({**case, "mixed_precision": "no", "dtype": "bfloat16"}))
        against = exporter.against(job)
        assert (against is None) == (name in tools), (name, against)
        if name != "axolotl":
            continue
        read = read_config(put(tmp_path, exporter.files(job)[0].text))
        again, _ = recipe_asked(from_case(read.case), job.spec, None)
        assert (again.layer_kernels, again.fused_loss) == (job.recipe.layer_kernels, job.recipe.fused_loss)
        assert again.lora_kernels == job.recipe.lora_kernels == (priced.trainer == "axolotl")


@pytest.mark.parametrize("said", [{}, {"r": 4}, {"lora_alpha": 5}, {"lora_dropout": 0.1}])
def test_what_an_adapter_config_leaves_open_is_exported_as_pefts_own_default(said):
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "target_modules": ["q_proj"], **said}
    known = ("r", "lora_alpha", "lora_dropout", "target_modules", "task_type")
    recipe = Recipe(method="lora", adapter_config=config)
    found, reason = lora_settings(resolve_model(MODEL), "causal-lm", recipe, known)
    assert reason == ""
    theirs = LoraConfig(**{key: value for key, value in config.items() if key != "peft_type"})
    for key in ("r", "lora_alpha", "lora_dropout"):
        assert found[key] == getattr(theirs, key), key
