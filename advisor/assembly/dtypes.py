"""torch dtypes from the names that recipes use, and how many bytes each stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from advisor.errors import UnsupportedModel

if TYPE_CHECKING:
    import torch


def torch_dtype(name: str) -> torch.dtype:
    """The torch dtype of a recipe's dtype name, or of a checkpoint's, which may use torch's other names.

    Raises:
        UnsupportedModel: another one.
    """
    import torch

    found = {
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
        "half": torch.float16,
        "float32": torch.float32,
        "float": torch.float32,
    }.get(name)
    if found is None:
        raise UnsupportedModel(f"the dtype {name!r} is none that is modelled", hints=["bfloat16, float16, float32"])
    return found
