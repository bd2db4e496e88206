"""Workloads, prices, machines and searched settings refuse to be born wrong; units read as a person writes them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from advisor.domain.hardware import Gpu, Hardware
from advisor.domain.tuning import Budget, Dimension
from advisor.domain.units import GIB, HOUR, MIB, duration, gib, plural
from advisor.domain.workload import DEFAULT_SEQ_LEN, Workload

GPU = {"name": "x", "vendor": "v", "generation": "g", "memory_bytes": 2**34, "usable_bytes": 2**34}


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq_len": 0},
        {"seq_len": 100, "mean_seq_len": 101},
        {"samples": 0},
        {"epochs": 0},
        {"num_labels": 0},
        {"effective_batch_size": 0},
        {"task": "poetry"},
        {"length": 3},
    ],
)
def test_a_workload_that_makes_no_sense_is_not_born(wrong):
    with pytest.raises(ValidationError):
        Workload.model_validate({"model": "m", **wrong})


def test_a_workload_nobody_describes_has_the_published_length():
    assert Workload(model="m").seq_len == DEFAULT_SEQ_LEN


@given(samples=st.integers(1, 10**6), epochs=st.floats(0.1, 20), batch=st.integers(1, 512))
def test_a_training_has_a_step_at_least_and_no_more_than_its_rows_fill(samples, epochs, batch):
    steps = Workload(model="m", samples=samples, epochs=epochs, effective_batch_size=batch).optimizer_steps()
    assert steps is not None
    assert 1 <= steps <= (samples * epochs) / batch + epochs + 1


@given(headroom=st.floats(0, 0.99))
def test_more_headroom_never_allows_more_memory(headroom):
    gpu = Gpu.model_validate(GPU)
    limit = Hardware(gpu=gpu, headroom=headroom).limit_bytes
    assert 0 < limit <= gpu.usable_bytes
    assert limit <= Hardware(gpu=gpu, headroom=headroom / 2).limit_bytes


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "float", "start": 1.0, "low": 2.0, "high": 3.0},
        {"kind": "float", "start": 1.0, "low": 3.0, "high": 1.0},
        {"kind": "float", "start": 0.0, "low": 0.0, "high": 1.0, "log": True},
        {"kind": "float", "start": 1.0},
        {"kind": "choice", "start": "a", "choices": ("a",)},
        {"kind": "choice", "start": "c", "choices": ("a", "b")},
    ],
)
def test_a_setting_that_cannot_be_searched_is_not_born(wrong):
    with pytest.raises(ValidationError):
        Dimension.model_validate({"name": "rank", **wrong})


def test_a_budget_has_a_bound_and_a_price_where_it_is_in_usd():
    for wrong in ({}, {"usd": 3.0}, {"trials": 0}):
        with pytest.raises(ValidationError):
            Budget.model_validate(wrong)
    assert Budget(usd=3.0, usd_per_hour=1.0).usd == 3.0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.117, "117 ms"),
        (42, "42 s"),
        (89.9, "89.9 s"),
        (90, "2 m"),
        (3600, "1 h 00 m"),
        (6720, "1 h 52 m"),
        (172_740, "47 h 59 m"),
        (172_800, "2 d 0 h"),
    ],
)
def test_durations_read_as_a_person_writes_them(seconds, said):
    assert duration(seconds) == said


@given(st.floats(0.001, 10 * 365 * 86400))
def test_a_duration_names_its_unit_and_is_never_empty(seconds):
    assert duration(seconds).split()[-1] in {"ms", "s", "m", "h"}


def test_sizes_and_counts_read_as_a_person_writes_them():
    assert gib(21 * GIB) == "21.0 GiB"
    assert gib(312 * MIB) == "312 MiB"
    assert (plural(1, "step"), plural(2000, "step"), plural(0.5, "epoch")) == ("1 step", "2,000 steps", "0.5 epochs")
    assert timedelta(hours=1).total_seconds() == HOUR
