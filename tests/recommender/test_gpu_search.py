"""Which card to take: every card that is meant is priced or refused with its reason, and the order is the one asked."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest

import advisor
from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.prices import offers
from advisor.domain.recommendation import Recommendation
from advisor.errors import BadRequest, DoesNotFit, UnknownName
from advisor.interfaces.cli.recommend import recommendation_table
from advisor.recommender.criteria import training_seconds
from advisor.recommender.gpu_search.search import usd_of

MODEL = "meta-llama/Llama-3.1-8B"
SOME = "L4,A10G,RTX-4090,H100-SXM,NVIDIA L40S,T4"


@pytest.fixture
def by_card(costs):
    """The textbook's costs on cards that are as fast as the catalogue says."""

    def price(workload, recipe, hardware, spec, *, thorough=True):
        found = costs.price(workload, recipe, hardware, spec, thorough=thorough)
        slower = 4e14 / (hardware.gpu.bf16_flop_s or hardware.gpu.fp32_flop_s)
        time = found.time
        changed = {"step": time.step.times(slower, "s", "by card")}
        if time.training is not None:
            changed["training"] = time.training.times(slower, "s", "by card")
        hourly = min((p.per_gpu(spot=False) for p in offers(hardware.gpu.name) if p.on_demand_usd_h), default=None)
        money = found.money
        if hourly is not None and "training" in changed:
            money = money.model_copy(update={"on_demand": changed["training"].times(hourly / 3600, "USD", "by card")})
        return found.model_copy(update={"time": time.model_copy(update=changed), "money": money})

    return SimpleNamespace(price=price, largest_micro_batch=costs.largest_micro_batch, quality=costs.quality)


def ask(costs, gpu="any", **more):
    return advisor.recommend(MODEL, gpu, costs=costs, **{"samples": 2000, "seq_len": 512, **more})


def able(found):
    return [option for option in found.gpus if option.candidate is not None]


def test_every_card_named_is_priced_or_refused_once(by_card):
    found = ask(by_card, SOME)
    assert sorted(option.gpu for option in found.gpus) == sorted(
        find_gpu(name)[0].name for name in ("L4", "A10G", "RTX-4090", "H100-SXM", "NVIDIA L40S", "T4")
    )
    assert all((option.candidate is None) == bool(option.refusal) for option in found.gpus)
    assert found.hardware.gpu.name == found.gpus[0].gpu == found.choice.gpu


def test_any_is_every_card_with_a_price_and_the_others_are_told(by_card):
    found = ask(by_card)
    priced = {gpu.name for gpu in gpus() if offers(gpu.name)}
    assert {option.gpu for option in found.gpus} == priced
    left_out = len(gpus()) - len(priced)
    assert any(note.startswith(f"GPUs: {left_out} cards without a price") for note in found.notes)


def test_on_spot_a_card_costs_the_hours_with_its_interruptions(by_card):
    option = able(ask(by_card, SOME))[0]
    time = option.candidate.time
    twice = time.model_copy(update={"on_spot": time.training.times(2, "s", "told")})
    longer = option.model_copy(update={"candidate": option.candidate.model_copy(update={"time": twice})})
    assert usd_of(longer, spot=True) == pytest.approx(2 * usd_of(longer))
    assert usd_of(option, spot=True) == usd_of(option)


def test_without_a_budget_the_cheapest_comes_first_and_with_one_the_fastest(by_card):
    cheap = [usd_of(option) for option in able(ask(by_card, SOME))]
    assert cheap == sorted(cheap)
    budget = sorted(cheap)[-2] * 1.01
    quick = able(ask(by_card, SOME, budget_usd=budget))
    seconds = [training_seconds(option.candidate) for option in quick]
    assert seconds == sorted(seconds)
    assert all(usd_of(option) <= budget for option in quick)


def test_a_deadline_leaves_the_cheapest_of_those_that_meet_it(by_card):
    all_of_them = able(ask(by_card, SOME))
    hours = sorted(training_seconds(option.candidate) for option in all_of_them)[2] / 3600
    found = ask(by_card, SOME, deadline_hours=hours * 1.001)
    assert all(training_seconds(option.candidate) <= hours * 3604 for option in able(found))
    assert len(able(found)) == 3
    assert any("takes" in option.refusal for option in found.gpus)


def test_the_front_is_what_nothing_beats_in_time_and_money(by_card):
    options = able(ask(by_card, SOME))
    for option in options:
        mine = training_seconds(option.candidate), usd_of(option)
        beaten = any(
            other is not option
            and training_seconds(other.candidate) <= mine[0]
            and usd_of(other) <= mine[1]
            and (training_seconds(other.candidate), usd_of(other)) != mine
            for other in options
        )
        assert option.on_front is not beaten


def test_limits_on_the_card_are_kept_and_what_they_cost_is_said(by_card):
    found = ask(by_card, "any", gpu_memory_max="24GB", max_usd_per_hour=0.8)
    for option in able(found):
        assert find_gpu(option.gpu)[0].usable_bytes <= 24e9 * 1.08
        assert option.usd_per_hour <= 0.8
    assert any("--gpu-memory-max" in option.refusal for option in found.gpus)
    assert any("--max-usd-per-hour" in option.refusal for option in found.gpus)
    alone = advisor.recommend(MODEL, costs=by_card, samples=2000, seq_len=512, max_usd_per_hour=0.8)
    assert {option.gpu for option in able(alone)} >= {option.gpu for option in able(found)}


def test_a_card_without_a_price_is_ranked_behind_those_with_one(by_card):
    unpriced = next(g for g in gpus() if not offers(g.name) and g.vendor == "nvidia" and g.memory_bytes > 45e9)
    found = ask(by_card, f"L4,{unpriced.name}")
    assert able(found)[-1].gpu == unpriced.name
    assert able(found)[-1].usd_per_hour is None
    with pytest.raises(DoesNotFit, match="limits on memory and price"):
        ask(by_card, f"{unpriced.name},{unpriced.name}", max_usd_per_hour=1)


def test_without_samples_the_order_is_by_the_price_of_a_step(by_card):
    found = ask(by_card, SOME, samples=None)
    cheap = [usd_of(option) for option in able(found)]
    assert cheap == sorted(cheap)


def test_what_makes_no_sense_is_refused(by_card):
    with pytest.raises(UnknownName):
        ask(by_card, "L4,nonesuch")
    with pytest.raises(BadRequest, match="several are asked"):
        ask(by_card, "L4,T4", usd_per_hour=2)
    with pytest.raises(BadRequest, match="one is named"):
        ask(by_card, "L4", max_usd_per_hour=2)
    with pytest.raises(DoesNotFit, match="none of 2 GPUs"):
        ask(by_card, "T4,L4", method="full")


def test_a_search_pickles_and_reads_back_from_json(by_card):
    found = ask(by_card, "L4,T4")
    assert pickle.loads(pickle.dumps(found)) == found
    assert Recommendation.from_document(found.to_document()) == found


def test_people_see_the_cards_in_order_the_front_and_the_refusals(by_card):
    from advisor.interfaces.cli.output import emit

    found = ask(by_card, SOME, method="lora", base="dtype")
    import click.testing

    result = click.testing.CliRunner().invoke(
        click.command()(lambda: emit(found, False, recommendation_table)), [], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0
    for option in found.gpus:
        assert option.gpu in result.output
    assert "not     T4" in result.output
    assert f"{found.gpus[0].gpu} of {len(able(found))} machines that do it" in result.output
