"""TRL's language-model head, which never builds tokens x vocabulary logits, as it allocates and computes.

TRL 1.16 projects the hidden states in tiles of a fixed size and keeps per-token sums in float32; backward
recomputes each tile and accumulates in float32. The tile loop is one event here: its tiles share one buffer,
so memory is exact and its products are counted in full.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from advisor.assembly.dtypes import torch_dtype
from advisor.domain.recipe import Recipe
from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

TOKEN_TILE = 4096
VOCABULARY_TILE = 32768
"""One projected tile: TRL 1.16, kernels/chunked_logprob.py and trainer/utils.py. Fewer tokens take a smaller one, a
smaller vocabulary does not: its buffer is that wide whatever the vocabulary."""


def fused_head(recorder: Recorder, recipe: Recipe) -> Callable[[nn.Module, dict[str, Any]], torch.Tensor]:
    """A function (model, inputs) -> loss that runs the backbone, then the fused head."""
    recorder.assume(
        "TRL's tile of logits", f"{TOKEN_TILE} tokens by {VOCABULARY_TILE}: an upper bound for fewer tokens"
    )

    def loss(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        labels = inputs.pop("labels")
        inputs["use_cache"] = False
        base = _bare(model)
        head = base.get_output_embeddings()
        hidden = _backbone_output(model, base, inputs)
        hidden = hidden.reshape(-1, hidden.shape[-1])
        tile_dtype = torch_dtype(recipe.compute_dtype) if recipe.mixed else hidden.dtype
        log_probs = cast("torch.Tensor", _Head.apply(hidden, head.weight, labels.reshape(-1), recorder, tile_dtype))
        return -log_probs.sum() / 1.0

    return loss


def _bare(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _backbone_output(model: nn.Module, base: Any, inputs: dict[str, Any]) -> torch.Tensor:
    """The hidden states before the head, through the adapter's own forward (prompts are prepended there)."""
    caught: list[torch.Tensor] = []
    head = base.get_output_embeddings()
    original = head.forward

    def catch(hidden: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        caught.append(hidden)
        return hidden

    head.forward = catch
    try:
        model(**inputs)
    finally:
        head.forward = original
    return caught[-1]


class _Head(torch.autograd.Function):
    """hidden[N,H], weight[V,H], targets[N] -> log-probabilities[N] in float32."""

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, recorder: Any, tile_dtype: Any) -> Any:
        tokens, width = hidden.shape
        sums = [torch.empty(tokens, dtype=torch.float32, device="meta") for _ in range(7)]
        tile = _tiles(hidden, weight, tile_dtype)
        flop = 2 * tokens * width * weight.shape[0]
        traffic = 2 * tokens * weight.shape[0] * tile_dtype.itemsize
        dtype, whole = dtype_name(tile_dtype), weight.numel() * weight.element_size()
        recorder.note("fused_head", "matmul", dtype, flop, (whole,), 1)
        recorder.note("fused_head_fold", "elementwise", dtype, 0, (traffic,), 1)
        log_z = sums[0] + torch.log(sums[1])
        entropy = log_z - sums[2] / sums[1]
        top = (sums[6] >= sums[0]) & (sums[6] > sums[5])
        ctx.save_for_backward(hidden, weight, targets, log_z, entropy)
        ctx.recorder, ctx.tile_dtype = recorder, tile_dtype
        ctx.kept = (entropy, top)
        del tile
        return sums[6] - log_z

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        hidden, weight, _, _, _ = ctx.saved_tensors
        recorder, tile_dtype = ctx.recorder, ctx.tile_dtype
        tokens, width = hidden.shape
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        hidden_grad = torch.zeros(hidden.shape, dtype=torch.float32, device="meta") if wants_hidden else None
        weight_grad = torch.zeros(weight.shape, dtype=torch.float32, device="meta") if wants_weight else None
        tile = _tiles(hidden, weight, tile_dtype)
        products = 1 + int(wants_hidden) + int(wants_weight)
        flop = 2 * tokens * width * weight.shape[0] * products
        traffic = 4 * tokens * weight.shape[0] * tile_dtype.itemsize
        dtype, whole = dtype_name(tile_dtype), weight.numel() * weight.element_size()
        recorder.note("fused_head_backward", "matmul", dtype, flop, (whole,), 2)
        recorder.note("fused_head_fold", "elementwise", dtype, 0, (traffic,), 1)
        del tile
        return (
            hidden_grad.to(hidden.dtype) if hidden_grad is not None else None,
            weight_grad.to(weight.dtype) if weight_grad is not None else None,
            None, None, None,
        )  # fmt: skip


def _tiles(hidden: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype) -> list[torch.Tensor]:
    """The buffer of one projected tile, and the parts of both factors that are cast to its dtype where they differ."""
    rows = min(VOCABULARY_TILE, weight.shape[0])
    made = [torch.empty(TOKEN_TILE, VOCABULARY_TILE, dtype=dtype, device="meta")]
    for whole, part in ((hidden, TOKEN_TILE), (weight, rows)):
        if whole.dtype != dtype:
            made.append(torch.empty(part, whole.shape[1], dtype=dtype, device="meta"))
    return made
