"""What a question about quality is turned into: a handful of named covariates, shared by fit and prediction.

A feature is in (asinh of points) per unit; full fine-tuning has none, so its effect is 0 by construction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from advisor.catalog.findings.method_names import KIND_OF, KINDS
from advisor.domain.request.vocabulary import TaskType
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


def architecture_of(name: str) -> str:
    """decoder, encoder, encoder-decoder, vision or other; raises `UnknownName` with the near names."""
    plain = name.strip().lower().replace("_", "-")
    found = _ARCHITECTURE_ALIASES.get(plain, plain)
    if found not in ARCHITECTURES:
        known = [*ARCHITECTURES, *_ARCHITECTURE_ALIASES]
        raise UnknownName.of("architecture", name, known, list_with="advisor evidence --help")
    return found


@dataclass(frozen=True, slots=True)
class StudySetting:
    """One method in one setting. None is unknown; a study that says nothing about tuning counts as tuned.

    `own`: the authors propose this method. `untuned`: the learning rate was not tuned for each method. Both are
    0 or 1 where it is known, and else the share of studies of which it is true (`StudyDefaults`).
    `attention_only`: only attention's projections carry the adapter; not part of the fit, see hierarchical_fit.
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


@dataclass(frozen=True, slots=True)
class StudyDefaults:
    """What a new study is taken to be where nobody says: covariates at their averages over studies.

    A method is proposed once: where the catalogue holds the study that proposes it (`proposed`), another study's
    authors do not. Any other method is its study's own with a share of `own_share`.
    """

    own_share: float
    untuned_share: float
    proposed: frozenset[str]

    def own(self, method: str) -> float:
        return 0.0 if method in self.proposed else self.own_share

    def blind(self, question: StudySetting) -> StudySetting:
        """The question as one asks it who knows neither who wrote the study nor how its rates were found."""
        return replace(question, own=self.own(question.method), untuned=self.untuned_share)


SIZES_IF_UNKNOWN: Final = (100, 1_000, 10_000, 100_000, 1_000_000)
"""A question without its number of samples is asked at each of these as well: what it would change is doubt."""


def at_possible_sizes(question: StudySetting) -> tuple[StudySetting, ...]:
    """The question at every size it may be meant at; none where the size is known."""
    return () if question.samples else tuple(replace(question, samples=size) for size in SIZES_IF_UNKNOWN)


GROUPS: Final = (
    "all",
    "kind",
    "method",
    "own",
    "untuned",
    "kind untuned",
    "little capacity",
    "skill",
    "soft small n",
    "encoder small n",
    "large n",
)
"""Features of one group share one prior variance, learned from the findings. Small encoders have one slope for
all kinds but FLAT_KINDS: one for each kind rests on a single study and ordered the methods of others worse."""


FLAT_KINDS: Final = ("adapter", "hybrid")
"""Bottleneck adapters, and hybrids that hold them, stayed with full fine-tuning at every size (findings 3 and 25)."""

LITTLE_CAPACITY: Final = ("soft prompt", "bias or norm", "partial")
"""Kinds that learn inputs, offsets or a few layers only. Their common loss has a feature of its own: as part of the
kinds' variance it made every kind that few studies tell of look promising."""

SKILLS: Final = ("math", "code", "pretraining", "instruction")
"""Task types that teach a model what it could not do, where full fine-tuning leads by more (Biderman et al. 2024)."""


def features(question: StudySetting) -> dict[tuple[str, str], float]:
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
        ("little capacity", ""): float(kind in LITTLE_CAPACITY),
        ("skill", ""): float(question.task_type in SKILLS),
        ("large n", ""): min(2.0, max(0.0, n - 5)),
    }
    if kind == "soft prompt":
        found["soft small n", ""] = min(2.5, max(0.0, 4 - n))
    elif question.architecture == "encoder" and kind not in FLAT_KINDS:
        found["encoder small n", ""] = max(0.0, 3 - n) * question.decades_below_a_billion
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
        ("little capacity", ""),
        ("skill", ""),
        ("soft small n", ""),
        ("encoder small n", ""),
        ("large n", ""),
    ]


SPREAD_FEATURES: Final = ("one", "text encoder", "skill", "size of effect")
"""What makes studies differ more from each other, as the fit that ships has it."""

SPREAD_OF_OLD: Final = ("one", "small n", "soft prompt", "text encoder", "skill")
"""What fits before had; wider at the same coverage (benchmarks/quality_loso.py)."""


def spread_features(question: StudySetting, mean: float) -> dict[str, float]:
    """Every feature a spread may use, by name; `mean` is the prediction in asinh(points).

    The size of the predicted effect stands in for what was tried before it: where a loss is expected (soft prompts,
    few samples), its amount is what studies disagree on. The number of samples says nothing further.
    """
    return {
        "one": 1.0,
        "small n": 1.5 if question.samples is None else min(2.5, max(0.0, 4.5 - question.log_samples)),
        "soft prompt": float(question.kind == "soft prompt"),
        "text encoder": float(question.architecture == "encoder"),
        "skill": float(question.task_type in SKILLS),
        "size of effect": min(abs(mean), 4.0) - 1.0,
    }
