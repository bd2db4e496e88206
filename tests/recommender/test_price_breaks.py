"""Prices and the choice: at each price told the answer does change, just before it does not; what a point costs."""

from __future__ import annotations

import pytest

import advisor
from advisor.domain.recommendation import GpuOption
from advisor.literature.quality.choice_odds import difference
from advisor.literature.quality.features import StudySetting
from advisor.recommender.gpu_search.outcome import machine
from advisor.recommender.gpu_search.search import usd_of
from advisor.recommender.prices.point_prices import in_words, point_prices
from advisor.recommender.prices.price_breaks import breaks_among_cards
from advisor.recommender.recommend_request import checked, resolve

MODEL = "meta-llama/Llama-3.1-8B"


def setting(method: str) -> StudySetting:
    return StudySetting(method=method, architecture="decoder", task_type="math", samples=2000, parameters=8 * 10**9)


def cards(candidate, **hours_and_prices: tuple[float, float]) -> list[GpuOption]:
    """Options by name, cheapest first: hours of training and USD an hour."""
    made = [
        GpuOption(gpu=name, usd_per_hour=usd, candidate=candidate("lora", hours=hours))
        for name, (hours, usd) in hours_and_prices.items()
    ]
    return sorted(made, key=lambda option: usd_of(option) or 0.0)


def question(**more):
    return resolve(checked({"model": MODEL, "gpu": "L4", "samples": 2000, "seq_len": 512, **more}))


def test_at_each_price_told_another_card_is_the_cheapest_and_before_it_is_not(candidate):
    options = cards(candidate, A=(10, 1.0), B=(3, 4.0), C=(2, 9.0))
    found = breaks_among_cards(question(), options)
    assert [(one.machine, one.choice) for one in found] == [("A", "B"), ("B", "B"), ("C", "C")]
    for one in found:
        for share, changes in ((0.999, False), (1.001, True)):
            change = one.at_usd_per_hour / one.usd_per_hour - 1
            hourly = one.usd_per_hour * (1 + change * share)
            again = [o.model_copy(update={"usd_per_hour": hourly}) if machine(o) == one.machine else o for o in options]
            first = min(again, key=lambda option: usd_of(option))
            assert (machine(first) != "A") == changes, (one, share)
            assert not changes or machine(first) == one.choice


def test_a_card_whose_recipe_is_worse_than_the_tolerance_is_taken_at_no_price(candidate):
    options = cards(candidate, A=(10, 1.0), B=(3, 4.0))
    worse = options[1].model_copy(update={"candidate": candidate("lora", hours=3, effect=-5.0)})
    assert breaks_among_cards(question(), [options[0], worse]) == ()


def test_under_a_budget_the_fastest_stays_until_it_costs_the_budget(candidate):
    options = cards(candidate, A=(10, 1.0), B=(3, 4.0))
    (one,) = breaks_among_cards(question(budget_usd=15), [options[1], options[0]])
    assert (one.machine, one.choice) == ("B", "A")
    assert one.at_usd_per_hour == pytest.approx(5.0)


def test_a_budget_makes_the_price_choose_among_methods_and_the_price_told_is_where(costs):
    asked = {"samples": 2000, "seq_len": 512, "method": "lora,full,dora", "policy": "best-quality"}

    def ask(price, budget):
        costs.price_usd = price
        return advisor.recommend(MODEL, "H100", costs=costs, budget_usd=budget, **asked)

    free = advisor.recommend(MODEL, "H100", costs=costs, **asked)
    assert free.price_breaks == ()
    paid = sorted(c.money.on_demand.mid for c in free.ranked)
    budget = (paid[0] + paid[-1]) / 2
    found = ask(3.0, budget)
    assert found.price_breaks
    for one in found.price_breaks:
        assert one.usd_per_hour == pytest.approx(3.0)
        inside, beyond = (1 - 1e-6, 1 + 1e-6) if one.change > 0 else (1 + 1e-6, 1 - 1e-6)
        assert ask(one.at_usd_per_hour * inside, budget).choice.recipe.method == found.choice.recipe.method
        if one.choice:
            assert ask(one.at_usd_per_hour * beyond, budget).choice.recipe.method == one.choice


def test_a_point_costs_what_is_paid_more_by_what_is_gained(candidate):
    ranked = [
        candidate("lora", hours=1, effect=-0.4),
        candidate("dora", hours=2, effect=-0.2),
        candidate("full", hours=4, effect=0.0, half=0.0),
        candidate("ia3", hours=3, effect=-1.0),
        candidate("vera", hours=0.5, effect=None),
    ]
    found = point_prices(ranked, [setting(one.recipe.method) for one in ranked])
    assert [(one.method, one.against) for one in found] == [("dora", "lora"), ("full", "dora")]
    for one in found:
        assert one.usd_per_point == pytest.approx(one.extra_usd.mid / one.points.mid)
        assert one.usd_per_point_low <= one.usd_per_point
        assert one.usd_per_point_high is None or one.usd_per_point <= one.usd_per_point_high
        assert (one.usd_per_point_high is None) == (one.points.low <= 0)
    assert found[0].extra_usd.mid == pytest.approx(3.0)
    assert len(in_words(found)) == 2
    unpriced = [candidate(name, effect=effect, usd_per_hour=None) for name, effect in (("lora", -0.4), ("full", 0.0))]
    assert point_prices(unpriced, [setting("lora"), setting("full")]) == ()


def test_a_difference_of_two_methods_turned_round_is_its_negative(candidate):
    effects = [candidate("x", effect=effect).quality.effect for effect in (0.4, -0.1)]
    there, chance = difference((setting("lora"), setting("dora")), effects)
    back, other = difference((setting("dora"), setting("lora")), effects[::-1])
    assert there.mid == pytest.approx(-back.mid) == pytest.approx(0.5)
    assert there.low == pytest.approx(-back.high, abs=0.1)
    assert chance == pytest.approx(1 - other, abs=0.03)
