"""`advisor gpus` and `advisor models`: what is printed is what the catalogue holds, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from advisor.catalog.gpus import listing
from advisor.catalog.gpus.gpu_lookup import forget
from advisor.catalog.models import models
from advisor.interfaces.cli.main import run


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("ADVISOR_PRICES", raising=False)


def test_gpus_lists_every_card(capsys: pytest.CaptureFixture[str]):
    assert run(["gpus", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == len(listing()) > 150
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
    assert len(json.loads(capsys.readouterr().out)) == len(models()) > 300
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


def test_the_template_fills_is_added_and_prices_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["gpus", "--template"]) == 0
    document = json.loads(capsys.readouterr().out)
    figures = {"memory_bytes": "12 GiB", "bandwidth_bytes_s": "360 GB/s", "bf16_flop_s": "25.5 TFLOP/s"}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**document, **figures, "name": "X-9000", "fp32_flop_s": "12.7 TFLOP/s"}))
    assert run(["gpus", "--add", str(path)]) == 0
    told = capsys.readouterr()
    assert "X-9000" in told.out
    assert "x-9000.json" in told.err
    asked = ["--model", "HuggingFaceTB/SmolLM2-135M", "--method", "lora", "--seq-len", "128", "--json"]
    assert run(["estimate", "--gpu", "x9000", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["gpu"] == "X-9000"
    assert run(["estimate", "--gpu-memory", "12GiB", "--gpu-like", "x9000", *asked]) == 0
    assert json.loads(capsys.readouterr().out)["time"]["step"]["basis"] == "assumed"


def test_a_wrong_figure_in_an_added_file_ends_with_code_4_and_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert run(["gpus", "--template"]) == 0
    document = json.loads(capsys.readouterr().out)
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**document, "memory_bytes": "24 TB"}))
    assert run(["gpus", "--add", str(path)]) == 4
    assert "memory_bytes" in capsys.readouterr().err


def test_a_question_without_a_gpu_named_or_described_is_refused(capsys: pytest.CaptureFixture[str]):
    for verb in ("estimate", "recommend"):
        assert run([verb, "--model", "HuggingFaceTB/SmolLM2-135M"]) == 2
        assert "--gpu is missing" in capsys.readouterr().err
        assert run([verb, "--model", "HuggingFaceTB/SmolLM2-135M", "--method", "lora", "--gpu-like", "L4"]) == 2
        assert "--gpu-memory" in capsys.readouterr().err


def test_prices_are_shown_with_the_day_they_were_read(capsys: pytest.CaptureFixture[str]):
    assert run(["prices", "L40S"]) == 0
    table = capsys.readouterr().out
    assert "read on" in table
    assert "your own prices: " in table
    assert run(["prices", "L40S", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows
    assert {row["gpu"] for row in rows} == {"L40S"}
    assert all((row["read_on"] or "unknown") in table for row in rows)
    old = sum(row["stale"] for row in rows)
    assert f"{len(rows)} prices, {old} of them older than 90 days or undated" in table
    assert ("advisor prices --refresh" in table) == (old > 0)


def test_all_prices_are_listed_and_an_unknown_gpu_is_refused(capsys: pytest.CaptureFixture[str]):
    assert run(["prices", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 321
    assert run(["prices", "no-such-card"]) == 2


def test_prices_read_anew_are_counted_by_provider(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    header = "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor"
    (tmp_path / "gcp.csv").write_text(f"{header}\ng2-standard-4,us-central1,0.7,4,16,1,L4,24,False,,nvidia\n")
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(tmp_path))
    assert run(["prices", "--refresh"]) == 0
    said = capsys.readouterr().out
    assert "gcp: 1 prices, read " in said
    assert "aws: not read" in said
