"""Merge an attached adapter, whether peft's or our own, and write one that moved its base as plain LoRA."""

# pyright: reportUnknownMemberType=false
# peft's functions name only some of their types

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters.data_driven_init import lora_config, read_start
from advisor.assembly.adapters.module_search import named_modules
from advisor.assembly.adapters.wrapped_module import Wrapped, replace
from advisor.errors import IllegalRecipe

FILE = "adapter_model.safetensors"


def save_as_lora(attached: nn.Module, folder: Path, start: Path) -> None:
    """Write a LoRA whose start changed the base as one of twice the rank that belongs on the base as published.

    The base was W - s B0 A0, so what training changed is s (B A - B0 A0): A and A0 below each other, B and -B0 side
    by side (as peft's own `path_initial_model_for_weight_conversion`).

    Raises:
        BadFile: `start`, which holds A0 and B0, cannot be read.
    """
    import peft
    from safetensors.torch import save_file

    initial, _ = read_start(start)
    config: Any = copy.deepcopy(lora_config(attached))
    state = dict(peft.get_peft_model_state_dict(attached))
    for name, tensor in state.items():
        before = initial.get(name.replace(".weight", ".default.weight"))
        if before is not None and ".lora_A." in name:
            state[name] = torch.cat([tensor.detach().cpu(), before.to(tensor.dtype)], dim=0)
        elif before is not None:
            state[name] = torch.cat([tensor.detach().cpu(), -before.to(tensor.dtype)], dim=1)
    # the scale, alpha / rank or alpha / sqrt(rank), stays what it was
    louder = 2**0.5 if config.use_rslora else 2
    config.r, config.lora_alpha = 2 * config.r, louder * config.lora_alpha
    config.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    config.alpha_pattern = {name: louder * alpha for name, alpha in config.alpha_pattern.items()}
    config.init_lora_weights, config.inference_mode = True, True
    config.corda_config = config.lora_ga_config = None
    folder.mkdir(parents=True, exist_ok=True)
    save_file(_portable(state), folder / FILE)
    config.save_pretrained(str(folder))


def merge_adapter(attached: nn.Module) -> nn.Module:
    """The plain model with the adapter's change in its weights.

    Raises:
        IllegalRecipe: the change is not one of the weights, or the base is quantised.
    """
    if _is_pefts(attached):
        model: Any = attached
        if not hasattr(model.base_model, "merge_and_unload"):
            raise IllegalRecipe(f"{type(model).__name__}: this adapter cannot be merged into the weights")
        try:
            merged: nn.Module = model.merge_and_unload()
        except (ValueError, NotImplementedError, AttributeError) as refused:
            raise IllegalRecipe("this adapter cannot be merged into the weights", cause=str(refused)) from refused
        return merged
    wrappers = [(path, module) for path, module in named_modules(attached) if isinstance(module, Wrapped)]
    stuck = sorted({type(m).__name__ for _, m in wrappers if not hasattr(type(m), "merged")})
    if stuck:
        raise IllegalRecipe(f"{', '.join(stuck)} cannot be merged: its change is not one of the weights")
    with torch.no_grad():
        for path, _ in wrappers:
            replace(attached, path, lambda m: m.merged())  # type: ignore[operator]
    return attached


def _is_pefts(attached: nn.Module) -> bool:
    return hasattr(attached, "peft_config") and not any(isinstance(m, Wrapped) for m in attached.modules())


def _portable(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
