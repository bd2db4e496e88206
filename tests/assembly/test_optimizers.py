"""Every optimizer name of transformers asked the same: it traces and trains, or is refused with the true reason."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers.training_args import OptimizerNames

from advisor.assembly.library_optimizers.backward_pass import backward_pass
from advisor.assembly.optimizers import OPTIMIZERS as MAKERS
from advisor.assembly.optimizers import PAGED_FROM, give_own_rate, make_optimizer
from advisor.assembly.without_bitsandbytes import block_optimizers
from advisor.catalog.gpus import find_gpu
from advisor.catalog.optimizer_names import OPTIMIZERS, PACKAGES, find_optimizer, updates_in_backward
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.trace.expand import expand
from advisor.domain.trace.trace_schema import CATEGORIES
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe, UnknownName
from advisor.estimator.batch_lengths import Shape, lengths_of
from advisor.estimator.memory.memory_prediction import memory_of, overheads_of
from advisor.estimator.memory.replay import paged_bytes, peak_allocated, replay
from advisor.tracer.trace import make_trace
from tests.selection import one_in
from tests.tracer.models import DECODER

torch.set_num_threads(1)
MODELLED = [one.name for one in OPTIMIZERS if not one.refused]
REFUSED = [one for one in OPTIMIZERS if one.refused]
SIZES = {"hidden_size": 384, "intermediate_size": 384, "num_hidden_layers": 7, "num_key_value_heads": 4}
WIDE: ModelSpec = DECODER.model_copy(update={"config": {**DECODER.config, **SIZES}})
"""Wide enough that a layer's matrices are paged, deep enough that layers are copied."""


def state_bytes(name: str, *, whole: bool = False) -> dict[str, int]:
    recipe = Recipe(method="full", optimizer=name, micro_batch_size=2)
    timeline = expand(make_trace(WIDE, Workload(model="m"), recipe, whole=whole))
    born = timeline.bytes_of(2, 64, 0)
    of = {name: timeline.mem_alloc & (timeline.mem_category == i) for i, name in enumerate(CATEGORIES)}
    return {name: int(born[chosen].sum()) for name, chosen in of.items()}


def test_every_name_of_transformers_is_known_and_none_twice():
    names = [one.name for one in OPTIMIZERS]
    assert {name.value for name in OptimizerNames} <= set(names)
    assert len(names) == len(set(names))
    assert set(MAKERS) == {name for name in MODELLED if not updates_in_backward(name)}
    assert {one.package for one in OPTIMIZERS if one.package and not one.refused} == set(PACKAGES)


def installed(name: str) -> None:
    """Skip where the package of an optimizer is not installed, or does not run on a CPU."""
    named = find_optimizer(name)
    if named.package:
        pytest.importorskip(PACKAGES[named.package].module)
    if name == "adalomo":
        pytest.skip("keeps its statistics on a CUDA device")


@pytest.mark.parametrize("name", MODELLED)
def test_a_modelled_optimizer_trains(name: str):
    installed(name)
    torch.manual_seed(0)
    target = torch.randn(64, 64)
    weight = nn.Linear(64, 64, bias=False)
    recipe = Recipe(method="full", optimizer=name, learning_rate=0.01)
    optimizer = make_optimizer(weight, recipe)
    before = (weight.weight - target).square().mean().item()
    for _ in range(40):
        optimizer.zero_grad()
        backward_pass(optimizer, (weight.weight - target).square().sum(), torch.autograd.backward)
        if not updates_in_backward(name):
            optimizer.step()
    assert (weight.weight - target).square().mean().item() < 0.9 * before


BYTES_A_PARAMETER = {
    "adamw_torch": 4, "adamw_8bit": 2, "paged_adamw_8bit": 2, "paged_adamw_32bit": 8, "ademamix": 12,
    "ademamix_8bit": 3, "paged_ademamix_32bit": 12, "lion_8bit": 1, "lion_32bit": 4, "paged_lion_32bit": 4,
    "rmsprop_bnb_8bit": 1, "sgd": 0, "sgd_momentum": 2, "adafactor": 0.0, "stable_adamw": 6, "lomo": 0, "adalomo": 0,
}  # fmt: skip
"""By arithmetic, weights in bf16: torch keeps moments in the weights' dtype, bitsandbytes in 8 or 32 bits each, optimi
as torch and a compensation beside them."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", one_in(15, sorted(BYTES_A_PARAMETER)))
def test_a_traced_optimizer_keeps_the_state_that_arithmetic_says(name: str):
    made = make_trace(WIDE, Workload(model="m"), Recipe(method="full", optimizer=name, micro_batch_size=2))
    found = state_bytes(name)
    state = found["optimizer state"] + found["paged state"]
    # norms stay in 32 bits, 8-bit state has a scale a block: a few hundredths of a byte
    assert state / made.trainable_parameters == pytest.approx(BYTES_A_PARAMETER[name], abs=0.06)
    assert bool(found["paged state"]) == find_optimizer(name).paged


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", one_in(20, MODELLED))
def test_copied_layers_have_the_state_of_traced_ones(name: str):
    assert state_bytes(name) == state_bytes(name, whole=True)


def test_paged_state_is_in_no_peak_of_the_allocator_and_raises_only_the_devices_upper_end():
    sizes: dict[str, Any] = {}
    for name in ("adamw_8bit", "paged_adamw_8bit"):
        recipe = Recipe(method="full", optimizer=name, micro_batch_size=2)
        timeline = expand(make_trace(WIDE, Workload(model="m"), recipe))
        shape = Shape(2, 64)
        played = replay(timeline, [shape, shape, shape])
        sizes[name] = (played.after_steps[-1], peak_allocated(timeline, shape).after_step, paged_bytes(timeline))
        lengths = lengths_of(Workload(model="m", seq_len=64), recipe)
        for thorough in (True, False):
            memory, _ = memory_of(timeline, lengths, recipe, find_gpu("L4")[0], thorough=thorough)
            context = overheads_of(find_gpu("L4")[0]).context
            assert memory.peak_device.mid == memory.peak_reserved.mid + context.mid
            over = memory.peak_device.high - memory.peak_reserved.high - context.high
            assert over == pytest.approx(paged_bytes(timeline))
    plain, paged = sizes["adamw_8bit"], sizes["paged_adamw_8bit"]
    assert plain[2] == 0 < paged[2]
    for way in (0, 1):
        # blocks round up to 512 bytes
        assert plain[way] - paged[way] == pytest.approx(paged[2], rel=0.01)


@pytest.mark.parametrize("kind", ["AdamW", "Lion", "RMSprop", "AdEMAMix"])
@pytest.mark.parametrize("bits", [8, 32])
@pytest.mark.parametrize("numbers", [100, 4096, 5000])
def test_the_state_of_a_stand_in_is_bitsandbytes_own(kind: str, bits: int, numbers: int):
    optim: Any = pytest.importorskip("bitsandbytes").optim
    kept: list[dict[str, Any]] = []
    for library in (optim, block_optimizers):
        parameter = nn.Parameter(torch.zeros(numbers))
        parameter.grad = torch.ones(numbers)
        made = getattr(library, kind)([parameter], lr=1e-3, weight_decay=0.0, optim_bits=bits)
        if library is optim:
            made.fill_qmap()
            made.init_state(made.param_groups[0], parameter, 0, 0)
        else:
            made.init_state(parameter)
        state = made.state[parameter]
        kept.append({k: (v.shape, v.dtype) for k, v in state.items() if isinstance(v, torch.Tensor)})
    assert kept[0] == kept[1]


def test_small_tensors_are_not_paged():
    with torch.device("meta"):
        model = nn.Linear(8, 8)
    optimizer: Any = make_optimizer(model, Recipe(method="full", optimizer="paged_adamw_8bit"))
    assert not hasattr(optimizer.get_state_buffer(torch.empty(PAGED_FROM - 1, device="meta")), "is_paged")
    assert optimizer.get_state_buffer(torch.empty(PAGED_FROM, device="meta")).is_paged


@pytest.mark.parametrize("one", REFUSED, ids=lambda one: one.name)
def test_what_is_not_modelled_is_refused_with_the_reason_and_another_choice(one: Any):
    with pytest.raises(IllegalRecipe) as refused:
        make_optimizer(nn.Linear(2, 2), Recipe(method="full", optimizer=one.name))
    assert one.refused in refused.value.message
    assert refused.value.fields["package"] == one.package
    assert any(name in " ".join(refused.value.hints) for name in MODELLED)


@pytest.mark.parametrize("name", ["adamw", "adamw_8bits", "", "ADAMW_TORCH ", "lion"])
def test_a_name_nobody_knows_is_refused(name: str):
    with pytest.raises(UnknownName):
        find_optimizer(name)


def test_near_names_are_given():
    with pytest.raises(UnknownName) as refused:
        find_optimizer("paged_adam_8bit")
    assert "paged_adamw_8bit" in refused.value.fields["near"]


def test_a_copy_of_an_optimizers_state_is_unchanged_by_tracing():
    """Marking tensors as paged must not leak into optimizers on real devices."""
    weight = nn.Linear(512, 512)
    optimizer: Any = make_optimizer(weight, Recipe(method="full", optimizer="paged_adamw_8bit"))
    weight(torch.ones(1, 512)).sum().backward()
    optimizer.step()
    state = copy.copy(next(iter(optimizer.state.values())))
    assert not getattr(state["state1"], "is_paged", False)
    assert np.isfinite(weight.weight.detach().numpy()).all()


@pytest.mark.parametrize("name", [name for name in MODELLED if not updates_in_backward(name)])
def test_some_parameters_learn_at_their_own_rate_with_every_optimizer(name: str):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False))
    optimizer = make_optimizer(model, Recipe(method="full", optimizer=name, learning_rate=1e-3))
    body, head = model.parameters()
    give_own_rate(optimizer, [head], 0.1)
    before = [p.detach().clone() for p in (body, head)]
    (body.sum() + head.sum()).backward()
    optimizer.step()
    # one and the same gradient: how far each went is its rate
    went = [float((p.detach() - old).abs().mean()) for p, old in zip((body, head), before, strict=True)]
    assert went[1] == pytest.approx(100 * went[0], rel=0.02)


@pytest.mark.parametrize("name", MODELLED)
@pytest.mark.parametrize("decay", [0.0, 0.37])
def test_weight_decay_is_the_recipes_and_not_the_librarys(name: str, decay: float):
    """torch's AdamW would decay by 0.01 unasked. Adafactor and the factored ones may keep it under another name."""
    installed(name)
    optimizer = make_optimizer(nn.Linear(64, 64), Recipe(method="full", optimizer=name, weight_decay=decay))
    told = [group["weight_decay"] for group in optimizer.param_groups if "weight_decay" in group]
    assert all(value == decay for value in told)
    if name.startswith("adamw"):
        assert told


def test_a_rate_of_their_own_for_all_leaves_no_empty_group():
    weight = nn.Linear(4, 4)
    optimizer = torch.optim.AdamW(weight.parameters(), lr=1e-3, weight_decay=0.3)
    give_own_rate(optimizer, weight.parameters(), 0.1)
    assert [(len(g["params"]), g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(2, 0.1, 0.3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_traced_state_of_kahan_summation_is_the_librarys(dtype: torch.dtype):
    pytest.importorskip("optimi")
    real = nn.Linear(64, 32).to(dtype)
    traced = copy.deepcopy(real).to("meta")
    states: list[list[dict[str, Any]]] = []
    for module in (real, traced):
        optimizer = make_optimizer(module, Recipe(method="full", optimizer="stable_adamw"))
        for parameter in module.parameters():
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        states.append([dict(optimizer.state[p]) for p in module.parameters()])
    for ours, theirs in zip(states[1], states[0], strict=True):
        held = {name: (value.dtype, value.shape) for name, value in theirs.items() if torch.is_tensor(value)}
        found = {name: (value.dtype, value.shape) for name, value in ours.items()}
        assert held.items() <= found.items()
        # what its Triton kernels, which run on no CPU, have besides
        assert {name for name in found if name not in held} <= {"mean_square", "kahan_comp"}


def test_kahan_summation_keeps_the_steps_that_bfloat16_rounds_away():
    pytest.importorskip("optimi")
    moved: dict[str, float] = {}
    for name in ("adamw_torch", "stable_adamw"):
        weight = nn.Linear(8, 1, bias=False, dtype=torch.bfloat16)
        nn.init.ones_(weight.weight)
        recipe = Recipe(method="full", optimizer=name, learning_rate=1e-4, weight_decay=0)
        optimizer = make_optimizer(weight, recipe)
        for _ in range(100):
            weight.weight.grad = torch.ones_like(weight.weight)
            optimizer.step()
        moved[name] = 1 - float(weight.weight.detach()[0, 0])
    assert moved["adamw_torch"] == 0
    # a hundred steps of 1e-4, to the 2^-8 that a number below one has room for
    assert moved["stable_adamw"] == pytest.approx(100 * 1e-4, abs=2**-8)
