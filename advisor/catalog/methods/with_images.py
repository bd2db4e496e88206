"""What cannot be trained on pictures, or is not modelled with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.catalog.methods.method import Method

if TYPE_CHECKING:
    from advisor.domain.recipe import Recipe


def against_images(method: Method, recipe: Recipe) -> tuple[str, list[str]] | None:
    """Why a recipe is refused for samples that hold pictures, and what does; None where it is priced.

    Sources: trl 1.16, `SFTTrainer` refuses packing and padding-free batches of vision-language data. peft 0.21.2 puts
    prompts before embeddings of token ids, from which the models here tell where pictures belong.
    """
    if recipe.batching in ("packed", "padding-free"):
        reason = f"samples with pictures are padded, never {recipe.batching} (trl's SFTTrainer refuses it)"
        return reason, ["nearest legal choice: --batching padded"]
    if method.prompt:
        reason = "virtual tokens before samples with pictures are not modelled"
        return reason, ["nearest legal choice: --method lora", "texts alone: --images 0"]
    if recipe.trainer in ("axolotl", "unsloth"):
        reason = f"how {recipe.trainer} trains on pictures is not modelled"
        return reason, ["nearest legal choice: --trainer trl", "texts alone: --images 0"]
    if recipe.layer_kernels != "none" or recipe.fused_loss != "none":
        return "Liger's and others' fused kernels are not modelled with pictures", ["leave --use-liger-kernel out"]
    return None
