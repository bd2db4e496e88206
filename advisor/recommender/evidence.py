"""Hyperparameters to start from, by method, model size, task and number of samples."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.catalog.methods import find_method, options_of
from advisor.catalog.methods.method import Option
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Setting
from advisor.recommender.question import Question


def with_settings(question: Question, names: Sequence[str]) -> Question:
    """The question with each method's recommended learning rate."""
    rates: dict[str, float] = {}
    for name in names:
        default = find_method(name).learning_rate.default
        if isinstance(default, (int, float)) and not isinstance(default, bool):
            rates[name] = float(default)
    return question.model_copy(update={"rates": rates})


def settings_of(question: Question, choice: Candidate) -> tuple[Setting, ...]:
    """The choice's hyperparameters: value, range to search and source of each."""
    del question
    method = find_method(choice.recipe.method)
    options = options_of(method, choice.recipe.options)
    found = [_setting("learning_rate", choice.recipe.learning_rate, method.learning_rate)]
    found.extend(_setting(name, options[name], option) for name, option in method.options.items())
    return tuple(found)


def _setting(name: str, value: object, option: Option) -> Setting:
    source = f"{option.source.address} {option.source.where}".strip()
    return Setting.model_validate(
        {
            "name": name,
            "value": value,
            "low": option.low,
            "high": option.high,
            "choices": tuple(str(choice) for choice in option.choices),
            "why": option.says or "the catalogue's default",
            "sources": (source,) if source else (),
        }
    )
