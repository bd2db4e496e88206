"""Liger's layer kernels as they allocate and compute: RMS norms, gated products and rotary embeddings.

Each keeps less for the backward pass than the model's own ops do, and writes gradients where the forward pass's
values lay. Source: liger_kernel 0.8.5, ops/rms_norm.py, swiglu.py, geglu.py, rope.py and transformers/monkey_patch.py;
`tests/tracer/test_liger.py` holds what is traced equal to what was recorded of Liger's own code.

Shapes: B samples, S tokens, H width, I inner width.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import torch
from torch import nn

from advisor.assembly.adapters.module_search import named_modules
from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

NORM_ROWS: Final = 128
"""Rows of partial sums of a norm's weight gradient: one a multiprocessor, 80 to 148 on cards since Volta."""
_GRADIENT_OF_ITS_OWN: Final = frozenset({"gemma2", "gemma3_text", "olmo2", "olmo3", "glm4", "exaone4"})
"""Models whose norms must not overwrite the gradient they are given."""
_OWN_ROTARY: Final = frozenset({"glm4"})
_NORMS_LEFT: Final = {"olmo2": ("q_norm", "k_norm"), "olmo3": ("q_norm", "k_norm")}
"""Norms of a model that was built already which Liger leaves as they are."""
_ROTARY: Final = "apply_rotary_pos_emb"


@contextmanager
def liger_layers(model: Any, model_type: str, recorder: Recorder) -> Generator[None]:
    """The model with Liger's layer kernels in the place of its own, while inside."""
    replaced: list[tuple[nn.Module, Callable[..., Any]]] = []
    in_place = model_type not in _GRADIENT_OF_ITS_OWN
    modeling: Any = None
    for name, module in named_modules(model):
        if name.endswith(_NORMS_LEFT.get(model_type, ())):
            continue
        forward = _forward_of(module, recorder, in_place)
        if forward is not None:
            replaced.append((module, module.forward))
            module.forward = forward
            modeling = sys.modules[type(module).__module__]
    patch = mock.patch.object(modeling, _ROTARY, _rotary(recorder)) if hasattr(modeling, _ROTARY) else None
    try:
        if patch is None or model_type in _OWN_ROTARY:
            yield
        else:
            with patch:
                yield
    finally:
        for module, original in replaced:
            module.forward = original


def _applied(function: Any, *args: Any) -> Any:
    """A function of autograd, whose own types torch does not say."""
    return function.apply(*args)


def _forward_of(module: Any, recorder: Recorder, in_place: bool) -> Callable[..., Any] | None:
    if type(module).__name__.endswith("RMSNorm"):

        def norm(hidden: Any) -> Any:
            return _applied(_Norm, hidden, module.weight, recorder, in_place)

        return norm
    if all(hasattr(module, name) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")):

        def gated(x: Any) -> Any:
            return module.down_proj(_applied(_GatedProduct, module.gate_proj(x), module.up_proj(x), recorder))

        return gated
    if all(hasattr(module, name) for name in ("gate_up_proj", "down_proj", "activation_fn")):

        def both(x: torch.Tensor) -> torch.Tensor:
            gate, up = module.gate_up_proj(x).chunk(2, dim=-1)
            return module.down_proj(_GatedProduct.apply(gate, up, recorder))

        return both
    return None


def _note(recorder: Any, name: str, *moved: torch.Tensor) -> None:
    sizes = tuple(t.numel() * t.element_size() for t in moved)
    recorder.note(name, "elementwise", dtype_name(moved[0].dtype), 0, sizes, 1)


class _Norm(torch.autograd.Function):
    """hidden[B,S,H], weight[H] -> [B,S,H] in the hidden states' type; a float32 number a row is kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, recorder: Any, in_place: bool) -> Any:
        hidden = hidden.contiguous()
        out = torch.empty_like(hidden)
        scales = torch.empty(hidden.numel() // hidden.shape[-1], dtype=torch.float32, device="meta")
        _note(recorder, "liger_norm", hidden, out)
        ctx.save_for_backward(hidden, weight, scales)
        ctx.recorder, ctx.in_place = recorder, in_place
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        hidden, weight, _ = ctx.saved_tensors
        grad = grads[0].contiguous()
        partial = None
        if ctx.needs_input_grad[1]:
            partial = torch.empty(NORM_ROWS, weight.shape[0], dtype=torch.float32, device="meta")
        made = grad if ctx.in_place else torch.zeros_like(grad)
        _note(ctx.recorder, "liger_norm_backward", grad, hidden, made)
        return made, partial.sum(dim=0).to(weight.dtype) if partial is not None else None, None, None


class _GatedProduct(torch.autograd.Function):
    """gate[B,S,I], up[B,S,I] -> act(gate) * up; both are kept and become their own gradients."""

    @staticmethod
    def forward(ctx: Any, gate: Any, up: Any, recorder: Any) -> Any:
        gate, up = gate.contiguous(), up.contiguous()
        out = torch.empty_like(gate)
        _note(recorder, "liger_gated", gate, up, out)
        ctx.save_for_backward(gate, up)
        ctx.recorder = recorder
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        gate, up = ctx.saved_tensors
        grad = grads[0].contiguous()
        _note(ctx.recorder, "liger_gated_backward", grad, gate, up, gate, up)
        return gate, up, None


def _rotary(recorder: Any) -> Callable[..., Any]:
    def rotary(q: Any, k: Any, cos: Any, sin: Any, *args: Any, **kwargs: Any) -> Any:
        return _applied(_Rotary, q, k, cos, sin, recorder)

    return rotary


class _Rotary(torch.autograd.Function):
    """q[B,heads,S,width], k turned in place, where the projections left them; cosines and sines are kept."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, cos: Any, sin: Any, recorder: Any) -> Any:
        q, k = q.transpose(1, 2).contiguous(), k.transpose(1, 2).contiguous()
        cos, sin = cos.contiguous(), sin.contiguous()
        _note(recorder, "liger_rotary", q, q, k, k)
        ctx.save_for_backward(cos, sin)
        ctx.recorder = recorder
        return q.transpose(1, 2), k.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        q, k = (grad.transpose(1, 2).contiguous() for grad in grads)
        _note(ctx.recorder, "liger_rotary_backward", q, q, k, k)
        return q.transpose(1, 2), k.transpose(1, 2), None, None, None
