"""Optimizers by the names transformers' TrainingArguments gives them, as they run on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from advisor.catalog.optimizer_names import find_optimizer
from advisor.domain.plain_values import is_list
from advisor.domain.recipe import Recipe
from advisor.errors import MissingExtra

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
        IllegalRecipe: one of transformers' that is not modelled, with the reason.
        MissingExtra: one of another library's without its package.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    lr = recipe.learning_rate or DEFAULT_LEARNING_RATE
    if method_optimizer is not None:
        from advisor.assembly.adapters.method_optimizers import make_method_optimizer

        return make_method_optimizer(method_optimizer, model, recipe, lr)
    named = find_optimizer(recipe.optimizer)
    if named.in_backward:
        from advisor.assembly.library_optimizers.fused_backward import fused_optimizer

        return fused_optimizer(named.name, model, lr, recipe.weight_decay)
    return OPTIMIZERS[named.name](parameters, lr, recipe.weight_decay)


def give_own_rate(optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], rate: float) -> None:
    """Let some of an optimizer's parameters, before its first step, learn at a rate of their own.

    They leave their groups for new ones that differ in the rate only; what else a group lists by parameter (the
    names LoRA-FA goes by) goes with them.
    """
    own = {id(p) for p in parameters}
    for group in list(optimizer.param_groups):
        moved = [i for i, p in enumerate(group["params"]) if id(p) in own]
        if not moved:
            continue
        count = len(group["params"])
        listed = [name for name, value in group.items() if is_list(value) and len(value) == count]
        optimizer.param_groups.append({**group, **{n: [group[n][i] for i in moved] for n in listed}, "lr": rate})
        for name in listed:
            group[name] = [value for i, value in enumerate(group[name]) if i not in set(moved)]
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


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


def _stable_adamw(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
    from advisor.assembly.library_optimizers.kahan_summation import stable_adamw

    return stable_adamw(parameters, lr, decay)


def _plain(name: str) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        import torch

        return getattr(torch.optim, name)(parameters, lr=lr, weight_decay=decay)

    return make


def _bitsandbytes(kind: str, bits: int, **flags: Any) -> Callable[[list[Any], float, float], torch.optim.Optimizer]:
    def make(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
        try:
            from bitsandbytes import optim
        except ImportError as error:
            raise MissingExtra.of("bitsandbytes", extra="quant", why="this optimizer") from error
        made: Any = getattr(optim, kind)(parameters, lr=lr, weight_decay=decay, optim_bits=bits, **flags)
        if flags.get("is_paged") and any(p.device.type == "meta" for p in parameters):
            _page_on_meta(made)
        return made

    return make


PAGED_FROM = 10**5
"""Elements from which bitsandbytes pages a state tensor; smaller ones lie in ordinary device memory.

Source: bitsandbytes 0.49, optim/optimizer.py, get_state_buffer.
"""


def _page_on_meta(optimizer: Any) -> None:
    """Paged state without CUDA's unified memory: tensors marked `is_paged`, which the allocator never hands out."""
    import torch
    from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore

    def buffer(shape: torch.Size, dtype: torch.dtype) -> torch.Tensor:
        with _disable_current_modes():
            made: Any = torch.empty(shape, dtype=dtype, device="meta")
        made.is_paged = True
        return made

    def single(p: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.zeros_like(p, dtype=dtype) if p.numel() < PAGED_FROM else buffer(p.shape, dtype)

    def double(p: Any, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        shape = torch.Size((2, *p.shape))
        return torch.zeros(shape, dtype=dtype, device=p.device) if p.numel() < PAGED_FROM else buffer(shape, dtype)

    optimizer.get_state_buffer = single
    optimizer._get_state_double_buffer = double  # AdEMAMix keeps two momenta in one tensor
    optimizer.prefetch_state = lambda p: None  # type: ignore[assignment]


OPTIMIZERS: dict[str, Callable[[list[Any], float, float], torch.optim.Optimizer]] = {
    "adamw_torch": _adamw(),
    "adamw_torch_fused": _adamw(fused=True),
    "adamw_torch_loop": _adamw(foreach=False),
    "adamw_8bit": _bitsandbytes("AdamW", 8),
    "adamw_bnb_8bit": _bitsandbytes("AdamW", 8),
    "paged_adamw_8bit": _bitsandbytes("AdamW", 8, is_paged=True),
    "paged_adamw_32bit": _bitsandbytes("AdamW", 32, is_paged=True),
    "ademamix": _bitsandbytes("AdEMAMix", 32),
    "ademamix_8bit": _bitsandbytes("AdEMAMix", 8),
    "paged_ademamix_32bit": _bitsandbytes("AdEMAMix", 32, is_paged=True),
    "paged_ademamix_8bit": _bitsandbytes("AdEMAMix", 8, is_paged=True),
    "lion_8bit": _bitsandbytes("Lion", 8),
    "lion_32bit": _bitsandbytes("Lion", 32),
    "paged_lion_8bit": _bitsandbytes("Lion", 8, is_paged=True),
    "paged_lion_32bit": _bitsandbytes("Lion", 32, is_paged=True),
    "rmsprop_bnb": _bitsandbytes("RMSprop", 32),
    "rmsprop_bnb_8bit": _bitsandbytes("RMSprop", 8),
    "rmsprop_bnb_32bit": _bitsandbytes("RMSprop", 32),
    "stable_adamw": _stable_adamw,
    "adafactor": _adafactor,
    "adagrad": _plain("Adagrad"),
    "rmsprop": _plain("RMSprop"),
    "sgd": _sgd(0.0),
    "sgd_momentum": _sgd(0.9),
}
"""Names follow transformers.OptimizerNames; `adamw_torch` is torch's own choice on CUDA: foreach."""
