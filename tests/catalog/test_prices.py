"""Laws for the price data, which offers count for a machine, and the user's own file."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from advisor.catalog.gpus import gpus
from advisor.catalog.prices import offers, prices
from advisor.domain.hardware import Price, Source
from advisor.errors import BadFile, BadRequest

NOT_CATALOGUED = {"TPU-v2 device", "TPU-v2 pod", "TPU-v3 device", "TPU-v3 pod", "TPU-v4 pod"}
NOT_CATALOGUED |= {"A10 (half)"}
TODAY = date(2026, 11, 22)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    monkeypatch.delenv("ADVISOR_PRICES", raising=False)
    return tmp_path


def put(home: Path, document: Any) -> Path:
    path = home / "config" / "prices.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_all_prices_are_there_and_sourced():
    assert len(prices()) == 321
    assert len({price.provider for price in prices()}) == 18
    assert all(price.source.address and "licence" in price.source.where for price in prices())


def test_every_price_is_for_a_gpu_we_know_or_openly_do_not():
    assert {price.gpu for price in prices()} - {gpu.name for gpu in gpus()} == NOT_CATALOGUED


def test_prices_are_plausible_and_spot_is_cheaper():
    for price in prices():
        assert price.on_demand_usd_h is not None
        each = price.per_gpu(spot=False)
        assert each is not None
        assert 0.03 < each < 40, price
        if price.spot_usd_h is not None:
            assert 0.05 < price.spot_usd_h / price.on_demand_usd_h <= 1, price
        assert price.read_on is None or date(2025, 1, 1) < price.read_on <= TODAY


def test_an_undated_or_old_price_is_stale_and_so_is_an_old_spot_price():
    assert any(price.read_on is None for price in prices())
    for price in prices():
        assert price.stale(TODAY) == (price.read_on is None or TODAY - price.read_on > timedelta(days=90))
    (aws,) = [p for p in prices() if p.instance_type == "p5.48xlarge"]
    assert aws.spot_read_on == date(2025, 7, 28)
    assert not aws.stale(date(2026, 8, 1))
    assert aws.stale(date(2026, 8, 1), spot=True)


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_an_instance_is_an_offer_only_for_its_own_number_of_gpus(count: int):
    found = offers("H100", count)
    assert found
    assert {price.gpu_count for price in found} == {count}


def test_offers_come_cheapest_first_and_each_once():
    for gpu in gpus():
        found = offers(gpu.name)
        asked = [price.on_demand_usd_h for price in found]
        assert asked == sorted(asked, key=lambda usd: usd or 0)
        keys = [(p.provider, p.instance_type, p.region) for p in found]
        assert len(keys) == len(set(keys))


def test_nobody_is_offered_a_median_and_an_average_only_for_want_of_an_offer():
    for gpu in gpus():
        for count in (1, 8):
            found = offers(gpu.name, count)
            assert all(price.region_kind != "median" for price in found)
            listed = {price.provider for price in found if price.region_kind != "average"}
            assert all(price.provider not in listed for price in found if price.region_kind == "average")


def test_of_an_offer_read_twice_the_newer_stays():
    (secure,) = [p for p in offers("H100") if (p.provider, p.instance_type) == ("runpod", "secure-cloud")]
    assert secure.on_demand_usd_h == 3.99
    assert secure.read_on == date(2026, 11, 9)


def test_half_a_gpu_is_no_offer_for_a_whole_one():
    assert all("NV18ads" not in price.instance_type for price in offers("A10", larger=True))


def test_larger_machines_come_at_their_whole_price():
    found = offers("H100-SXM", 3, larger=True)
    assert found
    assert all(price.gpu_count >= 3 for price in found)
    assert offers("H100-SXM", 3) == []


def test_no_price_is_an_empty_list_and_never_free():
    assert offers("RTX-3060-12GB") == []
    assert all(_ > 0 for price in prices() for _ in (price.on_demand_usd_h, price.spot_usd_h) if _ is not None)


def test_a_gpu_outside_the_catalogue_has_the_price_listed_for_it_or_none():
    assert offers("TPU-v2 device")
    assert offers("H10") == []
    assert offers("cpu") == []


def test_an_absurd_count_is_refused():
    with pytest.raises(BadRequest):
        offers("H100", 0)


def test_the_users_own_price_replaces_that_providers_and_leaves_the_others(own_home: Path):
    before = offers("L40S")
    assert sum(price.provider == "aws" for price in before) > 1
    put(own_home, {"prices": [{"gpu": "nvidia l40s", "provider": "aws", "on_demand_usd_h": 0.01}]})
    after = offers("L40S")
    assert after[0].override
    assert after[0].on_demand_usd_h == 0.01
    assert [price for price in after if price.provider == "aws"] == [after[0]]
    assert [p for p in after if p.provider != "aws"] == [p for p in before if p.provider != "aws"]
    assert offers("H100"), "prices of other GPUs stay"


def test_the_users_own_price_may_be_for_a_machine_of_his_own(own_home: Path):
    path = put(own_home, {"schema": "prices/1", "prices": [{"gpu": "RTX-3060", "spot_usd_h": 0.05}]})
    (price,) = offers("RTX-3060-12GB")
    assert (price.provider, price.on_demand_usd_h, price.spot_usd_h) == ("own", None, 0.05)
    assert price.source == Source(address=str(path), where="row 1")
    assert not price.stale(date.today()), "written today, so read today"


def test_a_changed_price_file_is_read_again(own_home: Path):
    put(own_home, {"prices": [{"gpu": "L40S", "on_demand_usd_h": 0.02}]})
    assert offers("L40S")[0].on_demand_usd_h == 0.02
    put(own_home, {"prices": [{"gpu": "L40S", "on_demand_usd_h": 0.033}]})
    assert offers("L40S")[0].on_demand_usd_h == 0.033


def test_the_environment_names_another_price_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({"prices": [{"gpu": "T4", "on_demand_usd_h": 0.09}]}))
    monkeypatch.setenv("ADVISOR_PRICES", str(mine))
    assert offers("T4")[0].on_demand_usd_h == 0.09
    monkeypatch.setenv("ADVISOR_PRICES", str(tmp_path / "none.json"))
    with pytest.raises(BadFile, match="ADVISOR_PRICES"):
        offers("T4")


GOOD = {"gpu": "T4", "on_demand_usd_h": 1.0}


@pytest.mark.parametrize(
    ("document", "row", "field"),
    [
        ({"prices": [GOOD, {"gpu": "T4", "on_demand_usd_h": "cheap"}]}, 2, "on_demand_usd_h"),
        ({"prices": [{"gpu": "T4", "on_demand_usd_h": 0}]}, 1, "on_demand_usd_h"),
        ({"prices": [{"gpu": "T4", "on_demand_usd_h": -3}]}, 1, "on_demand_usd_h"),
        ('{"prices": [{"gpu": "T4", "on_demand_usd_h": NaN}]}', 1, "on_demand_usd_h"),
        ({"prices": [{"gpu": "T4"}]}, 1, "on_demand_usd_h"),
        ({"prices": [{"on_demand_usd_h": 1}]}, 1, "gpu"),
        ({"prices": [{"gpu": "T5000", "on_demand_usd_h": 1}]}, 1, "gpu"),
        ({"prices": [{**GOOD, "gpu_count": 0}]}, 1, "gpu_count"),
        ({"prices": [{**GOOD, "read_on": "yesterday"}]}, 1, "read_on"),
        ({"prices": [{**GOOD, "usd": 1}]}, 1, "usd"),
        ({"prices": [3]}, 1, "(whole)"),
        ({"prices": {}}, None, "prices"),
        ({"schema": "prices/9", "prices": []}, None, "prices"),
        ({"price": []}, None, "prices"),
    ],
)
def test_a_wrong_price_file_is_refused_with_row_and_field(own_home: Path, document: Any, row: int | None, field: str):
    put(own_home, document)
    with pytest.raises(BadFile) as caught:
        offers("T4")
    assert caught.value.fields["row"] == row
    assert caught.value.fields["field"] == field


def test_a_price_file_that_is_no_json_is_refused(own_home: Path):
    put(own_home, "gpu,price\nT4,1\n")
    with pytest.raises(BadFile, match="not JSON"):
        offers("T4")


def test_price_per_gpu_divides_the_whole_instance():
    price = Price(
        provider="p",
        instance_type="i",
        gpu="g",
        gpu_count=8,
        region="r",
        on_demand_usd_h=16,
        source=Source(address="a"),
    )
    assert price.per_gpu(spot=False) == 2
    assert price.per_gpu(spot=True) is None
