"""Campaign files: what they hold, what they refuse, and the ones that ship."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.methods import find_method
from advisor.catalog.models import resolve_model
from advisor.domain.units import MIB
from advisor.errors import BadFile, BadRequest, UnknownName
from advisor.profiler.campaign import MOST_RUNS, Campaign, Grid, load_campaign, shipped_campaigns
from advisor.profiler.device import Device
from advisor.profiler.planning import plan_jobs

GOOD = {"schema": "campaign/2", "name": "mine", "grids": [{"model": "EleutherAI/pythia-14m", "method": "lora"}]}
MINUTES = {"gpu-10-minutes": 9, "gpu-25-minutes": 25, "cpu-5-minutes": 5}


@pytest.mark.parametrize("name", shipped_campaigns())
def test_a_shipped_campaign_holds_no_run_that_cannot_run(name):
    campaign = load_campaign(name)
    kind = "cpu" if campaign.device == "cpu" else "cuda"
    jobs, left_out = plan_jobs(campaign, Device(kind=kind, name="any", reported="Any"))
    assert left_out == []
    assert len(jobs) == len(list(campaign.choices()))
    assert campaign.name == name


def test_the_campaigns_promised_ship_with_their_time():
    assert {name: load_campaign(name).time_budget_seconds for name in shipped_campaigns()} == {
        name: minutes * 60 for name, minutes in MINUTES.items()
    }


def test_the_long_gpu_campaign_covers_architectures_families_trainers_and_precisions():
    choices = list(load_campaign("gpu-25-minutes").choices())
    specs = {choice.model: resolve_model(choice.model) for choice in choices}
    assert {spec.architecture for spec in specs.values()} == {"decoder", "encoder", "encoder-decoder"}
    assert len({spec.model_type for spec in specs.values()}) >= 5
    families = {find_method(choice.method).family for choice in choices}
    assert families >= {"full", "additive", "selective", "reparameterised"}
    assert {choice.trainer for choice in choices} == {"loop", "hf", "trl"}
    assert {choice.dtype for choice in choices} >= {"bfloat16", "float32"}
    assert {choice.gradient_checkpointing for choice in choices} == {False, True}


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=4),
    st.lists(st.integers(1, 4096), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=1, max_size=2),
)
def test_a_grid_is_every_combination_once(batches, lengths, checkpointing):
    grid = Grid(model="m", method="lora", batch_size=batches, seq_len=lengths, gradient_checkpointing=checkpointing)
    assert len(list(grid.choices())) == grid.size == len(batches) * len(lengths) * len(checkpointing)
    campaign = Campaign(name="x", grids=(grid, grid))
    assert len(list(campaign.choices())) == len(set(batches)) * len(set(lengths)) * len(set(checkpointing))


def test_a_single_value_is_a_list_of_one():
    assert Grid(model="m", method="lora", batch_size=4) == Grid(model=["m"], method=["lora"], batch_size=[4])


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "campaign/3"},
        {"schema": "profile/1"},
        {"grids": []},
        {"grids": [{"model": "m"}]},
        {"grids": [{"model": "m", "method": "lora", "batch_size": 0}]},
        {"grids": [{"model": "m", "method": "lora", "batch_size": []}]},
        {"grids": [{"model": "m", "method": "lora", "dtype": "float8"}]},
        {"grids": [{"model": "m", "method": "lora", "colour": "red"}]},
        {"time_budget_seconds": -1},
        {"steps": 0},
        {"device": "tpu"},
        {"name": ""},
    ],
)
def test_a_wrong_campaign_file_is_a_bad_file_that_names_the_field(tmp_path, changes):
    path = tmp_path / "campaign.json"
    path.write_text(json.dumps({**GOOD, **changes}))
    with pytest.raises(BadFile) as caught:
        load_campaign(str(path))
    assert caught.value.fields["field"]
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00\xff"])
def test_a_campaign_file_that_is_no_json_object_is_a_bad_file(tmp_path, text):
    path = tmp_path / "campaign.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(BadFile):
        load_campaign(str(path))


def test_an_unknown_campaign_names_the_near_one():
    with pytest.raises(UnknownName) as caught:
        load_campaign("gpu-10-minute")
    assert "gpu-10-minutes" in caught.value.fields["near"]


def test_a_campaign_longer_than_anyone_waits_is_refused():
    grid = Grid(model="m", method="lora", batch_size=list(range(1, 101)), seq_len=list(range(1, 101)))
    with pytest.raises(BadRequest, match=f"{MOST_RUNS:,}"):
        list(Campaign(name="x", grids=(grid,)).choices())


def test_shipped_campaigns_are_small_files():
    from advisor.profiler.campaign import FOLDER

    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < MIB / 50


def test_a_file_that_said_autocast_means_the_runs_it_meant(tmp_path):
    """Version 1's word, which was of the products: float32 weights of a plain base, 16-bit ones beside a quantised."""
    grid = {"model": "EleutherAI/pythia-14m", "method": ["lora", "qlora"], "autocast": [False, True]}
    path = tmp_path / "old.json"
    path.write_text(json.dumps({**GOOD, "schema": "campaign/1", "grids": [grid]}))
    found = {(c.method, c.base, c.dtype, c.mixed_precision) for c in load_campaign(str(path)).choices()}
    assert found == {
        ("lora", None, "bfloat16", "no"),
        ("qlora", None, "bfloat16", "no"),
        ("lora", None, "float32", "bf16"),
        ("qlora", None, "bfloat16", "bf16"),
    }
    for autocast, mixed in ((False, "no"), (True, "bf16")):
        path.write_text(json.dumps({**GOOD, "schema": "campaign/1", "grids": [grid | {"autocast": autocast}]}))
        assert {choice.mixed_precision for choice in load_campaign(str(path)).choices()} == {mixed}
    path.write_text(json.dumps({**GOOD, "grids": [grid]}))
    with pytest.raises(BadFile, match="autocast"):
        load_campaign(str(path))
