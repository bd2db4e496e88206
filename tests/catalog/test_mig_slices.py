"""MIG slices as NVIDIA's table cuts them."""

from __future__ import annotations

import pytest

from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.gpus.laws import faults
from advisor.catalog.gpus.mig import profiles_of, slice_of, split_name
from advisor.domain.units import GIB
from advisor.errors import BadRequest, UnknownName

SLICES = [(gpu, profile) for gpu in gpus() for profile in profiles_of(gpu.name)]
EVERY_SLICE = pytest.mark.parametrize(("parent", "profile"), SLICES, ids=lambda value: getattr(value, "name", value))


def test_the_cards_that_can_be_cut_are_those_of_the_table():
    cut = {gpu.name for gpu, _ in SLICES}
    assert {"A30", "A100-40GB-SXM", "A100-80GB-PCIe", "H100-SXM", "H200-SXM", "B200", "RTX-PRO-6000"} <= cut
    assert not cut & {"T4", "L40S", "RTX-4090", "RTX-PRO-4000", "MI300X"}


@EVERY_SLICE
def test_a_slice_is_a_part_of_its_parent(parent, profile):
    part = slice_of(parent, profile)
    compute, size = int(profile[0]), int(profile.split(".")[1].removesuffix("gb"))
    whole = max(int(other[0]) for other in profiles_of(parent.name))
    assert part.usable_bytes <= min(size * GIB, parent.usable_bytes)
    assert part.usable_bytes > 0.85e9 * size
    # memory comes with its share of the bandwidth, however many multiprocessors go with it
    most = max(int(other.split(".")[1].removesuffix("gb")) for other in profiles_of(parent.name))
    assert part.bandwidth_bytes_s / parent.bandwidth_bytes_s == pytest.approx(size / most, rel=0.1)
    assert part.bf16_flop_s / parent.bf16_flop_s == pytest.approx(compute / whole, rel=0.4)
    assert part.memory_bytes >= part.usable_bytes
    assert (part.tdp_w, part.interconnect_bytes_s, part.measured_bf16_flop_s) == (None, None, None)
    assert part.compute_capability == parent.compute_capability
    assert not list(faults(part))
    assert "nvidia" in part.sources[0].address


@pytest.mark.parametrize("parent", sorted({gpu.name for gpu, _ in SLICES}))
def test_slices_that_fit_beside_each_other_hold_no_more_than_the_parent(parent: str):
    gpu = find_gpu(parent)[0]
    smallest = slice_of(gpu, profiles_of(parent)[0])
    number = max(int(profile[0]) for profile in profiles_of(parent))
    assert number * smallest.usable_bytes <= gpu.memory_bytes
    assert number * smallest.bf16_flop_s <= gpu.bf16_flop_s * (1 + 1e-6)
    assert number * smallest.bandwidth_bytes_s <= gpu.bandwidth_bytes_s


@pytest.mark.parametrize(
    ("written", "name", "gibibytes"),
    [
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "A100-80GB-SXM-MIG-1g.10gb", 9.5),
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", "H100-SXM-MIG-3g.40gb", 39.5),
        ("NVIDIA H200 MIG 1g.18gb", "H200-SXM-MIG-1g.18gb", 16.0),
        ("A100-SXM4-40GB MIG 1g.5gb+me", "A100-40GB-SXM-MIG-1g.5gb", 4.75),
        ("A100 3g.40gb", "A100-80GB-SXM-MIG-3g.40gb", 39.25),
        ("a100-80gb-sxm-mig-1g.10gb", "A100-80GB-SXM-MIG-1g.10gb", 9.5),
        ("H100 PCIe 1g.10gb", "H100-PCIe-MIG-1g.10gb", 9.75),
    ],
)
def test_slices_are_found_as_nvidia_smi_names_them(written: str, name: str, gibibytes: float):
    gpu, _ = find_gpu(written)
    assert gpu.name == name
    assert gpu.usable_bytes == int(gibibytes * GIB)
    assert find_gpu(gpu.name) == (gpu, "")


def test_a_slice_without_its_gpu_or_that_the_gpu_has_not_is_refused_with_those_there_are():
    with pytest.raises(UnknownName, match="of which GPU") as caught:
        find_gpu("nvidia.com/mig-3g.40gb")
    assert "H100-SXM-MIG-3g.40gb" in caught.value.fields["near"]
    with pytest.raises(BadRequest, match="T4 has no MIG slice"):
        find_gpu("Tesla T4 MIG 1g.5gb")
    with pytest.raises(BadRequest, match=r"no MIG slice 1g\.11gb") as wrong:
        find_gpu("H100 MIG 1g.11gb")
    assert "1g.10gb" in wrong.value.hints[0]
    with pytest.raises(BadRequest, match="compute instance"):
        find_gpu("A100 MIG 1c.3g.20gb")
    with pytest.raises(UnknownName):
        find_gpu("RTX 9999 MIG 1g.10gb")


def test_a_name_without_a_profile_is_no_slice():
    assert split_name("NVIDIA H100 80GB HBM3") is None
    assert split_name("A100 MIG") is None
