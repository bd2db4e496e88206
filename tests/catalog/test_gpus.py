"""Laws for the accelerator data, and how names resolve."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.gpus import find_gpu, gpus, listing, unified_chips
from advisor.catalog.gpus import gpu_lookup as find_module
from advisor.catalog.gpus.laws import faults
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB
from advisor.errors import BadFile, BadRequest, UnknownName

EVERY_GPU = pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    return tmp_path


def test_no_accelerator_gets_lost():
    assert Counter(entry.vendor for entry in (*gpus(), *unified_chips())) == {
        "nvidia": 119,
        "amd": 11,
        "apple": 15,
        "google": 4,
        "intel": 2,
        "aws": 2,
        "huawei": 1,
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
def test_figures_keep_the_laws_of_accelerators(gpu: Gpu):
    assert list(faults(gpu)) == []


@EVERY_GPU
def test_figures_of_the_catalogue_lie_closer_than_the_laws_allow(gpu: Gpu):
    assert 4 * 10**9 <= gpu.memory_bytes <= 300 * GIB
    assert 0.89 * gpu.memory_bytes < gpu.usable_bytes <= gpu.memory_bytes
    assert gpu.bf16_flop_s is None or 8e12 <= gpu.bf16_flop_s <= 3e15
    assert gpu.bandwidth_bytes_s is None or 1e11 <= gpu.bandwidth_bytes_s <= 1e13
    assert gpu.fp32_flop_s is None or 1e12 <= gpu.fp32_flop_s <= 5e14
    assert gpu.tdp_w is None or 30 <= gpu.tdp_w <= 1500
    if gpu.measured_bf16_flop_s:
        assert gpu.bf16_flop_s is not None
        assert 0.4 < gpu.measured_bf16_flop_s / gpu.bf16_flop_s <= 1


PER_CLOCK = {
    "Volta": {1.0},
    "Turing": {0.5, 1.0},
    "Ampere": {0.5, 1.0, 2.0},
    "Ada": {0.5, 1.0},
    "Blackwell": {0.5, 1.0},
}
"""Dense tensor rate with fp32 accumulation over the vector rate, in units of 8 (4 from Ampere's gaming chips on):
GeForce halves it."""


@EVERY_GPU
def test_tensor_and_vector_rate_stand_in_a_ratio_of_the_generation(gpu: Gpu):
    """The traps of tables, sparse rates (2 x) and fp16 accumulation (2 x on GeForce), both leave the set."""
    single, half = gpu.fp32_flop_s, gpu.bf16_flop_s
    if gpu.vendor != "nvidia" or single is None or half is None or gpu.compute_capability is None:
        return
    base = 8 if gpu.compute_capability < 8.6 else 4
    if 7 <= gpu.compute_capability <= 12.1 and gpu.compute_capability not in (9.0, 10.0, 10.3):
        allowed = PER_CLOCK[gpu.generation]
        if gpu.name not in ODD_RATIO:
            assert any(abs(half / single / base - ratio) < 0.06 * ratio for ratio in allowed)


ODD_RATIO = {
    "T4": "65 TFLOP/s is at the boost clock, 8.1 at the base",
    "TITAN-V": "110 as published, below the boost clock's",
    "A10": "125 is with the full rate, the published fp32 at another clock",
    "A10G": "the cloud's cut of the A10",
    "RTX-4000-Ada": "its published tensor rate is held below the boost clock",
    "RTX-5090-D": "the tensor rate is cut for export",
}


def test_cards_that_are_another_with_a_slower_link_have_its_figures():
    for parent in ("A100-80GB-SXM", "A100-40GB-SXM", "A100-80GB-PCIe", "A100-40GB-PCIe", "H100-SXM", "H100-PCIe"):
        one, other = find_gpu(parent)[0], find_gpu(parent.replace("100", "800"))[0]
        for field in ("memory_bytes", "usable_bytes", "bandwidth_bytes_s", "bf16_flop_s", "fp32_flop_s"):
            assert getattr(one, field) == getattr(other, field)
        assert (other.interconnect_bytes_s or 0) <= (one.interconnect_bytes_s or 0)


def test_a_laptops_card_is_slower_and_holds_no_more_than_the_desktops():
    laptops = [gpu for gpu in gpus() if "Laptop" in gpu.name]
    assert len(laptops) >= 15
    for gpu in laptops:
        number = gpu.name.partition("-Laptop")[0]
        if number in ("RTX-3050-Ti", "RTX-4050"):
            continue  # sold in laptops only
        desktop = find_gpu(number)[0]
        assert (gpu.bf16_flop_s or 0) < (desktop.bf16_flop_s or 0)
        assert "limit" in gpu.notes


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


@pytest.mark.parametrize("typed", ["", " ", "---", "NVIDIA", "Quadro RTX 9000", "cpu", "gpu", "80gb", "é"])
def test_what_names_no_gpu_is_refused(typed: str):
    with pytest.raises(UnknownName):
        find_gpu(typed)


def test_what_a_name_is_refused_for_is_so():
    with pytest.raises(UnknownName, match="unknown gpu: 'NVIDIA A2'") as alone:
        find_gpu("NVIDIA A2")
    assert "--gpu-like" in str(alone.value)
    with pytest.raises(UnknownName, match="is not one GPU but"):
        find_gpu("6000")
    with pytest.raises(UnknownName, match="--gpu A100 --gpus 2"):
        find_gpu("2x A100")


@settings(deadline=None)
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
    find_module.forget()
    assert find_gpu("x9000")[0].memory_bytes == ours.memory_bytes
    assert find_gpu("L40S")[0].memory_bytes == ours.memory_bytes + 1
    (folder / "X9000.json").write_text("{")
    find_module.forget()
    with pytest.raises(BadFile, match=r"X9000\.json"):
        find_gpu("L40S")


def test_a_search_finds_by_name_vendor_and_generation():
    assert {gpu.name for gpu in listing("h100")} == {"H100-SXM", "H100-PCIe", "H100-NVL"}
    assert {gpu.name for gpu in listing("rtx4090")} == {"RTX-4090", "RTX-4090-D", "RTX-4090-Laptop"}
    assert {gpu.vendor for gpu in listing("apple")} == {"apple"}
    assert {gpu.generation for gpu in listing("Hopper")} == {"Hopper"}
    assert {gpu.vendor for gpu in listing("amd")} == {"amd"}
    assert [gpu.name for gpu in listing("A100 MIG 1g.5gb")] == ["A100-40GB-SXM-MIG-1g.5gb"]
    assert len(listing()) == len(listing("  ")) == len(find_module.entries())
    assert gpus("apple") == ()


@pytest.mark.parametrize("typed", ["h10000", "---"])
def test_a_search_without_a_match_says_so(typed: str):
    with pytest.raises(UnknownName):
        listing(typed)


def test_loading_them_all_needs_no_torch():
    code = "import sys; from advisor.catalog.gpus import gpus; gpus(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
