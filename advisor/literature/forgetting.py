"""What a method made its model forget, against full fine-tuning in the same setting, as studies measured it."""

from __future__ import annotations

from collections import defaultdict
from statistics import fmean

from advisor.catalog.findings.method_names import our_name
from advisor.catalog.findings.study_files import load_studies
from advisor.domain.findings import Finding
from advisor.domain.stored import Value


class Forgetting(Value):
    """One study's word on one measure. `kept` > 0: the method forgot less than full fine-tuning, in `unit`."""

    study: str
    url: str
    measure: str
    unit: str
    kept: float
    settings: int
    better_in: int


def forgetting(method: str) -> tuple[Forgetting, ...]:
    """Each study's mean difference to full fine-tuning, most settings first; empty where nobody measured it.

    Measures are not pooled: points of benchmark accuracy and nats of loss are not one thing.

    Raises:
        UnknownName: the method is unknown.
    """
    name = our_name(method)
    found: list[Forgetting] = []
    for study in load_studies():
        kept: dict[tuple[str, str], list[float]] = defaultdict(list)
        for finding in study.findings:
            if finding.method == name and finding.aspect == "forgetting" and finding.full_value is not None:
                kept[finding.metric, finding.unit].append(_kept(finding, finding.full_value))
        found += [
            Forgetting(
                study=study.id,
                url=study.url,
                measure=measure,
                unit=unit,
                kept=round(fmean(values), 4),
                settings=len(values),
                better_in=sum(value > 0 for value in values),
            )
            for (measure, unit), values in kept.items()
        ]
    return tuple(sorted(found, key=lambda one: (-one.settings, one.study)))


def _kept(finding: Finding, full: float) -> float:
    return finding.value - full if finding.higher_is_better else full - finding.value
