"""Comparisons of two answers to random questions (tests/laws): whoever asks for more gets no less, and sums are right.

A case is one random question and all its comparisons; what is refused is counted apart and is none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

from tests.laws.questions import recipes, sizes
from tests.laws.size_laws import BETWEEN_TRACES, OF_ONE_TRACE, Comparisons

SIZES = 6
"""Of one recipe, whose trace costs most."""


def drawn(number: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A recipe and sizes, by number alone."""
    found: list[tuple[dict[str, Any], dict[str, Any]]] = []

    @seeded(number)
    @settings(
        # the first one drawn is always the simplest
        max_examples=SIZES + 1, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(recipe=recipes, size=sizes)
    def collect(recipe: dict[str, Any], size: dict[str, Any]) -> None:
        found.append((recipe, size))

    collect()
    return found[1 % len(found)][0], [size for _, size in found[1:]]


def case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """All laws of one random recipe."""
    del place
    recipe, several = drawn(number + 10**6 * seed)
    made = Comparisons()
    for size in several:
        for law in OF_ONE_TRACE:
            law(recipe, size, made)
    for law in BETWEEN_TRACES:
        law(recipe, several[0], made)
    return {
        "kind": f"{recipe['model']}, {recipe['method']}",
        "count": made.held,
        "refused": made.refused.total(),
        "outcomes": list(made.laws.elements()),
        "unevenness": made.unevenness,
        "faults": [f"law: {fault}; {recipe}" for fault in made.faults],
    }
