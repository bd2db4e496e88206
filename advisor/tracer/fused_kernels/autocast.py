"""Autocast as a GPU would do it, while the tensors lie on the meta device, of which no autocast knows.

Source of the lists: torch 2.13, ATen/autocast_mode.h (AT_FORALL_LOWER_PRECISION_FP, AT_FORALL_FP32,
AT_FORALL_FP32_SET_OPT_DTYPE and the norms), which are those of CUDA.
"""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false
# torch tells which tensors are views only through names it keeps to itself, and says few of their types

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from advisor.domain.plain_values import is_sequence

_LOWER_NAMES: Final = (
    "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d prelu addmm addmv addr matmul "
    "__matmul__ __rmatmul__ einsum mm mv linear addbmm baddbmm bmm chain_matmul scaled_dot_product_attention"
)
_UPPER_NAMES: Final = (
    "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow __pow__ softplus layer_norm "
    "rms_norm group_norm cosine_similarity poisson_nll_loss cosine_embedding_loss cross_entropy nll_loss "
    "hinge_embedding_loss kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss "
    "multilabel_margin_loss soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits "
    "dist pdist cdist renorm logsumexp interpolate norm normalize"
)
_IN_FLOAT32_NAMES: Final = "prod softmax log_softmax cumprod cumsum sum"


def _functions(names: str) -> frozenset[Any]:
    places = (torch, torch.Tensor, F)
    return frozenset(
        found for name in names.split() for place in places if (found := getattr(place, name, None)) is not None
    )


_LOWER: Final = _functions(_LOWER_NAMES)
_UPPER: Final = _functions(_UPPER_NAMES)
_IN_FLOAT32: Final = _functions(_IN_FLOAT32_NAMES)
"""These are given float32 as the type to compute and answer in: their kernels read 16 bits, and no copy is made."""
_HALF: Final = (torch.bfloat16, torch.float16)
_CAST: Final = (torch.float32, *_HALF)


class Autocast(TorchFunctionMode):
    """What torch.autocast("cuda") would cast, within `region()` alone.

    Products take their float32 inputs in the lower dtype, each trainable float32 weight once a region; norms,
    losses and powers take float32; sums and softmax answer in float32.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.cache: dict[int, torch.Tensor] = {}
        self._inside = 0

    @contextmanager
    def region(self) -> Generator[None]:
        """A block under autocast; at the end of the outermost the cached weights die."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self.cache.clear()

    def around(self, model: nn.Module) -> None:
        """Run the model's forward pass in a region, as trainers do; the loss and the backward pass lie outside."""
        forward: Callable[..., Any] = model.forward

        @wraps(forward)
        def within(*args: Any, **kwargs: Any) -> Any:
            with self.region():
                return forward(*args, **kwargs)

        model.forward = within

    def recomputing(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For torch.utils.checkpoint, which restores autocast where it recomputes: contexts of forward and of that."""
        return nullcontext(), self.region()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._inside:
            if func in _LOWER:
                args, kwargs = _cast(args, kwargs, self._lower)
            elif func in _UPPER:
                args, kwargs = _cast(args, kwargs, _upper)
            elif func in _IN_FLOAT32 and kwargs.get("dtype") is None and _is_half(args, kwargs):
                kwargs = {**kwargs, "dtype": torch.float32}
        return func(*args, **kwargs)

    def _lower(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.dtype not in _CAST or tensor.dtype == self.dtype or tensor.device.type == "cpu":
            return tensor
        if tensor.dtype == torch.float32 and tensor.is_leaf and tensor.requires_grad and not tensor._is_view():
            if id(tensor) not in self.cache:
                self.cache[id(tensor)] = tensor.to(self.dtype)
            return self.cache[id(tensor)]
        return tensor.to(self.dtype)


def _upper(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in _HALF and tensor.device.type != "cpu" else tensor


def _is_half(args: Any, kwargs: Any) -> bool:
    first = args[0] if args else kwargs.get("input")
    # softmax and cumsum take the type as their third argument too
    typed = any(isinstance(value, torch.dtype) for value in args)
    return isinstance(first, torch.Tensor) and first.dtype in _HALF and not typed


def _cast(args: Any, kwargs: Any, one: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Any, Any]:
    def cast(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return one(value)
        if is_sequence(value):
            return type(value)(cast(v) for v in value)
        return value

    return tuple(cast(a) for a in args), {k: cast(v) for k, v in kwargs.items()}
