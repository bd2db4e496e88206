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


@pytest.mark.parametrize("name", ["A100-80GB-SXM", "H100-SXM", "L40S"])
def test_a_measured_size_is_answered_as_measured_and_one_between_lies_between(name: str):
    exchange = exchange_of(find_gpu(name)[0], 8, 1)
    assert exchange.system is not None
    assert exchange.basis == "modelled"
    for times in exchange.system.times:
        if times.ranks != 8:
            continue
        for at, microseconds in enumerate(times.microseconds):
            size = exchange.smallest_bytes * 2**at
            low, mid, high = exchange.seconds(times.collective, size)
            assert mid == pytest.approx(microseconds * 1e-6)
            assert low < mid < high
        last = exchange.smallest_bytes * 2 ** (len(times.microseconds) - 1)
        # beyond the table bandwidth alone counts, below it the smallest call
        assert exchange.seconds(times.collective, 3 * last)[1] == pytest.approx(3 * times.microseconds[-1] * 1e-6)
        assert exchange.seconds(times.collective, 1)[1] == pytest.approx(times.microseconds[0] * 1e-6)
        first, second = times.microseconds[:2]
        between = exchange.seconds(times.collective, exchange.smallest_bytes * 2**0.5)[1]
        assert between == pytest.approx((first * second) ** 0.5 * 1e-6)


def test_machines_joined_by_a_network_are_assumed_and_take_longer():
    near, far = (exchange_of(find_gpu("H100-SXM")[0], 16, nodes) for nodes in (1, 2))
    assert far.basis == "assumed"
    assert far.seconds("all_reduce", 2**30)[1] > near.seconds("all_reduce", 2**30)[1]


def test_the_slowest_path_is_charged_by_its_rate_where_nobody_measured():
    exchange = exchange_of(find_gpu("RTX-4090")[0], 4, 1)
    assert exchange.system is None
    assert exchange.basis == "assumed"
    link = exchange.link
    assert link.bus_bytes_s is not None
    gathered = exchange.seconds("all_gather", 2**30)[1]
    assert gathered == pytest.approx(link.latency_s + 2**30 * 3 / 4 / link.bus_bytes_s)
    reduced = exchange.seconds("all_reduce", 2**30)[1] - link.latency_s
    assert reduced == pytest.approx(2 * (gathered - link.latency_s))
