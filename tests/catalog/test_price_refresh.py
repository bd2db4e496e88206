"""Prices read anew: what gpuhunt's files become, what they replace, and what is said where they cannot be read."""

from __future__ import annotations

import csv
import socket
import time
from datetime import date
from pathlib import Path
from typing import Any

import psutil
import pytest

from advisor import processes
from advisor.catalog.prices import list_reader, offers, prices, refresh
from advisor.catalog.prices.refresh import PROVIDERS, _gpu_of, refresh_prices
from advisor.errors import BadFile, MissingExtra

TODAY = date(2026, 11, 22)
FIELDS = (
    "instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot", "disk_size",
    "gpu_vendor", "flags", "cpu_arch", "provider_data",
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_this_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists are files here, and read without a child but in the tests of connections, and in one of the files."""
    if "server" not in request.node.name and "connection" not in request.node.name:
        monkeypatch.setattr(refresh, "read_lists", list_reader.query)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of gpuhunt's files, and a home without prices."""
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ADVISOR_PRICES", raising=False)
    folder = tmp_path / "lists"
    folder.mkdir()
    monkeypatch.setenv("GPUHUNT_CATALOG_DIR", str(folder))
    return folder


def put(folder: Path, provider: str, *rows: tuple[Any, ...]) -> None:
    """Rows of (instance, region, USD, devices, card, GB, spot)."""
    with open(folder / f"{provider}.csv", "w", newline="") as file:
        out = csv.DictWriter(file, FIELDS)
        out.writeheader()
        for instance, region, usd, count, card, memory, spot in rows:
            out.writerow(
                {
                    **dict.fromkeys(FIELDS, ""),
                    "instance_name": instance,
                    "location": region,
                    "price": usd,
                    "cpu": 8,
                    "memory": 64,
                    "gpu_count": count,
                    "gpu_name": card,
                    "gpu_memory": memory,
                    "spot": spot,
                    "gpu_vendor": "nvidia",
                    "cpu_arch": "x86",
                    "provider_data": "{}",
                }
            )


def test_the_cheapest_region_is_kept_with_the_spot_price_of_that_region(catalog: Path) -> None:
    put(
        catalog,
        "aws",
        ("g6.xlarge", "us-east-1", 0.80, 1, "L4", 24, False),
        ("g6.xlarge", "eu-west-1", 0.90, 1, "L4", 24, False),
        ("g6.xlarge", "us-east-1", 0.30, 1, "L4", 24, True),
    )
    refresh_prices(TODAY)
    (row,) = [p for p in prices() if p.provider == "aws" and p.instance_type == "g6.xlarge"]
    assert (row.gpu, row.region, row.on_demand_usd_h, row.spot_usd_h) == ("L4", "us-east-1", 0.80, 0.30)
    assert row.read_on == TODAY
    assert not row.stale(TODAY)


def test_a_spot_price_of_another_region_is_an_offer_of_its_own(catalog: Path) -> None:
    put(
        catalog,
        "aws",
        ("g6.xlarge", "us-east-1", 0.80, 1, "L4", 24, False),
        ("g6.xlarge", "eu-north-1", 0.20, 1, "L4", 24, True),
    )
    refresh_prices(TODAY)
    rows = [p for p in prices() if p.provider == "aws" and p.instance_type == "g6.xlarge"]
    assert sorted((p.region, p.on_demand_usd_h, p.spot_usd_h) for p in rows) == [
        ("eu-north-1", None, 0.20),
        ("us-east-1", 0.80, None),
    ]


def test_what_is_read_anew_replaces_the_shipped_rows_of_that_provider_and_gpu_alone(catalog: Path) -> None:
    before = prices()
    put(catalog, "aws", ("g6.xlarge", "us-east-1", 0.5, 1, "L4", 24, False))
    refresh_prices(TODAY)
    after = prices()
    assert [p.instance_type for p in after if (p.provider, p.gpu) == ("aws", "L4")] == ["g6.xlarge"]
    untouched = [p for p in before if (p.provider, p.gpu) != ("aws", "L4")]
    assert [p for p in after if (p.provider, p.gpu) != ("aws", "L4")] == untouched


def test_the_users_own_prices_stay_before_those_read_anew(catalog: Path, tmp_path: Path) -> None:
    put(catalog, "aws", ("g6.xlarge", "us-east-1", 0.1, 1, "L4", 24, False))
    refresh_prices(TODAY)
    own = tmp_path / "home" / "config" / "prices.json"
    own.parent.mkdir(parents=True)
    own.write_text('{"prices": [{"gpu": "L4", "provider": "aws", "on_demand_usd_h": 0.7}]}')
    assert [p.on_demand_usd_h for p in offers("L4") if p.provider == "aws"] == [0.7]


def test_a_known_instance_keeps_the_card_that_the_catalogue_says_it_has(catalog: Path) -> None:
    """gpuhunt names no form: an H100 may be SXM, PCIe or NVL."""
    put(catalog, "aws", ("p5.48xlarge", "us-east-1", 50.0, 8, "H100", 80, False))
    refresh_prices(TODAY)
    assert [p.gpu for p in prices() if p.provider == "aws" and p.on_demand_usd_h == 50.0] == ["H100-SXM"]


@pytest.mark.parametrize(
    ("card", "memory", "ours"),
    [
        ("L40S", 48, "L40S"),
        ("RTX4090", 24, "RTX-4090"),
        ("T4", 16, "T4"),
        ("V100", 32, "V100-32GB"),
        ("H200", 141, "H200-SXM"),
        ("A6000", 48, "RTX-A6000"),
        ("L4", 80, None),
        ("NoSuchCard", 24, None),
        (None, None, None),
    ],
)
def test_a_card_is_ours_only_where_its_memory_agrees(card: str | None, memory: float | None, ours: str | None) -> None:
    assert _gpu_of(card, memory) == ours


def test_an_unknown_card_is_left_out_by_name(catalog: Path) -> None:
    put(
        catalog,
        "gcp",
        ("x", "r", 1.0, 1, "NoSuchCard", 24, False),
        ("g2-standard-4", "us-central1", 0.7, 1, "L4", 24, False),
    )
    found = refresh_prices(TODAY)
    assert found.rows == {"gcp": 1}
    assert any("NoSuchCard" in note for note in found.notes)


def test_a_provider_that_cannot_be_read_keeps_its_prices_and_is_named(catalog: Path) -> None:
    put(catalog, "runpod", ("NVIDIA L40S", "any", 0.86, 1, "L40S", 48, False))
    before = [p for p in prices() if p.provider == "aws"]
    found = refresh_prices(TODAY)
    assert [p for p in prices() if p.provider == "aws"] == before
    assert {note.partition(":")[0] for note in found.notes} == set(PROVIDERS.values()) - {"runpod"}


def test_where_nothing_can_be_read_nothing_is_written(catalog: Path, tmp_path: Path) -> None:
    before = prices()
    with pytest.raises(BadFile, match="no provider's prices"):
        refresh_prices(TODAY)
    assert not (tmp_path / "home" / "data" / "prices").exists()
    assert prices() == before


def test_without_gpuhunt_the_extra_is_named(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refresh, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="gpuhunt") as refused:
        refresh_prices(TODAY)
    assert "advisor[prices]" in str(refused.value)


def test_without_a_connection_the_cause_is_said(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPUHUNT_CATALOG_DIR")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("GPUHUNT_CATALOG_URL", nobody)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(BadFile, match="no provider's prices") as refused:
        refresh_prices(TODAY)
    assert "refused" in refused.value.cause


def test_a_silent_server_ends_when_the_patience_does_and_at_once_when_interrupted(
    catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves neither a process nor a limit on the caller's own sockets."""
    monkeypatch.delenv("GPUHUNT_CATALOG_DIR")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        monkeypatch.setenv("GPUHUNT_CATALOG_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(list_reader, "ALL_SECONDS", 0.5)
        with pytest.raises(BadFile, match="no provider's prices"):
            refresh_prices(TODAY)

        def interrupted(*_: Any) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(processes, "wait_until", interrupted)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            refresh_prices(TODAY)
        assert time.monotonic() - began < 5
    assert socket.getdefaulttimeout() is None
    assert not [child for child in psutil.Process().children() if "list_reader" in " ".join(child.cmdline())]
