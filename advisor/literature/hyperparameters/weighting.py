"""Published settings with weights: how much each bears on one question, no repository counting twice."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.hyperparameters.published_settings import PublishedSetting, load_settings

TRUST: Final = {
    "best": 4.0,
    "recommendation": 4.0,
    "guidance": 2.0,
    "run": 2.0,
    "config": 1.0,
    "grid": 0.5,
    "library default": 0.25,
}

_VARIANTS: Final = {
    "lora": (
        *("qlora", "rslora", "dora", "pissa", "olora", "eva", "corda", "lora-ga", "loftq", "lora-plus", "lora-fa"),
        *("mica", "bd-lora", "alora", "salora", "sora", "dylora", "velora", "kasa", "monteclora", "randlora"),
    ),
    "adapter-houlsby": ("adapter-pfeiffer", "adapter-parallel", "adapter-series", "adapter-lin", "adapter-drop",
                        "adapter-scaled-parallel", "compacter", "compacter-plus"),
    "adapter-pfeiffer": ("adapter-houlsby",),
    "prompt-tuning": ("p-tuning",),
    "prefix-tuning": ("p-tuning-v2",),
    "oft": ("boft",),
    "layernorm-tuning": ("bitfit",),
    "vera": ("pvera",),
}  # fmt: skip
PARENT: Final = {variant: parent for parent, variants in _VARIANTS.items() for variant in variants}
"""Whose settings stand in where a method has none of its own: the method it is a variant of."""

SHARED: Final = ("effective_batch_size", "warmup_ratio", "schedule", "weight_decay", "epochs", "head_learning_rate")
"""Settings of the training rather than of the method: any method's settings count, at a discount."""

OUR_OPTIMIZERS: Final = "adam"
"""What the names of optimizers have in common whose rates are Adam's: adamw_torch, PagedAdamW8bit, adamw_bnb_8bit."""
OTHER_OPTIMIZER: Final = 0.05
"""Weight of a rate found with another optimizer, as of another architecture: Adafactor's steps are relative to the
weights and Lion's are signs, so their rates differ tenfold from Adam's."""


@dataclass(frozen=True, slots=True)
class WeightedSetting:
    """One setting's say: its weight in this question, and a short name of where it stands."""

    value: float | str
    low: float | None
    high: float | None
    weight: float
    source: str


@dataclass(frozen=True, slots=True)
class SettingQuery:
    """The question: what settings are weighed against."""

    method: str
    architecture: str
    parameters: int | None
    task: str | None
    samples: int | None


@cache
def repository(address: str) -> str:
    """Who speaks: a repository, a paper, or a page."""
    found = re.search(r"arXiv:? ?(\d{4}\.\d{4,5})", address)
    if found:
        return f"arXiv {found[1]}"
    found = re.match(r"github:([\w.-]+/[\w.-]+)", address)
    return found[1] if found else address.split(",")[0][:60]


def weighted_settings(query: SettingQuery, setting: str) -> list[WeightedSetting]:
    """Every published setting that bears on the question; the method's own, else its parent's, else any for SHARED."""
    published = load_settings()
    own = _weighted(query, [one for one in published.settings if one.setting == setting and one.method == query.method])
    if count_sources(own) >= 2:
        return own
    parent = PARENT.get(query.method)
    if parent:
        lent = _weighted(query, [one for one in published.settings if one.setting == setting and one.method == parent])
        own = own + [_discounted(weighted, 0.5) for weighted in lent]
    if setting in SHARED and count_sources(own) < 2:
        own += [_discounted(v, 0.2) for v in _weighted(query, [o for o in published.settings if o.setting == setting])]
    return own


def tried_rates(query: SettingQuery) -> list[WeightedSetting]:
    """Rates that won where one study ran the method at several in one setting: outcomes speak as a search does."""
    runs: dict[tuple[str, ...], list[tuple[float, float, str]]] = defaultdict(list)
    near: dict[tuple[str, ...], float] = {}
    for study in load_studies():
        for finding in study.findings:
            rate = finding.learning_rate
            if finding.method != query.method or rate is None or finding.aspect != "quality":
                continue
            key = (study.id, finding.model, finding.task, str(finding.samples), finding.metric)
            worth = finding.value if finding.higher_is_better else -finding.value
            runs[key].append((worth, rate, finding.address))
            same = finding.architecture == query.architecture
            near[key] = (1.0 if same else 0.05) * math.exp(
                -abs(math.log10((finding.model_parameters or 1e9) / (query.parameters or 1e9)))
            )
    return [
        WeightedSetting(max(tried)[1], None, None, TRUST["best"] * near[key], max(tried)[2])
        for key, tried in runs.items()
        if len({rate for _, rate, _ in tried}) > 1
    ]


def count_sources(heard: Sequence[WeightedSetting]) -> int:
    return len({repository(weighted.source) for weighted in heard})


def _discounted(weighted: WeightedSetting, by: float) -> WeightedSetting:
    return WeightedSetting(weighted.value, weighted.low, weighted.high, weighted.weight * by, weighted.source)


def _weighted(query: SettingQuery, published: Iterable[PublishedSetting]) -> list[WeightedSetting]:
    addresses = load_settings().addresses
    raw: list[tuple[PublishedSetting, str, float]] = []
    for one in published:
        near = TRUST[one.kind] * _nearness(query, one)
        if near > 0.02:
            raw += [(one, addresses[source], near * _same_optimizer(one, source)) for source in one.sources]
    spoken: dict[str, float] = defaultdict(float)
    for _, address, near in raw:
        spoken[repository(address)] += near
    loudest: dict[str, float] = defaultdict(float)
    for _, address, near in raw:
        loudest[repository(address)] = max(loudest[repository(address)], near)
    return [
        WeightedSetting(one.value, one.low, one.high, near * loudest[repository(a)] / spoken[repository(a)], a)
        for one, a, near in raw
    ]


def _same_optimizer(one: PublishedSetting, source: int) -> float:
    """Less than 1 for a learning rate whose own source names another optimizer than Adam."""
    named = _optimizers().get((one.method, source), ()) if one.setting == "learning_rate" else ()
    return OTHER_OPTIMIZER if named and not any(OUR_OPTIMIZERS in name for name in named) else 1.0


@cache
def _optimizers() -> dict[tuple[str, int], tuple[str, ...]]:
    """(method, address) -> the optimizers it was published with there, in small letters."""
    found: dict[tuple[str, int], tuple[str, ...]] = {}
    for one in load_settings().settings:
        if one.setting == "optimizer":
            for source in one.sources:
                found[one.method, source] = (*found.get((one.method, source), ()), str(one.value).lower())
    return found


def _nearness(query: SettingQuery, one: PublishedSetting) -> float:
    """1 for a setting of the very same question, less for each way it differs; unknown is half-way."""
    near = 1.0
    if one.architecture is None:
        near *= 0.5
    elif one.architecture != query.architecture:
        near *= 0.05
    if one.parameters is None or query.parameters is None:
        near *= 0.6
    else:
        near *= math.exp(-abs(math.log10(one.parameters / query.parameters)))
    if one.task is None or query.task is None:
        near *= 0.6
    elif one.task != query.task:
        near *= 0.25
    if one.samples is None or query.samples is None:
        near *= 0.8
    else:
        near *= math.exp(-0.7 * abs(math.log10(one.samples / query.samples)))
    return near


def quantile(heard: Sequence[tuple[float, float]], level: float) -> float:
    """Weighted quantile: the first value at which the weight reaches `level` of all."""
    ordered = sorted(heard)
    target = level * sum(weight for _, weight in ordered)
    reached = 0.0
    for value, weight in ordered:
        reached += weight
        if reached >= target - 1e-12:
            return value
    return ordered[-1][0]


def numbers_of(heard: Sequence[WeightedSetting], positive: bool) -> list[tuple[float, float, str]]:
    """(value, weight, source) of voices that gave numbers: ranges as their two ends, lists as their members."""
    found: list[tuple[float, float, str]] = []
    for weighted in heard:
        if isinstance(weighted.value, float):
            found.append((weighted.value, weighted.weight, weighted.source))
        elif weighted.low is not None and weighted.high is not None:
            found += [(end, weighted.weight / 2, weighted.source) for end in (weighted.low, weighted.high)]
        elif isinstance(weighted.value, str):
            listed = _listed(weighted.value)
            found += [(number, weighted.weight / len(listed), weighted.source) for number in listed]
    return [one for one in found if one[0] > 0 or not positive]


_NUMBER: Final = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_LIST: Final = re.compile(rf"\{{?\s*{_NUMBER}(?:\s*(?:/|,|-|\.\.)\s*{_NUMBER})+\s*\}}?")


def _listed(text: str) -> tuple[float, ...]:
    """The numbers of a printed list or range and nothing else: `2e-2 / 5e-2`, `1e-4..3e-4`, `{1,3,6}`; else none."""
    return tuple(float(found) for found in re.findall(_NUMBER, text)) if _LIST.fullmatch(text.strip()) else ()
