"""The learning rate over the steps of a training, one meaning for every trainer."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' get_scheduler says no types

from __future__ import annotations

import math
from typing import Any

from advisor.domain.recipe import Recipe


def make_schedule(recipe: Recipe, optimizer: Any, steps: int) -> Any:
    """A scheduler of torch over `steps` optimizer steps, the recipe's warm-up within them."""
    import transformers

    # the first step of a warm-up has the rate 0: a training of one step would learn nothing
    warm_up = min(math.ceil(recipe.warmup_ratio * steps), steps - 1)
    return transformers.get_scheduler(recipe.schedule, optimizer, num_warmup_steps=warm_up, num_training_steps=steps)
