"""Names as drivers, shops and people write them: each means its card, or is refused with good neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.gpus import find_gpu, gpus, reported_gpu
from advisor.catalog.gpus.names import VARIANTS, words_of
from advisor.domain.units import GIB
from advisor.errors import BadRequest, UnknownName


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        # nvidia-smi
        ("NVIDIA GeForce RTX 2080 Ti", "RTX-2080-Ti"),
        ("NVIDIA A800-SXM4-80GB", "A800-80GB-SXM"),
        ("NVIDIA A800 80GB PCIe", "A800-80GB-PCIe"),
        ("NVIDIA H800", "H800-SXM"),
        ("NVIDIA H800 PCIe", "H800-PCIe"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA L20", "L20"),
        ("NVIDIA GB10", "GB10"),
        ("NVIDIA TITAN RTX", "TITAN-RTX"),
        ("Quadro RTX 8000", "Quadro-RTX-8000"),
        ("Quadro RTX 6000", "Quadro-RTX-6000"),
        ("NVIDIA RTX 5000 Ada Generation", "RTX-5000-Ada"),
        ("NVIDIA RTX PRO 4000 Blackwell", "RTX-PRO-4000"),
        ("NVIDIA RTX PRO 4500 Blackwell", "RTX-PRO-4500"),
        ("NVIDIA RTX PRO 5000 Blackwell", "RTX-PRO-5000"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX-PRO-6000-Max-Q"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX-PRO-6000"),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX-3090-Ti"),
        ("NVIDIA GeForce RTX 5060 Ti", "RTX-5060-Ti-8GB"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX-4090-Laptop"),
        ("NVIDIA GeForce RTX 5070 Ti Laptop GPU", "RTX-5070-Ti-Laptop"),
        ("NVIDIA GeForce RTX 4090 D", "RTX-4090-D"),
        ("Tesla V100-PCIE-16GB", "V100-PCIe-16GB"),
        ("Tesla V100S-PCIE-32GB", "V100S-32GB"),
        # rocm-smi and torch on ROCm
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("AMD INSTINCT MI250X (MCM) OAM AC MBA", "MI250X"),
        ("AMD Instinct MI350X", "MI350X"),
        ("Radeon RX 7900 XTX", "RX-7900-XTX"),
        # people
        ("2080ti", "RTX-2080-Ti"),
        ("RTX4070TiSuper", "RTX-4070-Ti-SUPER"),
        ("4070tis", "RTX-4070-Ti-SUPER"),
        ("4080s", "RTX-4080-SUPER"),
        ("4090m", "RTX-4090-Laptop"),
        ("RTX 4090 Mobile", "RTX-4090-Laptop"),
        ("3090", "RTX-3090"),
        ("4090", "RTX-4090"),
        ("a6000", "RTX-A6000"),
        ("RTX 8000", "Quadro-RTX-8000"),
        ("DGX Spark", "GB10"),
        ("Strix Halo 128GB", "Strix-Halo-128GB"),
        ("Ryzen AI Max+ 395 64GB", "Strix-Halo-64GB"),
        ("M3 Ultra 512GB", "Apple-M3-Ultra-512GB"),
        ("trn2", "Trainium2"),
        ("Gaudi 3", "Gaudi3"),
        ("Ascend 910B", "Ascend-910B"),
        # a size that agrees with the card
        ("L40S 48GB", "L40S"),
        ("RTX 4090 24GB", "RTX-4090"),
        ("T4 16GB", "T4"),
        ("A10G-24GB", "A10G"),
        ("RTX 3080 12GB", "RTX-3080-12GB"),
        ("5060 Ti 16 GB", "RTX-5060-Ti-16GB"),
        ("NVIDIA A100 40GB PCIe", "A100-40GB-PCIe"),
    ],
)
def test_names_as_they_are_written_mean_their_card(written: str, name: str):
    assert find_gpu(written)[0].name == name


@pytest.mark.parametrize(
    "written",
    [
        "RTX 3050 Ti",  # in laptops only, which are not meant
        "4050",
        "NVIDIA GeForce RTX 2070 with Max-Q Design",
        "RTX 4090 Max-Q",
        "NVIDIA GeForce RTX 4070 SUPER Laptop GPU",
        "RTX 3060 Ti Laptop",
        "RTX A5000 Laptop GPU",
        "NVIDIA RTX 5000 Ada Generation Laptop GPU",
        "RTX PRO 5000 Blackwell Laptop",
        "RTX 4090 48GB",
        "A100 96GB",
        "H100 Ultra",
        "RTX 4090 v2",
    ],
)
def test_a_variant_that_is_not_listed_is_never_taken_for_its_sibling(written: str):
    with pytest.raises(UnknownName) as caught:
        find_gpu(written)
    assert any("--gpu-like" in hint or "--gpu-memory" in hint for hint in caught.value.hints)


@settings(deadline=None)
@given(gpu=st.sampled_from([g for g in gpus() if g.vendor == "nvidia"]), variant=st.sampled_from(sorted(VARIANTS)))
def test_a_word_for_another_chip_never_leaves_a_name_with_the_same_card(gpu, variant):
    if variant in words_of(gpu.name):
        return
    try:
        found, _ = find_gpu(f"{gpu.name} {variant}")
    except BadRequest:
        return
    assert variant in words_of(found.name)


@pytest.mark.parametrize(
    ("typed", "has", "never"),
    [
        ("2090", ["RTX-2080", "RTX-3090"], ["B200", "GB200", "GH200", "H200-SXM"]),
        ("gtx 1070", ["RTX-2070"], ["A100-40GB-SXM", "H100-SXM", "B200"]),
        ("B100", ["B200"], ["RTX-2080", "A100-40GB-SXM"]),
        ("h10", ["H100-SXM"], ["A100-40GB-SXM"]),
        ("mi308x", ["MI300X"], ["B300"]),
        ("M5 Max 64GB", ["Apple-M4-Max"], ["MI300X"]),
        ("RTX 4090 Max-Q", ["RTX-4090-Laptop"], ["A40"]),
    ],
)
def test_near_names_are_near(typed: str, has: list[str], never: list[str]):
    with pytest.raises(UnknownName) as caught:
        find_gpu(typed)
    near = caught.value.fields["near"]
    assert set(has) <= set(near)
    assert not set(never) & set(near)


def test_the_default_of_a_name_is_said_and_is_the_smallest_card_of_two_that_report_one_name():
    for typed, smallest in (("4060 Ti", 8), ("RTX 5060 Ti", 8), ("RTX 3080", 10), ("3080 laptop", 8)):
        gpu, note = find_gpu(typed)
        assert gpu.memory_bytes < smallest * 1.01 * GIB
        assert "default" in note


def test_the_memory_a_driver_reports_tells_cards_of_one_name_apart():
    assert reported_gpu("NVIDIA GeForce RTX 3080", 12 * GIB)[0].name == "RTX-3080-12GB"
    assert reported_gpu("NVIDIA GeForce RTX 3080", 10 * GIB)[0].name == "RTX-3080-10GB"
    assert reported_gpu("NVIDIA GeForce RTX 5060 Ti", int(15.48 * GIB)) == (find_gpu("RTX-5060-Ti-16GB")[0], "")
    assert reported_gpu("NVIDIA L4", None)[0].name == "L4"
    with pytest.raises(BadRequest, match="47") as caught:
        reported_gpu("NVIDIA GeForce RTX 4090", int(47.4 * GIB))
    assert "--gpu-like RTX-4090" in caught.value.hints[0]


def test_an_unknown_card_is_told_how_to_be_described():
    with pytest.raises(UnknownName) as caught:
        find_gpu("Radeon VII")
    said = str(caught.value)
    assert "--gpu-memory 24GB --gpu-like RTX-4090" in said
    assert "advisor gpus --template" in said
