"""Checkpointing whose layer inputs wait in the host's memory, as unsloth's does.

The copies run beside the computation on a stream of their own, so that they take no time here; each layer's input
comes back to the device just before the layer runs again. Source: unsloth_zoo 2026.10.9, gradient_checkpointing.py;
it leaves inputs below 2 MiB on the device, which is not modelled.
"""

# pyright: reportUnknownMemberType=false, reportPrivateUsage=false
# torch's autograd functions say no types

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import nn

Context = Callable[[], AbstractContextManager[None]]


def offload_checkpoints(model: nn.Module, recomputing: Context) -> None:
    """Put it in the place of torch's in every module that checkpoints; `recomputing` surrounds a layer's second run."""

    kernel: Any = _Offloaded

    def checkpoint(function: Callable[..., Any], *args: Any, **_: Any) -> Any:
        return kernel.apply(function, recomputing, *args)

    for module in model.modules():
        if hasattr(module, "_gradient_checkpointing_func"):
            setattr(module, "_gradient_checkpointing_func", checkpoint)  # noqa: B010 (no submodule, as torch's types say)


class _Offloaded(torch.autograd.Function):
    """hidden[B,S,H] and whatever else a layer takes -> what the layer returns."""

    @staticmethod
    def forward(ctx: Any, function: Any, recomputing: Any, hidden: Any, *args: Any) -> Any:
        ctx.form = (hidden.shape, hidden.dtype)
        ctx.function, ctx.recomputing, ctx.others = function, recomputing, args
        with torch.no_grad():
            return function(hidden, *args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        from torch.autograd.graph import _engine_run_backward

        shape, dtype = ctx.form
        hidden = torch.empty(shape, dtype=dtype, device="meta", requires_grad=True)
        with torch.enable_grad(), ctx.recomputing():
            out: Any = ctx.function(hidden, *ctx.others)
        out = cast("tuple[Any, ...]", out)[0] if isinstance(out, tuple) else out
        # torch.autograd.backward would leave the function modes before it runs
        _engine_run_backward((out,), (grads[0],), False, False, (), allow_unreachable=True, accumulate_grad=True)
        return (None, None, hidden.grad, *(None for _ in ctx.others))
