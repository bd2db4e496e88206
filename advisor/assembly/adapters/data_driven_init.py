"""Starts that read training batches: EVA, CorDA, LoRA-GA, FISH mask; kept in a file, so that they are drawn once.

CorDA and LoRA-GA move a part of each base weight into the adapter, EVA shares the ranks out anew, FISH mask chooses
the entries that learn. None of it is in the trained parameters alone, so a checkpoint or an export needs the start.
"""

# pyright: reportUnknownMemberType=false
# peft's functions name only some of their types

from __future__ import annotations

import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import torch
from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.catalog.methods.method import Method
from advisor.domain.plain_values import is_object, is_sequence, is_set
from advisor.errors import BadFile, IllegalRecipe

Batch = Mapping[str, torch.Tensor]
_log = logging.getLogger("advisor")

START: Final = "start.safetensors"
"""The name of a start's file, beside the weights that were trained from it."""
MOVES_BASE: Final = ("corda", "lora_ga", "pissa", "olora")
"""Beginnings of `init_lora_weights` whose start takes the product of A0 and B0 out of the base weight."""
_CONFIG: Final = ("rank_pattern", "alpha_pattern", "target_modules", "init_lora_weights")


@dataclass(frozen=True, slots=True)
class AdapterStart:
    """What a start is made of: a few training batches on the model's device, or the file of an earlier start.

    Without either, the model is only to be measured: it starts as plain LoRA does, at the same cost a step.
    """

    batches: Sequence[Batch] = ()
    saved: Path | None = None

    @property
    def empty(self) -> bool:
        return not self.batches and self.saved is None


def before_attaching(model: nn.Module, config: Any, start: AdapterStart, method: Method, *, on_meta: bool) -> Any:
    """The config to attach with, the model prepared for it.

    CorDA: covariances of every target's input and the decomposition of its weight. LoRA-GA: mean gradients of
    every target. From a saved start, plain LoRA with the ranks saved; `after_attaching` puts the values in.

    Raises:
        BadFile: the saved start cannot be read.
        IllegalRecipe: the start cannot be computed on these rows.
    """
    if start.saved is not None:
        _, about = read_start(start.saved)
        if not about:
            raise BadFile(f"the start at {start.saved} is of another method", path=str(start.saved))
        for name in ("rank_pattern", "alpha_pattern", "target_modules"):
            setattr(config, name, about[name])
        config.init_lora_weights = True
        return config
    kind = str(config.init_lora_weights)
    if not start.batches:
        if kind == "eva":
            return config
        if not on_meta:
            _log.warning("%s: no training batches given, starts as plain LoRA does", method.name)
        config.init_lora_weights = True
        return config
    try:
        if kind == "corda":
            from peft.tuners.lora.corda import preprocess_corda

            preprocess_corda(model, config, run_model=lambda: _forward(model, start.batches))
        elif kind == "lora_ga":
            from peft.tuners.lora.loraga import preprocess_loraga

            preprocess_loraga(model, config, train_step=lambda: _backward(model, start.batches))
    except (ValueError, RuntimeError) as error:
        raise _impossible(method, error) from error
    model.train()
    return config


def after_attaching(attached: nn.Module, start: AdapterStart, method: Method) -> None:
    """EVA: set A to the principal directions of each target's input, and share out the ranks. FISH: choose entries.

    From a saved start: put its values in, and take out of the base what they hold of it.

    Raises:
        BadFile: the saved start is of another model or method.
        IllegalRecipe: the start cannot be computed on these rows.
    """
    from advisor.assembly.adapters.sparse import choose_by_fisher

    if start.saved is not None:
        _put_in(attached, start.saved)
        return
    if not start.batches:
        return
    config = lora_config(attached)
    if config is None:
        choose_by_fisher(attached, list(one_by_one(attached, start.batches)))
    elif config.init_lora_weights == "eva":
        _eva(attached, config, start.batches, method)
    for module in attached.modules():
        for name in ("eigens", "_peft_loraga_grad"):
            if hasattr(module, name):
                delattr(module, name)


def keeps_start(attached: nn.Module, method: Method) -> bool:
    """Whether the trained parameters alone do not give the model again."""
    return method.needs_data or moves_base(attached)


def moves_base(attached: nn.Module) -> bool:
    """Whether the start has changed the frozen weights."""
    config = lora_config(attached)
    return config is not None and str(config.init_lora_weights).startswith(MOVES_BASE)


def lora_config(attached: nn.Module) -> Any:
    """The LoRA config of an attached model; None where the adapter is of another kind."""
    config: Any = getattr(attached, "peft_config", {}).get("default")
    return config if hasattr(config, "init_lora_weights") else None


def save_start(attached: nn.Module, path: Path) -> None:
    """Write the start of a model that has just been attached and not trained yet."""
    from safetensors.torch import save_file

    config = lora_config(attached)
    about = {} if config is None else {name: _plain(getattr(config, name)) for name in _CONFIG}
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in start_tensors(attached).items()}
    save_file(tensors, path, metadata={"start": json.dumps(about)})


def start_tensors(attached: nn.Module) -> dict[str, torch.Tensor]:
    """A and B of every adapted layer, or the entries that a mask chose."""
    from advisor.assembly.adapters.sparse import SparseDelta

    if lora_config(attached) is not None:
        return {n: p for n, p in attached.named_parameters() if ".lora_A." in n or ".lora_B." in n}
    return {f"{n}.chosen": m.chosen for n, m in layers.named_modules(attached) if isinstance(m, SparseDelta)}  # type: ignore[misc]


def read_start(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors, settings of the config) of a saved start.

    Raises:
        BadFile: nothing there, or no start.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about: Any = json.loads((file.metadata() or {})["start"])
            if not is_object(about) or (about and set(about) != set(_CONFIG)):
                raise ValueError("its settings are not those of a start")
            return tensors, about
    except (OSError, SafetensorError, KeyError, ValueError) as broken:
        raise BadFile(
            f"no readable start of the adapter at {path}",
            cause=str(broken),
            hints=["the adapter was trained from it: keep it beside the weights"],
            path=str(path),
        ) from broken


def one_by_one(model: nn.Module, batches: Sequence[Batch]) -> Iterator[dict[str, torch.Tensor]]:
    """Each sample alone, without its padding: covariances and Fisher information are of one sample at a time."""
    config: Any = getattr(model, "config", None)
    labels_apart = bool(getattr(config, "is_encoder_decoder", False))
    for batch in batches:
        for i in range(len(next(iter(batch.values())))):
            row = {name: tensor[i : i + 1] for name, tensor in batch.items()}
            kept = batch["attention_mask"][i].bool() if "attention_mask" in batch else None
            for name, tensor in row.items():
                if name == "labels" and tensor.dim() == 2 and labels_apart:
                    row[name] = tensor[:, tensor[0] != -100]
                elif kept is not None and tensor.dim() == 2 and tensor.shape[1] == len(kept):
                    row[name] = tensor[:, kept]
            yield row


def _put_in(attached: nn.Module, path: Path) -> None:
    saved, about = read_start(path)
    here = start_tensors(attached)
    wrong = sorted(set(saved) ^ set(here)) or sorted(n for n in saved if saved[n].shape != here[n].shape)
    if wrong:
        raise BadFile(f"the start at {path} is of another model or method", cause=wrong[0], path=str(path))
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(saved[name])
    config = lora_config(attached)
    if config is None:
        return
    config.init_lora_weights = about["init_lora_weights"]
    if moves_base(attached):
        with torch.no_grad():
            for module in attached.modules():
                if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
                    _take_out(module, module.get_base_layer().weight.data)  # type: ignore[operator,union-attr]


def _take_out(layer: Any, weight: torch.Tensor) -> None:
    """Let the base be `weight` less what A and B hold of it: in float32 and rounded once, as peft's own starts do."""
    held = layer.scaling["default"] * layer.lora_B["default"].weight.float() @ layer.lora_A["default"].weight.float()
    rest = weight.float() - (held.T if layer.fan_in_fan_out else held)
    layer.get_base_layer().weight.data = rest.to(weight.dtype)


@contextmanager
def exact_bases() -> Generator[None]:
    """While open, a 16-bit base loses what A and B hold once they are rounded as peft will round them.

    peft takes the float32 product out of the base and rounds A and B to the base's dtype afterwards (0.21.2,
    `_move_adapter_to_device_of_base_layer`), so that the base could not be had again from the start that is saved.
    """
    from peft.tuners.lora.layer import LoraLayer

    def exact(name: str) -> Any:
        init = getattr(LoraLayer, name)

        def start(layer: Any, adapter_name: str, *settings: Any) -> None:
            before = layer.get_base_layer().weight.data
            init(layer, adapter_name, *settings)
            if before.dtype not in (torch.bfloat16, torch.float16):
                return
            with torch.no_grad():
                for half in (layer.lora_A, layer.lora_B):
                    weight = half[adapter_name].weight
                    weight.data = weight.data.to(before.dtype)
                _take_out(layer, before)

        return start

    with ExitStack() as patches:
        for name in ("pissa_init", "olora_init", "corda_init", "lora_ga_init"):
            patches.enter_context(mock.patch.object(LoraLayer, name, exact(name)))
        yield


def _eva(attached: nn.Module, config: Any, batches: Sequence[Batch], method: Method) -> None:
    import peft

    wanted = round(config.r * config.eva_config.rho)
    enough = [b for b in batches if _tokens(b) >= wanted]
    if not enough:
        # peft would pass over every batch, for ever
        raise IllegalRecipe(
            f"{method.name} needs {wanted} tokens in a batch to find {wanted} directions (rank x rho), and the "
            f"largest of these has {max(map(_tokens, batches))}",
            hints=["a larger micro-batch, a lower rank, or rho 1"],
            method=method.name,
        )
    try:
        peft.initialize_lora_eva_weights(
            attached,
            dataloader=enough,
            prepare_model_inputs_fn=None,
            prepare_layer_inputs_fn=_real_positions,
            show_progress_bar=False,
        )
    except (ValueError, RuntimeError, IndexError) as error:
        raise _impossible(method, error) from error


def _tokens(batch: Batch) -> int:
    return min(int(mask.sum()) for mask in _masks(batch)) if _masks(batch) else 0


def _masks(batch: Batch) -> list[torch.Tensor]:
    """[B, T] each: which positions hold a token, of the input and of a target that is encoded apart."""
    found = [batch["attention_mask"].bool()] if "attention_mask" in batch else []
    labels = batch.get("labels")
    if labels is not None and labels.dim() == 2:
        trained = labels != -100
        found = [found[0] & trained] if found and found[0].shape == trained.shape else [*found, trained]
    return found


def _real_positions(layer_input: Any, batch: Batch, name: str) -> torch.Tensor:
    """[N, width] what a layer is given at positions that are no padding, and (of a language model) are learned."""
    states: torch.Tensor = layer_input[0] if is_sequence(layer_input) else layer_input
    for mask in _masks(batch):
        if states.dim() == 3 and states.shape[:2] == mask.shape:
            return states[mask.to(states.device)]
    return states.reshape(-1, states.shape[-1])


def _forward(model: nn.Module, batches: Sequence[Batch]) -> None:
    with torch.no_grad():
        for row in one_by_one(model, batches):
            model(**row)


def _backward(model: nn.Module, batches: Sequence[Batch]) -> None:
    for batch in batches:
        model(**batch).loss.backward()


def _plain(value: Any) -> Any:
    return sorted(value) if is_set(value) else value


def _impossible(method: Method, error: BaseException) -> IllegalRecipe:
    lines = str(error).strip().splitlines()
    return IllegalRecipe(
        f"{method.name}: its start cannot be computed from these rows",
        cause=lines[0] if lines else type(error).__name__,
        hints=["--method lora starts without data"],
        method=method.name,
    )
