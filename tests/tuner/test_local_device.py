"""Which device a search is for: the one asked for, else the machine's own GPU, else its CPU."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner

import advisor
from advisor.errors import AdvisorError, BadRequest, UnknownName
from advisor.interfaces.cli.tune import command
from advisor.tuner import local_device
from advisor.tuner import tune as door
from advisor.tuner.local_device import gpu_here


@pytest.fixture
def card(monkeypatch):
    def put(name):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: name is not None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *index: name)

    return put


def test_a_machine_without_a_gpu_trains_on_its_cpu_and_refuses_a_gpu(card):
    card(None)
    assert gpu_here(None) is None
    assert gpu_here("cpu") is None
    with pytest.raises(BadRequest, match="torch finds no GPU"):
        gpu_here("H100")


def test_a_machine_with_a_gpu_searches_for_it_unless_told_otherwise(card):
    card("NVIDIA H100 80GB HBM3")
    assert gpu_here(None) == "NVIDIA H100 80GB HBM3"
    assert gpu_here("L4") == "L4"
    assert gpu_here("CPU") is None
    with pytest.raises(UnknownName):
        gpu_here("H1000")


def test_the_memory_of_the_machines_gpu_tells_cards_of_one_name_apart(card, monkeypatch):
    card("NVIDIA GeForce RTX 5060 Ti")
    monkeypatch.setattr(local_device, "_memory_here", lambda: int(15.5 * 2**30))
    assert gpu_here(None) == gpu_here("auto") == "RTX-5060-Ti-16GB"
    monkeypatch.setattr(local_device, "_memory_here", lambda: int(7.6 * 2**30))
    assert gpu_here("auto") == "NVIDIA GeForce RTX 5060 Ti"
    card(None)
    with pytest.raises(BadRequest, match="no GPU"):
        gpu_here("auto")


def test_a_gpu_nobody_described_is_told_with_both_ways_out(card):
    card("NVIDIA Imaginary 9000")
    with pytest.raises(BadRequest, match="Imaginary 9000") as caught:
        gpu_here(None)
    assert any("--gpu cpu" in hint for hint in caught.value.hints)
    assert gpu_here("cpu") is None


@pytest.mark.parametrize(
    ("name", "asked", "told"), [("NVIDIA L4", [], "NVIDIA L4"), ("NVIDIA L4", ["--gpu", "cpu"], None)]
)
def test_the_command_recommends_for_the_machines_own_gpu(card, monkeypatch, name, asked, told):
    card(name)
    seen: dict[str, object] = {}
    monkeypatch.setattr(advisor, "recommend", lambda model, gpu, **rest: seen.update(gpu=gpu) or "recommended")

    def tuned(model, data, **rest):
        asked_for = rest.get("recommendation")
        seen.update(recommendation=asked_for() if callable(asked_for) else asked_for)
        raise BadRequest("far enough")

    monkeypatch.setattr(door, "tune", tuned)
    CliRunner().invoke(command, ["--model", "m", "--data", "d.jsonl", *asked])
    assert seen.get("gpu") == told
    assert seen["recommendation"] == ("recommended" if told else None)


def test_from_python_no_gpu_stands_idle_unasked(card, tmp_path):
    card("NVIDIA L4")
    with pytest.raises(BadRequest, match="this machine has a GPU, NVIDIA L4") as caught:
        door.tune("m", "d.jsonl", out=str(tmp_path / "out"))
    assert any("advisor.recommend('m', 'NVIDIA L4'" in hint for hint in caught.value.hints)
    assert any("gpu='cpu'" in hint for hint in caught.value.hints)
    with pytest.raises(AdvisorError, match="unknown model"):
        door.tune("no-such-model", "d.jsonl", gpu="cpu", out=str(tmp_path / "out"))
    card(None)
    with pytest.raises(AdvisorError, match="unknown model"):
        door.tune("no-such-model", "d.jsonl", out=str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
