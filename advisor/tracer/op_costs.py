"""What one dispatched op costs: its class, FLOP, bytes its kernels move, and how many kernels it launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten

_MATMUL = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten._scaled_mm, aten.convolution, aten.convolution_backward,
           aten.mv, aten.addmv, aten.dot, aten._grouped_mm, aten.linear}  # fmt: skip
_ATTENTION = {
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_flash_attention_backward,
}
_REDUCTION = {aten.sum, aten.mean, aten._softmax, aten._log_softmax, aten._softmax_backward_data, aten.amax, aten.max,
              aten._log_softmax_backward_data, aten.native_layer_norm, aten.native_layer_norm_backward, aten.norm,
              aten.linalg_vector_norm, aten.nll_loss_forward, aten.nll_loss_backward, aten.var, aten.cumsum,
              aten.argmax, aten.topk, aten.sort, aten.all, aten.any, aten.prod,
              aten.embedding_dense_backward}  # fmt: skip
_INT8_MATMUL = {"int8_scaled_mm", "int8_mixed_scaled_mm"}
_COPY = {aten.clone, aten.copy_, aten._to_copy, aten.cat, aten.stack, aten.embedding, aten.index, aten.gather,
         aten.index_select, aten.constant_pad_nd, aten.repeat, aten.contiguous}  # fmt: skip
_NO_KERNEL = {aten.empty, aten.empty_like, aten.empty_strided, aten.new_empty, aten.new_empty_strided, aten.set_,
              aten._unsafe_view, aten.detach_, aten.resize_, aten.lift_fresh, aten.sym_size, aten.sym_numel,
              aten._nested_tensor_from_mask, aten.is_same_size, aten.data}  # fmt: skip

_KERNELS = {
    aten.native_layer_norm_backward: 2,
    aten.embedding_dense_backward: 5,
    aten.nll_loss_forward: 1,
    aten._scaled_dot_product_flash_attention_backward: 3,
    aten._scaled_dot_product_efficient_attention_backward: 2,
    aten.nonzero: 3,
    aten.sort: 4,
    aten.topk: 2,
    aten.cumsum: 2,
    aten._linalg_svd: 50,
    aten.linalg_qr: 20,
    aten._linalg_solve_ex: 6,
    aten.linalg_inv_ex: 6,
    aten._fft_r2c: 2,
    aten._fft_c2r: 2,
    aten._fft_c2c: 2,
}
"""Kernels an op launches where it is not one; order of magnitude for the linear-algebra ones."""

_NAMES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32", torch.int8: "int8",
          torch.uint8: "uint8", torch.float64: "fp64", torch.int64: "int64", torch.bool: "bool",
          torch.int32: "int32", torch.complex64: "complex64"}  # fmt: skip


def dtype_name(dtype: torch.dtype) -> str:
    """What a trace calls it: bf16, fp32 ...; `other` for what no rate is known of."""
    return _NAMES.get(dtype, "other")


@dataclass(slots=True, frozen=True)
class OpInfo:
    """What is told of an op; `flop` counts a multiply-add as 2, `traffic` is bytes moved, tensor by tensor."""

    name: str
    op_class: str
    dtype: str
    flop: int
    traffic: tuple[int, ...]
    kernels: int


def touched(tensor: torch.Tensor) -> int:
    """Bytes a kernel touches of a tensor: an expanded view counts what lies in memory once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def describe(func: Any, args: Any, kwargs: Any, inputs: list[Any], outputs: list[Any], out: Any) -> OpInfo | None:
    """Class, FLOP, bytes and kernels of one dispatched op; None for what is no work at all (an empty tensor)."""
    packet = func.overloadpacket
    if packet in _NO_KERNEL:
        return None
    name = packet.__name__
    first = next((t for t in outputs or inputs if isinstance(t, torch.Tensor)), None)
    dtype = dtype_name(first.dtype) if first is not None else "other"
    if func.is_view:
        return OpInfo(name, "view", dtype, 0, (), 0)
    devices = {t.device.type for t in inputs} | {t.device.type for t in outputs}
    if "cpu" in devices and "meta" in devices and packet in (aten._to_copy, aten.copy_):
        to_device = any(t.device.type == "meta" for t in outputs)
        moved = tuple(touched(t) for t in outputs)
        return OpInfo(name, "h2d" if to_device else "d2h", dtype, 0, moved, 1)
    if packet is aten._local_scalar_dense:
        return OpInfo(name, "d2h", dtype, 0, (4,), 1)
    if name.startswith(("_foreach_", "_fused_", "_amp_foreach")):
        return _foreach(name, dtype, args, inputs, outputs)
    traffic = tuple(touched(t) for t in (*inputs, *outputs) if t.device.type == "meta")
    flop = 0
    if packet in flop_registry:
        flop = int(flop_registry[packet](*args, **kwargs, out_val=out))
    if name == "gemm_4bit":
        # the packed weight was unpacked just before (see stand_ins): the product reads it whole
        rows, columns = int(args[2][0]), int(args[2][1])
        moved = (touched(inputs[0]), rows * columns * inputs[0].element_size(), touched(outputs[0]))
        return OpInfo(name, "matmul", dtype, 2 * inputs[0].numel() * rows, moved, 1)
    if name in _INT8_MATMUL:
        rows = inputs[0].numel() // inputs[0].shape[-1]
        weight = [t for t in inputs if t.dtype == torch.int8][-1]
        return OpInfo(name, "matmul", "int8", 2 * rows * weight.numel(), traffic, 2)
    if packet in _MATMUL:
        return OpInfo(name, "matmul", dtype, flop or _matmul_flop(inputs, outputs), traffic, _KERNELS.get(packet, 1))
    if packet in _ATTENTION:
        return OpInfo(name, "attention", dtype, flop, traffic, _KERNELS.get(packet, 1))
    if packet in _REDUCTION:
        return OpInfo(name, "reduction", dtype, 0, traffic, _KERNELS.get(packet, 1))
    if packet in _COPY:
        return OpInfo(name, "copy", dtype, 0, traffic, _KERNELS.get(packet, 1))
    return OpInfo(name, "elementwise", dtype, flop, traffic, _KERNELS.get(packet, 1))


def _matmul_flop(inputs: list[Any], outputs: list[Any]) -> int:
    # 2 * outputs * inner dimension, for products the registry does not list (mv, dot, grouped)
    if not inputs or not outputs:
        return 0
    inner = inputs[0].shape[-1] if inputs[0].dim() else 1
    return 2 * int(outputs[0].numel()) * int(inner)


def _foreach(name: str, dtype: str, args: Any, inputs: list[Any], outputs: list[Any]) -> OpInfo:
    first = args[0] if isinstance(args[0], (list, tuple)) else inputs
    traffic = sum(touched(t) for t in (*inputs, *outputs) if t.device.type == "meta")
    if name.endswith("_"):
        traffic += sum(touched(t) for t in first if isinstance(t, torch.Tensor) and t.device.type == "meta")
    return OpInfo(name, "foreach", dtype, 0, (traffic,), -len(first))
