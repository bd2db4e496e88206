"""transformers' TrainingArguments from a recipe, and a recipe's fields from them: what five tools have in common."""

from __future__ import annotations

from typing import Any

from advisor.domain.plain_values import is_object
from advisor.domain.request.vocabulary import MIXED_FLAGS
from advisor.domain.units import plural
from advisor.exporters.export_job import ExportJob
from advisor.exporters.settings import Settings
from advisor.exporters.several_gpus import trainer_arguments

CHECKPOINTED = {"use_reentrant": False}
"""As the estimate traces it; the other kind keeps other tensors."""

SHARDED = "what several devices exchange and hold is not modelled"
NOT_MODELLED = {
    "deepspeed": SHARDED,
    "fsdp": SHARDED,
    "fsdp_config": SHARDED,
    "parallelism_config": SHARDED,
    "optim_target_modules": "optimizers of chosen layers are not modelled",
}
"""Keys of TrainingArguments that decide memory and that no estimate covers -> why."""


def sft_arguments(job: ExportJob) -> dict[str, Any]:
    """What TRL's SFTConfig adds to TrainingArguments, as far as it decides memory."""
    return {
        "max_length": job.workload.seq_len,
        "packing": job.recipe.batching == "packed",
        "packing_strategy": "bfd",
        "padding_free": job.recipe.batching == "padding-free",
        "loss_type": "nll",
        "activation_offloading": False,
    }


def training_arguments(job: ExportJob, *, checkpointing: str = "activation_checkpointing") -> dict[str, Any]:
    """The arguments that make transformers' Trainer run a recipe, every one that decides memory written out.

    Args:
        checkpointing: the key that this version of the tool has for it.
    """
    recipe, workload = job.recipe, job.workload
    made: dict[str, Any] = {
        "output_dir": job.output,
        "per_device_train_batch_size": recipe.micro_batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "learning_rate": recipe.learning_rate,
        "num_train_epochs": workload.epochs,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        # a method that brings its own optimizer is given it apart
        "optim": recipe.optimizer if job.method.optimizer is None else "adamw_torch",
        "bf16": recipe.mixed_precision == "bf16",
        "fp16": recipe.mixed_precision == "fp16",
        checkpointing: recipe.gradient_checkpointing,
    }
    if recipe.gradient_checkpointing:
        made[f"{checkpointing}_kwargs"] = dict(CHECKPOINTED)
    return {
        **made,
        "use_cache": False,
        "use_liger_kernel": recipe.layer_kernels == "liger",
        "torch_compile": False,
        "auto_find_batch_size": False,
        "train_sampling_strategy": "group_by_length" if recipe.batching == "grouped" else "random",
        "eval_strategy": "no",
        "save_strategy": "epoch",
        "logging_steps": 10,
        "report_to": "none",
        "seed": job.seed,
        **trainer_arguments(job),
    }


def read_arguments(settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Keys of a case of the estimator from TrainingArguments, and what was taken otherwise than it stands there.

    Precision is the caller's: it needs to know how the weights are loaded.

    Raises:
        IllegalRecipe: values of the wrong type, keys that contradict, or what is not modelled.
    """
    settings.refuse_if_set(NOT_MODELLED)
    notes: list[str] = []
    case: dict[str, Any] = {
        "batch_size": settings.whole("per_device_train_batch_size"),
        "gradient_accumulation": settings.whole("gradient_accumulation_steps"),
        "learning_rate": settings.number("learning_rate"),
        "epochs": settings.number("num_train_epochs"),
        "schedule": settings.text("lr_scheduler_type"),
        "weight_decay": settings.number("weight_decay"),
        "max_grad_norm": settings.number("max_grad_norm"),
        "optimizer": settings.text("optim"),
        "gradient_checkpointing": _checkpointing(settings, notes),
    }
    case |= read_warmup(settings, notes)
    if settings.flag("torch_compile"):
        case["torch_compile"] = True
    if settings.flag("use_liger_kernel"):
        case["use_liger_kernel"] = True
    if settings.has("max_steps") and (settings.whole("max_steps") or 0) > 0:
        notes.append("max_steps ends the training before its epochs do: time and cost here are of all epochs")
    if settings.flag("auto_find_batch_size"):
        notes.append("auto_find_batch_size makes batches smaller where they do not fit: estimated as they stand")
    if settings.get("train_sampling_strategy") == "group_by_length" or settings.flag("group_by_length"):
        case["batching"] = "grouped"
    return case, notes


def _checkpointing(settings: Settings, notes: list[str]) -> bool:
    old, new = "gradient_checkpointing", "activation_checkpointing"
    if settings.has(old) and settings.has(new) and settings.flag(old) != settings.flag(new):
        settings.refuse(new, f"it contradicts {old}")
    on = settings.flag(new) if settings.has(new) or new in settings.format.defaults else settings.flag(old)
    if settings.has(old):
        on = settings.flag(old)
    for key in (f"{old}_kwargs", f"{new}_kwargs"):
        kwargs = settings.get(key)
        if on and is_object(kwargs) and kwargs.get("use_reentrant"):
            notes.append("use_reentrant: true is estimated as false, which keeps other tensors")
    return on


def read_warmup(settings: Settings, notes: list[str]) -> dict[str, Any]:
    """The warm-up as a share; steps are a share only of a known number of them, so they are named instead.

    Raises:
        IllegalRecipe: both of its keys are set, and contradict.
    """
    if settings.has("warmup_ratio"):
        if settings.has("warmup_steps") and settings.number("warmup_steps"):
            settings.refuse("warmup_ratio", "it contradicts warmup_steps: at most one of them can be set")
        return {"warmup_ratio": settings.number("warmup_ratio")}
    steps = settings.number("warmup_steps", 0) or 0
    if steps < 1:
        return {"warmup_ratio": steps}
    notes.append(f"a warm-up of {plural(int(steps), 'step')} is not used: it decides neither memory nor time")
    return {"warmup_ratio": 0.0}


def read_precision(settings: Settings, weights: str | None) -> dict[str, Any]:
    """`dtype` and `mixed_precision` from the trainer's two switches and the dtype in which weights are loaded.

    Args:
        weights: bfloat16, float16 or float32; None where the config leaves it to the model's own.

    Raises:
        IllegalRecipe: both switches, or a switch against the dtype of the weights.
    """
    bf16, fp16 = settings.flag("bf16"), settings.flag("fp16")
    if bf16 and fp16 and settings.has("bf16"):
        settings.refuse("bf16", "it contradicts fp16: at most one of them can be set")
    mixed = "float16" if fp16 else "bfloat16" if bf16 else None
    if mixed is not None and weights not in (None, "float32", mixed):
        settings.refuse("bf16" if bf16 else "fp16", f"mixed precision in {mixed} over weights in {weights}")
    return {"dtype": weights, "mixed_precision": "no" if mixed is None else MIXED_FLAGS[mixed]}
