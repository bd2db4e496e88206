"""`advisor profile` on the command line: what it reads, prints and refuses; the order it measures in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import store
from advisor.domain.profile import Profile
from advisor.domain.request.typed_numbers import bytes_of, seconds_of
from advisor.errors import BadRequest
from advisor.interfaces.cli.main import INTERRUPTED, run
from advisor.interfaces.cli.profile import by_design
from advisor.profiler import profile as door
from advisor.profiler.measure_run import as_profile
from tests.profiler.conftest import make_job

RUNS = ["profile", "--model", "EleutherAI/pythia-14m", "--method", "lora,ia3", "--device", "cpu"]


@pytest.fixture
def launched(monkeypatch):
    """Every run that would have been measured; each ends at once, the second out of memory."""
    ran: list[str] = []

    def launch(job, path, timeout_seconds):
        ran.append(job.id)
        facts = {"peak_allocated_bytes": 3 * 2**30, "tokens_per_step": 512.0, "step_seconds": (0.25,)}
        oom = len(ran) == 2
        found = as_profile(job, {} if oom else facts, status="oom" if oom else "complete", reason="full" if oom else "")
        store.write(found, path)
        return found

    monkeypatch.setattr(door, "launch", launch)
    return ran


def test_results_are_printed_for_people(launched, capsys, tmp_path):
    assert run([*RUNS, "--out", str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert "3.0 GiB" in told.out
    assert "250 ms" in told.out
    assert "2,048" in told.out
    assert "oom: full" in told.out
    assert "1/2" in told.err


def test_results_are_one_document_for_programs(launched, capsys, tmp_path):
    assert run([*RUNS, "--batch-size", "1,2", "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["profiles"]) == len(told["plan"]) == 4
    assert {Profile.model_validate(one).status for one in told["profiles"]} == {"complete", "oom"}


def test_a_dry_run_lists_the_runs_and_measures_none(launched, capsys, tmp_path):
    every = ["--gradient-checkpointing", "both", "--seq-len", "64,128", "--dtype", "float32,bfloat16", "--dry-run"]
    assert run([*RUNS, *every, "--out", str(tmp_path), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert len(plan) == len({one["id"] for one in plan}) == 16
    assert launched == []


def test_an_interruption_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def launch(job, path, timeout_seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "launch", launch)
    assert run([*RUNS, "--out", str(tmp_path)]) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        (["--batch-size", "1,x"], 2),
        (["--batch-size", "-1"], 2),
        (["--batch-size", "0"], 2),
        (["--seq-len", "99999"], 2),
        (["--time-budget", "soon"], 2),
        (["--time-budget", "0m"], 2),
        (["--memory-limit", "8"], 2),
        (["--dtype", "int4"], 2),
        (["--device", "abacus"], 2),
        (["--layers", "0"], 2),
        (["--gradient-checkpointing", "maybe"], 2),
        (["--campaign", "cpu-5-minutes"], 2),
        (["--trainer", "trl2"], 2),
    ],
)
def test_a_wrong_option_ends_with_its_exit_code_before_anything_runs(launched, capsys, tmp_path, typed, code):
    assert run([*RUNS, *typed, "--out", str(tmp_path)]) == code
    assert capsys.readouterr().err.startswith("Error:")
    assert launched == []


def test_a_bad_campaign_file_is_exit_code_4(launched, capsys, tmp_path):
    path = tmp_path / "campaign.json"
    path.write_text('{"schema": "campaign/1", "name": "x"}')
    assert run(["profile", "--campaign", str(path), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["field"] == "grids"


@given(st.floats(0.001, 10**6), st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600), (" M", 60)]))
def test_a_length_of_time_is_read_in_its_unit(number, unit):
    assert seconds_of(f"{number:.3f}{unit[0]}") == pytest.approx(number * unit[1], abs=unit[1] * 1e-3)


@given(st.floats(0.01, 10**4), st.sampled_from([("GiB", 2**30), (" MB", 10**6), ("kib", 2**10), ("gb", 10**9)]))
def test_a_size_of_memory_is_read_in_its_unit(number, unit):
    assert bytes_of(f"{number:.2f}{unit[0]}") == pytest.approx(number * unit[1], abs=unit[1] * 0.01)


@given(st.text(max_size=12))
def test_any_other_text_is_refused_and_never_guessed(text):
    for read in (seconds_of, bytes_of):
        try:
            value = read(text)
        except BadRequest:
            continue
        assert value > 0
        assert any(character.isdigit() for character in text)


@pytest.mark.exhaustive
def test_runs_are_ordered_by_what_the_cost_model_learns_from_them():
    jobs = [
        make_job(method=method, batch_size=batch).model_copy(update={"device_name": "L40S"})
        for method in ("lora", "full")
        for batch in (1, 2, 32)
    ]
    scores = by_design(jobs)
    assert sorted(scores) == [-5.0, -4.0, -3.0, -2.0, -1.0, -0.0]
    first = jobs[scores.index(max(scores))]
    second = jobs[scores.index(sorted(scores)[-2])]
    # two runs of the same launches tell less than two that differ in what bounds them
    assert first.recipe.micro_batch_size != second.recipe.micro_batch_size


def test_a_device_the_catalogue_does_not_know_is_measured_evenly_spread():
    jobs = [make_job(batch_size=batch) for batch in (1, 2, 4)]
    assert sorted(by_design(jobs)) == [-2.0, -1.0, 0.0]
