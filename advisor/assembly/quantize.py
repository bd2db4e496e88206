"""Quantised bases: bitsandbytes' own modules, with packed weights of the true shapes on the meta device.

nf4: two weights a byte, one fp32 scale per 64 weights; with double quantisation those scales are held in 8 bits,
with one fp32 per 256 of them (QLoRA, arXiv:2305.14314, section 3). int8: one byte a weight and one fp32 scale a row
(LLM.int8(), arXiv:2208.07339). Embeddings, heads and norms stay in the recipe's dtype, as transformers leaves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from advisor.domain.recipe import Recipe
from advisor.errors import MissingExtra

if TYPE_CHECKING:
    import torch
    from torch import nn

BLOCK = 64
NESTED_BLOCK = 256
HEADS = ("lm_head", "embed_out", "classifier", "score", "qa_outputs", "classification_head")
"""Names of the modules that are never quantised."""


def quantise(model: nn.Module, recipe: Recipe) -> nn.Module:
    """The model with every linear layer but the heads replaced by its bitsandbytes form, frozen.

    Raises:
        MissingExtra: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise MissingExtra.of("bitsandbytes", extra="quant", why=f"an {recipe.base} base") from error
    from torch import nn

    model.requires_grad_(False)
    for path, module in list(model.named_modules()):
        if type(module) is not nn.Linear or path.rsplit(".", 1)[-1] in HEADS:
            continue
        parent = model.get_submodule(path.rpartition(".")[0])
        made = _four_bit(module, recipe, bnb) if recipe.base == "nf4" else _eight_bit(module, bnb)
        setattr(parent, path.rpartition(".")[2], made)
    model.is_loaded_in_4bit = recipe.base == "nf4"  # pyright: ignore
    model.is_loaded_in_8bit = recipe.base == "int8"  # pyright: ignore
    return model


def _four_bit(linear: nn.Linear, recipe: Recipe, bnb: Any) -> nn.Module:
    import torch

    from advisor.assembly.dtypes import torch_dtype

    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=_has_bias(linear),
        compute_dtype=torch_dtype(recipe.dtype), compress_statistics=True, quant_type="nf4",
        device=linear.weight.device,
    )  # fmt: skip
    made.bias = linear.bias
    if linear.weight.device.type != "meta":
        made.weight = bnb.nn.Params4bit(linear.weight.data, requires_grad=False, quant_type="nf4", module=made)
        return made.to(linear.weight.device)
    weights = linear.weight.numel()
    packed = torch.empty((weights + 1) // 2, 1, dtype=torch.uint8, device="meta")
    made.weight = bnb.nn.Params4bit(
        packed, requires_grad=False, quant_state=_state(linear.weight.shape, torch_dtype(recipe.dtype), bnb),
        blocksize=BLOCK, compress_statistics=True, quant_type="nf4", bnb_quantized=True, module=made,
    )  # fmt: skip
    made.quant_state = made.weight.quant_state
    return made


def _has_bias(linear: Any) -> bool:
    return linear.bias is not None


def _state(shape: torch.Size, dtype: torch.dtype, bnb: Any) -> Any:
    import torch

    scales = -(-shape.numel() // BLOCK)
    nested = bnb.functional.QuantState(
        absmax=torch.empty(-(-scales // NESTED_BLOCK), device="meta"),
        code=torch.empty(256, device="meta"),
        blocksize=NESTED_BLOCK,
        dtype=torch.float32,
    )
    return bnb.functional.QuantState(
        absmax=torch.empty(scales, dtype=torch.uint8, device="meta"), shape=shape, dtype=dtype, blocksize=BLOCK,
        code=torch.empty(16, device="meta"), quant_type="nf4", offset=torch.empty((), device="meta"), state2=nested,
    )  # fmt: skip


def _eight_bit(linear: nn.Linear, bnb: Any) -> nn.Module:
    import torch

    made = bnb.nn.Linear8bitLt(
        linear.in_features, linear.out_features, bias=_has_bias(linear), has_fp16_weights=False, threshold=6.0,
        device=linear.weight.device,
    )  # fmt: skip
    made.bias = linear.bias
    if linear.weight.device.type != "meta":
        made.weight = bnb.nn.Int8Params(linear.weight.data, requires_grad=False, has_fp16_weights=False)
        return made.to(linear.weight.device)
    packed = torch.empty(linear.weight.shape, dtype=torch.int8, device="meta")
    scales = torch.empty(linear.out_features, dtype=torch.float32, device="meta")
    made.weight = bnb.nn.Int8Params(packed, requires_grad=False, has_fp16_weights=False, CB=packed, SCB=scales)
    made.state.CB, made.state.SCB = packed, scales
    return made
