"""What trainers cast beside what the model is loaded in: a prepared quantised base, adapters, autocast's outputs.

Sources: peft 0.21.2, `utils.other.prepare_model_for_kbit_training`; trl 1.16, `SFTTrainer.__init__` and those of DPO,
KTO and reward models (adapters beside a quantised model go to bfloat16, but for DoRA's magnitudes); `experimental.orpo`
and `experimental.cpo`, whose trainers leave adapters as peft makes them; accelerate 1.15, `Accelerator.prepare_model`
(outputs of a forward pass under autocast are handed on in float32).
"""

# pyright: reportUnknownMemberType=false
# peft and accelerate name only some of their types

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import Workload

if TYPE_CHECKING:
    from torch import nn

PREPARED_BY_TRAINER: Final[frozenset[Objective]] = frozenset({"orpo", "cpo", "simpo"})
"""Objectives whose trainer calls peft's prepare_model_for_kbit_training by itself."""


def prepare_base(model: nn.Module, recipe: Recipe) -> nn.Module:
    """A quantised base frozen and what it holds in 16 bits cast to float32, where the recipe asks for it, by peft."""
    if recipe.prepare_kbit_training:
        import peft

        # checkpointing is the recipe's own choice and set elsewhere
        prepare = cast("Any", peft.prepare_model_for_kbit_training)
        prepare(model, use_gradient_checkpointing=False)
    return model


def cast_trained(model: nn.Module, workload: Workload, recipe: Recipe) -> None:
    """What TRL does to weights beside a quantised base: the trained ones in bfloat16, whatever they were.

    ORPO's and CPO's trainers leave those, and under bf16 take embeddings and head of a 4-bit base back from float32.
    """
    import torch

    if recipe.trainer != "trl" or recipe.base == "dtype":
        return
    if workload.objective in PREPARED_BY_TRAINER:
        if recipe.base == "nf4" and recipe.mixed_precision == "bf16":
            _narrow_embeddings(model)
        return
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "lora_magnitude_vector" not in name:
            parameter.data = parameter.data.to(torch.bfloat16)


def _narrow_embeddings(model: nn.Module) -> None:
    """Embeddings and head in bfloat16, as `peft_module_casting_to_bf16` has them."""
    import torch

    from advisor.assembly.adapters.module_search import named_modules

    for path, module in named_modules(model):
        weight = getattr(module, "weight", None)
        named = "norm" not in path and any(name in path for name in ("lm_head", "embed_tokens", "wte", "wpe"))
        if named and isinstance(weight, torch.Tensor) and weight.dtype == torch.float32:
            module.to(torch.bfloat16)


def hand_on_in_float32(model: nn.Module, recipe: Recipe) -> None:
    """Wrap the forward pass so that its 16-bit outputs come in float32, as trainers built on accelerate give them."""
    if not recipe.mixed or recipe.trainer == "loop":
        return
    import accelerate.utils

    wrap = cast("Any", accelerate.utils.convert_outputs_to_fp32)
    model.forward = wrap(model.forward)
