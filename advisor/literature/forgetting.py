"""What a method made its model forget, against full fine-tuning in the same setting and against the untouched model."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, stdev
from typing import Final

from pydantic import Field

from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.study_files import load_studies
from advisor.domain.findings import Finding, Study
from advisor.domain.stored import Value

_RANK: Final = re.compile(r"\b(?:r ?=? ?|rank ?=? ?)(\d+)", re.IGNORECASE)
_UNTOUCHED: Final = "no-tuning"
_FULL: Final = "full"
_LEVEL: Final = 0.95
"""One-sided level of the ends of a 90 % interval."""


class Forgetting(Value):
    """One study's word on one measure, over all its settings or over those of one rank.

    `kept` > 0: the method forgot less than full fine-tuning, in `unit`; `lost` > 0: it fell below the model as it was
    before. Intervals are of the mean, 90 %, by the spread over the study's settings (Student's t): they say how sure
    the study is of its own model and data, not what another model would do. None where it ran one setting.
    """

    study: str
    url: str
    measure: str
    unit: str
    kept: float
    kept_low: float | None = None
    kept_high: float | None = None
    lost: float | None = Field(None, description="against the untouched model; None where the study does not have it")
    lost_low: float | None = None
    lost_high: float | None = None
    settings: int
    better_in: int
    trained_by: str = Field("", description="SFT or GRPO, where the study ran both")
    rank: int | None = Field(None, description="of the adapter, on rows of one rank")
    rates: tuple[float, ...] = Field((), description="learning rates of these settings, ascending")


def forgetting(method: str) -> tuple[Forgetting, ...]:
    """Each study's mean difference to full fine-tuning, most settings first; empty where nobody measured it.

    Of full fine-tuning itself only studies that have the untouched model too: `kept` is 0 there, `lost` what counts.
    Where a study ran several ranks, each has a row after the one of all. Measures are not pooled: points of benchmark
    accuracy and nats of loss are not one thing.

    Raises:
        UnknownName: the method is unknown.
    """
    name = our_name(method)
    found: list[list[Forgetting]] = []
    for study in load_studies():
        mine = _of_method(study, name)
        for rows in _grouped(mine, lambda one: (one.metric, one.unit, _trained_by(one))):
            ranks = sorted(_grouped(rows, rank_of), key=lambda of_rank: rank_of(of_rank[0]) or 0)
            each = [_said(study, of_rank, rank_of(of_rank[0])) for of_rank in ranks]
            found.append([_said(study, rows), *(each if len(each) > 1 else [])])
    found.sort(key=lambda said: (-said[0].settings, said[0].study))
    return tuple(one for said in found for one in said)


def _of_method(study: Study, name: str) -> list[Finding]:
    """A study's findings of what a method forgot, each with full fine-tuning beside it."""
    of_method = [f for f in study.findings if f.aspect == "forgetting" and f.method == name]
    if name != _FULL:
        return [f for f in of_method if f.full_value is not None]
    known = _untouched(study)
    return [f.model_copy(update={"full_value": f.value}) for f in of_method if (f.model, f.task, f.metric) in known]


def _untouched(study: Study) -> dict[tuple[str, str, str], float]:
    """(model, task, metric) -> the score before any training."""
    return {
        (one.model, one.task, one.metric): one.value
        for one in study.findings
        if one.aspect == "forgetting" and one.method == _UNTOUCHED
    }


def rank_of(finding: Finding) -> int | None:
    """The adapter's rank as its settings print it: `r=16`, `rank32`, `r8a16`."""
    said = _RANK.search(finding.settings)
    return int(said[1]) if said else None


def _trained_by(finding: Finding) -> str:
    return finding.training if finding.training in ("SFT", "GRPO") else ""


def _grouped(findings: Iterable[Finding], key: Callable[[Finding], object]) -> list[list[Finding]]:
    groups: dict[object, list[Finding]] = defaultdict(list)
    for one in findings:
        groups[key(one)].append(one)
    return list(groups.values())


def _said(study: Study, rows: Sequence[Finding], rank: int | None = None) -> Forgetting:
    kept = [_better_by(one, one.full_value) for one in rows if one.full_value is not None]
    before = _untouched(study)
    known = [(one, before.get((one.model, one.task, one.metric))) for one in rows]
    lost = [-_better_by(one, value) for one, value in known if value is not None]
    kept_low, kept_high = _interval(kept)
    lost_low, lost_high = _interval(lost)
    return Forgetting(
        study=study.id,
        url=study.url,
        measure=rows[0].metric,
        unit=rows[0].unit,
        kept=round(fmean(kept), 4),
        kept_low=kept_low,
        kept_high=kept_high,
        lost=round(fmean(lost), 4) if lost else None,
        lost_low=lost_low,
        lost_high=lost_high,
        settings=len(kept),
        better_in=sum(value > 0 for value in kept),
        trained_by=_trained_by(rows[0]),
        rank=rank,
        rates=tuple(sorted({one.learning_rate for one in rows if one.learning_rate})),
    )


def _better_by(finding: Finding, reference: float) -> float:
    return finding.value - reference if finding.higher_is_better else reference - finding.value


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The central 90 % of the mean; nothing where one value tells no spread."""
    if len(values) < 2:
        return None, None
    from scipy.special import stdtrit  # imported in a tenth of the time of scipy.stats

    half = float(stdtrit(len(values) - 1, _LEVEL)) * stdev(values) / math.sqrt(len(values))
    return round(fmean(values) - half, 4), round(fmean(values) + half, 4)
