"""Optimizers that methods are defined by: LoRA+ (two rates), LoRA-FA (projected B), GaLore (projected gradients)."""

# pyright: reportUnknownMemberType=false
# peft's functions name only some of their types

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from advisor.assembly.adapters.low_rank import singular_vectors
from advisor.catalog.methods import find_method, options_of
from advisor.domain.recipe import Recipe
from advisor.errors import IllegalRecipe, UnknownName


def make_method_optimizer(name: str, model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """The optimizer `name` (a Method's `optimizer`) over the model's trainable parameters.

    Raises:
        UnknownName: no such optimizer.
        IllegalRecipe: the model carries no adapter it is made for.
    """
    made = OPTIMIZERS.get(name)
    if made is None:
        raise UnknownName.of("optimizer", name, sorted(OPTIMIZERS), list_with="advisor methods")
    return made(model, recipe, lr)


def _lora_config(model: nn.Module, name: str) -> Any:
    config = getattr(model, "peft_config", {}).get("default")
    if config is None or not hasattr(config, "lora_alpha"):
        raise IllegalRecipe(f"{name} needs a LoRA adapter on the model", hints=[f"--method {name}"])
    return config


def _loraplus(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Hayou et al. 2024, arXiv:2402.12354: B learns `rate_ratio` times as fast as A."""
    from peft import optimizers

    _lora_config(model, "lora-plus")
    method = find_method("lora-plus")
    ratio = options_of(method, recipe.options if recipe.adapter_config is None else {})["rate_ratio"]
    made: torch.optim.Optimizer = optimizers.create_loraplus_optimizer(
        model,  # type: ignore[arg-type]
        torch.optim.AdamW,
        lr=lr,
        loraplus_lr_ratio=ratio,
        weight_decay=recipe.weight_decay,
    )
    return made


def _lorafa(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    """Zhang et al. 2023, arXiv:2308.03303: B's gradient is mapped to that of the full update."""
    from peft.optimizers import create_lorafa_optimizer

    config = _lora_config(model, "lora-fa")
    made: torch.optim.Optimizer = create_lorafa_optimizer(
        model,  # type: ignore[arg-type]
        r=config.r,
        lora_alpha=config.lora_alpha,
        lr=lr,
        weight_decay=recipe.weight_decay,
    )
    return made


def _galore(model: nn.Module, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    options = options_of(find_method("galore"), recipe.options)
    return GaLoreAdamW(
        (p for p in model.parameters() if p.requires_grad),
        lr=lr,
        weight_decay=recipe.weight_decay,
        rank=options["rank"],
        refresh_every=options["refresh_every"],
        scale=options["scale"],
    )


class GaLoreAdamW(torch.optim.Optimizer):
    """AdamW whose moments of a matrix live in a low-rank subspace of its gradient (Zhao et al. 2024, arXiv:2403.03507).

    A gradient G [O, I] is projected on its `rank` leading singular vectors, of the shorter side, taken anew every
    `refresh_every` steps; the moments have the projected shape, and the step is projected back times `scale`.
    Vectors and matrices no wider than `rank` get plain AdamW.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float = 0.0,
        rank: int = 128,
        refresh_every: int = 200,
        scale: float = 0.25,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "rank": rank,
            "refresh_every": refresh_every,
            "scale": scale,
            "betas": betas,
            "eps": eps,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)
        return loss

    def _step_one(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state: dict[str, Any] = self.state[parameter]
        gradient = parameter.grad
        assert gradient is not None
        low_rank = gradient.dim() == 2 and min(gradient.shape) > group["rank"]
        count = state["step"] = state.get("step", 0) + 1
        if low_rank:
            if (count - 1) % group["refresh_every"] == 0:
                state["basis"] = _leading_basis(gradient, group["rank"])
            gradient = _project(gradient, state["basis"])
        if "mean" not in state:
            state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        first, second = group["betas"]
        mean, square = state["mean"], state["square"]
        mean.mul_(first).add_(gradient, alpha=1 - first)
        square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = group["lr"] * (1 - second**count) ** 0.5 / (1 - first**count)
        update = mean / square.sqrt().add_(group["eps"])
        if low_rank:
            update = _project_back(update, state["basis"], parameter.shape) * group["scale"]
        if group["weight_decay"]:
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.to(parameter.dtype), alpha=-size)


def _leading_basis(gradient: torch.Tensor, rank: int) -> torch.Tensor:
    """[shorter side, rank] leading singular vectors of the shorter side, by the exact SVD, as published."""
    left, right = singular_vectors(gradient.float())
    basis = left[:, :rank] if gradient.shape[0] <= gradient.shape[1] else right[:rank].T
    return basis.to(gradient.dtype).contiguous()


def _project(gradient: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    return basis.T @ gradient if gradient.shape[0] <= gradient.shape[1] else gradient @ basis


def _project_back(update: torch.Tensor, basis: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    return basis @ update if shape[0] <= shape[1] else update @ basis.T


OPTIMIZERS: dict[str, Callable[[nn.Module, Recipe, float], torch.optim.Optimizer]] = {
    "loraplus": _loraplus,
    "lorafa": _lorafa,
    "galore": _galore,
}
