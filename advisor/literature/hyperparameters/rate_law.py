"""The learning rate as a law: of all weights and of LoRA's kin on decoders, by width, batch, length and alpha.

    rate = 5e-5 x M(method) x (2000 / hidden)^P(family) x (batch / 128)^0.4 x (32 / alpha)^0.41 x (300 / steps)^0.1

The first three factors are the fit of "LoRA Without Regret" to its searches on fourteen Llama and Qwen models, whose
batch is not printed; the others are slopes of other searches. `python -m benchmarks.learning_rates` predicts published
searches that the fit did not see, beside simpler rules.

The rate is of Adam and its 8-bit and paged forms. No search found a difference between precisions or a 4-bit base.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from advisor.domain.recommendation import Setting

FULL_RATE: Final = 5e-5
"""Of all weights at a width of 2,000 and a batch of 128, Adam (tinker-cookbook's `get_lr`)."""
AT_WIDTH: Final = 2000
AT_BATCH: Final = 128
"""Samples a step that tinker-cookbook's rates are taken to be for: its documentation of supervised training advises up
to so many, and a search at 32 agrees (Qwen3-4B)."""
WIDTHS: Final = (1024, 8192)
"""Hidden sizes of the models searched, Qwen3-0.6B to Llama-3.1-70B; the rate of others is that of the nearest."""
POWERS: Final = {"llama": 0.781, "qwen": 0.0775}
"""How the rate falls with the width, by family (tinker-cookbook). Other families are taken between the two."""
FACTORS: Final = {
    "full": 1.0,
    "lora": 10.0,
    "qlora": 10.0,
    "rslora": 10.0,
    "dora": 10.0,
    "pissa": 1.0,
    "olora": 0.55,
    "lora-ga": 0.55,
}
"""Times the rate of all weights: LoRA 9.8 in the fit, 10 as published; the others by their own best rate beside LoRA's
in one search of ten methods (PiSSA a tenth of it, OLoRA and LoRA-GA 1/18.2, DoRA the same; arXiv:2602.04998)."""
BATCH_POWER: Final = 0.4
"""In theory Adam's rate goes with the root of the batch (arXiv:2205.10287, arXiv:2405.14578); searches of pretraining
found a power of 0.16 (arXiv:2507.07101); what the searches here imply lies between 0.2 and 0.6."""
ALPHA: Final = 32.0
"""LoRA's alpha in the fit; with it fixed the best rate is the same at every rank."""
ALPHA_POWER: Final = 0.41
"""At alpha = rank the best rate fell 5.6 times from rank 4 to 256 (arXiv:2602.04998): log 5.6 / log 64."""
USUAL_STEPS: Final = 300
STEPS_POWER: Final = 0.1
"""LoRA's best rate is 1.5 times as high in runs of some 100 steps as in runs of thousands (LoRA Without Regret);
3.1 times from 5,000 to 395,000 samples in arXiv:2602.04998. Full fine-tuning has no such slope."""
MOST_BY_STEPS: Final = 1.25
OFF_BY: Final = 3.0
"""Times or divided by: the best rates of searches that the fit did not see lie within 2.4
(benchmarks/learning_rates.py), and they are few."""
USUAL_BATCH: Final = 16

_REGRET: Final = "https://thinkingmachines.ai/blog/lora (10.64434/tml.20250929)"
_TINKER: Final = "github:thinking-machines-lab/tinker-cookbook@9dfcc3a2c tinker_cookbook/hyperparam_utils.py"
_ROOT: Final = "arXiv:2205.10287 (square root of the batch), arXiv:2507.07101 (less)"
_TEN_METHODS: Final = "github:yuang-lee/lr-matters-lora@6f0e50c5 practical-heuristics/README.md (arXiv:2602.04998)"


@dataclass(frozen=True, slots=True)
class RateQuestion:
    """What the rate of a supervised training of a decoder depends on.

    Args:
        family: `model_type` of the model's config; "" where nobody says.
        hidden: width of the residual stream.
        batch: samples an optimizer step; None is taken as USUAL_BATCH.
        steps: optimizer steps; None leaves the length out.
        alpha: LoRA's alpha at the scale alpha / rank; of rsLoRA, alpha times the root of the rank.
    """

    method: str
    family: str
    hidden: int
    batch: int | None = None
    steps: int | None = None
    alpha: float | None = None


def law_rate(question: RateQuestion) -> Setting | None:
    """The learning rate by the law, with its range and sources; None for methods that no search holds."""
    factor = FACTORS.get(question.method)
    if factor is None:
        return None
    width = min(max(question.hidden, WIDTHS[0]), WIDTHS[1])
    batch = question.batch or USUAL_BATCH
    power, family = _power(question.family)
    parts = [f"{FULL_RATE * factor:.2g} at width {AT_WIDTH:,} and batch {AT_BATCH}"]
    value = FULL_RATE * factor * (AT_WIDTH / width) ** power
    parts.append(f"width {question.hidden:,}{_nearest(question.hidden, width)} x{(AT_WIDTH / width) ** power:.2g}")
    by_batch = (batch / AT_BATCH) ** BATCH_POWER
    value *= by_batch
    parts.append(f"batch {batch} x{by_batch:.2g}")
    if question.method != "full":
        by_alpha, by_steps = _alpha_factor(question.alpha), steps_factor(question.steps)
        value *= by_alpha * by_steps
        parts += [f"alpha {question.alpha:g} x{by_alpha:.2g}"] if question.alpha and by_alpha != 1 else []
        parts += [f"{question.steps:,} steps x{by_steps:.2g}"] if question.steps else []
    spread = _spread(width) if family is None else 1.0
    value = float(f"{value:.2g}")
    return Setting(
        name="learning_rate",
        value=value,
        low=float(f"{value / (OFF_BY * spread):.2g}"),
        high=float(f"{value * OFF_BY * spread:.2g}"),
        why=f"law: {', '.join(parts)}; of Adam{'' if family else ', for a family that no search holds'}",
        sources=(_REGRET, _TINKER, _ROOT, _TEN_METHODS),
    )


def effective_alpha(alpha: float | None, rank: int | None, *, rank_stabilised: bool = False) -> float | None:
    """LoRA's alpha as the law has it: rsLoRA's divides by the root of the rank, which is alpha times that root."""
    if alpha is None or not rank_stabilised or rank is None:
        return alpha
    return alpha * math.sqrt(rank)


def steps_factor(steps: int | None) -> float:
    """How much higher the best rate is in a run of so many steps than in one of USUAL_STEPS; 1 where none is said."""
    if steps is None:
        return 1.0
    return min(MOST_BY_STEPS, max(1 / MOST_BY_STEPS, (USUAL_STEPS / max(1, steps)) ** STEPS_POWER))


def _alpha_factor(alpha: float | None) -> float:
    return 1.0 if alpha is None else (ALPHA / alpha) ** ALPHA_POWER


def _power(family: str) -> tuple[float, str | None]:
    for known, power in POWERS.items():
        if family.startswith(known):
            return power, known
    return sum(POWERS.values()) / len(POWERS), None


def _spread(width: int) -> float:
    """How far the two families' rates lie from their middle at a width."""
    apart = abs(POWERS["llama"] - POWERS["qwen"]) / 2
    return max(AT_WIDTH / width, width / AT_WIDTH) ** apart


def _nearest(hidden: int, width: int) -> str:
    return "" if hidden == width else f" (searched to {width:,})"
