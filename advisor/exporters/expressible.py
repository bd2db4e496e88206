"""What stands against an export whatever the tool, and what every tool built on transformers' Trainer does alike."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import Final, Literal

from advisor.catalog.fused_kernels import WITH_LORA_KERNELS
from advisor.catalog.optimizer_names import find_optimizer, updates_in_backward
from advisor.catalog.training_precision import rate_of
from advisor.domain.request.vocabulary import Task, Trainer
from advisor.exporters.export_job import ExportJob

Liger = Literal["any", "none", "liger"]
OURS_ALONE: Final = ("adamw_torch_loop", "sgd_momentum")
"""Optimizer names that transformers has not."""
LORA_CASTS: Final = (
    "TRL casts what is trained beside a quantised base to bfloat16 (DoRA's magnitudes apart); the estimate counts it "
    "in float32, so memory will be a little below it"
)


def against_method(job: ExportJob, *, optimizers: Collection[str] = ()) -> str | None:
    """Why a method needs advisor itself to train it, or None.

    Args:
        optimizers: those that a method may be defined by and that the tool can build.
    """
    method = job.method
    if method.cannot:
        return method.cannot
    if method.peft_type is None and method.name != "full":
        return f"{method.name} is advisor's own implementation: advisor tune trains it"
    if method.needs_data:
        return f"{method.name} starts from training rows that are read before the first step: advisor tune does that"
    if method.optimizer is not None and method.optimizer not in optimizers:
        return f"{method.name} is defined by the optimizer {method.optimizer}, which this tool's config cannot name"
    if method.after is not None and method.optimizer not in optimizers:
        return f"{method.name} freezes parameters after peft made them, which no config of this tool says"
    return None


def against_recipe(
    job: ExportJob, tasks: Collection[Task], *, prepares: bool = False, liger: Liger | None = None
) -> str | None:
    """Why the tool cannot run a recipe, its method apart, or None; `liger` as in `against_kernels`."""
    recipe, workload = job.recipe, job.workload
    if workload.task not in tasks:
        return f"it cannot train {workload.task}, only {', '.join(tasks)}"
    if job.spec.task_class in ("ImageClassification", "SpeechSeq2Seq"):
        return f"{job.spec.name} takes pixels or sound, and its exports read text"
    if recipe.head_learning_rate is not None:
        return "it knows one learning rate, and the recipe gives a new head one of its own: --to script has both"
    return against_kernels(job, liger) or against_optimizer(job, prepares=prepares)


def against_kernels(job: ExportJob, liger: Liger | None = None) -> str | None:
    """Why the tool cannot be told the recipe's fused kernels, or None.

    Args:
        liger: the fused loss that comes with the tool's one switch for Liger's kernels, `any` where each has a key of
            its own; None: there is no switch.
    """
    chosen = job.recipe.layer_kernels, job.recipe.fused_loss
    if chosen == ("none", "none") or liger == "any" or chosen == ("liger", liger):
        return None
    return "it has no switch for just these fused kernels and loss; axolotl has: --to axolotl"


def against_optimizer(job: ExportJob, *, prepares: bool = False) -> str | None:
    """Why no config can name the optimizer or the warm-up, or, unless it `prepares`, a quantised base's preparation."""
    recipe = job.recipe
    if recipe.prepare_kbit_training and not prepares:
        return "it does not call peft's prepare_model_for_kbit_training, and the recipe does"
    if recipe.optimizer in OURS_ALONE:
        return f"transformers has no optimizer {recipe.optimizer}"
    if job.method.optimizer is None:
        find_optimizer(recipe.optimizer)
    if updates_in_backward(recipe.optimizer):
        if recipe.gradient_accumulation > 1:
            return f"{recipe.optimizer} updates weights in each backward pass: no gradients accumulate"
        if recipe.weight_decay:
            return f"transformers hands {recipe.optimizer} no weight decay, and the recipe has one"
    if recipe.warmup_ratio >= 1:
        return "a warm-up as long as the training cannot be written: 1 is read as one step"
    return None


def with_trainer(job: ExportJob, trainer: Trainer, of: str) -> tuple[ExportJob, tuple[str, ...]]:
    """The job under the trainer that a tool is built on, its learning rate written out, and what that changes."""
    notes: list[str] = []
    recipe = job.recipe
    if recipe.learning_rate is None:
        rate = rate_of(job.method)
        job = job.with_recipe(learning_rate=rate)
        notes.append(f"no learning rate was chosen: {rate:g}, the usual one of {job.method.name}, is written")
    if recipe.lora_kernels and trainer not in WITH_LORA_KERNELS:
        job = job.with_recipe(lora_kernels=False)
    if recipe.trainer != trainer:
        job = job.with_recipe(trainer=trainer)
        notes.append(
            f"{of} holds memory as trainer {trainer} does, and the recipe was priced for {recipe.trainer}: "
            f"to price it anew: --trainer {trainer}"
        )
    return job, tuple(notes)


def warmup_steps(job: ExportJob) -> int | None:
    """The warm-up in optimizer steps, rounded up as transformers does; None where the number of samples is unknown."""
    steps = job.workload.optimizer_steps()
    if job.recipe.warmup_ratio == 0:
        return 0
    return None if steps is None else ceil(job.recipe.warmup_ratio * steps)
