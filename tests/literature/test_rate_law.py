"""The learning rate as a law: what it was fitted to comes out, and it moves with each condition as searches say."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.hyperparameters.rate_sweeps import RateSweep, load_sweeps
from advisor.catalog.models import resolve_model
from advisor.domain.workload import Workload
from advisor.errors import UnknownName
from advisor.literature.hyperparameters.rate_law import (
    FACTORS,
    MOST_BY_STEPS,
    OFF_BY,
    RateQuestion,
    effective_alpha,
    law_rate,
)
from advisor.literature.hyperparameters.suggest import recommend_settings, settings_published_for


def rate(method: str = "lora", family: str = "llama", hidden: int = 4096, batch: int = 128, **more) -> float:
    said = law_rate(RateQuestion(method, family, hidden, batch, **more))
    assert said is not None
    assert isinstance(said.value, float)
    return said.value


@pytest.mark.parametrize(
    ("family", "hidden", "rule"),
    [("llama", 2048, 4.9e-4), ("llama", 8192, 1.7e-4), ("qwen3", 4096, 4.7e-4), ("qwen2", 2000, 5e-4)],
)
def test_at_its_batch_the_law_is_the_published_rule(family, hidden, rule):
    """5e-4 x (2000 / hidden)^0.781 on Llama, ^0.0775 on Qwen (thinking-machines-lab/tinker-cookbook)."""
    assert rate(family=family, hidden=hidden) == pytest.approx(rule, rel=0.02)


@given(
    method=st.sampled_from(sorted(FACTORS)),
    family=st.sampled_from(["llama", "qwen2", "gemma3", ""]),
    hidden=st.integers(64, 20_000),
    batch=st.integers(1, 4096),
    steps=st.none() | st.integers(1, 10**6),
    alpha=st.none() | st.floats(1, 512),
)
def test_the_rate_lies_in_its_range_and_every_factor_moves_it_the_right_way(
    method, family, hidden, batch, steps, alpha
):
    question = RateQuestion(method, family, hidden, batch, steps, alpha)
    said = law_rate(question)
    assert said.low <= said.value <= said.high
    assert said.sources
    slack = 1.06  # values are printed with two figures
    assert rate(method, family, hidden, 2 * batch, steps=steps, alpha=alpha) >= said.value / slack
    assert rate(method, family, 2 * hidden, batch, steps=steps, alpha=alpha) <= said.value * slack
    if steps is not None:
        assert rate(method, family, hidden, batch, steps=2 * steps, alpha=alpha) <= said.value * slack
    if alpha is not None:
        assert rate(method, family, hidden, batch, steps=steps, alpha=2 * alpha) <= said.value * slack


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("alpha", [None, 16.0, 32.0])
@pytest.mark.parametrize("steps", [None, 300, 4000])
def test_the_factors_that_are_told_make_the_rate(method, alpha, steps):
    said = law_rate(RateQuestion(method, "llama", 4096, 32, steps, alpha))
    factors = [float(one) for one in re.findall(r" x([\d.e+-]+)", said.why)]
    begin = float(re.search(r"law: (\S+) at width", said.why)[1])
    assert said.value == pytest.approx(begin * math.prod(factors), rel=0.06)
    assert ("alpha" in said.why) == (method != "full" and alpha == 16.0)
    assert ("steps" in said.why) == (method != "full" and steps is not None)


def test_the_best_rates_of_searches_that_the_law_did_not_see_lie_in_its_range():
    supervised = [sweep for sweep in load_sweeps() if sweep.objective == "sft"]
    assert len(supervised) >= 10
    for sweep in supervised:
        asked = RateQuestion(sweep.method, sweep.family, sweep.hidden, sweep.batch, sweep.steps, sweep.alpha)
        said = law_rate(asked)
        assert said.low <= sweep.best <= said.high, sweep


def test_a_family_that_nobody_searched_gets_a_wider_range():
    known, other = (law_rate(RateQuestion("lora", family, 8192, 16)) for family in ("llama", "falcon"))
    assert other.high / other.low > 1.5 * known.high / known.low
    assert known.high / known.low == pytest.approx(OFF_BY**2, rel=0.15)
    assert "no search" in other.why


def test_variants_of_lora_keep_the_distance_from_it_that_one_search_of_all_of_them_found():
    """arXiv:2602.04998: PiSSA's best rate is a tenth of LoRA's, that of OLoRA and LoRA-GA 18.2 times below it."""
    below = {name: FACTORS["lora"] / factor for name, factor in FACTORS.items()}
    assert below["dora"] == below["rslora"] == below["qlora"] == 1
    assert below["pissa"] == below["full"] == 10
    assert below["olora"] == below["lora-ga"] == pytest.approx(18.2, rel=0.01)


def test_methods_that_no_search_holds_have_no_law():
    assert law_rate(RateQuestion("ia3", "llama", 4096, 16)) is None


def test_rank_stabilised_scaling_is_a_larger_alpha():
    assert effective_alpha(64, 64, rank_stabilised=True) == 512
    assert effective_alpha(64, 64) == 64
    assert rate("rslora", alpha=512.0) < rate("lora", alpha=64.0)


def test_a_short_run_is_never_raised_beyond_what_was_seen():
    assert rate(steps=1) == pytest.approx(MOST_BY_STEPS * rate(), rel=0.03)


def test_full_fine_tuning_takes_a_tenth_of_loras_rate_whatever_the_alpha():
    assert rate("lora") == pytest.approx(10 * rate("full"), rel=0.05)
    assert rate("full", alpha=512.0, steps=10) == rate("full")


@pytest.mark.parametrize(
    "broken",
    [
        {"method": "lorra"},
        {"curve": [(2e-4, 1.0), (1e-4, 2.0)]},
        {"curve": [(1e-4, 2.0), (2e-4, 1.0)], "best": 2e-4},
        {"source": ""},
    ],
)
def test_a_search_that_breaks_a_law_is_refused(broken):
    good = next(sweep for sweep in load_sweeps() if not sweep.curve).model_dump()
    with pytest.raises((ValueError, UnknownName)):
        RateSweep.model_validate(good | broken)


def test_what_most_use_is_the_conflict_where_the_law_says_otherwise():
    asked = {"architecture": "decoder", "model_parameters": 7 * 10**9, "task_type": "instruction", "samples": 20_000}
    large = recommend_settings("lora", hidden_size=3584, model_type="qwen2", effective_batch_size=128, **asked)
    found = next(one for one in large if one.name == "learning_rate")
    assert found.value > 4e-4
    assert "0.0002, weighted median" in found.conflict


def test_a_recommendations_rate_follows_its_batch():
    spec = resolve_model("Qwen/Qwen2.5-7B")
    rates = {}
    for batch in (16, 128):
        workload = Workload(model=spec.name, task="causal-lm", seq_len=512, samples=100_000, effective_batch_size=batch)
        said = {one.name: one for one in settings_published_for("lora", spec, workload)}
        rates[batch] = said["learning_rate"].value
    assert rates[128] == pytest.approx(rates[16] * 8**0.4, rel=0.1)


def test_full_fine_tuning_to_classify_keeps_what_was_published():
    asked = {"architecture": "decoder", "model_parameters": 10**9, "hidden_size": 2048, "model_type": "llama"}
    to_classify = recommend_settings("full", task_type="NLU", **asked)
    to_instruct = recommend_settings("full", task_type="instruction", **asked)
    whys = [next(one.why for one in found if one.name == "learning_rate") for found in (to_classify, to_instruct)]
    assert "law" not in whys[0]
    assert "law" in whys[1]
