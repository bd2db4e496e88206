"""Fused LoRA projections as unsloth's and axolotl's kernels allocate and compute them.

A gated feed-forward with three adapted projections is one node: it keeps its input and the two inner activations, not
what goes into the last projection, and writes gradients over what it kept. Any other adapted projection keeps its
input alone. Sources: unsloth 2026.10.9, kernels/fast_lora.py; axolotl 0.19, kernels/lora.py, which is made from it.
Both write an attention's three input gradients into one tensor; here each has its own, an upper bound.

Shapes: N tokens, H width, I inner width, R rank.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder


@contextmanager
def lora_kernels(model: Any, recorder: Recorder) -> Generator[None]:
    """The model with fused LoRA projections in the place of peft's, while inside."""
    replaced: list[tuple[nn.Module, Callable[..., Any]]] = []
    inside: set[int] = set()
    for module in list(cast("nn.Module", model).modules()):
        forward = _gated(module, recorder, inside) or (None if id(module) in inside else _single(module, recorder))
        if forward is not None:
            replaced.append((module, module.forward))
            module.forward = forward
    try:
        yield
    finally:
        for module, original in replaced:
            module.forward = original


def _factors(module: Any) -> tuple[Any, Any] | None:
    """The two factors of a projection that LoRA alone adapts, without dropout or DoRA; None for any other module."""
    if not all(hasattr(module, name) for name in ("lora_A", "lora_B", "active_adapters", "get_base_layer")):
        return None
    active = list(module.active_adapters)
    plain = len(active) == 1 and active[0] in module.lora_A and not getattr(module, "lora_variant", {}).get(active[0])
    dropped = plain and not isinstance(module.lora_dropout[active[0]], nn.Identity)
    if not plain or dropped or not hasattr(module.get_base_layer(), "out_features"):
        return None
    return module.lora_A[active[0]].weight, module.lora_B[active[0]].weight


def _gated(module: Any, recorder: Any, inside: set[int]) -> Callable[..., Any] | None:
    names = ("gate_proj", "up_proj", "down_proj")
    if not all(hasattr(module, name) for name in (*names, "act_fn")):
        return None
    parts = [getattr(module, name) for name in names]
    factors = [_factors(part) for part in parts]
    if any(one is None for one in factors):
        return None
    inside.update(id(part) for part in parts)
    flat = [weight for pair in factors if pair is not None for weight in pair]
    bases = tuple(part.get_base_layer() for part in parts)
    kernel: Any = _GatedLora

    def gated(x: Any) -> Any:
        return kernel.apply(x, *flat, bases, recorder)

    return gated


def _single(module: Any, recorder: Any) -> Callable[..., Any] | None:
    factors = _factors(module)
    if factors is None:
        return None
    base = module.get_base_layer()
    kernel: Any = _Lora

    def single(x: Any, *args: Any, **kwargs: Any) -> Any:
        return kernel.apply(x, *factors, base, recorder)

    return single


def _weight(base: Any, dtype: torch.dtype, recorder: Any) -> torch.Tensor:
    """[out, in] of a base layer in the type that is computed in; a quantised one is written out for each product."""
    weight = base.weight
    if weight.is_floating_point():
        return weight.to(dtype)
    made = torch.empty(base.out_features, base.in_features, dtype=dtype, device="meta")
    size = made.numel() * made.element_size()
    held = weight.numel() * weight.element_size()
    recorder.note("dequantise", "elementwise", dtype_name(dtype), 0, (held, size), 1)
    return made


def _projected(x: torch.Tensor, base: Any, a: torch.Tensor, b: torch.Tensor, recorder: Any) -> torch.Tensor:
    """[N, in] -> [N, out]: the base's product, and the adapter's added to it in place."""
    out = x @ _weight(base, x.dtype, recorder).t()
    out.addmm_(x @ a.to(x.dtype).t(), b.to(x.dtype).t())
    return out if base.bias is None else out.add_(base.bias.to(x.dtype))


def _gradients(x: torch.Tensor, dy: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Of both factors; and dy @ b, which the input's gradient takes too."""
    through = dy @ b.to(dy.dtype)
    return (through.t() @ x).to(a.dtype), (dy.t() @ (x @ a.to(x.dtype).t())).to(b.dtype), through


class _Lora(torch.autograd.Function):
    """x[..., in], a[R, in], b[out, R] -> [..., out]."""

    @staticmethod
    def forward(ctx: Any, x: Any, a: Any, b: Any, base: Any, recorder: Any) -> Any:
        out = _projected(x.reshape(-1, x.shape[-1]), base, a, b, recorder)
        ctx.save_for_backward(x, a, b)
        ctx.base, ctx.recorder = base, recorder
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, a, b = ctx.saved_tensors
        dy, flat = grads[0].reshape(-1, grads[0].shape[-1]), x.reshape(-1, x.shape[-1])
        da, db, through = _gradients(flat, dy, a, b)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = dy @ _weight(ctx.base, dy.dtype, ctx.recorder)
            dx = dx.addmm_(through, a.to(dy.dtype)).view(x.shape)
        return dx, da, db, None, None


class _GatedLora(torch.autograd.Function):
    """x[..., H] through gate and up [I, H] and down [H, I], each with its factors -> [..., H]."""

    @staticmethod
    def forward(
        ctx: Any, x: Any, ga: Any, gb: Any, ua: Any, ub: Any, da: Any, db: Any, bases: Any, recorder: Any
    ) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        gate = _projected(flat, bases[0], ga, gb, recorder)
        up = _projected(flat, bases[1], ua, ub, recorder)
        inner = _passed(recorder, "gated", gate, up, torch.empty_like(gate))
        out = _projected(inner, bases[2], da, db, recorder)
        ctx.save_for_backward(x, gate, up, ga, gb, ua, ub, da, db)
        ctx.bases, ctx.recorder = bases, recorder
        return out.view(x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, gate, up, ga, gb, ua, ub, da, db = ctx.saved_tensors
        recorder, bases = ctx.recorder, ctx.bases
        dy, flat = grads[0].reshape(-1, grads[0].shape[-1]), x.reshape(-1, x.shape[-1])
        inner = dy @ _weight(bases[2], dy.dtype, recorder)
        inner.addmm_(dy @ db.to(dy.dtype), da.to(dy.dtype))
        # the kernel leaves the inner activation in `inner`, and the two gradients where gate and up lay
        _passed(recorder, "gated_backward", inner, gate, up)
        d_da, d_db, _ = _gradients(inner, dy, da, db)
        d_ua, d_ub, through_up = _gradients(flat, up, ua, ub)
        d_ga, d_gb, through_gate = _gradients(flat, gate, ga, gb)
        dx = flat
        for d, through, a, base in ((up, through_up, ua, bases[1]), (gate, through_gate, ga, bases[0])):
            # written over the input that was kept
            dx.addmm_(d, _weight(base, d.dtype, recorder))
            dx.addmm_(through, a.to(d.dtype))
        return dx.view(x.shape), d_ga, d_gb, d_ua, d_ub, d_da, d_db, None, None


def _passed(recorder: Any, name: str, *moved: torch.Tensor) -> torch.Tensor:
    """One kernel that reads and writes all of these; the last is what it makes."""
    sizes = tuple(t.numel() * t.element_size() for t in moved)
    recorder.note(name, "elementwise", dtype_name(moved[0].dtype), 0, sizes, 1)
    return moved[-1]
