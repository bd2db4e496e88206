"""LOMO and AdaLomo, which update each parameter within the backward pass, and their stand-ins for a trace.

Lv et al. 2023, arXiv:2306.09782 and 2310.10195. A gradient lives until the hook of the next one updates its parameter
and drops it, so at most two exist at once, the second on its way.
"""

# pyright: reportUnknownMemberType=false
# torch says few of the types of what its tensors do

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, cast

import torch
from torch import nn

from advisor.errors import IllegalRecipe, MissingExtra

LOSS_SCALE: Final = 2.0**10
"""By which AdaLomo multiplies the loss and divides each gradient."""
FLOORS: Final = (1e-30, 1e-3)
"""AdaLomo's: of a squared gradient, and of the size by which a parameter's rate is scaled."""
CLIPPED_FROM: Final = 1.0
"""AdaLomo's: the root mean square of an update from which it is scaled down to it."""
NAMES: Final = {"lomo": "Lomo", "adalomo": "AdaLomo"}


def fused_optimizer(name: str, model: nn.Module, lr: float, decay: float) -> torch.optim.Optimizer:
    """transformers' `lomo` or `adalomo` over a model; on no device its stand-in.

    Raises:
        MissingExtra: lomo-optim is not installed, and something is to be trained.
        IllegalRecipe: AdaLomo over a parameter that is no matrix and no vector.
    """
    if name == "adalomo":
        _refuse_tensors(model)
    if any(p.device.type == "meta" for p in model.parameters()):
        return {"lomo": TracedLomo, "adalomo": TracedAdaLomo}[name](model, lr, decay)
    try:
        library: Any = importlib.import_module("lomo_optim")
    except ImportError as error:
        raise MissingExtra.of("lomo-optim", extra="lomo", why=f"the optimizer {name}") from error
    made: torch.optim.Optimizer = getattr(library, NAMES[name])(model, lr=lr, weight_decay=decay)
    return made


def _refuse_tensors(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        if p.dim() in (1, 2) or (p.dim() > 2 and not p.requires_grad):
            continue
        raise IllegalRecipe(
            f"adalomo keeps statistics of rows and columns, and {name} has {p.dim()} dimensions",
            cause="lomo-optim 0.1.1, AdaLomo.__init__ and fuse_update: it fails in the first backward pass",
            hints=["nearest legal choice: --optimizer lomo"],
            optimizer="adalomo",
        )


class TracedLomo(torch.optim.Optimizer):
    """What LOMO allocates and launches: no state, and two float32 copies of one parameter at a time.

    Source: lomo-optim 0.1.1, lomo.py (`fuse_update`, `fused_backward`), as accelerate 1.15's `lomo_backward` calls it.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        super().__init__(model.parameters(), {"lr": lr, "weight_decay": weight_decay})
        self.backward: Callable[[torch.Tensor], None] = torch.autograd.backward
        self.around_update: Callable[[], AbstractContextManager[None]] = nullcontext
        self.lr, self.decay, self.steps = lr, weight_decay, 0
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self._prepare(model)
        for p in self.trained:
            p.register_hook(self._update)

    def fused_backward(self, loss: torch.Tensor, lr: float) -> None:
        """The backward pass with its updates; the last gradient has no other after it, and is used up at the end."""
        self.lr = lr
        self.steps += 1
        self.backward(self._scaled(loss))
        self._update(None)

    def _prepare(self, model: nn.Module) -> None:
        pass

    def _scaled(self, loss: torch.Tensor) -> torch.Tensor:
        return loss

    @torch.no_grad()
    def _update(self, gradient: torch.Tensor | None) -> torch.Tensor | None:
        """Called with each gradient before it is kept: the one before it is used up."""
        with self.around_update():
            for p in self.trained:
                if p.grad is not None:
                    wide = p.grad.to(torch.float32)
                    p.grad = None
                    self._move(p, wide)
        return gradient

    def _move(self, p: torch.Tensor, gradient: torch.Tensor) -> None:
        value = p.data.to(torch.float32)
        if self.decay:
            value.mul_(1.0 - self.lr * self.decay)
        value.add_(gradient, alpha=-self.lr)
        p.data.copy_(value)


class TracedAdaLomo(TracedLomo):
    """What AdaLomo does: a float32 mean square of each row and column of every parameter, frozen ones too.

    Source: lomo-optim 0.1.1, adalomo.py.
    """

    def _prepare(self, model: nn.Module) -> None:
        for p in model.parameters():
            names = ("exp_avg_sq",) if p.dim() == 1 else ("exp_avg_sq_row", "exp_avg_sq_col")
            for name, size in zip(names, p.shape[:2], strict=True):
                self.state[p][name] = torch.zeros(size, dtype=torch.float32, device=p.device)

    def _scaled(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * LOSS_SCALE

    def _move(self, p: torch.Tensor, gradient: torch.Tensor) -> None:
        state, kept = self.state[p], 1.0 - math.pow(self.steps, -0.8)
        gradient.div_(LOSS_SCALE)
        update = (gradient**2) + FLOORS[0]
        if p.dim() > 1:
            row, column = state["exp_avg_sq_row"], state["exp_avg_sq_col"]
            row.mul_(kept).add_(update.mean(dim=-1), alpha=1.0 - kept)
            column.mul_(kept).add_(update.mean(dim=-2), alpha=1.0 - kept)
            update = torch.mul((row / row.mean(dim=-1, keepdim=True)).rsqrt_().unsqueeze(-1), column.rsqrt())
            update.mul_(gradient)
        else:
            state["exp_avg_sq"].mul_(kept).add_(update, alpha=1.0 - kept)
            update = state["exp_avg_sq"].rsqrt().mul_(gradient)
        spread = cast("torch.Tensor", torch.linalg.vector_norm(update)) / math.sqrt(update.numel())
        update.div_((spread / CLIPPED_FROM).clamp_(min=1.0))
        value = p.data.to(torch.float32)
        size = cast("torch.Tensor", torch.linalg.vector_norm(value)) / math.sqrt(p.numel())
        above = size > FLOORS[1]
        # on a device both are read back here, which no meta tensor can be
        scale: Any = size if p.is_meta or bool(above) else FLOORS[1]
        rate = self.lr * scale
        if self.decay:
            value.mul_(1.0 - rate * self.decay)
        value.add_(update, alpha=-self.lr if p.is_meta else -float(rate))
        p.data.copy_(value)
