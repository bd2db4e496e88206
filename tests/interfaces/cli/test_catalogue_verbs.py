"""`advisor gpus` and `advisor models`: what is printed is what the catalogue holds, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.interfaces.cli.main import run


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ADVISOR_PRICES", raising=False)


def test_gpus_lists_all_sixty_three(capsys: pytest.CaptureFixture[str]):
    assert run(["gpus", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 63
    assert all(entry["sources"] for entry in listed)
    assert run(["gpus"]) == 0
    table = capsys.readouterr().out
    assert all(entry["name"] in table for entry in listed)


def test_one_gpu_is_shown_with_sources_and_its_cheapest_offer(capsys: pytest.CaptureFixture[str]):
    assert run(["gpus", "NVIDIA L40S"]) == 0
    shown = capsys.readouterr().out
    assert "44.4 GiB" in shown
    assert "source: https://" in shown
    assert run(["gpus", "l40s", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["schema"] == "gpu/1"
    assert entry["cheapest_offer"]["on_demand_usd_h"] > 0


def test_a_gpu_without_a_price_is_not_free(capsys: pytest.CaptureFixture[str]):
    assert run(["gpus", "MI355X", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["cheapest_offer"] is None


def test_models_searches_and_shows_one_with_its_source(capsys: pytest.CaptureFixture[str]):
    assert run(["models", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 153
    assert run(["models", "gpt2-xl"]) == 0
    shown = capsys.readouterr().out
    assert "1,557,611,200" in shown
    assert "source: " in shown


@pytest.mark.parametrize(("verb", "search"), [("gpus", "h1000"), ("models", "llama-9")])
def test_a_search_without_a_match_is_a_wrong_request_with_near_names(
    verb: str, search: str, capsys: pytest.CaptureFixture[str]
):
    assert run([verb, search]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "near names" in told.err
    assert run([verb, search, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "UnknownName"
