"""What earlier releases of transformers hold in a step beyond the installed one, where that is told apart from noise.

Read from the wheels of transformers 4.45.2 to 4.51.3 (`loss/loss_utils.py`, `ForCausalLMLoss`, and the forward pass of
`models/llama/modeling_llama.py`). Up to 4.45 the logits are turned into float32 at once; from 4.46 to 4.48 the 16-bit
logits live on beside their float32 copy and its shifted copy; from 4.49 on it is the labels that are shifted. At the
moment of the loss that is 14 bytes a logit where the others hold 12 at their peak.
"""

from __future__ import annotations

import re
from typing import Final

from advisor.domain.candidate import Memory
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.units import gib
from advisor.domain.workload import Workload
from advisor.estimator.batch_lengths import Shape

SERIES: Final = ((4, 46), (4, 48))
"""The first and the last series that keep them."""
KEPT_A_LOGIT: Final = 2
USUAL_A_LOGIT: Final = 12
"""Bytes a logit at the peak of the other releases: float32 logits, their logarithms, the gradient of these."""
WORTH_SAYING: Final = 0.01
"""Share of the peak from which on it is told."""


def kept_logits(memory: Memory, largest: Shape, workload: Workload, recipe: Recipe, spec: ModelSpec) -> int:
    """Bytes by which the peak of transformers 4.46 to 4.48 is higher; 0 where the peak is not at the logits.

    Args:
        largest: the micro-batch that decides the peak.
    """
    plain = workload.task == "causal-lm" and workload.objective == "sft" and spec.architecture == "decoder"
    own_loss = recipe.trainer in ("hf", "loop") and recipe.fused_loss == "none"
    if not (plain and own_loss and spec.vocabulary and recipe.compute_dtype in ("bfloat16", "float16")):
        return 0
    logits = round(largest.batch * largest.length) * spec.vocabulary
    at_the_logits = memory.peak_phase in ("loss", "backward") and memory.breakdown.get("logits and loss", 0)
    return KEPT_A_LOGIT * logits if at_the_logits >= USUAL_A_LOGIT * logits * 0.99 else 0


def kept_logits_note(memory: Memory, largest: Shape, workload: Workload, recipe: Recipe, spec: ModelSpec) -> list[str]:
    """What is said of it beside an answer: one line, or none."""
    more = kept_logits(memory, largest, workload, recipe, spec)
    if more < WORTH_SAYING * memory.peak_allocated.mid:
        return []
    return [f"transformers 4.46 to 4.48 keep the 16-bit logits during the loss: {gib(more)} more than said here"]


def keeps_logits(software: str) -> bool:
    """Whether a line of versions (`transformers 4.48.1 trl 0.13.0`) names a release that keeps them."""
    found = re.search(r"\btransformers (\d+)\.(\d+)", software)
    return found is not None and SERIES[0] <= (int(found[1]), int(found[2])) <= SERIES[1]
