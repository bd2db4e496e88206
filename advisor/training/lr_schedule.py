"""The learning rate over the steps of a training, one meaning for every trainer."""

# pyright: reportUnknownMemberType=false
# transformers' get_scheduler says no types

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from advisor.domain.recipe import Recipe


def make_schedule(recipe: Recipe, optimizer: Any, steps: int) -> Any:
    """A scheduler of torch over `steps` optimizer steps, the recipe's warm-up within them."""
    import transformers

    # the first step of a warm-up has the rate 0: a training of one step would learn nothing
    warm_up = min(math.ceil(recipe.warmup_ratio * steps), steps - 1)
    make = cast("Callable[..., Any]", transformers.get_scheduler)
    return make(recipe.schedule, optimizer, num_warmup_steps=warm_up, num_training_steps=steps)
