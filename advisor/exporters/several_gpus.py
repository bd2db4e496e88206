"""How a job is started on several GPUs: accelerate's and DeepSpeed's files, each flag that decides memory written out.

Sources: accelerate 1.15, commands/config/config_args.py, utils/launch.py and utils/dataclasses.py
(FullyShardedDataParallelPlugin, DeepSpeedPlugin); DeepSpeed, docs/_pages/config-json.md, ZeRO.
"""

from __future__ import annotations

from typing import Any, Final

from advisor.catalog.trainer_formats import trainer_format
from advisor.exporters.config_text import json_text, stanza, yaml_text
from advisor.exporters.export_job import ExportedFile, ExportJob

SPREAD_BY: Final = ("hf", "trl", "script", "accelerate")
"""Exports that accelerate starts with a process a GPU."""
CONFIG: Final = "accelerate.yaml"
ZERO_CONFIG: Final = "deepspeed.json"
BUCKET_MIB: Final = 25
"""DistributedDataParallel's buckets, as priced. Source: torch 2.13, nn/parallel/distributed.py."""


def against_several(name: str, job: ExportJob) -> str | None:
    """Why a tool's export cannot be started on the job's GPUs, or None."""
    if job.count == 1 or name in SPREAD_BY or name == "peft":
        return None
    return f"its files are written for one GPU, and this job has {job.count}"


def accelerate_document(job: ExportJob) -> dict[str, Any]:
    """accelerate's own config: processes, mixed precision, and how weights, gradients and state are spread."""
    sharding = job.sharding if job.count > 1 else None
    kind = "NO" if job.count == 1 else "MULTI_GPU"
    document: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": "FSDP" if _fsdp(job) else "DEEPSPEED" if _zero(job) else kind,
        "num_processes": job.count,
        "num_machines": job.nodes,
        "machine_rank": 0,
        # where DeepSpeed has a file of its own, accelerate refuses a second word on it
        **({} if _zero(job) else {"mixed_precision": job.recipe.mixed_precision}),
        "downcast_bf16": False,
        "use_cpu": False,
        "main_training_function": "main",
        "debug": False,
    }
    if sharding == "fsdp2":
        document["fsdp_config"] = {"fsdp_version": 2, "fsdp_reshard_after_forward": True, **_FSDP}
    elif sharding == "fsdp1":
        document["fsdp_config"] = {
            "fsdp_version": 1,
            "fsdp_reshard_after_forward": "FULL_SHARD",
            **_FSDP,
            "fsdp_backward_prefetch": "BACKWARD_PRE",
            "fsdp_forward_prefetch": False,
            "fsdp_use_orig_params": False,
            "fsdp_sync_module_states": True,
        }
    elif _zero(job):
        document["deepspeed_config"] = {"deepspeed_config_file": ZERO_CONFIG, "zero3_init_flag": sharding == "zero3"}
    return document


_FSDP: Final = {
    "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
    "fsdp_offload_params": False,
    # the trainer's own checkpointing is on where the recipe says so
    "fsdp_activation_checkpointing": False,
    "fsdp_cpu_ram_efficient_loading": True,
    "fsdp_state_dict_type": "FULL_STATE_DICT",
}


def deepspeed_document(job: ExportJob) -> dict[str, Any]:
    """DeepSpeed's own config. The sizes of its buckets are those priced: its defaults hold a GB each."""
    recipe, width = job.recipe, job.spec.hidden or 0
    zero: dict[str, Any] = {
        "stage": int(str(job.sharding)[-1]),
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": width**2,
        "allgather_bucket_size": width**2,
        "offload_optimizer": {"device": "none"},
        "offload_param": {"device": "none"},
    }
    if job.sharding == "zero3":
        zero |= {
            "stage3_prefetch_bucket_size": round(0.9 * width**2),
            "stage3_param_persistence_threshold": 10 * width,
            "stage3_gather_16bit_weights_on_model_save": True,
        }
    return {
        "bf16": {"enabled": recipe.compute_dtype == "bfloat16"},
        "fp16": {"enabled": recipe.compute_dtype == "float16"},
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": recipe.micro_batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "gradient_clipping": recipe.max_grad_norm,
        "train_batch_size": recipe.micro_batch_size * recipe.gradient_accumulation * job.count,
    }


def trainer_arguments(job: ExportJob) -> dict[str, Any]:
    """What transformers' TrainingArguments say besides on several GPUs."""
    if job.count == 1:
        return {}
    return {
        "ddp_bucket_cap_mb": BUCKET_MIB,
        "ddp_find_unused_parameters": False,
        # priced so: under accumulation whole gradients lie on every rank, unless each micro-batch is reduced
        "accelerator_config": {"gradient_accumulation_kwargs": {"sync_each_batch": False}},
    }


def quantised_storage(job: ExportJob) -> dict[str, Any]:
    """bitsandbytes' key for a sharded 4-bit base: its codes are sharded as numbers of the dtype of all else."""
    sharded = job.recipe.base == "nf4" and (_fsdp(job) or job.sharding == "zero3")
    return {"bnb_4bit_quant_storage": job.recipe.compute_dtype} if sharded else {}


def started_on_all(name: str, job: ExportJob, command: str) -> str:
    """A command that starts a process a GPU."""
    if job.count == 1 or name == "accelerate":
        return command
    if name == "trl":
        return f"{command} --accelerate_config {CONFIG}"
    return f"accelerate launch --config_file {CONFIG} {command.removeprefix('python ')}"


def files_for_all(name: str, job: ExportJob) -> tuple[ExportedFile, ...]:
    """The files beside a tool's own that start it on several GPUs."""
    if job.count == 1 or name not in SPREAD_BY:
        return ()
    made: list[ExportedFile] = []
    if name != "accelerate":
        head = stanza(trainer_format("accelerate"), job, f"accelerate launch --config_file {CONFIG}")
        made.append(ExportedFile(name=CONFIG, text=yaml_text(accelerate_document(job), head)))
    if _zero(job):
        made.append(ExportedFile(name=ZERO_CONFIG, text=json_text(deepspeed_document(job))))
    return tuple(made)


def notes_on_several(job: ExportJob) -> tuple[str, ...]:
    """What is to be known of a job on several GPUs."""
    if job.count == 1:
        return ()
    made = [f"{job.count} processes, one a GPU, by {job.sharding}: {CONFIG} says how"]
    if job.nodes > 1:
        made.append(f"on each of the {job.nodes} machines: machine_rank 0, 1 ... and main_process_ip in {CONFIG}")
    if _zero(job):
        made.append("to install besides: pip install deepspeed")
    return tuple(made)


def _fsdp(job: ExportJob) -> bool:
    return job.count > 1 and job.sharding in ("fsdp1", "fsdp2")


def _zero(job: ExportJob) -> bool:
    return job.count > 1 and job.sharding in ("zero1", "zero2", "zero3")
