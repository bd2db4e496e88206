"""What our own adapters share: modules around frozen ones, deltas that merge, adapters' dtype."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from advisor.assembly.adapters import module_search as layers
from advisor.domain.plain_values import is_tuple
from advisor.errors import IllegalRecipe


class Wrapped(nn.Module):
    """A frozen module and what is learned around it; attributes it lacks are the inner module's own.

    The inner module is `base_layer`, as in peft, and other code may read its `weight` through the wrapper.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.base_layer = inner

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base_layer"), name)


def replace(model: nn.Module, path: str, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put `make(module)` where the module at `path` stands."""
    parent_path, _, name = path.rpartition(".")
    parent = model.get_submodule(parent_path)
    setattr(parent, name, make(parent.get_submodule(name)))


def place_of(module: nn.Module) -> torch.device:
    """Where a module's weights are; the CPU when it has none."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def adapter_dtype(module: nn.Module) -> torch.dtype:
    """The dtype adapters are held in: float32 beside 16-bit and quantised weights, as peft's autocast_adapter_dtype."""
    found = next((p.dtype for p in module.parameters() if p.dtype.is_floating_point), torch.float32)
    return torch.float32 if found in (torch.float16, torch.bfloat16) else found


def first_of(output: Any) -> torch.Tensor:
    """The hidden states in a sub-layer's output, which some families give in a tuple."""
    return output[0] if is_tuple(output) else output


def with_first(output: Any, tensor: torch.Tensor) -> Any:
    return (tensor, *output[1:]) if is_tuple(output) else tensor


class Delta(Wrapped):
    """A frozen linear layer plus a learned change of its weight. Shapes: W [O, I], x [..., I].

    Subclasses give `delta()` [O, I], and may compute `add(x)` [..., O] without forming it.
    """

    def delta(self) -> torch.Tensor:
        raise NotImplementedError

    def add(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.delta())

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        out = self.base_layer(x, *args, **kwargs)
        dtype = next(p.dtype for p in self.parameters(recurse=True) if p.requires_grad or p.dtype == torch.float32)
        return out + self.add(x.to(dtype)).to(out.dtype)

    def merged(self) -> nn.Module:
        """The inner layer with the change added to its weight."""
        inner = self.base_layer
        weight = _plain_weight(inner)
        change = self.delta().to(weight.dtype)
        weight.data += change.T if isinstance(inner, Conv1D) else change
        return inner


def _plain_weight(inner: nn.Module) -> torch.Tensor:
    weight = inner.weight
    if not isinstance(weight, torch.Tensor) or not weight.dtype.is_floating_point:
        raise IllegalRecipe(
            "cannot merge into a quantised weight without rounding",
            hints=["merge into the 16-bit model: load it with base = dtype, then the adapter"],
        )
    return weight


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters a method trains, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def wrap_linears(model: nn.Module, wanted: str | list[str], make: Callable[[nn.Module], nn.Module]) -> None:
    """Replace every linear layer that `wanted` names (see `layers.select`)."""
    for path in layers.select(model, wanted):
        replace(model, path, make)
