"""What a question about quality is turned into: a handful of named covariates, shared by fit and prediction.

A feature is in (asinh of points) per unit; full fine-tuning has none, so its effect is 0 by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from advisor.catalog.findings.names import KIND_OF, KINDS
from advisor.domain.workload import TaskType
from advisor.errors import UnknownName

TYPICAL_SAMPLES: Final = 10**4.5
"""Stands in where a study does not say: the effects of few and of very many samples are then switched off."""

ARCHITECTURES: Final = ("decoder", "encoder", "encoder-decoder", "vision", "other")

_ARCHITECTURE_ALIASES: Final = {
    "vision encoder": "vision",
    "encoder (vision)": "vision",
    "vit": "vision",
    "diffusion": "other",
    "seq2seq": "encoder-decoder",
    "causal-lm": "decoder",
    "decoder-only": "decoder",
    "encoder-only": "encoder",
}

TASK_TYPES: Final[tuple[TaskType, ...]] = TaskType.__args__

_TASK_ALIASES: Final[dict[str, TaskType]] = {
    "image classification": "vision",
    "image generation": "vision",
    "generation": "NLG",
    "code (continued pretraining)": "pretraining",
    "math (continued pretraining)": "pretraining",
    "commonsense": "reasoning",
    "question answering": "QA",
    "named entity recognition": "NER",
    "machine translation": "translation",
    "summarisation": "summarization",
}


def task_type_of(name: str) -> TaskType:
    """Our task type for a study's or a user's word for it; raises `UnknownName` with the near names."""
    plain = name.strip().lower()
    for known in TASK_TYPES:
        if plain == known.lower():
            return known
    if plain in _TASK_ALIASES:
        return _TASK_ALIASES[plain]
    raise UnknownName.of("task type", name, [*TASK_TYPES, *_TASK_ALIASES], list_with="advisor evidence --task-types")


def architecture_of(name: str) -> str:
    """decoder, encoder, encoder-decoder, vision or other; raises `UnknownName` with the near names."""
    plain = name.strip().lower().replace("_", "-")
    found = _ARCHITECTURE_ALIASES.get(plain, plain)
    if found not in ARCHITECTURES:
        known = [*ARCHITECTURES, *_ARCHITECTURE_ALIASES]
        raise UnknownName.of("architecture", name, known, list_with="advisor evidence --help")
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """One method in one setting. None is unknown; a study that says nothing about tuning counts as tuned.

    `own`: the authors propose this method. `untuned`: the learning rate was not tuned for each method.
    `attention_only`: only attention's projections carry the adapter; not part of the fit, see quality_fit.
    """

    method: str
    architecture: str
    task_type: TaskType
    samples: int | None = None
    parameters: int | None = None
    own: float = 0.0
    untuned: float = 0.0
    attention_only: bool = False

    @property
    def kind(self) -> str:
        return KIND_OF[self.method]

    @property
    def log_samples(self) -> float:
        return math.log10(self.samples or TYPICAL_SAMPLES)

    @property
    def decades_below_a_billion(self) -> float:
        """How far a text encoder is below 10^9.5 parameters, 0..2; encoders of unknown size count as BERT-size."""
        if self.parameters is None:
            return 1.4
        return min(2.0, max(0.0, 9.5 - math.log10(self.parameters)))


GROUPS: Final = (
    "all",
    "kind",
    "method",
    "own",
    "untuned",
    "kind untuned",
    "soft small n",
    "encoder small n",
    "large n",
)
"""Features of one group share one prior variance, learned from the findings."""


def features(question: Question) -> dict[tuple[str, str], float]:
    """(group, name) -> value. Absent means 0."""
    if question.kind in ("full", "none"):
        return {}
    n, kind = question.log_samples, question.kind
    found = {
        ("all", ""): 1.0,
        ("kind", kind): 1.0,
        ("method", question.method): 1.0,
        ("own", ""): question.own,
        ("untuned", ""): question.untuned,
        ("kind untuned", kind): question.untuned,
        ("large n", ""): max(0.0, n - 5),
    }
    if kind == "soft prompt":
        found["soft small n", ""] = min(2.5, max(0.0, 4 - n))
    elif question.architecture == "encoder":
        found["encoder small n", kind] = max(0.0, 3 - n) * question.decades_below_a_billion
    return {key: value for key, value in found.items() if value}


def prior_features(methods: list[str]) -> list[tuple[str, str]]:
    """Every feature the fit holds: one for each kind, whether seen or not, and for each method seen."""
    kinds = [kind for kind in KINDS if kind not in ("full", "none")]
    return [
        ("all", ""),
        *(("kind", kind) for kind in kinds),
        *(("method", method) for method in methods),
        ("own", ""),
        ("untuned", ""),
        *(("kind untuned", kind) for kind in kinds),
        ("soft small n", ""),
        *(("encoder small n", kind) for kind in kinds),
        ("large n", ""),
    ]


SPREAD_FEATURES: Final = ("one", "small n", "soft prompt", "text encoder", "skill")


def spread_features(question: Question) -> tuple[float, ...]:
    """What makes studies differ more from each other, in the order of SPREAD_FEATURES.

    An unknown number of samples spreads like 1,000: not knowing is never narrower than knowing there are many.
    """
    return (
        1.0,
        1.5 if question.samples is None else min(2.5, max(0.0, 4.5 - question.log_samples)),
        float(question.kind == "soft prompt"),
        float(question.architecture == "encoder"),
        float(question.task_type in ("math", "code", "pretraining", "instruction")),
    )
