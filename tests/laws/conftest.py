"""How often a law is asked: the same few dozen questions in CI, thousands of new ones with ADVISOR_LAWS=1000."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings

from tests.laws.questions import EXAMPLES


def law(examples: int) -> Callable[[Any], Any]:
    """The settings of a law: `examples` in CI, the same each time; ADVISOR_LAWS where it is set, others each time."""
    return settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        # a question is small as it is, and each smaller one costs a trace
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
