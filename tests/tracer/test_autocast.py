"""The stand-in for CUDA's autocast against torch's own lists of what is cast, and where it begins and ends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from advisor.tracer.fused_kernels import autocast as ours
from advisor.tracer.fused_kernels.attention import AsOnCuda
from advisor.tracer.fused_kernels.autocast import Autocast

HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
INNER = re.compile(r"^_|cell$|^(convolution|native_layer_norm|nll_loss2d|frobenius_norm|nuclear_norm|upsample_)")
"""Reached only by way of others that are listed, or by no model of the catalogue: recurrent cells, matrix norms."""
LINALG = re.compile(r"^linalg_")


def listed(macro: str) -> set[str]:
    """The names in one of torch's lists."""
    text = HEADER.read_text().split(f"#define {macro}(_)")[1].split("\n\n")[0]
    found = set(re.findall(r"_\((\w+)", text))
    return {name for name in found if not INNER.search(name) and not LINALG.search(name)}


@pytest.mark.parametrize(
    ("macro", "names"),
    [
        ("AT_FORALL_LOWER_PRECISION_FP", ours._LOWER_NAMES),
        ("AT_FORALL_FP32", ours._UPPER_NAMES),
        ("AT_FORALL_FP32_SET_OPT_DTYPE", ours._IN_FLOAT32_NAMES),
    ],
)
def test_the_lists_hold_what_torch_lists(macro: str, names: str):
    wanted = listed(macro)
    assert len(wanted) >= 5
    assert wanted <= set(names.split()), wanted - set(names.split())


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_products_are_in_16_bits_and_norms_losses_and_sums_in_float32():
    half, targets = meta(4, 4, dtype=torch.bfloat16), torch.empty(4, dtype=torch.long, device="meta")
    autocast = Autocast(torch.bfloat16)
    with autocast, autocast.region():
        for product in (meta(4, 4) @ meta(4, 4), nn.functional.linear(meta(4, 4), meta(4, 4)), meta(4, 4).mm(half)):
            assert product.dtype == torch.bfloat16
        for wide in (
            nn.functional.layer_norm(half, (4,)), half.pow(2), half**2, torch.rsqrt(half), half.sum(), half.norm(),
            torch.softmax(half, -1), half.cumsum(0), nn.functional.cross_entropy(half, targets),
        ):  # fmt: skip
            assert wide.dtype == torch.float32
        assert (half + half).dtype == torch.bfloat16


def test_each_weight_is_cast_once_a_region_and_freed_at_its_end():
    weight, frozen = nn.Parameter(meta(4, 4)), meta(4, 4)
    autocast = Autocast(torch.bfloat16)
    with autocast:
        with autocast.region():
            for other in (weight, weight, frozen):
                torch.matmul(meta(2, 4), other)
            assert len(autocast.cache) == 1, "frozen weights are cast anew at each use"
        assert not autocast.cache
        assert torch.matmul(frozen, frozen).dtype == torch.float32, "outside a region nothing is cast"


def test_16_bit_inputs_of_the_other_kind_are_cast_too():
    autocast = Autocast(torch.bfloat16)
    half = meta(4, 4, dtype=torch.float16)
    with autocast, autocast.region():
        assert torch.matmul(half, half).dtype == torch.bfloat16


@pytest.mark.parametrize("mixed", [False, True])
def test_softmax_of_16_bits_into_float32_makes_no_copy(mixed: bool):
    made: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            made.append(out.numel() * out.element_size())
            return out

    scores = meta(8, 8, dtype=torch.bfloat16)
    autocast = Autocast(torch.bfloat16)
    with Watch(), AsOnCuda(8.0), autocast:
        if mixed:
            with autocast.region():
                assert torch.softmax(scores, -1).dtype == torch.float32
                assert scores.softmax(-1).dtype == torch.float32
        assert nn.functional.softmax(scores, dim=-1, dtype=torch.float32).dtype == torch.float32
    assert made == [8 * 8 * 4] * (3 if mixed else 1)
