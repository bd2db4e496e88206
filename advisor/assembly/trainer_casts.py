"""What trainers cast beside what the model is loaded in: a prepared quantised base, adapters, autocast's outputs.

Sources: peft 0.21.2, `utils.other.prepare_model_for_kbit_training`; trl 1.16, `SFTTrainer.__init__` (adapters beside a
quantised model go to bfloat16, but for DoRA's magnitudes); accelerate 1.15, `Accelerator.prepare_model` (outputs of a
forward pass under autocast are handed on in float32).
"""

# pyright: reportUnknownMemberType=false
# peft and accelerate name only some of their types

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from advisor.domain.recipe import Recipe

if TYPE_CHECKING:
    from torch import nn


def prepare_base(model: nn.Module, recipe: Recipe) -> nn.Module:
    """A quantised base frozen and what it holds in 16 bits cast to float32, where the recipe asks for it, by peft."""
    if recipe.prepare_kbit_training:
        import peft

        # checkpointing is the recipe's own choice and set elsewhere
        prepare = cast("Any", peft.prepare_model_for_kbit_training)
        prepare(model, use_gradient_checkpointing=False)
    return model


def cast_trained(model: nn.Module, recipe: Recipe) -> None:
    """What TRL's SFTTrainer does to the trained weights beside a quantised base: bfloat16, whatever they were."""
    import torch

    if recipe.trainer != "trl" or recipe.base == "dtype":
        return
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_magnitude_vector" not in name:
            parameter.data = parameter.data.to(torch.bfloat16)


def hand_on_in_float32(model: nn.Module, recipe: Recipe) -> None:
    """Wrap the forward pass so that its 16-bit outputs come in float32, as trainers built on accelerate give them."""
    if not recipe.mixed or recipe.trainer == "loop":
        return
    import accelerate.utils

    wrap = cast("Any", accelerate.utils.convert_outputs_to_fp32)
    model.forward = wrap(model.forward)
