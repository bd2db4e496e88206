"""Figures and caches are keyed by what a model is, and believed only where nobody else can have written them."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from advisor import store
from advisor.catalog.models import resolve_model
from advisor.catalog.prices import offers
from advisor.domain.model import config_sha256
from advisor.domain.profile import Profile
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import BadFile, StoreUnavailable
from advisor.estimator import measurements

ROOT = Path(__file__).parents[2]
READS = r"""
import re, sys
from pathlib import Path
from advisor import store
from advisor.errors import BadFile
try:
    store.read_document(sys.argv[1])
except BadFile as error:
    print(error.message)
# not ru_maxrss: on Linux that counts what the process was before exec, a copy of the one that runs the tests
print(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])
"""
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "num_hidden_layers": 2}


def a_model(folder: Path, **changes: object) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    return str(folder)


def keep_profile(model: str, digest: str) -> tuple[Workload, Recipe]:
    workload = Workload.model_validate({"model": model, "task": "causal-lm", "seq_len": 64})
    recipe = Recipe.model_validate({"method": "lora"})
    profile = Profile(
        id="a",
        device="L40S",
        device_reported="L40S",
        status="complete",
        workload=workload,
        recipe=recipe,
        model_config_sha256=digest,
        step_seconds=(1.0,),
        peak_allocated_bytes=44 << 20,
        peak_reserved_bytes=44 << 20,
    )
    store.write(profile, store.home("data") / "profiles" / "l40s" / "a.json")
    measurements.forget()
    return workload, recipe


def test_a_folder_of_the_same_name_is_not_answered_with_anothers_figures(tmp_path, monkeypatch, own_home):
    monkeypatch.chdir(tmp_path)
    one = resolve_model(a_model(Path("here/model")))
    workload, recipe = keep_profile(one.name, config_sha256(one.config))
    assert measurements.profile_of(workload, recipe, "L40S", one) is not None
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    other = resolve_model(a_model(Path("here/model"), hidden_size=2048))
    assert other.name == one.name
    assert measurements.profile_of(workload, recipe, "L40S", other) is None


def test_an_old_profile_of_a_hub_name_does_not_serve_a_folder_called_so(tmp_path, monkeypatch, own_home):
    name = "Qwen/Qwen2.5-0.5B"
    workload, recipe = keep_profile(name, "")
    assert measurements.profile_of(workload, recipe, "L40S", resolve_model(name)) is not None
    monkeypatch.chdir(tmp_path)
    a_model(Path(name))
    assert measurements.profile_of(workload, recipe, "L40S", resolve_model(name)) is None


def test_an_old_profile_serves_a_folder_that_holds_the_very_config(tmp_path, monkeypatch, own_home):
    name = "Qwen/Qwen2.5-0.5B"
    catalogued = resolve_model(name)
    workload, recipe = keep_profile(name, "")
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    (Path(name) / "config.json").write_text(json.dumps(catalogued.config))
    assert measurements.profile_of(workload, recipe, "L40S", resolve_model(name)) is not None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_cache_file_that_others_may_write_is_not_believed(mode: int, own_home):
    path = store.cache_dir() / "profiles" / "a.json"
    keep_profile("m", "")
    made = store.read(Profile, store.home("data") / "profiles" / "l40s" / "a.json")
    assert store.write_cache(made, path)
    assert store.read_cache(Profile, path) == made
    path.chmod(mode)
    assert store.read_cache(Profile, path) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_another_users_cache_file_is_not_believed(own_home):
    keep_profile("m", "")
    made = store.read(Profile, store.home("data") / "profiles" / "l40s" / "a.json")
    path = store.cache_dir() / "profiles" / "a.json"
    store.write_cache(made, path)
    os.chown(path, 12345, -1)
    assert store.read_cache(Profile, path) is None


def test_the_store_is_the_users_own(own_home):
    keep_profile("m", "")
    for part in ("data",):
        for path in store.home(part).rglob("*"):
            if path.name != ".lock":
                assert not path.stat().st_mode & 0o077, path


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(mode: int, tmp_path):
    path = tmp_path / "trl.yaml"
    path.write_text("old")
    path.chmod(mode)
    store.durable(path, lambda temporary: store.write_bytes(temporary, b"new"))
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_of_the_users_own_is_nobody_elses_while_it_is_written(own_home):
    path = store.home("data") / "a.json"
    path.parent.mkdir(parents=True)
    seen: list[int] = []

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as stream:
            stream.write(b"secret")
        seen.append(stat.S_IMODE(temporary.stat().st_mode))

    store.durable(path, write)
    assert seen == [0o600]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read as Linux tells it")
def test_a_gzip_bomb_is_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "a.json.gz"
    with gzip.open(path, "wb", compresslevel=9) as stream:
        for _ in range(64):
            stream.write(bytes(2**24))
    # a child of its own: this process may have been as large already
    done = subprocess.run(
        [sys.executable, "-c", READS, str(path)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    said, peak = done.stdout.splitlines()
    assert "larger" in said
    assert int(peak) < 600 * 1024


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        bytes(range(256)),
        "{}".encode("utf-16")[:-1],
        b"\xff\xfe\x00",
    ],
    ids=range(9),
)
def test_whatever_lies_in_a_file_is_read_or_refused(content: bytes, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadFile):
        store.read_document(path)


def test_newer_prices_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"schema": "prices/99", "prices": []}))
    monkeypatch.setenv("ADVISOR_PRICES", str(path))
    with pytest.raises(BadFile, match="prices") as caught:
        offers("A100")
    assert "newer" in str(caught.value)


@pytest.mark.parametrize("number", [28, 122, 30])
def test_a_full_disk_leaves_the_old_file_and_one_sentence(number: int, own_home, monkeypatch):
    keep_profile("m", "")
    path = store.home("data") / "profiles" / "l40s" / "a.json"
    before = path.read_bytes()
    made = store.read(Profile, path)

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnavailable) as caught:
        store.write(made, path)
    assert "\n" not in caught.value.message
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if p.name != ".lock"] == ["a.json"]
    assert not store.write_cache(made, store.cache_dir() / "a.json")
