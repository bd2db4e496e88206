"""Traces of diffusion models: sizes hold at shapes that were not traced, and torch's own RMS norm is CUDA's kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.workload import Workload
from advisor.tracer.fused_kernels.rms_norm import fused_rms_norms
from advisor.tracer.record_step import BatchShape, TraceRequest, record
from advisor.tracer.trace import make_trace
from tests.conformance.test_denoiser_steps import CONFIGS, tiny


@pytest.mark.slow
@pytest.mark.parametrize("kind", CONFIGS)
def test_sizes_of_pictures_and_texts_hold_at_a_shape_that_was_not_traced(kind: str) -> None:
    """A picture's positions and its text's stand in one sequence: two shapes would not tell their sum."""
    spec, workload = tiny(kind), Workload(model=kind, task="denoising", seq_len=256, target_len=64)
    recipe = Recipe(method="lora", trainer="loop", gradient_checkpointing=True, micro_batch_size=2)
    timeline = expand(make_trace(spec, workload, recipe))
    recorded = record(TraceRequest(spec, workload, recipe, 8.0, False), BatchShape(5, 512, 256), None)
    born = [event.size for event in recorded.events if event.kind == 0]
    told = timeline.bytes_of(5, 512, 256)[timeline.mem_alloc]
    assert sorted(born) == sorted(told.tolist())


class _Costs:
    def __init__(self) -> None:
        self.names: list[str] = []

    def note(self, name: str, *_: Any) -> None:
        self.names.append(name)


def test_an_rms_norm_is_one_kernel_unless_its_weight_has_another_type() -> None:
    model = nn.Sequential(nn.RMSNorm(8, dtype=torch.bfloat16, device="meta"))
    costs: Any = _Costs()
    x = torch.empty(4, 8, dtype=torch.bfloat16, device="meta", requires_grad=True)
    with fused_rms_norms(model, costs):
        out = model(x)
        assert (out.dtype, out.shape) == (x.dtype, x.shape)
        model(x.float())
        out.backward(torch.empty_like(out))
    assert costs.names == ["_fused_rms_norm", "_fused_rms_norm_backward"]
    assert x.grad is not None
    assert x.grad.dtype == x.dtype
