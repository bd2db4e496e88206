"""The door: what is measured, skipped, cut by time, kept and resumed. Two runs are real, the others stood in for."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from advisor import store
from advisor.domain.profile import Profile
from advisor.errors import BadFile, BadRequest, UnknownName
from advisor.profiler import profile as door
from advisor.profiler.campaign import Campaign, load_campaign, shipped_campaigns
from advisor.profiler.device import ask, catalogue_name, choose_device, cpu_device
from advisor.profiler.measure_run import as_profile, lengths_to_measure
from advisor.profiler.planning import plan_jobs
from advisor.profiler.profile import profile
from advisor.profiler.results_file import read_results
from tests.profiler.conftest import tiny_spec

ASKED = {"model": "EleutherAI/pythia-14m", "method": ["lora", "ia3"], "device": "cpu", "dtype": "float32"}


@pytest.fixture
def tiny_folder(tmp_path: Path) -> str:
    folder = tmp_path / "tiny-model"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], **tiny_spec().config}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


class Stand:
    """In the place of `launch`: counts, takes time, and answers with a status by method."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.seconds = 0.0
        self.status = {}
        self.interrupt_at: int | None = None
        self.largest_fitting = 10**9

    def __call__(self, job, path, timeout_seconds):
        if self.interrupt_at == len(self.ran):
            raise KeyboardInterrupt
        self.ran.append(job.id)
        time.sleep(self.seconds)
        status = self.status.get(job.recipe.method, "complete")
        if job.recipe.micro_batch_size > self.largest_fitting:
            status = "oom"
        found = as_profile(job, {}, status=status)
        store.write(found, path)
        return found


@pytest.fixture
def stand(monkeypatch):
    made = Stand()
    monkeypatch.setattr(door, "launch", made)
    return made


@pytest.mark.exhaustive
def test_a_real_run_is_kept_and_not_repeated_and_memory_that_runs_out_is_a_result(tiny_folder, tmp_path):
    asked = {"model": tiny_folder, "method": "lora", "device": "cpu", "dtype": "float32", "out": tmp_path / "kept"}
    asked |= {"steps": 2, "threads": 1, "batch_size": 2, "seq_len": 64}
    first = profile(**asked)
    (one,) = first.profiles
    assert (one.status, len(one.step_seconds)) == ("complete", 2), one.reason
    assert one.evaluation_peak_bytes
    assert one.saving_peak_bytes
    (path,) = (tmp_path / "kept").rglob("*.json")
    assert store.read(Profile, path) == one
    assert path.parent.name == one.device == cpu_device().name
    second = profile(**asked)
    assert (second.profiles, second.finished_before) == ((), 1)
    starved = profile(**{**asked, "batch_size": 64, "seq_len": 256, "memory_limit_bytes": 150 * 2**20})
    assert starved.profiles[0].status == "oom", starved.profiles[0].reason
    assert "warm-up" in starved.profiles[0].reason
    assert starved.profiles[0].trainable_parameters == one.trainable_parameters


def test_a_dry_run_measures_nothing_and_touches_no_store(stand, tmp_path):
    found = profile(**ASKED, batch_size=[1, 2], out=tmp_path / "new", dry_run=True)
    assert stand.ran == []
    assert len(found.plan) == 4
    assert not (tmp_path / "new").exists()


def test_an_argument_of_another_name_is_refused_with_the_near_one(stand, tmp_path):
    with pytest.raises(BadRequest) as refused:
        profile(**ASKED, folder=tmp_path)
    assert refused.value.fields["near"] == ["out"]


def test_a_file_is_no_folder_of_profiles(stand, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest, match="is a file"):
        profile(**ASKED, out=tmp_path / "file", dry_run=True)


def test_an_interrupted_campaign_goes_on_where_it_stopped(stand, tmp_path):
    asked = {**ASKED, "batch_size": [1, 2, 4], "out": tmp_path}
    stand.interrupt_at = 2
    with pytest.raises(KeyboardInterrupt):
        profile(**asked)
    stand.interrupt_at = None
    found = profile(**asked)
    assert found.finished_before == 2
    assert len(stand.ran) == len(set(stand.ran)) == 6


def test_a_damaged_profile_is_measured_again(stand, tmp_path):
    asked = {**ASKED, "out": tmp_path}
    profile(**asked)
    broken = sorted(tmp_path.rglob("*.json"))[0]
    broken.write_text('{"schema": "profile/1", "id"')
    assert profile(**asked).finished_before == 1
    assert store.read(Profile, broken).status == "complete"


def test_failed_runs_are_finished_unless_asked_to_try_again(stand, tmp_path):
    asked = {**ASKED, "out": tmp_path}
    stand.status = {"lora": "failed", "ia3": "oom"}
    profile(**asked)
    assert profile(**asked).finished_before == 2
    stand.status = {}
    again = profile(**asked, retry_failed=True)
    assert [one.recipe.method for one in again.profiles] == ["lora"]


def test_a_time_budget_starts_no_run_that_would_end_later(stand, tmp_path):
    stand.seconds = 0.3
    asked = {**ASKED, "batch_size": [1, 2, 4, 8], "out": tmp_path}
    found = profile(**asked, time_budget_seconds=1.0)
    assert 1 <= len(found.profiles) <= 3
    assert len(found.profiles) + len(found.not_started) == 8
    assert found.seconds < 1.5
    stand.seconds = 0.0
    rest = profile(**asked)
    assert {one.id for one in rest.profiles} == set(found.not_started)


def test_the_callers_scores_decide_what_is_measured_first(stand, tmp_path):
    def score(jobs):
        return [job.recipe.micro_batch_size + 100 * (job.recipe.method == "ia3") for job in jobs]

    found = profile(**ASKED, batch_size=[1, 2], out=tmp_path, score=score)
    assert [(one.recipe.method, one.recipe.micro_batch_size) for one in found.profiles] == [
        ("ia3", 2),
        ("ia3", 1),
        ("lora", 2),
        ("lora", 1),
    ]


def test_progress_counts_every_run_and_tells_the_time_left(stand, tmp_path):
    told = []
    profile(**ASKED, batch_size=[1, 2], out=tmp_path, on_progress=told.append)
    assert [now.done for now in told] == [0, 1, 2, 3, 4]
    assert {now.total for now in told} == {4}
    assert told[0].seconds_left is None
    assert all(now.seconds_left is not None for now in told[1:])


def test_the_largest_batch_is_searched_once_a_setting_and_resumed(stand, tmp_path):
    stand.largest_fitting = 5
    asked = {**ASKED, "batch_size": [1, 2], "out": tmp_path, "largest_batch": True}
    found = profile(**asked)
    assert [(one.method, one.fits, one.fails) for one in found.largest] == [("lora", 5, 6), ("ia3", 5, 6)]
    ran = len(stand.ran)
    again = profile(**{**asked, "memory_limit_bytes": 10**9})
    assert again.largest == found.largest
    assert len(stand.ran) == 2 * ran
    assert profile(**{**asked, "memory_limit_bytes": 10**9}).largest == found.largest
    assert len(stand.ran) == 2 * ran


def test_a_campaign_in_a_file_is_run(stand, tmp_path):
    path = tmp_path / "mine.json"
    grid = {"model": "EleutherAI/pythia-14m", "method": "lora"}
    store.write(Campaign.model_validate({"name": "mine", "device": "cpu", "steps": 7, "grids": [grid]}), path)
    found = profile(campaign=str(path), out=tmp_path / "kept")
    assert [one.status for one in found.profiles] == ["complete"]


@pytest.mark.parametrize(
    ("asked", "kind", "says"),
    [
        ({}, BadRequest, "--model is missing"),
        ({"model": "gpt2"}, BadRequest, "--method is missing"),
        ({**ASKED, "campaign": "cpu-5-minutes"}, BadRequest, "beside a campaign"),
        ({**ASKED, "batch_size": 0}, BadRequest, "batch_size"),
        ({**ASKED, "batch_size": []}, BadRequest, "batch_size"),
        ({**ASKED, "dtype": "float8"}, BadRequest, "dtype"),
        ({**ASKED, "colour": "red"}, BadRequest, "colour"),
        ({**ASKED, "steps": 0}, BadRequest, "steps"),
        ({**ASKED, "time_budget_seconds": -1}, BadRequest, "time_budget_seconds"),
        ({**ASKED, "device": "tpu"}, BadRequest, "device"),
        ({**ASKED, "method": "lorra"}, UnknownName, "lorra"),
        ({**ASKED, "model": "no-such-model"}, UnknownName, "no-such-model"),
        ({"campaign": "no-such-campaign"}, UnknownName, "no-such-campaign"),
        ({"campaign": "no-such-file.json"}, BadFile, "no-such-file.json"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_runs(stand, tmp_path, asked, kind, says):
    with pytest.raises(kind, match=says):
        profile(**asked, out=tmp_path)
    assert stand.ran == []


def test_a_device_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr("advisor.profiler.device.ask", lambda: ask_nothing())
    with pytest.raises(BadRequest, match="no cuda device"):
        choose_device("cuda")
    assert choose_device("auto").kind == "cpu"


def ask_nothing():
    from advisor.profiler.device import DetectedDevice

    return DetectedDevice()


def test_torch_is_asked_for_devices_in_another_process():
    before = set(sys.modules)
    assert ask().mps in (True, False)
    assert "torch" in before or "torch" not in sys.modules


def test_a_gpu_is_called_as_in_the_catalogue_and_an_unknown_one_as_it_says():
    assert catalogue_name("NVIDIA L40S") == "L40S"
    assert catalogue_name("NVIDIA H100 80GB HBM3") == "H100-SXM"
    assert catalogue_name("Imagination X9") == "imagination-x9"
    assert catalogue_name("NVIDIA GeForce RTX 5060 Ti", int(15.5 * 2**30)) == "RTX-5060-Ti-16GB"
    assert catalogue_name("NVIDIA GeForce RTX 4090", int(47.4 * 2**30)) == "nvidia-geforce-rtx-4090", "nobody's figures"


def test_planning_loads_no_torch():
    program = (
        "import sys\nfrom advisor.profiler.profile import profile\n"
        "profile(campaign='cpu-5-minutes', dry_run=True)\n"
        "print(sorted({'torch', 'transformers', 'peft'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_file_takes_a_visit_home_and_a_second_visit_goes_on_from_it(stand, tmp_path):
    results, first, second = tmp_path / "measured.json", tmp_path / "first", tmp_path / "second"
    stand.interrupt_at = 1
    with pytest.raises(KeyboardInterrupt):
        profile(**ASKED, out=first, results=results)
    assert len(read_results(results)) == 1
    stand.interrupt_at = None
    found = profile(**ASKED, out=second, results=tmp_path / "both.json", resume=tmp_path)
    assert found.finished_before == 1
    assert len(stand.ran) == 2
    assert {one.id for one in read_results(tmp_path / "both.json")} == {run.id for run in found.plan}
    with pytest.raises(BadFile, match="no results"):
        profile(**ASKED, out=second, resume=tmp_path / "nowhere")


def test_steps_of_varying_length_keep_what_each_was(stand, tmp_path):
    grid = {**ASKED, "seq_len": 96, "mean_seq_len": 40.0, "steps": 200}
    device = grid.pop("device")
    campaign = Campaign.model_validate({"name": "varying", "device": device, "grids": [grid], "history": True})
    jobs, _ = plan_jobs(campaign, choose_device("cpu"))
    lengths = lengths_to_measure(jobs[0])
    assert len(lengths) == jobs[0].steps == 200
    assert max(lengths) == 96
    assert sum(lengths) / 200 == pytest.approx(40, rel=0.1)
    same = {name: value for name, value in grid.items() if name != "mean_seq_len"}
    plain = Campaign.model_validate({"name": "one length", "device": device, "grids": [same]})
    assert lengths_to_measure(plan_jobs(plain, choose_device("cpu"))[0][0]) == ()


@pytest.mark.parametrize("name", shipped_campaigns())
def test_a_shipped_campaign_can_run_whole_and_ends_within_its_time(name):
    campaign = load_campaign(name)
    jobs, left_out = plan_jobs(campaign, choose_device("cpu"))
    assert not left_out
    assert len({job.id for job in jobs}) == len(jobs)
    if name == "gpu-10-minutes":
        assert campaign.time_budget_seconds is not None
        assert campaign.time_budget_seconds < 600
        assert {"float32", "bfloat16"} == {job.recipe.dtype for job in jobs}
        assert max(job.workload.seq_len for job in jobs) >= 16384
        assert any(job.steps == 300 and lengths_to_measure(job) for job in jobs)
        assert sum(job.history for job in jobs) == 1
