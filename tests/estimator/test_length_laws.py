"""Laws of lengths: what a batch is as long as, padded, grouped or not padded at all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import USUAL_BATCHES, lengths_of
from advisor.estimator.length_laws import gamma_law, longest_of, middle, sum_of


def asked(batching="padded", batch=4, **fields):
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": batch, "batching": batching})
    return lengths_of(Workload.model_validate({"model": "toy", "seq_len": 2000, **fields}), recipe)


@settings(max_examples=30, deadline=None)
@given(longest=st.floats(10, 10_000), share=st.floats(0.05, 0.99), shape=st.floats(1, 30))
def test_a_gamma_law_keeps_its_mean_and_its_longest(longest, share, shape):
    law = gamma_law(share * longest, longest, shape)
    lengths = law(middle(256))
    assert lengths.mean() == pytest.approx(share * longest, rel=1e-3)
    assert (np.diff(lengths) >= 0).all()
    assert lengths.max() <= longest
    few = gamma_law(share * longest, longest, shape, 12)(middle(12))
    assert few.mean() == pytest.approx(share * longest, rel=1e-3)


def test_sums_and_longest_of_several_are_those_of_random_draws():
    sizes = np.sort(np.random.default_rng(0).gamma(3, 100, size=5000))
    drawn = np.random.default_rng(1).choice(sizes, size=(20_000, 4))
    for share in (0.1, 0.5, 0.9, 0.99):
        at = np.array([share])
        assert longest_of(sizes, 4)(at)[0] == pytest.approx(np.quantile(drawn.max(axis=1), share), rel=0.03)
        total = sum_of(longest_of(sizes, 1), 4, 1e9)(at)[0]
        assert total == pytest.approx(np.quantile(drawn.sum(axis=1), share), rel=0.03)
    assert sum_of(lambda shares: np.full(len(shares), 7.0), 4, 1e9)(np.array([0.5]))[0] == 28


@settings(max_examples=40, deadline=None)
@given(
    mean=st.floats(20, 1999), batch=st.integers(1, 64), samples=st.none() | st.integers(1, 10**6),
    batching=st.sampled_from(["padded", "grouped", "padding-free", "packed"]),
)  # fmt: skip
def test_lengths_rise_to_the_longest_which_no_batch_exceeds(mean, batch, samples, batching):
    found = asked(batching, batch, mean_seq_len=mean, samples=samples)
    rows = 1 if batching == "padding-free" else batch
    assert found.rows == rows
    assert found.rising[-1] == found.longest
    assert (np.diff(found.rising) > 0).all()
    assert len(found.rising) == len(found.rarity)
    assert (np.diff(found.rarity) >= 0).all()
    assert found.sizes.max() <= found.longest
    assert found.largest.batch * found.largest.length <= batch * 2000 + 0.5
    assert found.longest_low <= found.longest <= found.longest_high


def test_of_n_batches_as_many_are_longer_than_all_before_as_the_theory_of_records_says():
    few, many = (asked(mean_seq_len=200, samples=4 * n, epochs=1) for n in (100, 10_000))
    assert len(few.rising) == round(np.log(100) + 0.577) + 1
    assert len(many.rising) == round(np.log(10_000) + 0.577) + 1
    assert asked(mean_seq_len=200).batches == USUAL_BATCHES
    assert many.rarity[-2] > few.rarity[-2] > 20


def test_batches_sorted_by_length_begin_with_the_longest():
    assert asked("grouped", mean_seq_len=200).rising.tolist() == [2000]


def test_padding_free_is_a_high_quantile_of_the_sum_and_not_the_batch_times_the_longest():
    found = asked("padding-free", 8, mean_seq_len=250)
    assert 8 * 250 < found.longest < 0.35 * 8 * 2000
    assert found.largest.batch == 1
    # a run over all the data meets the longest sample, beside seven others
    whole = asked("padding-free", 8, mean_seq_len=250, samples=100_000)
    assert whole.longest >= 2000 + 7 * 250
    assert asked("padding-free", 8).longest == 8 * 2000
    assert asked("padding-free", 1, mean_seq_len=250).longest == 2000


def test_the_datas_own_lengths_are_taken_where_they_are_known():
    sizes = (*range(100, 200), 2000)
    padded = asked("padded", 4, length_quantiles=sizes)
    grouped = asked("grouped", 4, length_quantiles=sizes)
    assert padded.typical.mean() > grouped.typical.mean()
    assert set(padded.rising.tolist()) <= {float(size) for size in sizes}
    assert "drawn from" in padded.says
    shorter = asked("padded", 4, length_quantiles=sizes, seq_len=150)
    assert shorter.typical.max() == shorter.longest == 150
