"""Which fused kernels a recipe is priced with: what was asked for, where they exist, and what a trainer makes of it."""

from __future__ import annotations

from typing import Final

from advisor.catalog.fused_kernels import (
    CUT,
    FAST_OF_UNSLOTH,
    LIGER,
    OTHERS_OF_LIGER,
    TRACED_OF_LIGER,
    WITH_LORA_KERNELS,
)
from advisor.catalog.methods import find_method
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import FusedLoss, Task
from advisor.errors import IllegalRecipe

_NOT_LORA: Final = frozenset({"bitfit", "layernorm-tuning"})
_TRITON: Final = frozenset({"nvidia", "amd"})
_LEAST: Final = 7.0
"""Triton's least compute capability on NVIDIA's cards (https://github.com/triton-lang/triton, README)."""
_CUT_LEAST: Final = 8.0
"""Cut cross entropy's: its README asks for Ampere or newer."""


def with_kernels(
    recipe: Recipe,
    spec: ModelSpec,
    task: Task,
    gpu: Gpu | None,
    *,
    liger: bool,
    loss: FusedLoss | None,
    lora: bool | None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the kernels asked for and those of its trainer, and what to say of them.

    Args:
        liger: the trainer's `use_liger_kernel`: layer kernels, and the loss but beside TRL, which keeps its own.
        loss: a fused loss that was named; None: as `liger` says.
        lora: fused LoRA projections; None: as the trainer does.

    Raises:
        IllegalRecipe: kernels that are not modelled for the model, do not run on the card, or exclude each other; a
            method or task that the trainer has not.
    """
    _check_trainer(recipe, spec, task)
    recipe, notes = _with_lora(recipe, gpu, lora)
    if recipe.trainer == "unsloth":
        if liger or loss not in (None, "none"):
            raise _refused(
                "unsloth brings kernels and a loss of its own", "use_liger_kernel" if liger else "fused_loss"
            )
        _check_card(recipe, gpu)
        return recipe, (*notes, *_of_unsloth(recipe, spec))
    if not liger and loss in (None, "none"):
        return recipe, tuple(notes)
    decoder = task == "causal-lm" and spec.architecture == "decoder"
    if loss in ("liger", "cce") and recipe.trainer == "trl":
        raise _refused(f"TRL patches the model's head with a loss of its own, which {loss} would replace", "fused_loss")
    if loss in ("liger", "cce") and not decoder:
        raise _refused(
            f"{loss} is a loss of causal language models, and {spec.name} is trained for {task}", "fused_loss"
        )
    layers = liger
    if liger and not decoder:
        raise _refused(
            f"Liger patches causal language models, and {spec.name} is trained for {task}", "use_liger_kernel"
        )
    if (liger or loss == "liger") and spec.model_type in OTHERS_OF_LIGER:
        raise _refused(f"Liger's kernels of {spec.model_type} are not modelled", "use_liger_kernel")
    if (liger or loss == "liger") and spec.model_type not in TRACED_OF_LIGER:
        notes.append(f"Liger has no kernels for {spec.model_type} ({LIGER}): nothing changes")
        layers, loss = False, None if loss == "liger" else loss
        liger = False
    chosen = loss if loss is not None else "liger" if liger and recipe.trainer != "trl" else "none"
    settled = recipe.model_copy(update={"layer_kernels": "liger" if layers else "none", "fused_loss": chosen})
    _check_card(settled, gpu)
    if layers or chosen != "none":
        whose = LIGER if chosen != "cce" else CUT if not layers else f"{LIGER} and {CUT}"
        notes.append(
            f"fused kernels: what {whose} allocates outside its kernels, from its source; their time from the bytes "
            "they move, not measured"
        )
    return settled, tuple(notes)


def refuse_beside_objective(recipe: Recipe, objective: str, *, liger: bool, loss: FusedLoss | None) -> None:
    """Fused kernels and the trainers that bring them are modelled for supervised learning alone.

    Raises:
        IllegalRecipe: any of them beside another objective.
    """
    if recipe.trainer in WITH_LORA_KERNELS:
        raise IllegalRecipe(
            f"{objective} under {recipe.trainer} is not modelled",
            hints=["nearest legal choice: --trainer trl"],
            trainer=recipe.trainer,
        )
    if liger or loss not in (None, "none"):
        raise _refused(f"fused kernels beside {objective} are not modelled", "use_liger_kernel")


def _check_trainer(recipe: Recipe, spec: ModelSpec, task: Task) -> None:
    """What axolotl and unsloth train: causal language models, with LoRA or as a whole."""
    if recipe.trainer not in WITH_LORA_KERNELS:
        return
    if task != "causal-lm" or spec.architecture != "decoder":
        raise _not_trained(recipe, f"{recipe.trainer} trains causal language models, not {task} of {spec.name}")
    if find_method(recipe.method).peft_type not in (None, "LORA") or recipe.method in _NOT_LORA:
        raise _not_trained(recipe, f"{recipe.trainer} trains LoRA and whole models, not {recipe.method}")
    if recipe.trainer == "unsloth" and recipe.base == "int8":
        raise _not_trained(recipe, "unsloth has no 8-bit base, only a 4-bit one")


def _not_trained(recipe: Recipe, reason: str) -> IllegalRecipe:
    return IllegalRecipe(
        reason, hints=["nearest legal choice: --trainer hf"], trainer=recipe.trainer, method=recipe.method
    )


def _with_lora(recipe: Recipe, gpu: Gpu | None, asked: bool | None) -> tuple[Recipe, list[str]]:
    """Fused LoRA projections: asked for, or as the trainer has them on where it can."""
    adapts = find_method(recipe.method).peft_type == "LORA"
    if asked and (recipe.trainer not in WITH_LORA_KERNELS or not adapts):
        raise IllegalRecipe(
            "fused LoRA kernels are axolotl's and unsloth's, for LoRA alone",
            hints=["to price them: --trainer axolotl --method lora", "or leave --lora-kernels out"],
            field="lora_kernels",
        )
    runs = gpu is None or gpu.vendor in _TRITON
    usual = recipe.trainer in WITH_LORA_KERNELS and adapts and recipe.base != "int8" and runs
    chosen = recipe.model_copy(update={"lora_kernels": usual if asked is None else asked})
    if not chosen.lora_kernels:
        return chosen, []
    return chosen, [
        f"fused LoRA kernels: from the source of {WITH_LORA_KERNELS[recipe.trainer]}, not measured; with dropout or "
        "DoRA peft's own layers are priced"
    ]


def _of_unsloth(recipe: Recipe, spec: ModelSpec) -> tuple[str, ...]:
    notes = [f"{WITH_LORA_KERNELS['unsloth']}: its loss in pieces as its source makes them"]
    if spec.model_type not in FAST_OF_UNSLOTH:
        notes.append(f"unsloth compiles {spec.model_type}, for which it has no kernels by hand: priced uncompiled")
    if recipe.gradient_checkpointing:
        notes.append("checkpoints wait in the host's memory, as unsloth's own checkpointing does")
    else:
        notes.append("unsloth's own default is checkpointing to the host's memory: --gradient-checkpointing prices it")
    return tuple(notes)


def _check_card(recipe: Recipe, gpu: Gpu | None) -> None:
    plain = recipe.layer_kernels == "none" and recipe.fused_loss == "none" and recipe.trainer != "unsloth"
    if gpu is None or plain:
        return
    asked = "fused_loss" if recipe.layer_kernels == "none" else "use_liger_kernel"
    if recipe.trainer == "unsloth":
        asked = "trainer"
    if gpu.vendor not in _TRITON:
        raise _refused(f"Triton's kernels do not run on {gpu.name}", asked)
    least = _CUT_LEAST if recipe.fused_loss == "cce" else _LEAST
    if gpu.compute_capability is not None and gpu.compute_capability < least:
        raise _refused(f"these kernels need compute capability {least:g}, and {gpu.name} has less", asked)
    if recipe.fused_loss == "cce" and recipe.compute_dtype == "float32":
        raise _refused("cut cross entropy computes in 16 bits only, and this recipe in float32", "fused_loss")


def _refused(reason: str, field: str) -> IllegalRecipe:
    if field == "trainer":
        return IllegalRecipe(reason, hints=["nearest legal choice: --trainer trl"], field=field)
    return IllegalRecipe(reason, hints=[f"to go on: leave --{field.replace('_', '-')} out"], field=field)
