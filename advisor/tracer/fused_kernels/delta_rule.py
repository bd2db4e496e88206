"""Gated delta-rule attention (Qwen3.5, Qwen3-Next) as its fused kernels allocate and compute.

transformers' own fallback loops over chunks of 64 tokens in Python, so its step has another form at every length.
The stand-in is what flash-linear-attention's chunked kernels keep and recompute; nobody has checked it against a
GPU here, and the trace says so.

Shapes: B samples, S tokens, H value heads, K and V widths of key and value heads, C = 64 tokens a chunk.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch

from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

CHUNK = 64
_NAME = "torch_chunk_gated_delta_rule"
_BACKWARD_PRODUCTS = 2.5
"""Backward recomputes the forward's products and takes two gradients of most: as for fused attention."""


@contextmanager
def fused_delta_rule(recorder: Recorder) -> Generator[None]:
    """Replace the chunked fallback in every transformers module that has it, while inside."""
    with ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            # not hasattr: that makes transformers' lazy packages import what they name, torchvision among it
            if name.startswith("transformers.models.") and (original := vars(module).get(_NAME)) is not None:
                patches.enter_context(mock.patch.object(module, _NAME, _stand_in(recorder, original)))
        yield


def _stand_in(recorder: Recorder, original: Callable[..., Any]) -> Callable[..., Any]:
    def rule(query: Any, key: Any, value: Any, g: Any, beta: Any, *args: Any, **kwargs: Any) -> Any:
        if query.device.type != "meta":
            return original(query, key, value, g, beta, *args, **kwargs)
        recorder.assume("gated delta rule", "flash-linear-attention's fused kernels, not checked against a GPU")
        heads = value.shape[2]
        if key.shape[2] != heads:
            query, key = (t.repeat_interleave(heads // t.shape[2], dim=2) for t in (query, key))
        last = _last_state(key, value) if kwargs.get("output_final_state") else None
        return _DeltaRule.apply(query, key, value, g, beta, recorder), last

    return rule


def _flop(key: torch.Tensor, value: torch.Tensor) -> int:
    tokens_heads = key.shape[0] * key.shape[1] * key.shape[2]
    k, v = key.shape[3], value.shape[3]
    return 2 * tokens_heads * (3 * CHUNK * k + 2 * CHUNK * v + 3 * k * v)


def _last_state(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """What goes into the cache where one is kept: multimodal models keep one in training, since `use_cache` of their
    text config is not the one that a trainer turns off (transformers 5.23)."""
    return torch.empty(key.shape[0], key.shape[2], key.shape[3], value.shape[3], dtype=torch.float32, device="meta")


def _states(key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    batch, length, heads, k = key.shape
    return torch.empty(batch, -(-length // CHUNK), heads, k, value.shape[3], dtype=key.dtype, device="meta")


class _DeltaRule(torch.autograd.Function):
    """query, key [B,S,H,K], value [B,S,H,V], g and beta [B,S,H] -> [B,S,H,V]."""

    @staticmethod
    def forward(ctx: Any, query: Any, key: Any, value: Any, g: Any, beta: Any, recorder: Any) -> Any:
        batch, length, heads, _ = key.shape
        unit_query, unit_key = query.clone(), key.clone()
        cumulated = torch.empty(batch, length, heads, dtype=torch.float32, device="meta").copy_(g)
        within = torch.empty(batch, length, heads, CHUNK, dtype=key.dtype, device="meta")
        _chunk_temporaries(key, value)
        _note(recorder, "delta_rule", key, value, 1.0, 6)
        ctx.save_for_backward(unit_query, unit_key, value, cumulated, beta, within)
        ctx.recorder = recorder
        return torch.empty_like(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        query, key, value, cumulated, beta, _ = ctx.saved_tensors
        kept = _chunk_temporaries(key, value)
        state_grads = _states(key, value)
        _note(ctx.recorder, "delta_rule_backward", key, value, _BACKWARD_PRODUCTS, 12)
        del kept, state_grads
        made = (torch.empty_like(query), torch.empty_like(key), torch.empty_like(value))
        return *made, torch.empty_like(cumulated), torch.empty_like(beta), None


def _chunk_temporaries(key: torch.Tensor, value: torch.Tensor) -> list[torch.Tensor]:
    return [torch.empty_like(key), torch.empty_like(value), torch.empty_like(value), _states(key, value)]


def _note(recorder: Any, name: str, key: Any, value: Any, products: float, kernels: int) -> None:
    moved = tuple(t.numel() * t.element_size() for t in (key, key, value, value))
    recorder.note(name, "attention", dtype_name(key.dtype), round(products * _flop(key, value)), moved, kernels)
