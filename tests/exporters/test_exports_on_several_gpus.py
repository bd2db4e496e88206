"""Exports of a job on several GPUs: accelerate's own code reads them as what was priced; other tools refuse by name."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from advisor.catalog.gpus import find_gpu
from advisor.catalog.trainer_formats import trainer_format
from advisor.domain.request.vocabulary import SHARDINGS
from advisor.errors import IllegalRecipe
from advisor.estimator.parallelism.strategies import layout_of, traced_as
from advisor.exporters.export import exported
from advisor.exporters.formats import EXPORTERS, find_exporter
from advisor.exporters.several_gpus import SPREAD_BY
from tests.exporters.jobs import published

EVERY_STRATEGY = pytest.mark.parametrize("sharding", SHARDINGS)
FSDP = ("fsdp1", "fsdp2")


def spread(sharding, method="full", gpus=4, **more):
    return published(method, gpus=gpus, parallelism=sharding, **more)


def texts(found):
    return {file.name: file.text for file in found.files}


@pytest.fixture
def accelerates_environment(monkeypatch, tmp_path):
    """What accelerate's launcher tells the processes that it starts, as environment variables."""

    def of(found):
        from accelerate.commands.launch import _validate_launch_command, launch_command_parser
        from accelerate.utils.launch import prepare_multi_gpu_env

        for name, text in texts(found).items():
            (tmp_path / name).write_text(text)
        parsed = launch_command_parser().parse_args(["--config_file", str(tmp_path / "accelerate.yaml"), "train.py"])
        arguments, _, _ = _validate_launch_command(parsed)
        for name in list(os.environ):
            if name.startswith(("FSDP_", "ACCELERATE_")):
                monkeypatch.delenv(name)
        for name, value in prepare_multi_gpu_env(arguments).items():
            monkeypatch.setenv(name, value)
        return arguments

    return of


@pytest.mark.parametrize("sharding", FSDP)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_accelerate_builds_of_the_file_is_the_layout_that_was_priced(
    sharding, method, accelerates_environment, monkeypatch
):
    import torch
    from accelerate.utils import FullyShardedDataParallelPlugin
    from accelerate.utils import dataclasses as plugins

    # FSDP1 asks for the device that rank 0's weights are sent to
    monkeypatch.setattr(plugins, "is_cuda_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    job = spread(sharding, method)
    arguments = accelerates_environment(exported(job, find_exporter("hf")))
    assert (arguments.num_processes, arguments.num_machines, arguments.use_fsdp) == (4, 1, True)
    plugin = FullyShardedDataParallelPlugin()
    layout = layout_of(sharding, 4, job.recipe, traced_as(job.recipe, sharding), job.spec)
    assert plugin.fsdp_version == int(sharding[-1])
    full = plugin.reshard_after_forward if sharding == "fsdp2" else plugin.sharding_strategy.name == "FULL_SHARD"
    assert full is layout.reshard
    assert not getattr(plugin.cpu_offload, "offload_params", False)
    assert not plugin.activation_checkpointing
    assert plugin.auto_wrap_policy is not None
    if sharding == "fsdp1":
        assert plugin.backward_prefetch.name == "BACKWARD_PRE"
        assert plugin.limit_all_gathers
        assert not plugin.forward_prefetch
        assert not plugin.use_orig_params


@EVERY_STRATEGY
@pytest.mark.parametrize("to", SPREAD_BY)
def test_every_strategy_is_written_with_keys_that_accelerate_knows(sharding, to):
    found = exported(spread(sharding, trainer="trl" if to == "trl" else "hf"), find_exporter(to))
    document = yaml.safe_load(texts(found)["accelerate.yaml"])
    assert not set(document) - set(trainer_format("accelerate").keys)
    assert document["num_processes"] == 4
    assert "accelerate.yaml" in found.command
    kinds = {"ddp": "MULTI_GPU", "fsdp1": "FSDP", "fsdp2": "FSDP"}
    assert document["distributed_type"] == kinds.get(sharding, "DEEPSPEED")
    assert ("deepspeed.json" in texts(found)) is sharding.startswith("zero")
    for name, text in texts(found).items():
        if name.endswith((".py", ".yaml")) and name != "accelerate.yaml":
            assert found.command in text


@pytest.mark.parametrize("sharding", ["zero1", "zero2", "zero3"])
def test_deepspeeds_buckets_are_those_that_were_priced(sharding):
    job = spread(sharding)
    document = json.loads(texts(exported(job, find_exporter("hf")))["deepspeed.json"])
    layout = layout_of(sharding, 4, job.recipe, traced_as(job.recipe, sharding), job.spec)
    zero = document["zero_optimization"]
    # two of them, as it reduces while the backward pass goes on, of 16-bit numbers
    assert zero["overlap_comm"]
    assert 2 * 2 * zero["reduce_bucket_size"] == layout.bucket_bytes
    assert zero["stage"] == int(sharding[-1])
    assert zero["offload_optimizer"]["device"] == zero["offload_param"]["device"] == "none"
    recipe = job.recipe
    assert document["train_batch_size"] == 4 * recipe.micro_batch_size * recipe.gradient_accumulation
    assert document["bf16"]["enabled"]


def test_a_sharded_four_bit_base_is_stored_in_numbers_that_can_be_sharded():
    for sharding, stored in (("fsdp2", True), ("fsdp1", True), ("zero3", True), ("ddp", False), ("zero2", False)):
        for to in ("hf", "trl"):
            found = exported(spread(sharding, "qlora", trainer="trl" if to == "trl" else "hf"), find_exporter(to))
            assert any("bnb_4bit_quant_storage" in text for text in texts(found).values()) is stored


def test_transformers_own_arguments_take_every_key_and_pin_what_decides_memory(tmp_path):
    from transformers import TrainingArguments

    from advisor.exporters.scripts.hf_script import OWN_KEYS

    settings = json.loads(texts(exported(spread("fsdp2"), find_exporter("hf")))["training_args.json"])
    own = {key: value for key, value in settings.items() if key not in OWN_KEYS}
    made = TrainingArguments(**{**own, "output_dir": str(tmp_path), "bf16": False, "use_cpu": True})
    assert made.accelerator_config.gradient_accumulation_kwargs == {"sync_each_batch": False}
    assert made.ddp_bucket_cap_mb == 25
    alone = json.loads(texts(exported(published("full"), find_exporter("hf")))["training_args.json"])
    assert set(settings) - set(alone) == {"accelerator_config", "ddp_bucket_cap_mb", "ddp_find_unused_parameters"}


@pytest.mark.parametrize("exporter", [e for e in EXPORTERS if e.name not in (*SPREAD_BY, "peft")], ids=lambda e: e.name)
def test_tools_whose_files_are_for_one_gpu_refuse_and_name_those_that_can(exporter):
    with pytest.raises(IllegalRecipe, match="one GPU, and this job has 4") as refused:
        exported(spread("fsdp2"), exporter)
    assert "hf" in str(refused.value.hints)


def test_launchers_ask_for_as_many_gpus_as_the_job_has():
    for launcher, said in (("slurm", "--gres=gpu:4"), ("skypilot", ":4"), ("dstack", "count: 4")):
        found = exported(spread("fsdp2"), find_exporter("hf"), launcher)
        assert any(said in text for text in texts(found).values()), launcher
        assert any(found.command in text for text in texts(found).values())
    with pytest.raises(IllegalRecipe, match="one GPU"):
        exported(spread("fsdp2"), find_exporter("script"), "hf-jobs")
    with pytest.raises(IllegalRecipe, match="one machine"):
        exported(spread("fsdp2", gpus=16, nodes=2), find_exporter("hf"), "slurm")


def test_a_job_on_one_gpu_is_written_as_before():
    found = exported(published("full"), find_exporter("hf"))
    assert sorted(texts(found)) == ["train.py", "training_args.json"]
    assert found.command == "python train.py"
    assert find_gpu("H100")[0].name == published("full").gpu
