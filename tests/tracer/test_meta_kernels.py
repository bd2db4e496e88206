"""What stands in for kernels that only a GPU has: as many products, and as large temporaries, as they make."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.qwen3_next import modeling_qwen3_next

from advisor.domain.trace.expand import expand
from advisor.domain.trace.trace_schema import CATEGORIES
from advisor.tracer.dispatch_recorder import Recorder
from advisor.tracer.fused_kernels import delta_rule
from advisor.tracer.trace import make_trace
from tests.selection import one_in
from tests.tracer.models import DECODER
from tests.tracer.test_trace_laws import recipe, workload

torch.set_num_threads(1)


@pytest.mark.parametrize(("samples", "tokens", "heads", "keys", "values"), [(2, 128, 3, 16, 8), (1, 64, 1, 8, 32)])
def test_the_delta_rule_does_the_fallbacks_products_and_its_triangular_solve(
    samples: int, tokens: int, heads: int, keys: int, values: int
):
    def drawn(*width: int) -> torch.Tensor:
        return torch.rand(samples, tokens, heads, *width)

    key, value = drawn(keys), drawn(values)
    with FlopCounterMode(display=False) as counted:
        modeling_qwen3_next.torch_chunk_gated_delta_rule(drawn(keys), key, value, -drawn(), drawn(), chunk_size=64)
    # torch counts a solve as nothing; kernels multiply keys and values by the inverse
    solve = 2 * samples * tokens * heads * delta_rule.CHUNK * (keys + values)
    assert delta_rule._flop(key, value) == counted.get_total_flops() + solve


@pytest.mark.slow
def test_a_four_bit_product_unpacks_the_whole_weight_for_a_moment():
    """128 x 256 numbers in bf16; of 8 tokens nothing else is as large."""
    pytest.importorskip("bitsandbytes")
    found: dict[str, int] = {}
    for base in ("dtype", "nf4"):
        timeline = expand(make_trace(DECODER, workload(DECODER), recipe(base=base)))
        passing = timeline.mem_alloc & (timeline.mem_category == CATEGORIES.index("temporaries"))
        found[base] = int((timeline.bytes_of(1, 8)[passing & (timeline.mem_step == 2)] == 128 * 256 * 2).sum())
    # the three products of a layer's feed-forward, in eight layers
    assert found == {"dtype": 0, "nf4": 3 * 8}


def test_what_is_distinct_is_bounded_by_all_of_it():
    recorder = Recorder(padded=False)
    with recorder:
        values, inverse = torch.unique(torch.empty(7, dtype=torch.long, device="meta"), return_inverse=True)
    assert values.shape == inverse.shape == (7,)
    assert recorder.assumptions["distinct values"].endswith("an upper bound")


@pytest.mark.exhaustive
@pytest.mark.parametrize("blocks", one_in(4, [3, 1, 2, 5]))
def test_a_method_that_picks_its_layers_by_their_number_trains_as_many_as_in_the_whole_model(blocks: int):
    asked = recipe(method="partial", options={"blocks": blocks})
    short, whole = (make_trace(DECODER, workload(DECODER), asked, whole=flag) for flag in (False, True))
    assert short.trainable_parameters == whole.trainable_parameters
    assert short.total_parameters == whole.total_parameters
