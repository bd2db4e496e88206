"""What a search over cards says: why the first is first, what was weighed, and that no card will do."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.domain.recommendation import GpuOption
from advisor.domain.units import duration
from advisor.errors import DoesNotFit
from advisor.recommender.criteria import training_seconds
from advisor.recommender.gpu_search.search import order_in_words, usd_of
from advisor.recommender.recommend_request import ResolvedRequest


def card_in_words(question: ResolvedRequest, chosen: GpuOption, options: Sequence[GpuOption]) -> str:
    """`L40S of 12 machines that do it, cheapest first: 3 h 10 m, 4.20 USD; fastest: H100-SXM, 1 h 02 m, 5.10 USD`."""
    able = [option for option in options if option.candidate is not None]
    order = order_in_words(question)
    said = f"{machine(chosen)} of {len(able)} machines that do it, {order}: {_price(question, chosen)}"
    cheapest = min(able, key=lambda option: usd_of(option, spot=question.request.spot) or float("inf"))
    fastest = min(able, key=lambda option: _seconds(question, option))
    for word, other in (("cheapest", cheapest), ("fastest", fastest)):
        if machine(other) != machine(chosen):
            said += f"; {word}: {machine(other)}, {_price(question, other)}"
    return said


def machine(option: GpuOption) -> str:
    """`L40S`, or `8 x H100-SXM (fsdp2)`."""
    return option.gpu if option.gpu_count == 1 else f"{option.gpu_count} x {option.gpu} ({option.sharding})"


def search_notes(methods: Sequence[str], unpriced: Sequence[str]) -> tuple[str, ...]:
    """What the search rests on."""
    notes = [
        f"GPUs: each priced for the best of {', '.join(methods)}, without the allocator's replay; the first in full",
    ]
    if unpriced:
        few = f"{', '.join(unpriced[:4])} ..."
        notes.append(f"GPUs: {len(unpriced)} cards without a price are left out ({few}): name them, or give prices")
    return tuple(notes)


def no_card(question: ResolvedRequest, options: Sequence[GpuOption], refused: Sequence[GpuOption]) -> DoesNotFit:
    """Every card refuses: the reasons of the first few."""
    every = [*options, *refused]
    return DoesNotFit(
        f"{question.spec.name} can be trained so on none of {len(every)} GPUs",
        cause="; ".join(f"{option.gpu}: {option.refusal}" for option in every[:3]),
        hints=["to see what one card needs: --gpu with its name alone"],
        refused=[option.model_dump(mode="json") for option in every],
    )


def _seconds(question: ResolvedRequest, option: GpuOption) -> float:
    assert option.candidate is not None
    return training_seconds(option.candidate, spot=question.request.spot)


def _price(question: ResolvedRequest, option: GpuOption) -> str:
    usd, whole = usd_of(option, spot=question.request.spot), question.workload.samples is not None
    said = duration(_seconds(question, option)) + ("" if whole else " a step")
    return said if usd is None else f"{said}, {usd:.2f} USD" if whole else f"{said}, {usd * 1000:.2g} USD a 1,000"
