"""Findings, gathered into cells: the mean effect of one method in one kind of setting of one study.

The effect is the score less full fine-tuning's in the same setting, in points, winsorised at CLIP. Where a
setting has no full fine-tuning, it is the score less the setting's mean: only differences between methods
are learned from it, and the fit gives such a setting a free level.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from advisor.catalog.findings.method_names import KIND_OF
from advisor.catalog.findings.task_types import task_type_of
from advisor.domain.findings import Finding, Study
from advisor.literature.quality.features import StudyDefaults, StudySetting

CLIP: Final = 25.0
"""Points. A run that collapsed by 60 says no more about the next study than one that collapsed by 25."""


@dataclass(frozen=True, slots=True)
class QualityObservation:
    """`effects` are the rows' own, unclipped (only where `referenced`); `effect` is their clipped mean."""

    study: str
    setting: str
    referenced: bool
    question: StudySetting
    effect: float
    effects: tuple[float, ...]


def usable(finding: Finding) -> bool:
    """A quality score in points that its source stands by and measured itself, of a method rather than of no tuning."""
    return (
        finding.aspect == "quality"
        and finding.unit == "points"
        and finding.higher_is_better
        and not finding.suspect
        and not finding.copied_from
        and KIND_OF[finding.method] not in ("full", "none")
    )


def _fine(finding: Finding) -> tuple[object, ...]:
    return (
        finding.table,
        finding.model,
        finding.task,
        finding.samples,
        finding.samples_printed,
        finding.metric,
    )


def _variant(finding: Finding) -> tuple[str, bool]:
    return finding.method, finding.targets == "attention"


def _half_decade(question: StudySetting) -> float:
    return round(question.log_samples * 2) / 2


def cells_of(study: Study) -> list[QualityObservation]:
    """The cells of one study; settings without full fine-tuning need two variants to say anything."""
    level: dict[tuple[object, ...], dict[object, list[float]]] = defaultdict(lambda: defaultdict(list))
    for finding in study.findings:
        if usable(finding) and finding.full_value is None:
            level[_fine(finding)][_variant(finding)].append(finding.value)
    gathered: dict[tuple[object, ...], list[tuple[Finding, StudySetting, float]]] = defaultdict(list)
    for finding in study.findings:
        if not usable(finding):
            continue
        if finding.full_value is not None:
            effect = finding.value - finding.full_value
        else:
            effect = finding.value - fmean(fmean(scores) for scores in level[_fine(finding)].values())
        question = question_of(finding)
        referenced = finding.full_value is not None
        key = (
            finding.table,
            finding.model,
            question.architecture,
            question.task_type,
            finding.samples_printed if finding.samples is None else _half_decade(question),
            referenced,
            finding.method,
            question.attention_only,
        )
        gathered[key].append((finding, question, effect))
    cells = [_cell(study.id, key, rows) for key, rows in gathered.items()]
    variants: dict[str, int] = defaultdict(int)
    for cell in cells:
        variants[cell.setting] += 1
    return [cell for cell in cells if cell.referenced or variants[cell.setting] > 1]


def _cell(study: str, key: tuple[object, ...], rows: list[tuple[Finding, StudySetting, float]]) -> QualityObservation:
    referenced = bool(key[5])
    return QualityObservation(
        study=study,
        setting="|".join(str(part) for part in (study, *key[:6])),
        referenced=referenced,
        question=rows[0][1],
        effect=fmean(max(-CLIP, min(CLIP, effect)) for _, _, effect in rows),
        effects=tuple(effect for _, _, effect in rows) if referenced else (),
    )


def question_of(finding: Finding) -> StudySetting:
    """The question a finding answers, as the model sees it; not knowing whether rates were tuned counts as tuned."""
    return StudySetting(
        method=finding.method,
        architecture=finding.architecture,
        task_type=task_type_of(finding.task_type),
        samples=finding.samples,
        parameters=finding.model_parameters,
        own=float(finding.own_method is True),
        untuned=float(finding.learning_rate_tuned is False),
        attention_only=finding.targets == "attention",
    )


def all_cells(studies: Iterable[Study]) -> list[QualityObservation]:
    """Cells of every study, in the studies' order."""
    return [cell for study in studies for cell in cells_of(study)]


def usual(cells: Iterable[QualityObservation]) -> StudyDefaults:
    """What the studies of these cells usually are, each study counting once; nothing is usual where there is none."""
    tells: dict[str, set[str]] = defaultdict(set)
    proposes: dict[str, set[str]] = defaultdict(set)
    untuned: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        tells[cell.question.method].add(cell.study)
        untuned[cell.study].append(cell.question.untuned)
        if cell.question.own:
            proposes[cell.question.method].add(cell.study)
    # A study is asked only of methods that no other study proposes: of the rest the answer is known.
    open_to: dict[str, list[bool]] = defaultdict(list)
    for method, studies in tells.items():
        for study in studies:
            if not proposes[method] - {study}:
                open_to[study].append(study in proposes[method])
    return StudyDefaults(
        own_share=fmean(fmean(owns) for _, owns in sorted(open_to.items())) if open_to else 0.0,
        untuned_share=fmean(fmean(values) for _, values in sorted(untuned.items())) if untuned else 0.0,
        proposed=frozenset(method for method, studies in proposes.items() if studies),
    )
