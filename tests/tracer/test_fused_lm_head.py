"""The stand-in of TRL's head allocates the tiles that TRL's own allocates."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from advisor.domain.trace.pieces import AT_MOST
from advisor.tracer.fused_kernels import fused_lm_head

TOKENS, WIDTH, TOKEN_TILE = 24, 16, 8
Form = tuple[tuple[int, ...], torch.dtype]


class Buffers(TorchDispatchMode):
    """Notes each two-dimensional buffer that is made without values."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Form] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.empty.memory_format and out.dim() == 2:
            self.made.append((tuple(out.shape), out.dtype))
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocabulary", [1000, 33000])
def test_its_tile_is_trls_whatever_the_vocabulary(
    vocabulary: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = pytest.importorskip("trl.kernels.chunked_logprob")
    width = pytest.importorskip("trl.trainer.utils")._CHUNKED_LOGPROB_CHUNK_SIZE
    monkeypatch.setattr(theirs, "TOKEN_CHUNK_SIZE", TOKEN_TILE)
    monkeypatch.setattr(fused_lm_head, "TOKEN_TILE", TOKEN_TILE)

    def tensors(device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = torch.zeros(TOKENS, WIDTH, dtype=dtype, device=device, requires_grad=True)
        weight = torch.zeros(vocabulary, WIDTH, dtype=dtype, device=device)
        return hidden, weight, torch.zeros(TOKENS, dtype=torch.long, device=device)

    with Buffers() as real:
        hidden, weight, targets = tensors("cpu")
        outputs = ("log_probs", "entropy", "is_top1")
        theirs.ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, width, None, 1.0, outputs)[
            0
        ].sum().backward()
    with Buffers() as ours:
        recorder = SimpleNamespace(note=lambda *_: None, of_pieces=lambda tensor, *_: tensor)
        fused_lm_head._Head.apply(*tensors("meta"), recorder, dtype, outputs, AT_MOST)[0].sum().backward()  # pyright: ignore
    # one in the forward pass, one in the backward pass
    assert ours.made == real.made == [((TOKEN_TILE, 32768), dtype)] * 2
