"""What joins several cards of a kind is what the data sheet says, and what nobody measured is refused."""

from __future__ import annotations

import pytest

from advisor.catalog.gpus import find_gpu
from advisor.catalog.interconnects import exchange_of
from advisor.errors import BadRequest

LINKS = {
    "V100-32GB": "nvlink2", "A100-80GB-SXM": "nvlink3", "H100-SXM": "nvlink4", "H20": "nvlink4", "GH200": "nvlink4",
    "B200": "nvlink5", "MI300X": "xgmi", "L4": "pcie4", "A100-80GB-PCIe": "pcie4", "RTX-A6000": "pcie4",
    "H100-PCIe": "pcie5", "T4": "pcie3", "P100-16GB": "pcie3", "RTX-4090": "consumer", "RTX-3090": "consumer",
}  # fmt: skip


@pytest.mark.parametrize(("name", "link"), LINKS.items())
def test_cards_exchange_over_the_link_of_their_data_sheet(name: str, link: str):
    assert exchange_of(find_gpu(name)[0], 2, 1).link.name == link


@pytest.mark.parametrize("name", ["GB10", "MI210", "TPU-v5e", "Trainium2", "Gaudi3", "Ascend-910B"])
def test_a_link_that_nobody_measured_is_refused(name: str):
    with pytest.raises(BadRequest, match="not known") as refused:
        exchange_of(find_gpu(name)[0], 2, 1)
    assert refused.value.hints
