"""Settings of a method under a preference objective: those published, and a learning rate where only LoRA's is."""

from __future__ import annotations

from typing import Final

from advisor.catalog.findings.method_names import KIND_OF, our_name
from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.catalog.objectives import find_objective
from advisor.domain.recommendation import Setting
from advisor.domain.request.vocabulary import Objective
from advisor.errors import UnknownName

UNKNOWN_WIDENS: Final = 10.0
"""A rate that nobody published may be off by so much either way; the factor is ours."""


def objective_settings(method: Method, objective: Objective) -> tuple[Setting, ...]:
    """Learning rate, length and the loss's own settings of a method under an objective, each with its sources.

    Published rates are of all weights and of LoRA. Another method's is its rate under supervised learning, moved as
    LoRA's is, within a wide range.
    """
    settings = find_objective(objective).settings_for(own_weights=method.family == "full")
    if method.family == "full":
        return settings
    where = f"for {objective}"
    return tuple(scaled_as_lora(one, method, where) if one.name == "learning_rate" else one for one in settings)


def _low_rank(method: Method) -> bool:
    try:
        return KIND_OF[our_name(method.name)] == "low rank"
    except UnknownName:
        return False


def scaled_as_lora(published: Setting, method: Method, where: str) -> Setting:
    """LoRA's published rate for methods of its kind; another's own of supervised texts, moved as LoRA's is.

    Args:
        where: what LoRA's rate was published for: `for dpo`, `on speech`.
    """
    if _low_rank(method):
        return published
    rate, usual, own = published.value, find_method("lora").learning_rate.default, method.learning_rate.default
    numbers = [value for value in (rate, usual, own) if isinstance(value, (int, float))]
    if len(numbers) < 3:
        return published
    value = float(f"{numbers[2] * numbers[0] / numbers[1]:.2g}")
    return Setting(
        name="learning_rate",
        value=value,
        low=value / UNKNOWN_WIDENS,
        high=value * UNKNOWN_WIDENS,
        why=f"assumed: its own on supervised texts, moved as LoRA's is {where}; nobody published one",
        sources=published.sources,
    )
