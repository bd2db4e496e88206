"""Laws for the accelerator data, and how names resolve."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.gpus import find_gpu, gpus, listing, unified_chips
from advisor.catalog.gpus import gpu_lookup as find_module
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB
from advisor.errors import BadFile, BadRequest, UnknownName

EVERY_GPU = pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    return tmp_path


def test_all_sixty_three_accelerators_are_there():
    assert len(gpus()) + len(unified_chips()) == 63
    assert Counter(entry.vendor for entry in (*gpus(), *unified_chips())) == {
        "nvidia": 43,
        "amd": 5,
        "apple": 9,
        "google": 4,
        "intel": 2,
    }


def test_each_file_is_named_after_its_gpu():
    files = sorted(path.stem for path in find_module.FOLDER.glob("*.json"))
    assert files == sorted(entry.name.lower() for entry in (*gpus(), *unified_chips()))


@EVERY_GPU
def test_every_gpu_says_where_its_figures_were_read(gpu: Gpu):
    assert gpu.sources
    assert all(source.address and source.where for source in gpu.sources)
    assert gpu.usable_why


@EVERY_GPU
def test_figures_are_of_plausible_size_in_base_units(gpu: Gpu):
    assert 8 * 10**9 <= gpu.memory_bytes <= 300 * GIB
    assert 0.9 * gpu.memory_bytes < gpu.usable_bytes <= gpu.memory_bytes
    assert gpu.bf16_flop_s is None or 1e13 <= gpu.bf16_flop_s <= 3e15
    assert gpu.bandwidth_bytes_s is None or 1e11 <= gpu.bandwidth_bytes_s <= 1e13
    assert gpu.fp32_flop_s is None or 1e12 <= gpu.fp32_flop_s <= 5e14
    assert gpu.tdp_w is None or 30 <= gpu.tdp_w <= 1500


@EVERY_GPU
def test_narrower_numbers_are_never_slower_and_nobody_measured_more_than_the_peak(gpu: Gpu):
    if gpu.tf32_flop_s and gpu.bf16_flop_s:
        assert gpu.tf32_flop_s <= gpu.bf16_flop_s
    if gpu.bf16_flop_s and gpu.fp8_flop_s:
        assert gpu.fp8_flop_s >= gpu.bf16_flop_s
    if gpu.measured_bf16_flop_s:
        assert gpu.bf16_flop_s is not None
        assert 0.4 < gpu.measured_bf16_flop_s / gpu.bf16_flop_s <= 1


@EVERY_GPU
def test_bf16_needs_ampere(gpu: Gpu):
    if gpu.vendor == "nvidia":
        assert gpu.compute_capability is not None
        assert gpu.bf16_supported == (gpu.compute_capability >= 8.0)


def test_rates_are_dense_and_not_the_vector_or_sparse_ones():
    """The traps of common tables: sparse H100 (1979), fp16-accumulate 4090 (330), vector 3090 (35.6)."""
    rates = {gpu.name: gpu.bf16_flop_s for gpu in gpus()}
    assert rates["H100-SXM"] == 989e12
    assert rates["H200-SXM"] == 989e12
    assert rates["RTX-4090"] == 165.2e12
    assert rates["RTX-3090"] == 71e12
    assert rates["A10G"] == 70e12
    memory = {gpu.name: gpu.memory_bytes / 1e9 for gpu in gpus()}
    assert memory["MI325X"] == pytest.approx(256)
    assert memory["B200"] > 180
    assert memory["MI250X"] == pytest.approx(64), "a package shows as two devices"


def test_no_two_gpus_share_a_name_or_alias():
    spelled = Counter(
        "".join(spelling)
        for entry in find_module.entries()
        for spelling in {tuple(s) for s in find_module._spellings(entry)}
    )
    assert [spelling for spelling, times in spelled.items() if times > 1] == []


@pytest.mark.parametrize("entry", find_module.entries(), ids=lambda entry: entry.name)
def test_every_name_and_alias_finds_its_own_entry(entry: Gpu):
    suffix = "" if isinstance(entry, Gpu) else " 32GB"
    for spelling in (entry.name, *entry.aliases):
        for typed in (spelling, spelling.upper(), spelling.lower(), spelling.replace("-", " "), f" NVIDIA {spelling} "):
            assert find_gpu(typed + suffix)[0].name.startswith(entry.name)
    assert find_gpu(entry.name + suffix)[1] == "", "a full name leaves no choice to report"


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA A100-SXM4-40GB", "A100-40GB-SXM"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB-SXM"),
        ("NVIDIA A100 80GB PCIe", "A100-80GB-PCIe"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA H200", "H200-SXM"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100-32GB"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA GeForce RTX 4070", "RTX-4070"),
        ("NVIDIA RTX A6000", "RTX-A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX-6000-Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_what_torch_reports_is_understood(reported: str, name: str):
    assert find_gpu(reported)[0].name == name


@pytest.mark.parametrize(
    ("typed", "name", "other"),
    [
        ("A100", "A100-40GB-SXM", "A100-80GB-SXM"),
        ("a100 80gb", "A100-80GB-SXM", "A100-80GB-PCIe"),
        ("H100", "H100-SXM", "H100-PCIe"),
        ("H200", "H200-SXM", "H200-NVL"),
        ("V100", "V100-16GB", "V100-32GB"),
    ],
)
def test_an_ambiguous_name_goes_to_the_default_and_says_so(typed: str, name: str, other: str):
    gpu, note = find_gpu(typed)
    assert gpu.name == name
    assert typed in note
    assert name in note
    assert other in note


@pytest.mark.parametrize(
    ("typed", "near"), [("h10", "H20"), ("RTX 6000", "RTX-6000-Ada"), ("A100-PCIe", "A100-80GB-PCIe")]
)
def test_an_unknown_name_is_refused_with_near_ones_and_never_taken_for_another(typed: str, near: str):
    with pytest.raises(UnknownName) as caught:
        find_gpu(typed)
    assert near in caught.value.fields["near"]
    assert "advisor gpus" in str(caught.value)


@pytest.mark.parametrize("typed", ["", " ", "---", "NVIDIA", "Quadro RTX 6000", "cpu", "gpu", "80gb", "é"])
def test_what_names_no_gpu_is_refused(typed: str):
    with pytest.raises(UnknownName):
        find_gpu(typed)


@given(st.text(max_size=30))
def test_no_text_makes_the_search_crash(text: str):
    try:
        gpu, _ = find_gpu(text)
    except BadRequest:
        return
    assert gpu.name


def test_a_chip_with_unified_memory_asks_for_the_size_rather_than_guessing():
    with pytest.raises(BadRequest, match="memory"):
        find_gpu("Apple-M4-Max")
    gpu, _ = find_gpu("apple m4 max 64gb")
    assert gpu.name == "Apple-M4-Max-64GB"
    assert gpu.memory_bytes == 64 * GIB
    assert gpu.usable_bytes < gpu.memory_bytes
    assert "assumed" in gpu.usable_why
    with pytest.raises(BadRequest, match="7 GB"):
        find_gpu("M1 7GB")


def test_the_users_own_file_adds_a_gpu_and_replaces_one_of_the_same_name(own_home: Path):
    ours = find_gpu("L40S")[0]
    folder = own_home / "data" / "gpus"
    folder.mkdir(parents=True)
    for name, memory in (("L40S", ours.memory_bytes + 1), ("X9000", ours.memory_bytes)):
        document = ours.model_copy(update={"name": name, "aliases": (), "memory_bytes": memory}).to_document()
        (folder / f"{name}.json").write_text(json.dumps(document))
    find_module._entries.cache_clear()
    assert find_gpu("x9000")[0].memory_bytes == ours.memory_bytes
    assert find_gpu("L40S")[0].memory_bytes == ours.memory_bytes + 1
    (folder / "X9000.json").write_text("{")
    find_module._entries.cache_clear()
    with pytest.raises(BadFile, match=r"X9000\.json"):
        find_gpu("L40S")


def test_a_search_finds_by_name_vendor_and_generation():
    assert {gpu.name for gpu in listing("h100")} == {"H100-SXM", "H100-PCIe", "H100-NVL"}
    assert {gpu.name for gpu in listing("rtx4090")} == {"RTX-4090"}
    assert {gpu.vendor for gpu in listing("apple")} == {"apple"}
    assert {gpu.generation for gpu in listing("Hopper")} == {"Hopper"}
    assert len(listing()) == len(listing("  ")) == 63
    assert gpus("apple") == ()


@pytest.mark.parametrize("typed", ["h10000", "---"])
def test_a_search_without_a_match_says_so(typed: str):
    with pytest.raises(UnknownName):
        listing(typed)


def test_loading_them_all_needs_no_torch():
    code = "import sys; from advisor.catalog.gpus import gpus; gpus(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
