"""What a rank holds: compared with torch's own FSDP2 without devices, and what must hold of every strategy."""

from __future__ import annotations

import json

import numpy as np
import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import resolve_model
from advisor.domain.hardware import Hardware
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import SHARDINGS
from advisor.domain.trace.trace_schema import PHASES
from advisor.domain.workload import Workload
from advisor.estimator.parallelism.rank_timeline import rank_timeline, units_of
from advisor.estimator.parallelism.strategies import layout_of, traced_as
from advisor.tracer.timelines import timeline_of, trace_of
from tests.selection import one_in

SHAPE = (1, 64)
CONFIG = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 2048,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "attn_implementation": "eager",
}


@pytest.fixture
def spec(tmp_path):
    kind = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **kind}))
    return resolve_model(str(tmp_path))


def recipe_of(method="full", **fields):
    usual = {"method": method, "trainer": "loop", "attention": "eager", "max_grad_norm": 0.0}
    return Recipe.model_validate({**usual, **fields})


def of_rank(spec, sharding, shards, recipe):
    """The traced step of one device, and that of one rank."""
    traced = traced_as(recipe, sharding)
    hardware = Hardware(gpu=find_gpu("H100")[0])
    timeline = timeline_of(trace_of(Workload(model=spec.name, seq_len=SHAPE[1]), traced, hardware, spec))
    return timeline, rank_timeline(timeline, layout_of(sharding, shards, recipe, traced, spec))


def alive(timeline):
    """[M] rounded bytes alive after each event; every storage is born before it dies, and dies once."""
    born = -(-timeline.bytes_of(*SHAPE) // 512) * 512
    sizes: dict[int, int] = {}
    change = np.zeros(len(born), dtype=np.int64)
    for row, storage in enumerate(timeline.mem_storage.tolist()):
        if timeline.mem_alloc[row]:
            assert storage not in sizes
            sizes[storage] = change[row] = int(born[row])
        else:
            change[row] = -sizes.pop(storage)
    return np.cumsum(change)


def peak(timeline, bytes_alive, *phases):
    """The peak of the steady step in some phases."""
    inside = (timeline.mem_step == 2) & np.isin(timeline.mem_phase, [PHASES.index(name) for name in phases])
    return int(bytes_alive[inside].max())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shards", "checkpointing", "mixed", "accumulation"),
    one_in(4, [(8, True, True, 1), (2, False, False, 1), (8, True, False, 1), (8, True, False, 2)]),
)
def test_a_rank_of_fsdp2_holds_what_torchs_own_holds(spec, shards, checkpointing, mixed, accumulation):
    """To 5 % in the forward pass, whose loss other kernels compute on a processor, and to 2 % in all else."""
    from tests.estimator.fully_sharded_run import run

    measured = run(CONFIG, shards, SHAPE, checkpointing=checkpointing, mixed=mixed, accumulation=accumulation)
    precision = {"dtype": "float32" if mixed else "bfloat16", "mixed_precision": "bf16" if mixed else "no"}
    recipe = recipe_of(gradient_checkpointing=checkpointing, gradient_accumulation=accumulation, **precision)
    _, rank = of_rank(spec, "fsdp2", shards, recipe)
    held = alive(rank)
    # the trace's loop keeps its outputs, logits and loss, until the next step
    logits = SHAPE[0] * SHAPE[1] * CONFIG["vocab_size"] * 2
    assert held[rank.mem_step == 0][-1] == pytest.approx(measured["start"], rel=0.005)
    if accumulation == 1:
        assert peak(rank, held, "optimizer") - logits == pytest.approx(measured["optimizer"], rel=0.02)
        assert peak(rank, held, "backward") == pytest.approx(measured["backward"], rel=0.02)
        assert peak(rank, held, "forward", "loss") == pytest.approx(measured["forward"], rel=0.12)
    else:
        # whole gradients of the micro-batches before lie beside those of this one; a timeline holds one micro-batch,
        # so that it reduces them where the optimizer begins
        whole = units_of(rank, split_root=True).all_trained
        assert measured["backward"] > whole
        assert peak(rank, held, "backward") == pytest.approx(measured["backward"], rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("sharding", SHARDINGS)
@pytest.mark.parametrize("accumulation", [1, 4])
def test_every_strategy_is_a_timeline_that_can_be_replayed_and_shrinks_with_the_ranks(
    spec, sharding, method, accumulation
):
    from advisor.estimator.batch_lengths import Shape
    from advisor.estimator.memory.replay import replay

    recipe = recipe_of(method, gradient_accumulation=accumulation)
    peaks = []
    for shards in (2, 4, 8):
        timeline, rank = of_rank(spec, sharding, shards, recipe)
        held = alive(rank)
        shape = Shape(*SHAPE)
        found = replay(rank, [shape, shape, shape], accumulation=accumulation)
        assert found.fits
        # a long training neither grows nor shrinks
        assert found.after_steps[-1] == found.after_steps[-2]
        peaks.append(int(held.max()))
    assert peaks == sorted(peaks, reverse=True)
    if sharding == "ddp":
        copies = units_of(timeline, split_root=False).all_trained
        assert peaks[0] - int(alive(timeline).max()) == pytest.approx(copies, rel=0.001)
    elif method == "full":
        assert peaks[-1] < int(alive(timeline).max())


def test_states_weights_and_gradients_of_all_ranks_are_those_of_one_device(spec):
    timeline, rank = of_rank(spec, "fsdp2", 8, recipe_of())
    whole, part = alive(timeline)[-1], alive(rank)[-1]
    # what the loop keeps of its outputs is no rank's share
    outputs = 2 * SHAPE[0] * SHAPE[1] * CONFIG["vocab_size"] * 2
    assert (part - outputs) * 8 == pytest.approx(whole - outputs, rel=0.01)


@pytest.mark.slow
def test_under_mixed_precision_shards_are_float32_and_gathered_layers_are_not(spec):
    mixed = recipe_of(dtype="float32", mixed_precision="bf16")
    _, plain = of_rank(spec, "fsdp2", 8, recipe_of())
    _, rank = of_rank(spec, "fsdp2", 8, mixed)
    set_up = [alive(one)[one.mem_step == 0][-1] for one in (plain, rank)]
    assert set_up[1] == pytest.approx(2 * set_up[0], rel=0.01)
    gathered = [alive(one)[one.mem_step == 2].max() - alive(one)[-1] for one in (plain, rank)]
    assert gathered[1] < 1.2 * gathered[0]


@pytest.mark.slow
def test_accumulation_keeps_whole_gradients_on_every_rank(spec):
    """What the trainer's no_sync costs: as much at any number of ranks."""
    once, piled = (
        of_rank(spec, "fsdp2", 64, recipe_of(gradient_accumulation=number, gradient_checkpointing=True))[1]
        for number in (1, 2)
    )
    whole = units_of(once, split_root=True).whole
    more = peak(piled, alive(piled), "backward") - peak(once, alive(once), "backward")
    assert more > 0.5 * sum(whole.values())
