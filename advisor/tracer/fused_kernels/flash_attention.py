"""transformers' way to FlashAttention for padded batches: padding is taken out before the kernel and put back after.

The library's own code runs (transformers 5.23, modeling_flash_attention_utils.py: queries, keys and values are picked
out by the mask, and so copied); its two kernels alone are torch's, which keep the same tensors: flash-attention's
varlen kernel has one float32 number a query and head beside its output.

Shapes: N tokens, B samples, S tokens of each, heads, width.
"""

# pyright: reportUnknownMemberType=false
# torch's ops say no types

from __future__ import annotations

import importlib
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch

from advisor.tracer.fused_kernels.attention import flash_kernel

NAME = "flash_attention_2"


@contextmanager
def flash_attention_2(model: Any, dtype: torch.dtype) -> Generator[None]:
    """The model with FlashAttention chosen, as loading it so would, while inside; unchanged where it has none.

    Args:
        dtype: what float32 queries, keys and values are cast to, as transformers does.
    """
    chosen: Any = importlib.import_module("transformers.integrations.flash_attention")
    utils: Any = importlib.import_module("transformers.modeling_flash_attention_utils")
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if not getattr(base, "_supports_flash_attn", False):
        yield
        return
    configs = {id(c): c for m in base.modules() if (c := getattr(m, "config", None)) is not None}
    before = [(config, getattr(config, "_attn_implementation", None)) for config in configs.values()]
    functions = (_batched, _ragged, None, utils._pad_input, utils._unpad_input)
    settings = (_settings, _settings)
    for config, _ in before:
        config._attn_implementation = NAME

    def target(query: torch.Tensor, _: Any) -> torch.dtype | None:
        return dtype if query.dtype == torch.float32 else None

    try:
        with (
            mock.patch.object(utils, "lazy_import_flash_attention", return_value=(functions, settings)),
            # it asks torch whether autocast is on, which no meta device can tell; a mock would keep what it was given
            mock.patch.object(chosen, "get_target_dtype", target),
        ):
            yield
    finally:
        for config, name in before:
            config._attn_implementation = name


def _settings(*, is_causal: bool, dropout: float, **_: Any) -> dict[str, Any]:
    return {"causal": is_causal, "dropout_p": dropout}


def _batched(query: Any, key: Any, value: Any, causal: bool = True, dropout_p: float = 0.0) -> torch.Tensor:
    """[B, S, heads, width] each."""
    query, key, value = (t.transpose(1, 2) for t in (query, key, value))
    scale = query.shape[-1] ** -0.5
    return flash_kernel(query, key, value, dropout_p, causal, scale).transpose(1, 2)


def _ragged(
    query: Any, key: Any, value: Any, cu_seqlens_q: Any, cu_seqlens_k: Any, causal: bool = True, dropout_p: float = 0.0
) -> torch.Tensor:
    """[N, heads, width] each, of as many samples as there are starts but one; all are taken as equally long."""
    batch = cu_seqlens_q.shape[0] - 1
    query, key, value = (t.view(batch, -1, *t.shape[1:]) for t in (query, key, value))
    out = _batched(query, key, value, causal, dropout_p)
    return out.reshape(-1, *out.shape[2:])
