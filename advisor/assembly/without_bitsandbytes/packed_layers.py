"""Linear layers over packed weights as bitsandbytes builds and computes them, on the meta device alone.

What a layer stores, casts and saves for its backward pass decides a step's memory; the numbers in it do not.
Source: bitsandbytes 0.50.2, nn/modules.py (Linear4bit, Linear8bitLt), autograd/_functions.py (MatMul4Bit,
MatMul8bitLt), functional.py (QuantState, dequantize_4bit) and _ops.py (the operators' signatures).
"""

# pyright: reportUnknownMemberType=false
# torch names only some of the types of its layers

from __future__ import annotations

from functools import cache
from typing import Any, Final

import torch
from torch import nn

SIGNATURES: Final = {
    "gemm_4bit": "(Tensor A, Tensor B, int[] shapeB, Tensor absmax, int blocksize, str quant_type, Tensor? bias=None, "
    "Tensor? absmax_8bit=None, Tensor? absmax_code=None, Tensor? absmax_offset=None) -> Tensor",
    "dequantize_4bit": "(Tensor A, Tensor absmax, int blocksize, str quant_type, int[] shape, ScalarType dtype) "
    "-> Tensor",
    "dequantize_blockwise": "(Tensor A, Tensor absmax, Tensor code, int blocksize, ScalarType dtype) -> Tensor",
    "int8_vectorwise_quant": "(Tensor A, float threshold=0.0) -> (Tensor, Tensor, Tensor?)",
    "int8_vectorwise_dequant": "(Tensor A, Tensor stats) -> Tensor",
    "int8_mixed_scaled_mm": "(Tensor A, Tensor CA, Tensor CB, Tensor SCA, Tensor SCB, Tensor? outlier_cols=None, "
    "Tensor? bias=None) -> (Tensor, Tensor?)",
}  # fmt: skip
"""Of the operators that a quantised layer calls: the tracer knows them by these names."""


def _answers() -> dict[str, Any]:
    def product(packed_input: Any, packed: Any, shape: Any, *_: Any, **__: Any) -> torch.Tensor:
        return packed_input.new_empty((*packed_input.shape[:-1], shape[0]))

    def whole(packed: Any, absmax: Any, blocksize: Any, kind: Any, shape: Any, dtype: Any) -> torch.Tensor:
        return packed.new_empty(tuple(shape), dtype=dtype)

    def scales(packed: Any, absmax: Any, code: Any, blocksize: Any, dtype: Any) -> torch.Tensor:
        return torch.empty_like(packed, dtype=dtype)

    def widened(packed: Any, stats: Any) -> torch.Tensor:
        return torch.empty_like(packed, dtype=torch.float32)

    return {
        "gemm_4bit": product,
        "dequantize_4bit": whole,
        "dequantize_blockwise": scales,
        "int8_vectorwise_dequant": widened,
    }


@cache
def define_operators() -> None:
    """Make the operators known to torch, with the form of their results on the meta device; once a process.

    Those of int8 products have none: what they give the tracer answers itself (`meta_kernels`).
    """
    library: Any = torch.library
    for name, signature in SIGNATURES.items():
        library.define(f"bitsandbytes::{name}", signature)
    for name, answer in _answers().items():
        library.register_fake(f"bitsandbytes::{name}", answer)


class QuantState:
    """The scales of packed weights. `state2`: scales of the scales, which are then 8-bit themselves."""

    def __init__(
        self,
        absmax: torch.Tensor,
        shape: Any = None,
        code: torch.Tensor | None = None,
        blocksize: int | None = None,
        quant_type: str | None = None,
        dtype: torch.dtype | None = None,
        offset: torch.Tensor | None = None,
        state2: QuantState | None = None,
    ) -> None:
        self.absmax, self.shape, self.code, self.blocksize = absmax, shape, code, blocksize
        self.quant_type, self.dtype, self.offset, self.state2 = quant_type, dtype, offset, state2

    @property
    def nested(self) -> bool:
        return self.state2 is not None


class Params4bit(nn.Parameter):
    """Two weights a byte, with their scales beside them."""

    def __new__(  # pyright: ignore[reportInconsistentConstructor]
        cls,
        data: torch.Tensor,
        requires_grad: bool = False,
        quant_state: QuantState | None = None,
        blocksize: int | None = None,
        compress_statistics: bool = True,
        quant_type: str = "fp4",
        quant_storage: torch.dtype = torch.uint8,
        module: Any = None,
        bnb_quantized: bool = False,
    ) -> Params4bit:
        made: Any = torch.Tensor._make_subclass(cls, data, requires_grad)
        made.quant_state, made.blocksize = quant_state, blocksize or 64
        made.compress_statistics, made.quant_type = compress_statistics, quant_type
        made.quant_storage, made.bnb_quantized, made.module = quant_storage, bnb_quantized, module
        return made


class Int8Params(nn.Parameter):
    """A byte a weight, one scale a row."""

    def __new__(  # pyright: ignore[reportInconsistentConstructor]
        cls,
        data: torch.Tensor,
        requires_grad: bool = True,
        has_fp16_weights: bool = False,
        CB: torch.Tensor | None = None,
        SCB: torch.Tensor | None = None,
    ) -> Int8Params:
        made: Any = torch.Tensor._make_subclass(cls, data, requires_grad)
        made.CB, made.SCB, made.has_fp16_weights = CB, SCB, has_fp16_weights
        return made


def _apply(product: Any, *given: Any) -> Any:
    """`torch.autograd.Function.apply`, whose types torch does not name."""
    return product.apply(*given)


def dequantize_4bit(packed: torch.Tensor, state: QuantState) -> torch.Tensor:
    """The weights in the type they had, shape `state.shape`; scales of 8 bits are widened first."""
    absmax, ops = state.absmax, torch.ops.bitsandbytes
    if state.state2 is not None:
        second = state.state2
        absmax = ops.dequantize_blockwise.default(absmax, second.absmax, second.code, second.blocksize, second.dtype)
        absmax += state.offset
    return ops.dequantize_4bit.default(packed, absmax, state.blocksize, state.quant_type, state.shape, state.dtype)


def int8_vectorwise_dequant(packed: torch.Tensor, stats: torch.Tensor) -> torch.Tensor:
    """The weights of an int8 layer in float32."""
    return torch.ops.bitsandbytes.int8_vectorwise_dequant.default(packed, stats)


class MatMul4Bit(torch.autograd.Function):
    """input[..., K] times packed[N, K]: nothing but the packed weights is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, given: Any, packed: Any, bias: Any, state: QuantState) -> Any:
        ctx.state, ctx.packed = state, packed
        ctx.bias_dtype = None if bias is None else bias.dtype
        return _four_bit_product(given, packed.view(-1, 1), bias, state)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        wants_given, _, wants_bias, _ = ctx.needs_input_grad
        (grad,) = grads
        bias = grad.sum(0, dtype=ctx.bias_dtype) if wants_bias else None
        given = None
        if wants_given:
            given = torch.matmul(grad, dequantize_4bit(ctx.packed, ctx.state).to(grad.dtype))
        return given, None, bias, None


def _four_bit_product(given: Any, packed: Any, bias: Any, state: QuantState) -> torch.Tensor:
    product = torch.ops.bitsandbytes.gemm_4bit.default
    second = state.state2
    if second is None:
        return product(given, packed, state.shape, state.absmax, state.blocksize, state.quant_type, bias=bias)
    return product(
        given, packed, state.shape, second.absmax, state.blocksize, state.quant_type,
        bias=bias, absmax_8bit=state.absmax, absmax_code=second.code, absmax_offset=state.offset,
    )  # fmt: skip


class Linear4bit(nn.Linear):
    """A linear layer over 4-bit weights, computed in `compute_dtype` and answered in the input's type."""

    def __init__(
        self,
        input_features: int,
        output_features: int,
        bias: bool = True,
        compute_dtype: torch.dtype | None = None,
        compress_statistics: bool = True,
        quant_type: str = "fp4",
        quant_storage: torch.dtype = torch.uint8,
        device: Any = None,
    ) -> None:
        super().__init__(input_features, output_features, bias, device)
        packed: Any = Params4bit
        self.weight = packed(
            self.weight.data, compress_statistics=compress_statistics, quant_type=quant_type, module=self
        )
        self.compute_dtype = compute_dtype
        self.quant_storage = quant_storage
        self.quant_state: QuantState | None = None

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight: Any = self.weight
        given = input if self.compute_dtype is None else input.to(self.compute_dtype)
        bias: Any = self.bias
        if bias is not None:
            if bias.dtype != given.dtype:
                bias.data = bias.data.to(given.dtype)
            bias = bias.to(self.compute_dtype)
        needs = torch.is_grad_enabled() and (given.requires_grad or (bias is not None and bias.requires_grad))
        if needs:
            out: Any = _apply(MatMul4Bit, given, weight.view(-1, 1), bias, weight.quant_state)
        else:
            out = _four_bit_product(given, weight.view(-1, 1), bias, weight.quant_state)
        return out.to(input.dtype)


class Int8State:
    """What an int8 layer keeps between calls: its weights and scales, the outlier threshold, the outliers' columns."""

    def __init__(self, threshold: float) -> None:
        self.CB: torch.Tensor | None = None
        self.SCB: torch.Tensor | None = None
        self.idx: torch.Tensor | None = None
        self.threshold = threshold
        self.has_fp16_weights = False
        self.is_training = True


class MatMul8bitLt(torch.autograd.Function):
    """LLM.int8()'s product: the input, quantised row by row, times the weights; outlier columns in 16 bits."""

    @staticmethod
    def forward(ctx: Any, given: Any, weight: Any, bias: Any, state: Int8State) -> Any:
        shape = given.shape
        if given.dim() == 3:
            given = given.reshape(-1, shape[-1])
        ops = torch.ops.bitsandbytes
        rows, stats, outliers = ops.int8_vectorwise_quant.default(given.to(torch.float16), state.threshold)
        state.idx = outliers
        out, kept = ops.int8_mixed_scaled_mm(given, rows, state.CB, stats, state.SCB, outliers, bias)
        ctx.state, ctx.shape, ctx.dtype = state, shape, given.dtype
        ctx.bias_dtype = None if bias is None else bias.dtype
        if any(ctx.needs_input_grad[:2]):
            ctx.tensors = (kept, given, outliers)
        assert state.CB is not None
        return out.reshape(*shape[:-1], state.CB.shape[0]) if len(shape) == 3 else out

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        wants_given, _, wants_bias, _ = ctx.needs_input_grad
        (grad,) = grads
        bias = grad.sum(0, dtype=ctx.bias_dtype) if wants_bias else None
        if grad.dim() == 3:
            grad = grad.reshape(-1, grad.shape[-1]).contiguous()
        given = None
        if wants_given:
            state = ctx.state
            weights = state.CB.to(ctx.dtype, copy=True).mul_(state.SCB.unsqueeze(1).mul(1.0 / 127.0))
            given = torch.matmul(grad.to(ctx.dtype), weights).view(ctx.shape)
        return given, None, bias, None


class Linear8bitLt(nn.Linear):
    """A linear layer over 8-bit weights."""

    def __init__(
        self,
        input_features: int,
        output_features: int,
        bias: bool = True,
        has_fp16_weights: bool = True,
        threshold: float = 0.0,
        index: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__(input_features, output_features, bias, device)
        self.state, self.index = Int8State(threshold), index
        packed: Any = Int8Params
        self.weight = packed(self.weight.data, requires_grad=has_fp16_weights, has_fp16_weights=has_fp16_weights)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        weight: Any = self.weight
        self.state.is_training = self.training
        if weight.CB is not None:
            self.state.CB, self.state.SCB = weight.CB, weight.SCB
            weight.CB = weight.SCB = None
        bias: Any = self.bias
        if bias is not None and bias.dtype != input.dtype:
            bias.data = bias.data.to(input.dtype)
        out: Any = _apply(MatMul8bitLt, input, self.weight, bias, self.state)
        if self.state.CB is not None:
            weight.data = self.state.CB
        return out
