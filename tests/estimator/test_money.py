"""Laws of cost: a missing price is no cost, an instance of eight is no offer for one, stale is said."""

from __future__ import annotations

from datetime import date

import pytest

from advisor.domain.hardware import Gpu, Hardware, Price
from advisor.domain.quantity import Quantity
from advisor.estimator.spending.money import money_of

TODAY = date(2026, 11, 1)
HOURS_10 = Quantity(low=32_400, mid=36_000, high=43_200, unit="s", basis="modelled", why="test")


def price(**fields):
    base = {
        "provider": "p",
        "instance_type": "i",
        "gpu": "x",
        "gpu_count": 1,
        "region": "r",
        "read_on": TODAY,
        "source": {"address": "a"},
    }
    return Price.model_validate({**base, **fields})


def hardware(**fields):
    gpu = Gpu.model_validate({"name": "x", "vendor": "v", "generation": "g", "memory_bytes": 1, "usable_bytes": 1})
    return Hardware.model_validate({"gpu": gpu, **fields})


def test_cost_is_hours_times_price_with_the_interval_of_the_time():
    money = money_of(HOURS_10, hardware(), [price(on_demand_usd_h=2.0, spot_usd_h=0.5)], today=TODAY)
    assert (money.on_demand.low, money.on_demand.mid, money.on_demand.high) == pytest.approx((18, 20, 24))
    assert money.spot.mid == pytest.approx(5)
    assert money.on_demand.basis == "modelled"
    assert not money.note


def test_no_price_is_no_cost_and_never_zero():
    money = money_of(HOURS_10, hardware(), [], today=TODAY)
    assert money.on_demand is None
    assert money.spot is None
    assert "no price" in money.note


def test_no_training_time_is_no_cost_but_offers_are_listed():
    money = money_of(None, hardware(), [price(on_demand_usd_h=2.0)], today=TODAY)
    assert money.on_demand is None
    assert [offer.usd_per_hour for offer in money.offers] == [2.0]


def test_eight_devices_are_no_offer_for_one():
    assert not money_of(HOURS_10, hardware(), [price(on_demand_usd_h=2.0, gpu_count=8)], today=TODAY).offers


def test_fresh_prices_come_before_cheaper_stale_ones_and_staleness_is_said():
    old = price(provider="old", on_demand_usd_h=1.0, read_on=date(2026, 1, 1))
    new = price(provider="new", on_demand_usd_h=3.0)
    assert money_of(HOURS_10, hardware(), [old, new], today=TODAY).on_demand.mid == pytest.approx(30)
    alone = money_of(HOURS_10, hardware(), [old], today=TODAY)
    assert alone.on_demand.mid == pytest.approx(10)
    assert "older than 90 days" in alone.note


def test_the_day_a_price_was_read_stands_beside_the_money():
    day, spot_day = date(2026, 10, 3), date(2026, 9, 1)
    both = price(on_demand_usd_h=2.0, spot_usd_h=0.5, read_on=day, spot_read_on=spot_day)
    money = money_of(HOURS_10, hardware(), [both], today=TODAY)
    assert (money.on_demand_read_on, money.spot_read_on) == (day, spot_day)
    assert f"read {day}" in money.on_demand.why
    assert f"read {spot_day}" in money.spot.why
    assert [offer.read_on for offer in money.offers] == [day, spot_day]


def test_an_old_price_says_so_beside_the_money_and_how_to_read_it_anew():
    old = price(on_demand_usd_h=1.0, spot_usd_h=0.5, read_on=date(2026, 1, 1))
    money = money_of(HOURS_10, hardware(), [old], today=TODAY)
    assert "over 90 days old" in money.on_demand.why
    assert "over 90 days old" in money.spot.why
    assert money.note.count("advisor prices --refresh") == 1
    undated = money_of(HOURS_10, hardware(), [price(on_demand_usd_h=1.0, read_on=None)], today=TODAY)
    assert undated.on_demand_read_on is None
    assert "on an unknown day" in undated.on_demand.why


def test_the_users_own_price_stands_alone():
    money = money_of(HOURS_10, hardware(usd_per_hour=7.0), [price(on_demand_usd_h=1.0)], today=TODAY)
    assert money.on_demand.mid == pytest.approx(70)
    assert [offer.price.provider for offer in money.offers] == ["your own"]
