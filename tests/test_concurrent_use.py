"""Answers in other people's programs: from many threads and processes, pickled, printing nothing."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest

import advisor

CASES = [
    {"model": "meta-llama/Llama-3.1-8B", "gpu": gpu, "method": "lora", "dtype": "bfloat16", **sizes}
    for gpu in ("H100", "L40S")
    for sizes in ({"seq_len": 256}, {"seq_len": 512, "batch_size": 2, "samples": 500})
]
"""Of a model whose traces travel with the package."""


def asked(case):
    return advisor.estimate(**case)


@pytest.fixture(scope="module")
def in_turn():
    return [asked(case) for case in CASES]


def test_threads_get_what_is_got_in_turn(in_turn):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(asked, CASES * 4))
    assert found == in_turn * 4


def test_memos_hold_under_threads_that_push_each_other_out():
    from advisor.domain.trace.timeline import Timeline
    from advisor.estimator.memory.timeline_memo import TimelineMemo

    memo = TimelineMemo(2)
    timelines = [Timeline.__new__(Timeline) for _ in range(7)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            asked_for = [(number, key) for number in range(7) for key in range(3)] * 60
            made = pool.map(lambda one: memo.get(timelines[one[0]], (one[1],), lambda: one), asked_for)
            assert list(made) == asked_for
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.slow
def test_other_processes_get_the_same(in_turn):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(asked, CASES)) == in_turn


def test_answers_are_pickled_and_equal(in_turn):
    plan = advisor.plan(
        [{"name": "a", "hours": 2, "deadline": "12 h"}],
        [{"gpu": "L4", "usd_per_hour": 1.0}],
        start="2026-12-01 08:00",
        time_limit=2,
        draws=20,
    )
    for answer in (*in_turn, plan):
        assert pickle.loads(pickle.dumps(answer)) == answer


def test_nothing_is_printed():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        asked(CASES[0])
    assert (out.getvalue(), err.getvalue()) == ("", "")
