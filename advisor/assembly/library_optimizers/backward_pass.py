"""The backward pass under an optimizer whose step may be part of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def updates_in_backward(optimizer: Any) -> bool:
    """Whether an optimizer's step is part of the backward pass, so that it has none of its own."""
    return hasattr(optimizer, "fused_backward")


def backward_pass(optimizer: Any, loss: torch.Tensor, backward: Callable[[torch.Tensor], None]) -> None:
    """The backward pass; that of an optimizer that updates within at the rate of its groups.

    Args:
        backward: runs the pass of any other optimizer, and that of a stand-in.
    """
    if not updates_in_backward(optimizer):
        backward(loss)
        return
    if hasattr(optimizer, "backward"):
        optimizer.backward = backward
    optimizer.fused_backward(loss, float(optimizer.param_groups[0]["lr"]))
