"""Save, load and merge an attached adapter, whether peft's or our own. Files are safetensors, never pickles."""

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
from advisor.assembly.adapters.wrapped_module import Wrapped, replace, trained
from advisor.errors import BadFile, IllegalRecipe

FILE = "adapter_model.safetensors"
BESIDES = "besides.safetensors"
_CHANGES_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")


def save_adapter(attached: nn.Module, folder: Path) -> Path:
    """Write what was trained into `folder`, in peft's own layout where the adapter is peft's; returns the file.

    What peft leaves out goes into a second file, `besides.safetensors`: base weights that the start changed (PiSSA
    and others), and the network behind a soft prompt (P-tuning), without which it could not be trained on.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if _is_pefts(attached):
        model: Any = attached
        model.save_pretrained(folder, safe_serialization=True)
        besides = _besides(attached)
        if besides:
            save_file(_portable(besides), folder / BESIDES)
    else:
        save_file(_portable(_kept(attached)), folder / FILE)
    return folder / FILE


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


def load_adapter(attached: nn.Module, folder: Path) -> nn.Module:
    """Put saved values into a model with the same adapter attached, which is returned.

    Raises:
        BadFile: nothing there, not safetensors, or tensors of another model or method.
    """
    saved = _read(folder / FILE)
    if _is_pefts(attached):
        _load_into_peft(attached, folder, saved)
        return attached
    _copy(_kept(attached), saved, folder)
    return attached


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


def _kept(attached: nn.Module) -> dict[str, torch.Tensor]:
    """Our adapters' trained parameters and the buffers that belong to them."""
    kept: dict[str, torch.Tensor] = dict(trained(attached))
    for path, module in named_modules(attached):
        if isinstance(module, Wrapped):
            persistent = module.state_dict()
            for name, buffer in module.named_buffers(recurse=False):
                if name in persistent:
                    kept[f"{path}.{name}"] = buffer
    return kept


def _portable(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}


def _besides(attached: nn.Module) -> dict[str, torch.Tensor]:
    config: Any = next(iter(attached.peft_config.values()))  # type: ignore[operator,union-attr]
    if config.is_prompt_learning:
        return {n: p for n, p in attached.named_parameters() if n.startswith("prompt_encoder.")}
    start = str(getattr(config, "init_lora_weights", ""))
    if not start.startswith(_CHANGES_BASE) and getattr(config, "kasa_config", None) is None:
        return {}
    return {n: p for n, p in attached.named_parameters() if n.endswith(".base_layer.weight")}


def _read(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as broken:
        raise BadFile(f"no readable adapter at {path}", cause=str(broken), path=str(path)) from broken


def _copy(here: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], folder: Path) -> None:
    wrong = sorted(set(saved) ^ set(here)) or sorted(n for n in saved if saved[n].shape != here[n].shape)
    if wrong:
        raise _of_another(folder, wrong[0])
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(saved[name])


def _load_into_peft(attached: nn.Module, folder: Path, saved: dict[str, torch.Tensor]) -> None:
    import peft

    model: Any = attached
    expected = set(peft.get_peft_model_state_dict(model))
    wrong = sorted(set(saved) ^ expected)
    if wrong:
        raise _of_another(folder, wrong[0])
    try:
        peft.set_peft_model_state_dict(model, saved)
    except (RuntimeError, ValueError, KeyError) as refused:
        raise _of_another(folder, str(refused).splitlines()[0]) from refused
    besides = _besides(attached)
    if besides:
        _copy(besides, _read(folder / BESIDES), folder)


def _of_another(folder: Path, difference: str) -> BadFile:
    return BadFile(
        f"the adapter in {folder} is of another model or method",
        cause=f"first difference: {difference}",
        hints=["attach the method it was saved from, with the same options"],
        path=str(folder),
    )
