"""Attention, dropout and softmax as a GPU would choose them, while the tensors lie on the meta device.

On meta, torch would fall back to its unfused attention and its unfused dropout. This mode sends each call to the op
that CUDA would run, so that shapes, saved tensors and temporaries are the real ones.
"""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false, reportUnknownMemberType=false
# torch tells what a step does to memory only through names it keeps to itself, and says few of their types

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from advisor.tracer.fused_kernels.sparse_tensor import Coo

aten = torch.ops.aten

_FLASH_WIDEST = 256
_FLASH_SINCE = 8.0
_EFFICIENT_SINCE = 5.0


class AsOnCuda(TorchFunctionMode):
    """Sends attention and dropout to the ops CUDA would choose at a compute capability.

    flash: half precision, no mask, heads up to 256 wide, compute capability >= 8.0; memory-efficient
    otherwise; math where asked for. Source: torch's sdp_utils (priority flash, efficient, math).
    """

    def __init__(self, capability: float, force: str | None = None) -> None:
        super().__init__()
        self.capability = capability
        self.force = force

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _HANDLED:
            return func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self.attention(*args, **kwargs)
        if func in (F.dropout, torch.dropout):
            return _dropout(*args, **kwargs)
        if func in _SOFTMAX and _widens(args, kwargs):
            return aten._softmax(args[0], kwargs["dim"] if "dim" in kwargs else args[1], True)
        if func is torch.sparse_coo_tensor and len(args) >= 3 and "meta" in (args[0].device.type, args[1].device.type):
            return Coo(*args[:3])
        return func(*args, **kwargs)

    def attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """The CUDA kernel's op for these inputs; shapes [B, heads, rows, width]."""
        if query.device.type != "meta" or query.dim() != 4:
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        wanted = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        kernel = self.force or self._kernel(query, key, value, attn_mask)
        if kernel == "flash":
            return flash_kernel(query, key, value, dropout_p, is_causal, wanted)
        if enable_gqa and key.shape[1] != query.shape[1]:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
        if kernel == "efficient":
            return self._efficient(query, key, value, attn_mask, dropout_p, is_causal, wanted)
        return aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, None, scale=wanted
        )[0]

    def _kernel(self, query: Any, key: Any, value: Any, mask: Any) -> str:
        half = query.dtype in (torch.bfloat16, torch.float16)
        widest = max(query.shape[-1], value.shape[-1])
        same = query.shape[-1] == value.shape[-1]
        if half and mask is None and same and widest <= _FLASH_WIDEST and self.capability >= _FLASH_SINCE:
            return "flash"
        if self.capability >= _EFFICIENT_SINCE and not (mask is not None and mask.requires_grad and mask.dim() < 2):
            return "efficient"
        return "math"

    @staticmethod
    def _efficient(query: Any, key: Any, value: Any, mask: Any, p: float, causal: bool, scale: float) -> torch.Tensor:
        saves = any(t.requires_grad for t in (query, key, value))
        if mask is not None:
            if mask.dtype == torch.bool:
                # torch turns a boolean mask into an additive one of the query's dtype at every call
                mask = torch.empty_like(mask, dtype=query.dtype).fill_(0.0).masked_fill_(~mask, -math.inf)
            rows, columns = query.shape[-2], key.shape[-2]
            if columns % 16:
                # the kernel wants rows of the mask aligned: padded to 16 and sliced back
                mask = F.pad(mask, (0, 16 - columns % 16))[..., :columns]
            mask = mask.expand(query.shape[0], query.shape[1], rows, columns)
        out = aten._scaled_dot_product_efficient_attention(query, key, value, mask, saves, p, causal, scale=scale)
        return out[0]


def flash_kernel(query: Any, key: Any, value: Any, dropout: float, causal: bool, scale: float) -> torch.Tensor:
    """[B, heads, rows, width] each, keys and values of as many heads or of fewer; widths are padded to eighths."""
    width = query.shape[-1]
    if width % 8:
        query, key, value = (F.pad(t, (0, 8 - width % 8)) for t in (query, key, value))
    out = aten._scaled_dot_product_flash_attention(query, key, value, dropout, causal, False, scale=scale)[0]
    return out[..., :width]


_SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)
"""CUDA's kernel reads 16 bits and writes float32 where asked to; on meta torch would make a wide copy first."""
_HANDLED: frozenset[Any] = frozenset[Any](
    (F.scaled_dot_product_attention, F.dropout, torch.dropout, torch.sparse_coo_tensor, *_SOFTMAX)  # pyright: ignore[reportUnknownArgumentType]
)
"""Looked up first: the mode sees every access to a tensor's shape, some ten for each op."""


def _widens(args: Any, kwargs: Any) -> bool:
    asked = kwargs.get("dtype") or next((a for a in args if isinstance(a, torch.dtype)), None)
    half = args and isinstance(args[0], torch.Tensor) and args[0].dtype in (torch.bfloat16, torch.float16)
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    return bool(half and args[0].device.type == "meta" and asked == torch.float32 and isinstance(dim, int))


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    if input.device.type != "meta" or inplace:
        return F.dropout(input, p, training, inplace)
    if not training or p == 0:
        return input
    return torch.native_dropout(input, p, True)[0]
