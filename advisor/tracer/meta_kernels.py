"""Ops that cannot run on the meta device as they are, and memory that CUDA kernels take unseen.

Data-dependent ops are bounded, never skipped: every mask is taken as all true (an upper bound on what
follows), every read-back value as the one that keeps the usual path; each is named in the trace's assumptions.
"""

# pyright: reportUnknownMemberType=false
# torch's broadcast_shapes names no types

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

aten = torch.ops.aten


def _scalar(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if tensor.device.type != "meta":
        return NotImplemented
    if tensor.dtype == torch.bool:
        # masks are asked whether they are all ones, to skip masking
        recorder.assume("padding", "batches of several samples hold some, batches of one sample none")
        return not recorder.padded
    recorder.assume("values read during the step", "each taken as 1")
    return 1.0 if tensor.dtype.is_floating_point else 1


def _to_copy(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, device = args[0], kwargs.get("device")
    if tensor.device.type != "meta" or device is None or torch.device(device).type != "cpu":
        return NotImplemented
    recorder.assume("values read during the step", "each taken as 1")
    return torch.ones(tensor.shape, dtype=kwargs.get("dtype") or tensor.dtype, device="cpu")


def _nonzero(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if tensor.device.type != "meta":
        return NotImplemented
    recorder.assume("elements chosen by value", "all of them counted: an upper bound")
    return torch.empty(tensor.numel(), tensor.dim(), dtype=torch.long, device="meta")


def _index(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, indices = args[0], args[1]
    if not any(i is not None and i.dtype == torch.bool and i.device.type == "meta" for i in indices):
        return NotImplemented
    recorder.assume("elements chosen by value", "all of them counted: an upper bound")
    return func(tensor, _integers(indices), *args[2:], **kwargs)


def _index_put(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    indices = args[1]
    if not any(i is not None and i.dtype == torch.bool and i.device.type == "meta" for i in indices):
        return NotImplemented
    recorder.assume("elements chosen by value", "all of them counted: an upper bound")
    return args[0]


def _integers(indices: Any) -> list[Any]:
    out: list[Any] = []
    for index in indices:
        if index is None or index.dtype != torch.bool:
            out.append(index)
        else:
            out.extend(torch.empty(index.numel(), dtype=torch.long, device="meta") for _ in range(index.dim()))
    return out


def _masked_select(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor, mask = args[0], args[1]
    if tensor.device.type != "meta":
        return NotImplemented
    recorder.assume("elements chosen by value", "all of them counted: an upper bound")
    shape = cast("torch.Size", torch.broadcast_shapes(tensor.shape, mask.shape))
    return torch.empty(shape.numel(), dtype=tensor.dtype, device="meta")


def _bincount(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if tensor.device.type != "meta":
        return NotImplemented
    least = int(kwargs.get("minlength") or (args[2] if len(args) > 2 else 0) or 1)
    recorder.assume("tokens counted by expert", "no expert beyond the model's own")
    return torch.empty(least, dtype=torch.long, device="meta")


def _int8_quant(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if tensor.device.type != "meta":
        return NotImplemented
    recorder.assume("int8 outlier columns", "none counted; LLM.int8() keeps a handful in 16 bits, as the data decide")
    rows = tensor.numel() // tensor.shape[-1]
    return (
        torch.empty(tensor.shape, dtype=torch.int8, device="meta"),
        torch.empty(rows, dtype=torch.float32, device="meta"),
        torch.empty(0, dtype=torch.int64, device="meta"),
    )


def _int8_mixed(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    original, weight = args[0], args[2]
    if original.device.type != "meta":
        return NotImplemented
    out = torch.empty(*original.shape[:-1], weight.shape[0], dtype=original.dtype, device="meta")
    return out, torch.empty(original.shape[0], 0, dtype=original.dtype, device="meta")


def _unique(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    tensor = args[0]
    if tensor.device.type != "meta":
        return NotImplemented
    recorder.assume("distinct values", "every value counted as one: an upper bound")
    count = tensor.numel()
    values = torch.empty(count, dtype=tensor.dtype, device="meta")
    return (
        values,
        torch.empty(count, dtype=torch.long, device="meta"),
        torch.empty(count, dtype=torch.long, device="meta"),
    )


def _four_bit_product(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    # at training sizes the CUDA op unpacks the weight and multiplies; only few-token products stay packed
    tensor, packed, shape = args[0], args[1], args[2]
    if tensor.device.type == "meta":
        whole = int(shape[0]) * int(shape[1]) * tensor.element_size()
        recorder.note("dequantize_4bit", "elementwise", "bf16", 0, (packed.numel(), whole), 2)
    return NotImplemented


BY_NAME: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "int8_vectorwise_quant": _int8_quant,
    "int8_mixed_scaled_mm": _int8_mixed,
    "_unique2": _unique,
    "gemm_4bit": _four_bit_product,
}
"""Stand-ins for ops of libraries that may not be installed, by the op's own name."""


def _grouped_product(recorder: Any, func: Any, args: Any, kwargs: Any) -> Any:
    """torch's meta kernel takes bfloat16 alone; CUDA's multiplies other dtypes group by group into one output."""
    left, right, *rest = args
    if left.device.type != "meta" or left.dtype == torch.bfloat16:
        return NotImplemented
    recorder.assume("experts", f"multiplied one after another in {str(left.dtype).removeprefix('torch.')}")
    # rows are padded to 16 bytes: widths that are a multiple of 8 elements, as all are, need none in either dtype
    halves = [torch.empty_strided(t.shape, t.stride(), dtype=torch.bfloat16, device="meta") for t in (left, right)]
    made = func(*halves, *rest, **{name: value for name, value in kwargs.items() if name != "out_dtype"})
    return torch.empty_strided(made.shape, made.stride(), dtype=kwargs.get("out_dtype") or left.dtype, device="meta")


STAND_INS: dict[Any, Callable[[Any, Any, Any, Any], Any]] = {
    aten._local_scalar_dense: _scalar,
    aten._to_copy: _to_copy,
    aten.nonzero: _nonzero,
    aten.index: _index,
    aten.index_put_: _index_put,
    aten.masked_select: _masked_select,
    aten.bincount: _bincount,
    aten._grouped_mm: _grouped_product,
}

_FLASH_BLOCK = 128
_WIDE_HEAD = 32
_SCALE_BLOCK = 64


def _up(value: int, to: int) -> int:
    return -(-value // to) * to


def hidden_temporaries(func: Any, args: Any, kwargs: Any) -> list[int]:
    """Bytes of each temporary that the CUDA kernel of this op takes from the allocator and gives back at once."""
    make = _HIDDEN.get(func.overloadpacket) or _HIDDEN_BY_NAME.get(func.overloadpacket.__name__)
    return make(args) if make else []


def _flash_backward(args: Any) -> list[int]:
    # flash-attention 2 accumulates dQ in fp32 over padded rows, and keeps one fp32 row sum a query; with
    # grouped-query attention dK and dV are first made a query head wide
    query, key = args[1], args[2]
    batch, heads, rows, width = query.shape
    rows, width = _up(rows, _FLASH_BLOCK), _up(width, _WIDE_HEAD)
    sizes = [4 * batch * heads * rows * width, 4 * batch * heads * rows]
    if key.shape[1] != heads:
        sizes += [2 * batch * key.shape[2] * heads * query.shape[3]] * 2
    return sizes


def _efficient_backward(args: Any) -> list[int]:
    # the memory-efficient kernel keeps one fp32 row sum a query and, below fp32, accumulates dQ in fp32
    query = args[1]
    batch, heads, rows, width = query.shape
    sizes = [4 * batch * heads * _up(rows, 32)]
    if query.element_size() < 4:
        sizes.append(4 * batch * heads * _up(rows, 128) * _up(width, 32))
    return sizes


def _embedding_backward(args: Any) -> list[int]:
    # above 3072 indices the rows are sorted first: two index arrays, their sorted copies and the counts; below,
    # nothing is taken, but then these would be under 123 kB, and the stream keeps one form at every shape
    return [8 * args[1].numel()] * 5


_HIDDEN: dict[Any, Callable[[Any], list[int]]] = {
    aten._scaled_dot_product_flash_attention_backward: _flash_backward,
    aten._scaled_dot_product_efficient_attention_backward: _efficient_backward,
    aten.embedding_dense_backward: _embedding_backward,
}


def _int8_product(args: Any) -> list[int]:
    # the product is first made in int32, then scaled into the output's dtype
    rows = args[0].numel() // args[0].shape[-1]
    weight = next(a for a in args[1:] if isinstance(a, torch.Tensor) and a.dtype == torch.int8 and a is not args[0])
    return [4 * rows * weight.shape[0]]


def _int8_mixed_product(args: Any) -> list[int]:
    return _int8_product((args[1], args[2]))


def _unpacked_weight(args: Any) -> list[int]:
    weights = int(args[2][0]) * int(args[2][1])
    return [4 * -(-weights // _SCALE_BLOCK), weights * args[0].element_size()]


_HIDDEN_BY_NAME: dict[str, Callable[[Any], list[int]]] = {
    "int8_scaled_mm": _int8_product,
    "int8_mixed_scaled_mm": _int8_mixed_product,
    "gemm_4bit": _unpacked_weight,
}
