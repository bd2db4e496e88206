"""Laws of the two clocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.hardware import Gpu
from advisor.errors import BadRequest
from advisor.estimator.length_laws import gamma_law, middle
from advisor.estimator.polynomials import Polynomials
from advisor.estimator.step_time.step_simulator import (
    TIME_NAMES,
    Ops,
    Rates,
    accumulate,
    default_time,
    rates_of,
    run_clocks,
)

RATES = Rates(100e12, 20e12, 1e12)
LENGTHS = np.array([100.0, 400.0, 900.0])


def by_hand(ops, rates, constants):
    """The two clocks op by op, as the module says it in words."""
    model = dict(zip(TIME_NAMES, constants, strict=True))
    cost = ops.host_seconds(model)
    arithmetic, traffic, start_up = ops.device_seconds(model, rates)
    ends = []
    for row in range(len(arithmetic)):
        host = device = 0.0
        for i in range(len(cost)):
            if ops.sync[i]:
                host = device = max(host, device) + cost[i] + ops.bytes[row, i] / model["transfer_bytes_s"]
                continue
            host += cost[i]
            if ops.device[i]:
                device = max(host, device) + max(arithmetic[row, i], traffic[row, i]) + start_up[i]
        ends.append(max(host, device) + model["step_s"])
    return np.array(ends)


@settings(max_examples=40, deadline=None)
@given(factors=st.lists(st.floats(0.1, 10), min_size=len(TIME_NAMES), max_size=len(TIME_NAMES)))
def test_the_vectorised_clocks_are_those_of_the_words(toys, factors):
    ops = Ops(toys(), 2, LENGTHS)
    constants = default_time() * np.array(factors)
    clocks = run_clocks(ops, RATES, constants)
    np.testing.assert_allclose(clocks.step_s, by_hand(ops, RATES, constants), rtol=1e-12)
    np.testing.assert_allclose(clocks.phase_s.sum(axis=1), clocks.step_s, rtol=1e-9)
    np.testing.assert_allclose(clocks.bound_s.sum(axis=1), clocks.step_s, rtol=1e-9)
    assert (clocks.bound_s >= -1e-12).all()
    assert (clocks.phase_s >= 0).all()


@settings(max_examples=40, deadline=None)
@given(which=st.sampled_from(TIME_NAMES), factor=st.floats(1.01, 5))
def test_a_better_constant_never_makes_a_step_longer(toys, which, factor):
    ops = Ops(toys(), 2, LENGTHS)
    constants = default_time()
    better = constants.copy()
    cost = which.endswith("_s") and which != "transfer_bytes_s"
    better[TIME_NAMES.index(which)] *= 1 / factor if cost else factor
    assert (run_clocks(ops, RATES, better).step_s <= run_clocks(ops, RATES, constants).step_s + 1e-15).all()


def test_an_op_of_each_pass_costs_the_host_that_passes_constant(timeline):
    """Twice the cost of a backward op moves backward ops alone, and so for forward ops and views."""
    ops = Ops(timeline, 2, np.array([500.0]))
    base = dict(zip(TIME_NAMES, default_time(), strict=True))
    plain = ~(ops.is_view | ops.is_module | ops.sync)
    moves = {
        "forward_op_s": plain & ~ops.backward,
        "backward_op_s": plain & ops.backward,
        "view_s": ops.is_view & ~ops.backward & ~ops.is_module & ~ops.sync,
    }
    for name, which in moves.items():
        changed = ops.host_seconds({**base, name: 2 * base[name]}) - ops.host_seconds(base)
        assert (changed[which] > 0).all(), name
        assert (changed[~which] == 0).all(), name
        if name != "view_s":
            assert which.any(), name


def test_longer_batches_take_longer(timeline):
    steps = run_clocks(Ops(timeline, 4, LENGTHS), RATES, default_time()).step_s
    assert (np.diff(steps) > 0).all()


def test_accumulation_repeats_the_micro_batch_and_not_the_optimizer(timeline):
    one = run_clocks(Ops(timeline, 4, LENGTHS), RATES, default_time())
    four = accumulate(one, 4)
    assert (four.step_s < 4 * one.step_s).all()
    assert (four.step_s > 3 * one.step_s).all()
    np.testing.assert_allclose(four.phase_s.sum(axis=1), four.step_s)
    np.testing.assert_allclose(four.bound_s.sum(axis=1), four.step_s)
    assert accumulate(one, 1) is one


def test_many_small_ops_are_bound_by_the_host(maker):
    make = maker().where(2, "forward")
    for _ in range(1000):
        make.op("elementwise", moved=((2.0, 1, 1, 0),))
    clocks = run_clocks(Ops(make.timeline(), 1, LENGTHS), RATES, default_time())
    host = clocks.bound_s[:, 5] / clocks.step_s
    assert (host > 0.7).all()


def test_one_large_product_is_bound_by_arithmetic(maker):
    make = maker().where(2, "forward")
    make.op("matmul", flop=((1e10, 1, 1, 0),), moved=((1e3, 1, 1, 0),))
    clocks = run_clocks(Ops(make.timeline(), 8, LENGTHS), RATES, default_time())
    assert (clocks.bound_s[:, 0] / clocks.step_s > 0.8).all()


@settings(max_examples=50, deadline=None)
@given(mean=st.floats(1, 5000), share=st.floats(0.05, 0.999), shape=st.floats(1.0, 30))
def test_drawn_lengths_keep_the_mean_and_stay_below_the_longest(mean, share, shape):
    lengths = gamma_law(mean * share, mean, shape, 8)(middle(8))
    assert lengths.max() <= mean * (1 + 1e-12)
    assert lengths.min() > 0
    assert lengths.mean() == pytest.approx(mean * share, rel=1e-6)


def test_polynomials_at_many_lengths_are_those_of_the_timeline(timeline):
    values = Polynomials(timeline).at(3, LENGTHS, LENGTHS / 2)
    for row, length in zip(values, LENGTHS, strict=True):
        np.testing.assert_allclose(row, timeline.values(3, length, length / 2))


def gpu(**figures):
    return Gpu.model_validate(
        {"name": "x", "vendor": "v", "generation": "g", "memory_bytes": 1, "usable_bytes": 1, **figures}
    )


def test_a_device_without_bandwidth_is_refused_and_not_guessed():
    with pytest.raises(BadRequest, match="bandwidth"):
        rates_of(gpu(bf16_flop_s=1e12))
    with pytest.raises(BadRequest):
        rates_of(gpu(bandwidth_bytes_s=1e12))


def test_a_missing_rate_is_stood_in_for_and_said():
    assert "stands in" in rates_of(gpu(bandwidth_bytes_s=1e12, fp32_flop_s=1e12)).notes[0]
    assert "stands in" in rates_of(gpu(bandwidth_bytes_s=1e12, bf16_flop_s=1e12)).notes[0]
    assert not rates_of(gpu(bandwidth_bytes_s=1e12, bf16_flop_s=1e12, fp32_flop_s=1e11)).notes


FLASH = "_scaled_dot_product_flash_attention"
EFFICIENT = "_scaled_dot_product_efficient_attention"


def attention_ops(maker, name, *, mask=False, causal=True, lengths=LENGTHS):
    make = maker().where(2, "forward")
    moved = ((8.0, 1, 1, 0), (2.0, 1, 2, 0)) if mask else ((8.0, 1, 1, 0),)
    make.op("attention", name=name, flop=((4e4, 1, 2, 0),), moved=moved)
    return Ops(make.timeline(), 1, np.asarray(lengths), causal=causal)


@pytest.mark.parametrize("name", [FLASH, FLASH + "_backward", EFFICIENT, EFFICIENT + "_backward"])
def test_a_causal_fused_kernel_is_charged_half_the_rectangle_and_the_blocks_on_its_diagonal(maker, name):
    lengths = np.array([64.0, 128.0, 1024.0, 4096.0, 32768.0])
    whole = attention_ops(maker, name, causal=False, lengths=lengths).flop[:, 0]
    share = attention_ops(maker, name, lengths=lengths).flop[:, 0] / whole
    assert share[0] == share[1] == 1
    assert (np.diff(share[1:]) < 0).all()
    assert share[-1] == pytest.approx(0.5, abs=0.01)


def test_attention_that_reads_a_mask_or_is_unfused_is_charged_in_full(maker):
    for name in (EFFICIENT, "bmm", "chunk_gated_delta_rule"):
        masked = name == EFFICIENT
        causal, whole = (attention_ops(maker, name, mask=masked, causal=c).flop for c in (True, False))
        np.testing.assert_array_equal(causal, whole)


def test_causal_attention_never_gets_cheaper_with_more_tokens(maker):
    flop = attention_ops(maker, FLASH, lengths=np.arange(1.0, 20000.0)).flop[:, 0]
    assert (np.diff(flop) > 0).all()


def test_flash_has_its_own_rate(maker):
    constants = default_time()
    constants[TIME_NAMES.index("flash_attention")] *= 2
    model = dict(zip(TIME_NAMES, constants, strict=True))
    flash, other = (attention_ops(maker, name).device_seconds(model, RATES)[0] for name in (FLASH, EFFICIENT))
    assert flash[0, 0] / other[0, 0] == pytest.approx(model["attention"] / model["flash_attention"])


def test_a_generation_has_its_own_constants_and_generic_ones_for_the_rest():
    generic, ampere = default_time(), default_time("Ampere")
    assert ampere[TIME_NAMES.index("matmul_half")] > generic[TIME_NAMES.index("matmul_half")]
    assert ampere[TIME_NAMES.index("kernel_s")] == generic[TIME_NAMES.index("kernel_s")]
    np.testing.assert_array_equal(default_time("of no catalogued card"), generic)


def test_constants_of_generations_are_named_after_generic_ones_and_catalogued_cards():
    from advisor.catalog.constants import load_constants
    from advisor.catalog.gpus.gpu_lookup import gpus

    generations = {card.generation for card in gpus()}
    generic = {c.name: c.unit for c in load_constants("time").constants}
    for constant in load_constants("time_by_generation").constants:
        name, _, generation = constant.name.partition("/")
        assert generation in generations, constant.name
        assert generic[name] == constant.unit
        assert constant.source.address
        assert constant.source.where
