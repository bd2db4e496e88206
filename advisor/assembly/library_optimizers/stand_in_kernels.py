"""Kernels of libraries that are not here, as a trace needs them: known to torch, with arguments changed, no result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch


def define_kernels(library: str, signatures: Mapping[str, str]) -> None:
    """Make kernels that give nothing known to torch, once in a process.

    Args:
        library: the namespace under `torch.ops`.
        signatures: of each kernel by its name, in torch's own form.
    """
    for name, signature in signatures.items():
        _define(f"{library}::{name}", signature)


@cache
def _define(name: str, signature: str) -> None:
    to_torch: Any = torch.library
    to_torch.define(name, signature)
    to_torch.register_fake(name, _gives_nothing)


def _gives_nothing(*_: Any, **__: Any) -> None:
    pass
