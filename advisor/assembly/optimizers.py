"""Optimizers by the names transformers' TrainingArguments gives them, as they run on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from advisor.domain.recipe import Recipe
from advisor.errors import MissingExtra, UnknownName

if TYPE_CHECKING:
    import torch
    from torch import nn

DEFAULT_LEARNING_RATE = 1e-4
"""Only for recipes that have not chosen one, and for traces, which do not depend on it."""


def make_optimizer(model: nn.Module, recipe: Recipe, method_optimizer: str | None = None) -> torch.optim.Optimizer:
    """The optimizer of a recipe over the model's trainable parameters.

    `method_optimizer` is set for methods that are defined by an optimizer (LoRA+, LoRA-FA, GaLore).

    Raises:
        UnknownName: no such optimizer.
        MissingExtra: 8-bit and paged optimizers without bitsandbytes.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    lr = recipe.learning_rate or DEFAULT_LEARNING_RATE
    if method_optimizer is not None:
        from advisor.assembly.adapters.optimizers import make_method_optimizer

        return make_method_optimizer(method_optimizer, model, recipe, lr)
    if recipe.optimizer not in OPTIMIZERS:
        raise UnknownName.of("optimizer", recipe.optimizer, sorted(OPTIMIZERS), list_with="advisor estimate --help")
    return OPTIMIZERS[recipe.optimizer](parameters, lr, recipe.weight_decay)


def _adamw(**flags: Any) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        import torch

        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, **flags)

    return make


def _sgd(momentum: float) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        import torch

        return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=momentum)

    return make


def _adafactor(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    return Adafactor(parameters, lr=lr, weight_decay=decay, scale_parameter=False, relative_step=False)


def _plain(name: str) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        import torch

        return getattr(torch.optim, name)(parameters, lr=lr, weight_decay=decay)

    return make


def _bitsandbytes(kind: str, **flags: Any) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        try:
            from bitsandbytes import optim
        except ImportError as error:
            raise MissingExtra.of("bitsandbytes", extra="quant", why="an 8-bit or paged optimizer") from error
        return getattr(optim, kind)(parameters, lr=lr, weight_decay=decay, **flags)

    return make


OPTIMIZERS: dict[str, Callable[[list[Any], float, float], torch.optim.Optimizer]] = {
    "adamw_torch": _adamw(),
    "adamw_torch_fused": _adamw(fused=True),
    "adamw_torch_loop": _adamw(foreach=False),
    "adamw_8bit": _bitsandbytes("AdamW", optim_bits=8),
    "adamw_bnb_8bit": _bitsandbytes("AdamW", optim_bits=8),
    "paged_adamw_8bit": _bitsandbytes("AdamW", optim_bits=8, is_paged=True),
    "paged_adamw_32bit": _bitsandbytes("AdamW", optim_bits=32, is_paged=True),
    "lion_8bit": _bitsandbytes("Lion", optim_bits=8),
    "lion_32bit": _bitsandbytes("Lion", optim_bits=32),
    "adafactor": _adafactor,
    "adagrad": _plain("Adagrad"),
    "rmsprop": _plain("RMSprop"),
    "sgd": _sgd(0.0),
    "sgd_momentum": _sgd(0.9),
}
"""Names follow transformers.OptimizerNames; `adamw_torch` is torch's own choice on CUDA: foreach."""
