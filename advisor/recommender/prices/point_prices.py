"""What a point of quality costs: each method expected to do better than all cheaper ones, against the next of these."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from advisor.domain.candidate import Candidate
from advisor.domain.quantity import Quantity
from advisor.domain.recommendation import PointPrice
from advisor.literature.quality.choice_odds import difference
from advisor.literature.quality.features import StudySetting
from advisor.recommender.criteria import expected_effect, training_usd


def point_prices(
    ranked: Sequence[Candidate], settings: Sequence[StudySetting], *, spot: bool = False
) -> tuple[PointPrice, ...]:
    """Money by points gained, along the methods that nothing cheaper is expected to equal, the cheapest first.

    The ends of the price are those of money and points together, so it is rather too wide; where the gain may be
    none, it has no upper end. Methods without a price or a predicted quality are left out.

    Args:
        settings: the question of each candidate to the quality model, in their order.
        spot: money at spot prices.
    """
    known = [
        (usd, one, setting)
        for one, setting in zip(ranked, settings, strict=True)
        if one.quality is not None and (usd := training_usd(one, spot=spot)) is not None
    ]
    known.sort(key=lambda item: (item[0].mid, -expected_effect(item[1])))
    better: list[tuple[Quantity, Candidate, StudySetting]] = []
    for item in known:
        if not better or expected_effect(item[1]) > expected_effect(better[-1][1]):
            better.append(item)
    return tuple(_price_of(cheaper, dearer) for cheaper, dearer in pairwise(better))


def _price_of(
    cheaper: tuple[Quantity, Candidate, StudySetting], dearer: tuple[Quantity, Candidate, StudySetting]
) -> PointPrice:
    usd, one, setting = dearer
    less, other, its = cheaper
    assert one.quality is not None
    assert other.quality is not None
    points, chance = difference((setting, its), (one.quality.effect, other.quality.effect))
    more = usd.mid - less.mid
    # both times are wrong by what is wrong of the machine, so their difference is so in proportion
    low, high = more * usd.low / usd.mid, more * usd.high / usd.mid
    return PointPrice(
        method=one.recipe.method,
        against=other.recipe.method,
        points=points,
        chance=chance,
        extra_usd=Quantity(low=low, mid=more, high=high, unit="USD", basis=usd.basis, why=usd.why),
        usd_per_point=more / points.mid,
        usd_per_point_low=low / points.high,
        usd_per_point_high=high / points.low if points.low > 0 else None,
    )


def in_words(prices: Sequence[PointPrice]) -> list[str]:
    """`0.4 USD a point (0.1 to no upper end) with dora instead of lora: +0.3 points (-0.9 to +1.4) for ...`"""
    said: list[str] = []
    for one in prices:
        most = "no upper end" if one.usd_per_point_high is None else f"{one.usd_per_point_high:.2g}"
        said.append(
            f"{one.usd_per_point:.2g} USD a point ({one.usd_per_point_low:.2g} to {most}) with {one.method} instead of "
            f"{one.against}: {one.points.mid:+.1f} points ({one.points.low:+.1f} to {one.points.high:+.1f}) for "
            f"{one.extra_usd.mid:.2g} USD more, a gain {one.chance:.0%} of the time"
        )
    return said
