"""What the tracer promises: unrolled equals whole, polynomials hold everywhere, kernels are CUDA's."""

from __future__ import annotations

import errno
import gzip
from typing import Any

import numpy as np
import pytest
import torch

from advisor import store
from advisor.catalog.methods import methods
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import alive_at_end, expand
from advisor.domain.trace.timeline import Timeline
from advisor.domain.trace.trace_schema import CATEGORIES, Trace
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnsupportedModel
from advisor.tracer import trace as door
from advisor.tracer.layer_cuts import traced_layers
from advisor.tracer.record_step import BatchShape, TraceRequest, record, whole_census
from advisor.tracer.symbolic import Irregular
from advisor.tracer.trace import make_trace, trace, trace_key
from tests.selection import one_in
from tests.tracer.models import DECODER, ENCODER, ENCODER_DECODER, MIXTURE, TASKS

pytestmark = pytest.mark.slow

torch.set_num_threads(1)


def workload(spec: ModelSpec) -> Workload:
    return Workload(model=spec.name, task=TASKS[spec.architecture])  # pyright: ignore


def recipe(**changes: Any) -> Recipe:
    return Recipe(**{"method": "lora", "micro_batch_size": 4, **changes})


def bytes_at_peak(timeline: Timeline, batch: int, length: int, target: int = 0) -> int:
    born = timeline.bytes_of(batch, length, target)
    sizes = np.zeros(timeline.mem_storage.max() + 1, dtype=np.int64)
    sizes[timeline.mem_storage[timeline.mem_alloc]] = born[timeline.mem_alloc]
    return int(np.cumsum(np.where(timeline.mem_alloc, born, -sizes[timeline.mem_storage])).max())


CASES = [
    pytest.param(DECODER, {}, id="decoder"),
    pytest.param(DECODER, {"gradient_checkpointing": True}, id="decoder-checkpointed"),
    pytest.param(DECODER, {"trainer": "loop"}, id="decoder-loop-keeps-outputs"),
    pytest.param(DECODER, {"trainer": "trl"}, id="decoder-trl"),
    pytest.param(DECODER, {"method": "full"}, id="decoder-full"),
    pytest.param(DECODER, {"method": "adalora"}, id="decoder-adalora"),
    pytest.param(DECODER, {"method": "dora"}, id="decoder-dora"),
    pytest.param(DECODER, {"method": "adapter-houlsby"}, id="decoder-houlsby"),
    pytest.param(DECODER, {"autocast": True}, id="decoder-autocast"),
    pytest.param(ENCODER, {}, id="encoder"),
    pytest.param(MIXTURE, {}, id="mixture"),
]


@pytest.mark.parametrize(("spec", "changes"), one_in(20, CASES))
def test_unrolled_layers_equal_the_full_depth_trace(spec: ModelSpec, changes: dict[str, Any]):
    asked = recipe(**changes)
    compiled = make_trace(spec, workload(spec), asked)
    assert compiled.repeats, "nothing was unrolled: this case proves nothing"
    short = expand(compiled)
    whole = expand(make_trace(spec, workload(spec), asked, whole=True))
    for shape in ((4, 333, 77), (1, 64, 16)):
        assert np.array_equal(short.bytes_of(*shape), whole.bytes_of(*shape))
        a, b = short.values(*shape), whole.values(*shape)
        assert np.allclose(a[short.op_flop], b[whole.op_flop])
        # bytes of ops over all parameters are shared out by layer and rounded, and the norm of the norms reads
        # four bytes a parameter that no layer owns
        assert a[short.op_bytes].sum() == pytest.approx(b[whole.op_bytes].sum(), rel=1e-5)
    assert np.array_equal(short.mem_alloc, whole.mem_alloc)
    assert np.array_equal(short.mem_phase, whole.mem_phase)
    assert np.array_equal(short.op_kernels, whole.op_kernels)


@pytest.mark.parametrize("spec", one_in(4, [DECODER, ENCODER, ENCODER_DECODER, MIXTURE]), ids=lambda s: s.name)
def test_polynomials_hold_at_a_shape_that_was_not_traced(spec: ModelSpec):
    timeline = expand(make_trace(spec, workload(spec), recipe(), whole=True))
    asked = TraceRequest(spec, workload(spec), recipe(), 8.0, True)
    recorded = record(asked, BatchShape(5, 128, 384), None)
    born = [e.size for e in recorded.events if e.kind == 0]
    told = timeline.bytes_of(5, 128, 384)[timeline.mem_alloc]
    assert sorted(born) == sorted(told.tolist())


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("dtype", "method"), one_in(4, [(d, m) for d in ("float32", "float16") for m in ("lora", "full")])
)
def test_experts_are_traced_in_every_dtype(dtype: str, method: str):
    """torch's own meta kernel of grouped products knows bfloat16 alone."""
    made = make_trace(MIXTURE, workload(MIXTURE), recipe(method=method, options={}, dtype=dtype))
    half = make_trace(MIXTURE, workload(MIXTURE), recipe(method=method, options={}, dtype="bfloat16"))
    assert made.trainable_parameters == half.trainable_parameters
    wide, narrow = (bytes_at_peak(expand(one), 2, 128) for one in (made, half))
    assert wide > narrow if dtype == "float32" else 0.9 * narrow < wide < 1.1 * narrow


def test_more_tokens_never_cost_less():
    timeline = expand(make_trace(DECODER, workload(DECODER), recipe()))
    peaks = [bytes_at_peak(timeline, b, s) for b, s in ((1, 64), (1, 128), (2, 128), (4, 128), (4, 512), (8, 512))]
    assert peaks == sorted(peaks)
    work = [timeline.values(b, 256)[timeline.op_flop].sum() for b in (1, 2, 4, 8)]
    assert work == sorted(work)


def test_what_stays_after_the_run_is_weights_adapter_state_and_the_trainer_s_leftovers():
    timeline = expand(make_trace(DECODER, workload(DECODER), recipe()))
    category = dict(zip(timeline.mem_storage.tolist(), timeline.mem_category.tolist(), strict=True))
    left = {CATEGORIES[category[s]] for s in alive_at_end(timeline)}
    assert {"base weights", "adapter", "optimizer state"} <= left
    assert "gradients" not in left
    assert "saved activations" not in left


def test_parameter_counts_are_those_of_the_whole_model():
    found = make_trace(DECODER, workload(DECODER), recipe())
    whole = make_trace(DECODER, workload(DECODER), recipe(), whole=True)
    assert (found.trainable_parameters, found.total_parameters) == (
        whole.trainable_parameters,
        whole.total_parameters,
    )


def ops(spec: ModelSpec, **changes: Any) -> set[str]:
    found = make_trace(spec, workload(spec), recipe(**changes))
    return set(found.names)


@pytest.mark.exhaustive
def test_a_padded_batch_takes_the_memory_efficient_kernel_and_a_full_one_flash():
    assert "_scaled_dot_product_efficient_attention" in ops(DECODER)
    assert "_scaled_dot_product_flash_attention" in ops(DECODER, micro_batch_size=1)
    assert "_scaled_dot_product_flash_attention" in ops(DECODER, batching="packed")


@pytest.mark.exhaustive
def test_adalora_prunes_in_its_step_unless_no_step_is_left_to_prune_in():
    assert "kthvalue" in ops(DECODER, method="adalora")
    assert "kthvalue" not in ops(
        DECODER, method="adalora", options={"total_steps": 100, "warm_steps": 50, "final_steps": 49}
    )
    assert "kthvalue" not in ops(DECODER)


def test_float32_never_takes_flash():
    assert "_scaled_dot_product_flash_attention" not in ops(DECODER, micro_batch_size=1, dtype="float32")


def test_a_card_before_ampere_never_takes_flash():
    asked = TraceRequest(DECODER, workload(DECODER), recipe(micro_batch_size=1), 7.5, False)
    names = {e.name for e in record(asked, BatchShape(2, 128, 128), {"num_hidden_layers": 2}).events}
    assert "_scaled_dot_product_efficient_attention" in names
    assert "_scaled_dot_product_flash_attention" not in names


@pytest.mark.exhaustive
def test_eager_attention_builds_the_score_matrix():
    eager, fused = (
        bytes_at_peak(expand(make_trace(DECODER, workload(DECODER), recipe(attention=a))), 4, 1024)
        for a in ("eager", "sdpa")
    )
    # scores and their softmax, [4, 4, 1024, 1024] each in every one of eight layers: 2.9 times here
    assert eager > 2.5 * fused


def test_autocast_casts_on_a_machine_whose_own_autocast_would_not():
    found = make_trace(DECODER, workload(DECODER), recipe(autocast=True))
    flop_by_dtype: dict[str, float] = {}
    timeline = expand(found)
    values = timeline.values(4, 256)
    for dtype, flop in zip(timeline.op_dtype.tolist(), values[timeline.op_flop].tolist(), strict=True):
        flop_by_dtype[found.dtypes[dtype]] = flop_by_dtype.get(found.dtypes[dtype], 0) + flop
    assert flop_by_dtype["bf16"] == sum(flop_by_dtype.values()) > 0


@pytest.mark.parametrize(("trainer", "grows"), one_in(2, [("trl", 1), ("hf", 4)]))
def test_trl_never_holds_tokens_by_vocabulary_logits(trainer: str, grows: int):
    biggest: list[int] = []
    for vocabulary in (1024, 4096):
        spec = DECODER.model_copy(update={"config": {**DECODER.config, "vocab_size": vocabulary}})
        timeline = expand(make_trace(spec, workload(spec), recipe(trainer=trainer, micro_batch_size=1)))
        biggest.append(int(timeline.bytes_of(64, 2048)[timeline.mem_alloc].max()))
    assert biggest[1] == grows * biggest[0]
    # logits in float32, or TRL's tile in bfloat16: 4096 tokens by 32768 columns, however few words there are
    assert biggest[0] == (64 * 2048 * 1024 * 4 if trainer == "hf" else 4096 * 32768 * 2)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("base", "share"), one_in(2, [("nf4", 0.56), ("int8", 0.69)]))
def test_a_quantised_base_does_the_same_products_and_holds_less(base: str, share: float):
    """A quarter and half of the layers' bytes; embeddings, norms and the adapter stay whole."""
    pytest.importorskip("bitsandbytes")
    plain = expand(make_trace(DECODER, workload(DECODER), recipe()))
    packed = expand(make_trace(DECODER, workload(DECODER), recipe(base=base)))
    flop = [t.values(4, 256)[t.op_flop].sum() for t in (plain, packed)]
    assert flop[1] == pytest.approx(flop[0])
    held = [int(t.bytes_of(4, 256)[t.mem_step == 0].sum()) for t in (plain, packed)]
    assert held[1] < share * held[0]


def test_checkpointing_trades_memory_for_work():
    plain = expand(make_trace(DECODER, workload(DECODER), recipe()))
    kept = expand(make_trace(DECODER, workload(DECODER), recipe(gradient_checkpointing=True)))
    # of eight layers one is whole at a time, the rest is their inputs; forward runs once more, a third of the work
    # where attention leads, whose backward pass is two and a half times its forward
    assert bytes_at_peak(kept, 8, 1024) < 0.2 * bytes_at_peak(plain, 8, 1024)
    work = [timeline.values(8, 1024)[timeline.op_flop].sum() for timeline in (plain, kept)]
    assert work[1] / work[0] == pytest.approx(4 / 3, rel=0.01)


def test_a_whole_step_counts_six_flop_a_weight_a_token():
    # full fine-tuning: 2 forward, 4 backward a weight; of 4 tokens attention's own share is half a percent
    timeline = expand(make_trace(DECODER, workload(DECODER), recipe(method="full")))
    steady = timeline.op_step == 2
    flop = timeline.values(8, 4)[timeline.op_flop][steady].sum()
    weights = make_trace(DECODER, workload(DECODER), recipe(method="full")).total_parameters
    assert flop == pytest.approx(6 * weights * 8 * 4, rel=0.01)


# --- the door: keys, cache -------------------------------------------------------------------------------


def test_a_second_question_is_answered_from_the_cache(monkeypatch: pytest.MonkeyPatch):
    first = trace(DECODER, workload(DECODER), recipe(options={"rank": 4}))
    door._memory.clear()
    monkeypatch.setattr(door, "make_trace", lambda *a, **k: pytest.fail("traced again"))
    assert trace(DECODER, workload(DECODER), recipe(options={"rank": 4})) == first


@pytest.mark.exhaustive
def test_a_corrupt_cached_trace_is_made_anew():
    asked = recipe(options={"rank": 2})
    first = trace(DECODER, workload(DECODER), asked)
    path = door.cache_path(first.key)
    path.write_bytes(path.read_bytes()[:50])
    door._memory.clear()
    assert trace(DECODER, workload(DECODER), asked) == first
    assert gzip.decompress(path.read_bytes())


def test_a_cache_that_cannot_be_written_is_done_without(monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: Any) -> None:
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr(store, "durable", refuse)
    door._memory.clear()
    assert trace(DECODER, workload(DECODER), recipe(options={"rank": 3})).trainable_parameters > 0


def test_keys_differ_where_events_differ_and_only_there():
    base = trace_key(DECODER, workload(DECODER), recipe())
    same = (recipe(micro_batch_size=9), recipe(learning_rate=1.0), recipe(gradient_accumulation=8))
    other = (recipe(micro_batch_size=1), recipe(method="full"), recipe(base="nf4"), recipe(optimizer="sgd"),
             recipe(trainer="trl"), recipe(options={"rank": 64}),
             recipe(max_grad_norm=0.0), recipe(weight_decay=0.1), recipe(attention="eager"))  # fmt: skip
    assert all(trace_key(DECODER, workload(DECODER), r) == base for r in same)
    assert len({base, *(trace_key(DECODER, workload(DECODER), r) for r in other)}) == 1 + len(other)


def test_a_trace_survives_its_file():
    found = make_trace(DECODER, workload(DECODER), recipe())
    assert Trace.from_document(found.to_document()) == found


def test_a_model_without_a_depth_is_refused():
    config = {k: v for k, v in DECODER.config.items() if k != "num_hidden_layers"}
    with pytest.raises(UnsupportedModel):
        make_trace(DECODER.model_copy(update={"config": config}), workload(DECODER), recipe())


def test_an_adapter_for_modules_the_model_lacks_is_refused():
    with pytest.raises(IllegalRecipe):
        make_trace(DECODER, workload(DECODER), recipe(options={"target_modules": ["no_such_proj"]}))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [method.name for method in methods() if method.fewest_layers > 4])
def test_where_more_layers_are_traced_at_once_fewer_do_not_do(name: str):
    """It only saves a trace in vain, and must not cost one: with four layers those in the middle differ."""
    deep = DECODER.model_copy(update={"config": {**DECODER.config, "num_hidden_layers": 12}})
    asked = TraceRequest(deep, workload(deep), recipe(method=name), 8.0, True)
    with pytest.raises(Irregular):
        door._assemble(asked, {"num_hidden_layers": 4}, {"num_hidden_layers": 12}, 1, "k", whole_census(asked))


@pytest.mark.parametrize(
    ("layers", "period", "least", "traced"),
    [(32, 1, 4, 4), (32, 1, 6, 6), (34, 6, 4, 22), (34, 6, 6, 28), (12, 2, 4, 8), (24, 4, 4, 16), (24, 4, 6, 20)],
)
def test_so_few_layers_stand_for_all(layers: int, period: int, least: int, traced: int) -> None:
    assert traced_layers(layers, period, least) == traced
    assert (layers - traced) % period == 0, "what is left out are whole periods"
