"""TRL's language-model head, which never builds tokens x vocabulary logits, as it allocates and computes.

TRL 1.16 projects the hidden states in tiles of a fixed size and keeps per-token sums in float32; backward
recomputes each tile and accumulates in float32. The tile loop is one event here: its tiles share one buffer,
so memory is exact and its products are counted in full.

Shapes here: R rows of S tokens, N of their R(S-1) positions learned, H wide, V words.
"""

# pyright: reportUnknownMemberType=false
# torch's autograd functions say no types

from __future__ import annotations

import inspect
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch

from advisor.assembly.dtypes import torch_dtype
from advisor.assembly.objectives.reference_free_losses import SelectiveLogSoftmax
from advisor.domain.recipe import Recipe
from advisor.domain.trace.pieces import AT_MOST, OF_TARGETS, tokens_in_piece
from advisor.tracer.op_costs import dtype_name

if TYPE_CHECKING:
    from advisor.tracer.dispatch_recorder import Recorder

TOKEN_TILE = 4096
VOCABULARY_TILE = 32768
"""One projected tile: TRL 1.16, kernels/chunked_logprob.py and trainer/utils.py. Fewer tokens take a smaller one, a
smaller vocabulary does not: its buffer is that wide whatever the vocabulary."""


@dataclass(frozen=True, slots=True)
class FusedOutput:
    """What a forward pass with the fused head answers: [R,S-1] each, None where it was not asked for."""

    log_probs: torch.Tensor
    entropy: torch.Tensor | None
    mean_logits: torch.Tensor | None
    is_top1: torch.Tensor | None
    label_mask: torch.Tensor
    aux_loss: torch.Tensor | None


def add_fused_head(model: Any, recorder: Recorder, recipe: Recipe, outputs: tuple[str, ...]) -> None:
    """Let the forward pass of a base model take `fused_lm_head`, as TRL's function of a like name does.

    Put on before the adapter. On a GPU only the learned positions are projected; here all are taken to be learned, or
    the last `learned` of each row where the forward pass is given so many.
    """
    original = model.forward
    config = model.config.get_text_config()

    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        labels: Any = None,
        learned: int | None = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head:
            return original(*args, **({"labels": labels} if labels is not None else {}), **kwargs)
        kwargs["use_cache"] = False
        found = self.base_model(*args, **kwargs)
        hidden, wanted = found.last_hidden_state[:, :-1], labels[:, 1:]
        mask = wanted != -100
        head = self.get_output_embeddings()
        dtype = torch_dtype(recipe.compute_dtype) if recipe.mixed else hidden.dtype
        rows = slice(None) if learned is None else (slice(None), slice(-learned, None))
        chosen, kind = mask[rows], AT_MOST if learned is None else OF_TARGETS
        per_token = cast(
            "tuple[Any, ...]",
            _Head.apply(hidden[rows][chosen], head.weight, wanted[rows][chosen], recorder, dtype, outputs, kind),
        )
        values = [None if one is None else _spread(one, mask, whole=learned is None) for one in per_token]
        balance = None
        if kwargs.get("output_router_logits"):
            balance = config.router_aux_loss_coef * _balance(found, config, kwargs.get("attention_mask"))
        log_probs, entropy, mean_logits, top = values
        return FusedOutput(cast("torch.Tensor", log_probs), entropy, mean_logits, top, mask, balance)

    # peft asks the signature of the forward pass which inputs it takes
    vars(forward)["__signature__"] = inspect.signature(cast("Any", type(model)).forward)
    model.forward = types.MethodType(forward, model)


def _balance(found: Any, config: Any, mask: torch.Tensor | None) -> torch.Tensor:
    """The load-balancing loss of a mixture of experts, as transformers computes it."""
    from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

    experts = getattr(config, "num_experts", None) or config.num_local_experts
    return cast("Any", load_balancing_loss_func)(found.router_logits, experts, config.num_experts_per_tok, mask)


class _Head(torch.autograd.Function):
    """hidden[N,H], weight[V,H], targets[N] -> log-probabilities[N] in float32, and the other outputs asked for."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Any, weight: Any, targets: Any, recorder: Any, tile_dtype: Any, outputs: tuple[str, ...],
        kind: int,
    ) -> Any:  # fmt: skip
        ctx.set_materialize_grads(False)
        tokens, width = hidden.shape
        sums = [torch.empty(tokens, dtype=torch.float32, device="meta") for _ in range(7)]
        tile = _tiles(hidden, weight, tile_dtype, recorder, kind)
        flop = 2 * tokens * width * weight.shape[0]
        traffic = 2 * tokens * weight.shape[0] * tile_dtype.itemsize
        dtype, whole = dtype_name(tile_dtype), weight.numel() * weight.element_size()
        recorder.note("fused_head", "matmul", dtype, flop, (whole,), 1)
        recorder.note("fused_head_fold", "elementwise", dtype, 0, (traffic,), 1)
        log_z = sums[0] + torch.log(sums[1])
        log_probs = sums[6] - log_z
        entropy = log_z - sums[2] / sums[1] if "entropy" in outputs else None
        means = sums[4] / weight.shape[0] if "mean_logits" in outputs else None
        top = (sums[6] >= sums[0]) & (sums[6] > sums[5]) if "is_top1" in outputs else None
        ctx.save_for_backward(hidden, weight, targets, log_z, log_z if entropy is None else entropy)
        ctx.recorder, ctx.tile_dtype, ctx.kind = recorder, tile_dtype, kind
        ctx.mark_non_differentiable(*(one for one in (means, top) if one is not None))
        del tile
        return log_probs, entropy, means, top

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        hidden, weight, _, _, _ = ctx.saved_tensors
        recorder, tile_dtype = ctx.recorder, ctx.tile_dtype
        tokens, width = hidden.shape
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        hidden_grad = torch.zeros(hidden.shape, dtype=torch.float32, device="meta") if wants_hidden else None
        weight_grad = torch.zeros(weight.shape, dtype=torch.float32, device="meta") if wants_weight else None
        tile = _tiles(hidden, weight, tile_dtype, recorder, ctx.kind)
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
            None, None, None, None, None,
        )  # fmt: skip


def _spread(values: torch.Tensor, mask: torch.Tensor, *, whole: bool) -> torch.Tensor:
    """values[N] at the learned positions of mask[R,S-1], 0 elsewhere; `whole`: all are learned."""
    if whole:
        return values.new_zeros(mask.shape).masked_scatter(mask, values)
    return cast("torch.Tensor", _Spread.apply(values, mask))


class _Spread(torch.autograd.Function):
    """`masked_scatter` whose backward pass picks as many as came: a mask without a device cannot tell how many."""

    @staticmethod
    def forward(ctx: Any, values: Any, mask: Any) -> Any:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(mask)
        ctx.count = values.numel()
        return values.new_zeros(mask.shape).masked_scatter(mask, values)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None if grads[0] is None else grads[0].new_empty(ctx.count), None


def _tiles(
    hidden: torch.Tensor, weight: torch.Tensor, dtype: torch.dtype, recorder: Any, kind: int
) -> list[torch.Tensor]:
    """The buffer of one projected tile, and the parts of both factors that are cast to its dtype where they differ."""
    tokens = hidden.shape[0]
    rows, columns = int(tokens_in_piece(kind, TOKEN_TILE, tokens)), min(VOCABULARY_TILE, weight.shape[0])

    def piece(width: int) -> torch.Tensor:
        return recorder.of_pieces(torch.empty(rows, width, dtype=dtype, device="meta"), kind, TOKEN_TILE, tokens)

    made = [piece(VOCABULARY_TILE)]
    if hidden.dtype != dtype:
        made.append(piece(hidden.shape[1]))
    if weight.dtype != dtype:
        made.append(torch.empty(columns, weight.shape[1], dtype=dtype, device="meta"))
    return made


class _SelectedLogProbs(torch.autograd.Function):
    """logits[R,S,V], ids[R,S] -> log-probabilities[R,S] in float32: one kernel each way, TRL's on a GPU.

    Source: trl 1.16, kernels/logprob_entropy.py. Backward writes the gradient of all logits into a new tensor.
    """

    @staticmethod
    def forward(ctx: Any, logits: Any, ids: Any, recorder: Any) -> Any:
        ctx.set_materialize_grads(False)
        log_probs, *others = (torch.empty(logits.shape[:-1], dtype=torch.float32, device="meta") for _ in range(4))
        read = logits.numel() * logits.element_size()
        recorder.note("logprob_entropy", "reduction", dtype_name(logits.dtype), 0, (read,), 1)
        ctx.save_for_backward(logits, ids, others[1], others[2])
        ctx.recorder = recorder
        return log_probs, others[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        logits, _, _, _ = ctx.saved_tensors
        grad = torch.empty_like(logits, memory_format=torch.contiguous_format)
        moved = 2 * logits.numel() * logits.element_size()
        ctx.recorder.note("logprob_entropy_backward", "elementwise", dtype_name(logits.dtype), 0, (moved,), 1)
        return grad, None, None


def selective_log_softmax(recorder: Recorder) -> SelectiveLogSoftmax:
    """A function (logits, ids) -> log-probabilities, as TRL's of that name on a GPU."""

    def log_softmax(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return cast("tuple[torch.Tensor, ...]", _SelectedLogProbs.apply(logits, ids, recorder))[0]

    return log_softmax
