"""Every study of the catalogue, checked against the laws that make studies comparable.

A newcomer adds a study by adding `studies/<id>.json`. What the laws refuse: two studies with one id, a file
not named after its id, an unknown method or task type, a size of 0, fractions among percentages, a metric where
lower is better that does not say so, a finding without an address.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from advisor import store
from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.task_types import task_type_of
from advisor.domain.findings import Finding, Study
from advisor.errors import BadFile, UnknownName

COST: Final = "cost"
"""The task type of findings that tell what a run cost, whatever its task."""

FOLDER: Final = Path(__file__).parent / "studies"

LOWER_IS_BETTER: Final = ("loss", "perplexity", "ppl", "ter", "wer", "cer", "error", "rmse", "mae", "drift", "fid")
"""Words of metrics that fall as models improve; a finding with such a metric must say `higher_is_better: false`."""

_MIXED_SHARE: Final = 0.2
"""A collapsed run may truly score 0.09 points; one value in five that small is a fraction in disguise."""


def read_study(path: Path, laws: bool = True) -> Study:
    """One study file, validated and held to the laws (`laws`).

    Raises:
        BadFile: unreadable, another schema, a missing or impossible field, or a broken law; says which.
    """
    study = store.read(Study, path)
    broken = broken_laws(study) if laws else []
    if study.id != path.stem:
        broken.insert(0, f"its id is {study.id!r}, so the file must be {study.id}.json")
    if broken:
        raise BadFile(
            f"study {path.name} breaks a law: {broken[0]}",
            cause=f"{len(broken)} broken in all",
            path=str(path),
            broken=broken,
        )
    return study


def broken_laws(study: Study) -> list[str]:
    """What is wrong with a study that is well-formed, one sentence each; empty when nothing is."""
    broken: list[str] = []
    if not study.findings:
        broken.append("it holds no finding")
    if not study.url.startswith(("https://", "http://")) and not study.own:
        broken.append(f"url {study.url!r} is not an address")
    seen: set[tuple[object, ...]] = set()
    for number, finding in enumerate(study.findings):
        broken.extend(f"finding {number} ({finding.method}, {finding.task}): {law}" for law in _of_finding(finding))
        key = (*identity(finding), finding.value, finding.note)
        if key in seen:
            broken.append(f"finding {number} ({finding.method}, {finding.task}) is there twice")
        seen.add(key)
    return broken + _fractions(study.findings)


def identity(finding: Finding) -> tuple[object, ...]:
    """What a finding is a result of: two findings of one study with equal identity repeat each other."""
    return (
        finding.table,
        finding.model,
        finding.task,
        finding.samples,
        finding.samples_printed,
        finding.method,
        finding.settings,
        finding.trainable_parameters,
        finding.learning_rate,
        finding.training,
        finding.metric,
        finding.aspect,
    )


def _of_finding(finding: Finding) -> list[str]:
    broken: list[str] = []
    if not finding.address.strip():
        broken.append("no address says where the figure was read")
    try:
        if our_name(finding.method) != finding.method:
            broken.append(f"method {finding.method!r} must be written {our_name(finding.method)!r}")
    except UnknownName as problem:
        broken.append(problem.message)
    if finding.task_type != COST:
        try:
            task_type_of(finding.task_type)
        except UnknownName as problem:
            broken.append(problem.message)
    elif finding.aspect == "quality":
        broken.append("a quality is of a task: task_type cost is for what runs cost")
    if finding.higher_is_better and finding.aspect in ("quality", "curve") and _falls(finding.metric):
        broken.append(f"metric {finding.metric!r}: lower is better, so it must say higher_is_better: false")
    if finding.unit == "points" and finding.aspect in ("quality", "curve"):
        for name, value in (("value", finding.value), ("full_value", finding.full_value)):
            if value is not None and not -100 <= value <= 100:
                broken.append(f"{name} {value} is outside 0-100 points; give `unit` if it is not in points")
    return broken


@cache
def _falls(metric: str) -> bool:
    """Whether a metric's name says that less of it is better."""
    return any(word in LOWER_IS_BETTER for word in metric.lower().replace("_", " ").replace("(", " ").split())


def _fractions(findings: Iterable[Finding]) -> list[str]:
    """Metrics whose values look like fractions, or like fractions beside percentages."""
    by_metric: dict[str, list[float]] = defaultdict(list)
    for finding in findings:
        if finding.unit == "points" and finding.aspect in ("quality", "curve"):
            by_metric[finding.metric] += [v for v in (finding.value, finding.full_value) if v]
    broken: list[str] = []
    for metric, values in by_metric.items():
        small = sum(abs(v) <= 1 for v in values)
        if small == len(values):
            broken.append(f"metric {metric!r} is printed as a fraction: multiply by 100 and say printed_times: 100")
        elif small > _MIXED_SHARE * len(values):
            broken.append(f"metric {metric!r} holds percentages beside fractions: {small} of {len(values)} are <= 1")
    return broken


def read_folder(folder: Path, laws: bool = True) -> tuple[Study, ...]:
    """Every study of a folder, in the order of their ids, held to the laws (`laws`).

    Raises:
        BadFile: a study is not valid, or two files hold one id.
    """
    found: dict[str, Study] = {}
    for path in sorted(folder.glob("*.json")):
        study = read_study(path, laws)
        if study.id in found:
            raise BadFile(f"two studies have the id {study.id!r}", path=str(path))
        found[study.id] = study
    return tuple(found[key] for key in sorted(found))


@cache
def load_studies() -> tuple[Study, ...]:
    """All studies that ship and the user's own, read once a process (about 0.2 s for some 11,000 findings).

    Those that ship are validated, but held to the laws by the tests alone: that takes half of the time.
    """
    own = [read_folder(place) for place in store.folders("findings")]
    return merged(read_folder(FOLDER, laws=False), [study for studies in own for study in studies])


def merged(shipped: Iterable[Study], own: Iterable[Study]) -> tuple[Study, ...]:
    """Shipped studies and a user's own; an id that both use is refused rather than overwritten."""
    found = {study.id: study for study in shipped}
    for study in own:
        if study.id in found:
            raise BadFile(
                f"two studies have the id {study.id!r}", hints=["give your own study another id"], id=study.id
            )
        found[study.id] = study
    return tuple(found[key] for key in sorted(found))
