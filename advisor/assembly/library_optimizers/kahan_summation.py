"""optimi's StableAdamW, whose sum keeps in 16 bits what rounding would take away; and its stand-in for a trace.

Kahan 1965, doi:10.1145/363707.363723: each weight has a second number of its own type that carries what did not fit.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

import torch

from advisor.assembly.library_optimizers.stand_in_kernels import define_kernels
from advisor.errors import MissingExtra

BETAS: Final = (0.9, 0.999)
EPSILON: Final = 1e-8
"""What transformers hands on for `stable_adamw`: adam_beta1, adam_beta2 and adam_epsilon of its TrainingArguments."""
SIGNATURES: Final = {
    "stableadamw_exp_avg": "(Tensor grad, Tensor(a0!) exp_avg, Tensor(a1!) exp_avg_sq, Tensor(a2!) mean_square) -> ()",
    "stableadamw_update": "(Tensor(a0!) param, Tensor exp_avg, Tensor exp_avg_sq, Tensor(a1!) kahan_comp, "
    "Tensor mean_square) -> ()",
}


def stable_adamw(parameters: list[Any], lr: float, decay: float) -> torch.optim.Optimizer:
    """transformers' `stable_adamw`; on no device its stand-in.

    Raises:
        MissingExtra: torch-optimi is not installed, and something is to be trained.
    """
    if any(p.device.type == "meta" for p in parameters):
        return TracedStableAdamW(parameters, lr, decay)
    try:
        optimi: Any = importlib.import_module("optimi")
    except ImportError as error:
        raise MissingExtra.of("torch-optimi", extra="optimi", why="the optimizer stable_adamw") from error
    made: torch.optim.Optimizer = optimi.StableAdamW(parameters, lr=lr, betas=BETAS, eps=EPSILON, weight_decay=decay)
    return made


class TracedStableAdamW(torch.optim.Optimizer):
    """What StableAdamW allocates and launches on a card that runs Triton: its state, then two kernels a parameter.

    Source: torch-optimi 0.3.3, stableadamw.py (`_init_state`, `_triton_stableadamw`).
    """

    def __init__(self, params: Any, lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        define_kernels("optimi", SIGNATURES)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and not self.state[p]:
                    self._init_state(p)
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p)

    def _init_state(self, p: torch.Tensor) -> None:
        state = self.state[p]
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        state["eps_sq"] = torch.zeros((), dtype=p.dtype, device=p.device)
        if p.dtype in (torch.bfloat16, torch.float16):
            state["kahan_comp"] = torch.zeros_like(p)
        else:  # nothing is carried, but the kernel is given a byte to point at
            state["kahan_comp"] = torch.zeros(1, dtype=torch.uint8, device=p.device)
        state["mean_square"] = torch.zeros(1, dtype=torch.float32, device=p.device)

    def _update(self, p: torch.Tensor) -> None:
        state = self.state[p]
        moments = (state["exp_avg"], state["exp_avg_sq"])
        torch.ops.optimi.stableadamw_exp_avg(p.grad, *moments, state["mean_square"])
        torch.ops.optimi.stableadamw_update(p, *moments, state["kahan_comp"], state["mean_square"])
