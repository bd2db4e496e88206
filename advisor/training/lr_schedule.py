"""The learning rate over the steps of a training, one meaning for every trainer."""

from __future__ import annotations

import math
from typing import Any

from advisor.domain.recipe import Recipe


def make_schedule(recipe: Recipe, optimizer: Any, steps: int) -> Any:
    """A scheduler of torch over `steps` optimizer steps, the recipe's warm-up within them."""
    from transformers import get_scheduler

    warm_up = math.ceil(recipe.warmup_ratio * steps)
    return get_scheduler(recipe.schedule, optimizer, num_warmup_steps=warm_up, num_training_steps=steps)
