"""Budget and deadline are checked by what is paid and waited for: at spot prices and with interruptions where asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from advisor.domain.candidate import Money
from advisor.errors import BadRequest
from advisor.recommender.constraints import kept_limits, over_limits


@pytest.fixture
def priced(candidate: Any) -> Any:
    """Ten hours and 30 USD on demand; twelve hours and 12 USD on spot, a tenth more or less each."""
    made = candidate("lora", hours=10, usd_per_hour=3.0)
    on_spot = made.time.training.times(1.2, "s", "interrupted")
    spot = on_spot.times(1 / 3600, "USD", "spot")
    return made.model_copy(
        update={
            "time": made.time.model_copy(update={"on_spot": on_spot}),
            "money": Money(on_demand=made.money.on_demand, spot=spot),
        }
    )


def asked(*, budget: float | None = None, hours: float | None = None, spot: bool = False) -> Any:
    request = SimpleNamespace(budget_usd=budget, deadline_hours=hours, spot=spot)
    return SimpleNamespace(request=request, deadline_seconds=None if hours is None else hours * 3600)


@pytest.mark.parametrize(
    ("limits", "spot", "kind"),
    [
        ({"budget": 20}, False, "over-budget"),
        ({"budget": 20}, True, None),
        ({"budget": 11}, True, "over-budget"),
        ({"budget": 31}, False, None),
        ({"hours": 11}, False, None),
        ({"hours": 11}, True, "over-deadline"),
        ({"hours": 9}, False, "over-deadline"),
        ({"budget": 31, "hours": 9}, False, "over-deadline"),
        ({}, False, None),
    ],
)
def test_a_limit_is_kept_by_the_price_and_the_hours_that_were_asked_for(
    priced: Any, limits: dict[str, float], spot: bool, kind: str | None
):
    found = over_limits(asked(**limits, spot=spot), priced)
    assert (found.kind if found is not None else None) == kind


@pytest.mark.parametrize(
    ("budget", "spot", "told"), [(31, False, True), (34, False, False), (13, True, True), (31, True, False)]
)
def test_a_budget_that_the_upper_end_breaks_is_told(priced: Any, budget: float, spot: bool, told: bool):
    (said,) = kept_limits(asked(budget=budget, spot=spot), priced)
    assert ("not by its upper end" in said) == told


@pytest.mark.parametrize(("hours", "told"), [(10.5, True), (100, False)])
def test_a_deadline_is_said_to_be_kept_and_by_what(priced: Any, hours: float, told: bool):
    """Where it changes no figure, nobody could tell whether it was used."""
    (said,) = kept_limits(asked(hours=hours), priced)
    assert said.startswith("the deadline")
    assert ("not by its upper end" in said) == told
    assert kept_limits(asked(), priced) == []


@pytest.mark.parametrize("spot", [True, False])
def test_a_budget_without_a_price_of_the_kind_is_refused(candidate: Any, spot: bool):
    with pytest.raises(BadRequest, match="no spot price" if spot else "no price"):
        over_limits(asked(budget=20, spot=spot), candidate("lora", usd_per_hour=3.0 if spot else None))
