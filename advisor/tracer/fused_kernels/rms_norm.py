"""torch's own RMS norm as CUDA runs it: one kernel, where the meta device would take it apart into float32 ops.

Source: torch 2.13, aten/src/ATen/native/layer_norm.cpp (`rms_norm`: fused unless the weight's type is another than the
input's) and cuda/layer_norm_kernel.cu (`_fused_rms_norm`).

Shapes: N rows, H width.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

import functools
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder


@contextmanager
def fused_rms_norms(model: nn.Module, recorder: Recorder) -> Generator[None]:
    """The model with the fused kernel in each `torch.nn.RMSNorm`, while inside."""
    norms = [module for module in model.modules() if isinstance(module, nn.RMSNorm)]
    before = [module.forward for module in norms]
    for module, original in zip(norms, before, strict=True):
        module.forward = functools.partial(_fused, module, original, recorder)
    try:
        yield
    finally:
        for module, original in zip(norms, before, strict=True):
            module.forward = original


def _fused(module: Any, original: Callable[[Any], Any], recorder: Any, x: Any) -> Any:
    if module.weight is not None and module.weight.dtype != x.dtype:
        return original(x)
    return cast("Any", _FusedNorm).apply(x, module.weight, recorder)


class _FusedNorm(torch.autograd.Function):
    """x[N,H], weight[H] -> [N,H] in the input's type; the input and a float32 number a row are kept."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, recorder: Any) -> Any:
        rows = x.contiguous()
        out = torch.empty_like(rows)
        scales = torch.empty(*rows.shape[:-1], 1, dtype=torch.float32, device=rows.device)
        _note(recorder, "_fused_rms_norm", rows, out)
        ctx.save_for_backward(x, weight, scales)
        ctx.recorder = recorder
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, weight, _ = ctx.saved_tensors
        grad, rows = grads[0].contiguous(), x.contiguous()
        made = torch.empty_like(rows)
        trained = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        _note(ctx.recorder, "_fused_rms_norm_backward", grad, rows, made)
        return made, trained, None


def _note(recorder: Any, name: str, *moved: Any) -> None:
    sizes = tuple(t.numel() * t.element_size() for t in moved)
    recorder.note(name, "elementwise", dtype_name(moved[0].dtype), 0, sizes, 1)
