"""What stands in the place of a model's own ops: kernels of torch, Liger, unsloth, axolotl and FlashAttention."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from torch import nn

from advisor.assembly.dtypes import torch_dtype
from advisor.catalog.fused_kernels import FAST_OF_UNSLOTH
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.tracer.fused_kernels.flash_attention import flash_attention_2
from advisor.tracer.fused_kernels.liger_layers import liger_layers
from advisor.tracer.fused_kernels.lora_kernels import lora_kernels
from advisor.tracer.fused_kernels.rms_norm import fused_rms_norms

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder


def own_kernels(model: nn.Module, spec: ModelSpec, recipe: Recipe, recorder: Recorder, *, padded: bool) -> ExitStack:
    """The model with the recipe's and its trainer's kernels, while inside."""
    kernels = ExitStack()
    # unsloth's norms and rotary embeddings by hand are of Liger's form
    by_hand = recipe.trainer == "unsloth" and spec.model_type in FAST_OF_UNSLOTH
    if recipe.layer_kernels == "liger" or by_hand:
        kernels.enter_context(liger_layers(model, spec.model_type, recorder))
    if spec.task_class == "Denoising":
        kernels.enter_context(fused_rms_norms(model, recorder))
    if recipe.attention == "flash_attention_2" and padded:
        kernels.enter_context(flash_attention_2(model, torch_dtype(recipe.compute_dtype)))
    if recipe.lora_kernels:
        kernels.enter_context(lora_kernels(model, recorder))
    return kernels
