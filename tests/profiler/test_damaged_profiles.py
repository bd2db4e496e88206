"""What the profiler and its readers do with damaged profiles, shared stores, full disks and Ctrl-C."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from advisor import store
from advisor.domain.profile import Profile
from advisor.domain.trace.allocator_history import History
from advisor.errors import BadFile, StoreUnavailable
from advisor.profiler import profile as door
from advisor.profiler.measure_run import as_profile
from advisor.profiler.profile import profile
from advisor.profiler.profiling_process import history_path, launch
from tests.profiler.conftest import make_job
from tests.profiler.test_profiling_process import child

WHOLE = json.loads(
    as_profile(make_job(), {"step_seconds": (0.1, 0.2), "peak_allocated_bytes": 5}, status="complete").model_dump_json()
)
DOCUMENT: dict[str, Any] = {"schema": "profile/1", **WHOLE}


def nested(document: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    made = json.loads(json.dumps(document))
    at = made
    *path, last = where.split(".")
    for name in path:
        at = at[name]
    at[last] = value
    return made


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("schema", "profile/99", "99"),
        ("schema", "profile/0", "profile/0"),
        ("schema", "calibration/1", "calibration"),
        ("schema", None, "schema"),
        ("status", "done", "status"),
        ("step_seconds", [0.1, "fast"], "step_seconds"),
        ("step_seconds", 0.1, "step_seconds"),
        ("peak_allocated_bytes", "5 GiB", "peak_allocated_bytes"),
        ("peak_allocated_bytes", 1.5, "peak_allocated_bytes"),
        ("recipe.micro_batch_size", 0, "micro_batch_size"),
        ("recipe.dtype", "bf17", "dtype"),
        ("workload.seq_len", -1, "seq_len"),
        ("recipe", "lora", "recipe"),
        ("best_guess", 7, "best_guess"),
    ],
)
def test_an_edited_profile_is_refused_with_the_field(tmp_path: Path, where: str, value: object, says: str):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(DOCUMENT))
    assert store.read(Profile, path).status == "complete"
    path.write_text(json.dumps(nested(DOCUMENT, where, value)))
    with pytest.raises(BadFile) as refused:
        store.read(Profile, path)
    assert says in refused.value.message + str(refused.value.fields)
    assert str(path) in refused.value.message + str(refused.value.fields)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.999])
def test_a_profile_cut_off_anywhere_is_refused(tmp_path: Path, share: float):
    path = tmp_path / "p.json"
    text = json.dumps(DOCUMENT)
    path.write_text(text[: int(share * len(text))])
    with pytest.raises(BadFile):
        store.read(Profile, path)


PROFILING = """
import sys, time
from advisor import store
from advisor.profiler import profile as door
from advisor.profiler.measure_run import as_profile
def stand(job, path, timeout):
    time.sleep(0.02)
    found = as_profile(job, {"step_seconds": (0.1,)}, status="complete")
    store.write(found, path)
    return found
door.launch = stand
door.profile(model=sys.argv[1], method=["lora", "ia3"], batch_size=[1, 2, 4, 8], seq_len=[16, 32], device="cpu",
             out=sys.argv[2])
"""


def tiny_model(tmp_path: Path) -> str:
    folder = tmp_path / "tiny"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], **make_job().spec.config}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.exhaustive
def test_two_processes_profiling_into_one_store_lose_and_damage_nothing(tmp_path: Path):
    model = tiny_model(tmp_path)
    command = [sys.executable, "-c", PROFILING, model, str(tmp_path / "store")]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    found = [store.read(Profile, path) for path in store.listing(tmp_path / "store")]
    assert len(found) == len({one.id for one in found}) == 16


ASKED: dict[str, Any] = {"method": ["lora"], "batch_size": [1, 2, 4, 8], "seq_len": 16, "device": "cpu"}


def stand(job: Any, path: Path, timeout_seconds: float) -> Profile:
    found = as_profile(job, {"step_seconds": (0.1,)}, status="complete")
    store.write(found, path)
    return found


def test_a_disk_that_fills_midway_ends_the_campaign_and_keeps_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = {**ASKED, "model": tiny_model(tmp_path), "out": tmp_path / "store"}
    monkeypatch.setattr(door, "launch", stand)
    real, written = os.fsync, list[int]()

    def full(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            if len(written) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
            written.append(descriptor)
        real(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StoreUnavailable):
            profile(**asked)
    kept = store.listing(tmp_path / "store")
    assert len(kept) == 2
    assert all(store.read(Profile, path).status == "complete" for path in kept)
    litter = [p for p in (tmp_path / "store").rglob("*") if p.is_file() and p not in kept and p.name != ".lock"]
    assert not litter
    again = profile(**asked)
    assert again.finished_before == 2
    assert len(store.listing(tmp_path / "store")) == 4


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("written", [False, True], ids=["before the profile is written", "after"])
def test_ctrl_c_at_any_run_loses_none_that_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, written: bool
):
    asked = {**ASKED, "model": tiny_model(tmp_path), "out": tmp_path / "store"}
    ran: list[str] = []

    def interrupted(job: Any, path: Path, timeout_seconds: float) -> Profile:
        at = len(ran) == moment
        ran.append(job.id)
        if at and not written:
            raise KeyboardInterrupt
        found = stand(job, path, timeout_seconds)
        if at:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(door, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        profile(**asked)
    finished = moment + written
    assert len(store.listing(tmp_path / "store")) == finished
    monkeypatch.setattr(door, "launch", stand)
    assert profile(**asked).finished_before == finished
    assert len(store.listing(tmp_path / "store")) == 4


@pytest.mark.parametrize("whole", [True, False])
def test_a_runs_allocator_history_is_kept_beside_the_profiles_where_it_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, whole: bool
):
    text = json.dumps({"schema": "allocator-history/1", "actions": [["alloc", 1, 512]]})
    child(
        monkeypatch,
        "import sys, pathlib; "
        f"pathlib.Path(sys.argv[2]).with_name('history.json').write_text({(text if whole else text[:40])!r})",
    )
    path = tmp_path / "profiles" / "h100" / "run.json"
    assert launch(make_job(), path, 30).status == "failed"
    kept = tmp_path / "histories" / "h100" / "run.json"
    assert history_path(path) == kept
    assert kept.is_file() == whole
    if whole:
        assert store.read(History, kept).actions == (("alloc", 1, 512),)
