"""Methods side by side: in the order asked, refusals with their facts, remembered, one bug kept to its method."""

from __future__ import annotations

import pytest

from advisor.errors import BadRequest, UnknownName
from advisor.recommender import compare as door
from advisor.recommender.compare import Priced, compare, price_or_say

MODEL, GPU = "meta-llama/Llama-3.2-1B", "L4"


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))


def test_the_order_is_the_one_asked_and_a_refusal_says_why():
    found = compare(MODEL, GPU, ["xlora", "lora"], seq_len=256)
    assert [one.method for one in found] == ["xlora", "lora"]
    assert found[0].candidate is None
    assert "trained before" in found[0].refusal["reason"]
    assert found[1].refusal is None
    assert found[1].candidate.workload.seq_len == 256


def test_a_method_that_stands_on_a_quantised_base_is_priced_on_it():
    assert compare(MODEL, GPU, ["qlora"], seq_len=256)[0].candidate.recipe.base == "nf4"


def test_a_second_question_is_answered_without_pricing(monkeypatch):
    first = compare(MODEL, GPU, ["lora"], seq_len=256)
    monkeypatch.setattr(door, "price_or_say", lambda *_: pytest.fail("priced again"))
    assert compare(MODEL, GPU, ["lora"], seq_len=256) == first


def test_another_length_is_another_question(monkeypatch):
    first = compare(MODEL, GPU, ["lora"], seq_len=256)[0]
    longer = compare(MODEL, GPU, ["lora"], seq_len=512)[0]
    assert longer.candidate.memory.peak_device.mid > first.candidate.memory.peak_device.mid


def test_a_bug_is_said_of_its_method_and_not_remembered(monkeypatch):
    def broken(request):
        raise ZeroDivisionError("by nought")

    with monkeypatch.context() as patched:
        patched.setattr("advisor.estimator.estimate.answer", broken)
        failed = compare(MODEL, GPU, ["lora"], seq_len=256)[0]
    assert failed.candidate is None
    assert "by nought" in failed.refusal["cause"]
    assert compare(MODEL, GPU, ["lora"], seq_len=256)[0].candidate is not None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"model": "no-such-model"}, UnknownName),
        ({"gpu": "no-such-gpu"}, UnknownName),
        ({"names": ["lorra"]}, UnknownName),
        ({"batch_size": 0}, BadRequest),
        ({"seq_len": 10**7}, BadRequest),
        ({"colour": "blue"}, BadRequest),
    ],
)
def test_what_is_wrong_for_every_method_is_said_once(wrong, error):
    with pytest.raises(error):
        compare(**{"model": MODEL, "gpu": GPU, "names": ["lora"], **wrong})


def test_workers_answer_as_this_process_does(monkeypatch):
    monkeypatch.setattr(door, "WORTH_STARTING", 1)
    monkeypatch.setattr(door.os, "cpu_count", lambda: 2)
    (found,) = compare(MODEL, GPU, ["xlora"], seq_len=256)
    here = price_or_say({"model": MODEL, "gpu": GPU, "batch_size": 1, "seq_len": 256}, "xlora")
    assert found == Priced.model_validate_json(here.model_dump_json())
