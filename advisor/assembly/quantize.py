"""Quantised bases: bitsandbytes' own modules, with packed weights of the true shapes on the meta device.

nf4: two weights a byte, one fp32 scale per 64 weights; with double quantisation those scales are held in 8 bits,
with one fp32 per 256 of them (QLoRA, arXiv:2305.14314, section 3). int8: one byte a weight and one fp32 scale a row
(LLM.int8(), arXiv:2208.07339). Which layers are quantised is transformers' own rule: plain linear layers and GPT-2's
transposed ones, but for the output embeddings and what a model class keeps in float32. Embeddings, norms and experts
held as one tensor stay in the recipe's dtype.
"""

# pyright: reportUnknownMemberType=false
# transformers' and bitsandbytes' functions name only some of their types

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from advisor.assembly.adapters.module_search import heads
from advisor.domain.recipe import Recipe
from advisor.errors import MissingExtra

if TYPE_CHECKING:
    import torch
    from torch import nn

BLOCK = 64
NESTED_BLOCK = 256
HEADS = ("lm_head", "embed_out", "classifier", "score", "qa_outputs", "classification_head")
"""Names of heads that are never quantised: transformers keeps those of language models, and a new classifier, which
is trained, is named to it by whoever loads the model."""


def quantise(model: nn.Module, recipe: Recipe, stored: Mapping[str, Any] | None = None) -> nn.Module:
    """The model with its linear layers replaced by their bitsandbytes form, as transformers loads it, frozen.

    Args:
        stored: the `quantization_config` of a checkpoint that is quantised already; it decides in the place of the
            usual settings.

    Raises:
        MissingExtra: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise MissingExtra.of("bitsandbytes", extra="quant", why=f"an {recipe.base} base") from error
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers import quantizers_utils

    from advisor.assembly.adapters.module_search import named_modules

    stored = stored or {}
    model.requires_grad_(False)
    kept = unquantised(model, stored.get("llm_int8_skip_modules"))
    for path, module in list(named_modules(model)):
        # exact types, as transformers asks: Falcon's own subclass of Linear stays as it is
        if not (type(module) is nn.Linear or isinstance(module, Conv1D)):
            continue
        if not quantizers_utils.should_convert_module(path, kept):
            continue
        parent = model.get_submodule(path.rpartition(".")[0])
        linear = _upright(module) if isinstance(module, Conv1D) else module
        made = _four_bit(linear, recipe, bnb, stored) if recipe.base == "nf4" else _eight_bit(linear, bnb)
        setattr(parent, path.rpartition(".")[2], made)
    model.is_loaded_in_4bit = recipe.base == "nf4"  # pyright: ignore
    model.is_loaded_in_8bit = recipe.base == "int8"  # pyright: ignore
    return model


def unquantised(model: Any, named: list[str] | None = None) -> list[str]:
    """Patterns of the modules that stay in the recipe's dtype: those `named`, else what transformers finds itself.

    A list of one's own replaces transformers' own finding, but never what the class keeps in float32, nor a new head,
    which is trained: a classifier, and what some families put before it.
    """
    own = list(named) if named is not None else [*_found_by_transformers(model), *HEADS]
    return sorted({*own, *heads(model), *(getattr(model, "_keep_in_fp32_modules", None) or ())})


def expert_notes(share: float, recipe: Recipe, *, adapts_linear_layers: bool) -> tuple[str, ...]:
    """What a reader must know where a mixture of experts is quantised or adapted; none without such experts.

    Source: transformers 5.23 (experts are 3-D parameters) and its `replace_with_bnb_linear`; peft 0.21.2
    (`all-linear` takes linear modules, `target_parameters` parameters); unsloth and axolotl, their own documentation.
    """
    if not share:
        return ()
    notes: list[str] = []
    if recipe.base != "dtype":
        notes.append(
            f"the experts ({share:.0%} of the weights) stay in {recipe.dtype}: bitsandbytes quantises only linear "
            "layers, and transformers holds a layer's experts as one tensor; unsloth, and axolotl with "
            "quantize_moe_experts, do quantise them, which is not modelled"
        )
    if adapts_linear_layers:
        notes.append(
            f"the experts ({share:.0%} of the weights) are not adapted: all-linear and module names reach linear "
            "layers only; target_parameters in an --adapter-config reaches them"
        )
    return tuple(notes)


def _found_by_transformers(model: Any) -> set[str]:
    """Tied weights, the output embeddings, and the module of the last parameter.

    Source: transformers 5.23, `quantizers.base.get_keys_to_not_convert`, which asks before weights are tied: the last
    parameter is then the head's own even where it will be another name of the input embeddings.
    """
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", {})
    last = [name for name, _ in model.named_parameters(remove_duplicate=False)][-1]
    head = model.get_output_embeddings()
    heads = [name for name, module in model.named_modules() if head is not None and module is head]
    return {name.removesuffix(".weight") for name in (*tied, *tied.values(), last, *heads)}


def _upright(layer: Any) -> nn.Linear:
    """GPT-2's layer as a linear one, its weight transposed, as transformers quantises it."""
    import torch
    from torch import nn

    rows, columns = layer.weight.shape
    with torch.device("meta"):
        linear = nn.Linear(rows, columns, bias=layer.bias is not None)
    linear.weight = nn.Parameter(layer.weight.detach().t().contiguous(), requires_grad=False)
    linear.bias = layer.bias
    return linear


def _four_bit(linear: nn.Linear, recipe: Recipe, bnb: Any, stored: Mapping[str, Any]) -> nn.Module:
    import torch

    from advisor.assembly.dtypes import torch_dtype

    nested = bool(stored.get("bnb_4bit_use_double_quant", not stored))
    kind = str(stored.get("bnb_4bit_quant_type") or ("fp4" if stored else "nf4"))
    named = str(stored.get("bnb_4bit_compute_dtype") or ("float32" if stored else recipe.compute_dtype))
    compute = torch_dtype(named.removeprefix("torch."))
    made = bnb.nn.Linear4bit(
        linear.in_features, linear.out_features, bias=_has_bias(linear),
        compute_dtype=compute, compress_statistics=nested, quant_type=kind,
        device=linear.weight.device,
    )  # fmt: skip
    made.bias = linear.bias
    if linear.weight.device.type != "meta":
        made.weight = bnb.nn.Params4bit(
            linear.weight.data, requires_grad=False, compress_statistics=nested, quant_type=kind, module=made
        )
        return made.to(linear.weight.device)
    weights = linear.weight.numel()
    packed = torch.empty((weights + 1) // 2, 1, dtype=torch.uint8, device="meta")
    made.weight = bnb.nn.Params4bit(
        packed, requires_grad=False, quant_state=_state(linear.weight.shape, linear.weight.dtype, bnb, kind, nested),
        blocksize=BLOCK, compress_statistics=nested, quant_type=kind, bnb_quantized=True, module=made,
    )  # fmt: skip
    made.quant_state = made.weight.quant_state
    return made


def _has_bias(linear: Any) -> bool:
    return linear.bias is not None


def _state(shape: torch.Size, dtype: torch.dtype, bnb: Any, kind: str, nested: bool) -> Any:
    import torch

    scales = -(-shape.numel() // BLOCK)
    if not nested:
        return bnb.functional.QuantState(
            absmax=torch.empty(scales, device="meta"), shape=shape, dtype=dtype, blocksize=BLOCK,
            code=torch.empty(16, device="meta"), quant_type=kind,
        )  # fmt: skip
    second = bnb.functional.QuantState(
        absmax=torch.empty(-(-scales // NESTED_BLOCK), device="meta"),
        code=torch.empty(256, device="meta"),
        blocksize=NESTED_BLOCK,
        dtype=torch.float32,
    )
    return bnb.functional.QuantState(
        absmax=torch.empty(scales, dtype=torch.uint8, device="meta"), shape=shape, dtype=dtype, blocksize=BLOCK,
        code=torch.empty(16, device="meta"), quant_type=kind, offset=torch.empty((), device="meta"), state2=second,
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
