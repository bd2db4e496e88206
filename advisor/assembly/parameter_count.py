"""How many numbers a model's parameters hold: the one count for traces, profiles and trainings."""

from __future__ import annotations

import torch
from torch import nn


def logical_size(parameter: torch.Tensor) -> int:
    """Numbers in one parameter: two to the byte in bitsandbytes' 4-bit storage, whatever its shape says."""
    return parameter.numel() * packing(parameter)


def packing(parameter: torch.Tensor) -> int:
    """Numbers in one element of storage."""
    return 2 if type(parameter).__name__ == "Params4bit" and parameter.dtype == torch.uint8 else 1


def trainable_parameters(model: nn.Module) -> int:
    """Numbers that are trained; one shared under two names counts once."""
    return sum(logical_size(p) for p in model.parameters() if p.requires_grad)


def total_parameters(model: nn.Module) -> int:
    """Numbers in all parameters."""
    return sum(logical_size(p) for p in model.parameters())
