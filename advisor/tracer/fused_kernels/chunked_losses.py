"""Losses of others than TRL that never hold tokens x vocabulary logits, as they allocate and compute.

Liger's fused linear cross entropy (0.8.5), unsloth's (2026.10.9) and Apple's cut cross entropy (25.1.1). Where one
loops over pieces of the tokens, the loop is one event here: its pieces share one buffer, so memory is exact, and its
products are counted in full. What a kernel holds in registers and shared memory is no device memory.

Shapes: N tokens, H width, V vocabulary.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import torch
import torch.nn.functional as F
from torch import nn

from advisor.assembly.dtypes import torch_dtype
from advisor.domain.recipe import Recipe
from advisor.domain.trace.pieces import POWER_OF_TWO, QUARTER, tokens_in_piece
from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

IGNORED: Final = -100
ChunkedLoss = Callable[[nn.Module, dict[str, Any]], torch.Tensor]


def chunked_loss(recorder: Recorder, recipe: Recipe) -> ChunkedLoss:
    """A function (model, inputs) -> loss that runs the backbone, then the recipe's fused loss, or unsloth's own."""
    head = {"none": _unsloth, "liger": _liger, "cce": _cut}[recipe.fused_loss]

    def loss(model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        labels = inputs.pop("labels")
        inputs["use_cache"] = False
        base = _bare(model)
        hidden = _backbone_output(model, base, inputs)
        labels = _as_long(labels, hidden.shape[1])
        tile_dtype = torch_dtype(recipe.compute_dtype) if recipe.mixed else hidden.dtype
        return head(hidden, base.get_output_embeddings().weight, labels, recorder, tile_dtype)

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


def _as_long(labels: torch.Tensor, length: int) -> torch.Tensor:
    """Labels of the virtual tokens that a prompt method puts before the others: ignored ones, as peft adds them."""
    more = length - labels.shape[1]
    return labels if more <= 0 else F.pad(labels, (more, 0), value=IGNORED)


# --- Liger ----------------------------------------------------------------------------------------------------------


def _liger(hidden: torch.Tensor, weight: Any, labels: torch.Tensor, recorder: Recorder, dtype: Any) -> torch.Tensor:
    """`LigerForCausalLMLoss`: labels are shifted, hidden states are not, and every position is projected."""
    shifted = F.pad(labels, (0, 1), value=IGNORED)[..., 1:].contiguous().view(-1)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return cast("torch.Tensor", _LigerLoss.apply(flat, weight, shifted, recorder, dtype)) / 1.0


class _LigerLoss(torch.autograd.Function):
    """hidden[N,H], weight[V,H], targets[N] -> the sum of losses; gradients are made in the forward pass, by pieces.

    A piece holds as many tokens as keep its logits at about N x H numbers, rounded up to a power of two.
    Source: liger_kernel/ops/fused_linear_cross_entropy.py (0.8.5).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, recorder: Any, dtype: Any) -> Any:
        tokens, width = hidden.shape
        vocabulary, pieces = weight.shape[0], -(-weight.shape[0] // width)
        hidden_grad = torch.zeros_like(hidden)
        weight_grad = torch.zeros_like(weight) if weight.requires_grad else None
        losses = torch.zeros(tokens, dtype=torch.float32, device="meta")
        mask = targets != IGNORED
        total = mask.sum()
        rows = int(tokens_in_piece(POWER_OF_TWO, pieces, tokens))

        def piece(columns: int) -> torch.Tensor:
            made = torch.empty(rows, columns, dtype=dtype, device="meta")
            return recorder.of_pieces(made, POWER_OF_TWO, pieces, tokens)

        cast_weight = weight.to(dtype) if weight.dtype != dtype else None
        beside = [piece(width)] if hidden.dtype != dtype else []
        logits = piece(vocabulary)
        _note(recorder, "liger_loss", hidden, weight, dtype, 2 + int(weight_grad is not None), 4 * pieces)
        del logits, beside, cast_weight, mask, total
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.recorder = recorder
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        made = ctx.saved_tensors
        for grad in made:
            if grad is not None:
                # scaled in place by what comes from above
                size = grad.numel() * grad.element_size()
                ctx.recorder.note("liger_loss_scale", "elementwise", dtype_name(grad.dtype), 0, (size, size), 1)
        return *made, None, None, None


# --- unsloth --------------------------------------------------------------------------------------------------------

BUDGET: Final = 4.0 * 2**30
"""Bytes that unsloth gives the logits of one piece at most; half of what is free, where that is less."""
BYTES_A_LOGIT: Final = 16.0
"""What it counts for one logit with all that is made of it."""
_MADE_OF_LOGITS: Final = (("float32", 2), ("own", 2))
"""Of one piece at once: logits and their gradient in their own type, the float32 copy and its log-softmax."""


def _unsloth(hidden: torch.Tensor, weight: Any, labels: torch.Tensor, recorder: Recorder, dtype: Any) -> torch.Tensor:
    recorder.assume("unsloth's loss", "pieces as large as half a card of 8 GiB free or more makes them")
    shifted = F.pad(labels, (0, 1), value=IGNORED)[..., 1:].contiguous().view(-1)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return cast("torch.Tensor", _UnslothLoss.apply(flat, weight, shifted, recorder, dtype))


class _UnslothLoss(torch.autograd.Function):
    """hidden[N,H], weight[V,H], targets[N] -> mean loss; gradients are made in the forward pass, by pieces.

    Source: unsloth_zoo 2026.10.9, fused_losses/cross_entropy_loss.py: a number of pieces that is a multiple of four.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, recorder: Any, dtype: Any) -> Any:
        tokens, vocabulary = hidden.shape[0], weight.shape[0]
        hidden_grad = torch.empty_like(hidden)
        weight_grad = torch.zeros_like(weight) if weight.requires_grad else None
        most = max(1, int(BUDGET / (vocabulary * BYTES_A_LOGIT)))
        rows = int(tokens_in_piece(QUARTER, most, tokens))
        made = [
            recorder.of_pieces(
                torch.empty(rows, vocabulary, dtype=torch.float32 if what == "float32" else dtype, device="meta"),
                QUARTER,
                most,
                tokens,
            )
            for what, count in _MADE_OF_LOGITS
            for _ in range(count)
        ]
        beside = torch.empty_like(weight) if weight_grad is not None else None
        _note(recorder, "unsloth_loss", hidden, weight, dtype, 2 + int(weight_grad is not None), 8)
        del made, beside
        ctx.save_for_backward(hidden_grad, weight_grad)
        return torch.zeros((), dtype=torch.float32, device="meta")

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *(grad if grad is None else grad.mul_(grads[0]) for grad in ctx.saved_tensors), None, None, None


# --- cut cross entropy ----------------------------------------------------------------------------------------------


def _cut(hidden: torch.Tensor, weight: Any, labels: torch.Tensor, recorder: Recorder, dtype: Any) -> torch.Tensor:
    """Only positions that count are read, by their indices; the kernel wants hidden states of 16 bits."""
    hidden = hidden.to(dtype).contiguous()
    counted = (labels[..., 1:] != IGNORED).nonzero().to(torch.int32)
    flat = hidden.reshape(-1, hidden.shape[-1])
    return cast("torch.Tensor", _CutLoss.apply(flat, weight, labels.reshape(-1), counted, recorder))


class _CutLoss(torch.autograd.Function):
    """hidden[N,H], weight[V,H], targets[N], counted positions -> mean loss. Logits live in the kernels alone.

    Source: cut_cross_entropy/cce.py, cce_lse_forward.py, indexed_dot.py, cce_backward.py (25.1.1).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, targets: Any, counted: Any, recorder: Any) -> Any:
        chosen = counted.shape[0]
        summed = torch.full((chosen,), 0.0, dtype=torch.float32, device="meta")
        averages = torch.full((weight.shape[0],), 0.0, dtype=torch.float32, device="meta")
        losses = torch.zeros(chosen, dtype=torch.float32, device="meta").add_(summed)
        _note(recorder, "cut_loss", hidden, weight, hidden.dtype, 1, 2)
        ctx.save_for_backward(hidden, weight, summed, targets, counted, averages)
        ctx.recorder = recorder
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        hidden, weight, _, _, _, averages = ctx.saved_tensors
        order = torch.argsort(averages).to(torch.int32)
        hidden_grad = torch.zeros_like(hidden)
        wants_weight = ctx.needs_input_grad[1]
        weight_grad = torch.zeros_like(weight, dtype=hidden.dtype) if wants_weight else None
        _note(ctx.recorder, "cut_loss_backward", hidden, weight, hidden.dtype, 2 + int(wants_weight), 1)
        del order
        return hidden_grad, weight_grad.to(weight.dtype) if weight_grad is not None else None, None, None, None


def _note(recorder: Any, name: str, hidden: Any, weight: Any, dtype: Any, products: int, kernels: int) -> None:
    """So many products of N x H x V, and the logits that pass through the kernels that fold them."""
    tokens, width = hidden.shape
    read = weight.numel() * weight.element_size()
    passed = 2 * tokens * weight.shape[0] * dtype.itemsize * (2 if name.endswith("backward") else 1)
    told = dtype_name(dtype)
    recorder.note(name, "matmul", told, 2 * tokens * width * weight.shape[0] * products, (read,), max(1, kernels // 2))
    if not name.startswith("cut"):
        recorder.note(f"{name}_fold", "elementwise", told, 0, (passed,), max(1, kernels // 2))
