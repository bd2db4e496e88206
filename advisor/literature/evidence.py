"""The evidence itself: which findings bear on a question, what they say, and many predictions at once."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import Field

from advisor.catalog.findings.method_names import KIND_OF, our_name
from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.findings.task_types import task_type_of
from advisor.domain.candidate import Quality
from advisor.domain.findings import Finding, Study
from advisor.domain.plain_values import is_object
from advisor.domain.request.catalogue_options import FINDINGS_SHOWN
from advisor.domain.request.typed_numbers import short, size_of
from advisor.domain.request.validation import check_choice
from advisor.domain.request.vocabulary import Aspect
from advisor.domain.stored import Value
from advisor.errors import AdvisorError, BadRequest
from advisor.literature.quality.features import architecture_of
from advisor.literature.quality.quality_prediction import predict_quality


class Bearing(Value):
    """One finding and its study, its effect against full fine-tuning in points, and how near the question it is."""

    study: str
    url: str
    finding: Finding
    effect: float | None
    nearness: float = Field(ge=0, le=1)


class Evidence(Value):
    """What bears on a question: the nearest findings first, out of `total`, and the prediction drawn from all."""

    bearing: tuple[Bearing, ...]
    total: int
    studies: tuple[str, ...]
    prediction: Quality | None = None


def evidence(
    method: str | None = None,
    *,
    task_type: str | None = None,
    architecture: str | None = None,
    model_parameters: int | None = None,
    samples: int | None = None,
    study: str | None = None,
    aspect: str = "quality",
    limit: int | None = FINDINGS_SHOWN,
) -> Evidence:
    """Findings that match, nearest to the question first; with a method and an architecture, the prediction too.

    Raises:
        UnknownName: the method, task type, architecture, aspect or study is unknown.
        BadRequest: a size is not positive.
    """
    check_choice("aspect", aspect, get_args(Aspect))
    _positive(model_parameters=model_parameters, samples=samples)
    name = our_name(method) if method else None
    kind = task_type_of(task_type) if task_type else None
    shape = architecture_of(architecture) if architecture else None
    studies = load_studies()
    if study is not None:
        studies = _one_study(study, studies)
    found = [
        Bearing(
            study=one.id,
            url=one.url,
            finding=finding,
            effect=_effect(finding),
            nearness=_nearness(finding, kind, shape, model_parameters, samples),
        )
        for one in studies
        for finding in one.findings
        if (name is None or finding.method == name)
        and finding.aspect == aspect
        and (kind is None or task_type_of_finding(finding) == kind)
        and (shape is None or finding.architecture == shape)
    ]
    found.sort(key=lambda bearing: (-bearing.nearness, bearing.study, bearing.finding.table))
    prediction = None
    if name is not None and KIND_OF[name] != "none" and shape is not None and aspect == "quality":
        prediction = predict_quality(
            name, architecture=shape, model_parameters=model_parameters, task_type=kind, samples=samples
        )
    return Evidence(
        bearing=tuple(found if limit is None else found[:limit]),
        total=len(found),
        studies=tuple(dict.fromkeys(bearing.study for bearing in found)),
        prediction=prediction,
    )


def task_type_of_finding(finding: Finding) -> str | None:
    """Our task type of a finding; None for costs, which have none."""
    return None if finding.task_type == "cost" else task_type_of(finding.task_type)


def _one_study(study: str, studies: tuple[Study, ...]) -> tuple[Study, ...]:
    from advisor.errors import UnknownName

    wanted = study.lower().replace("_", "-")
    found = tuple(one for one in studies if one.id == wanted)
    if not found:
        raise UnknownName.of("study", study, [one.id for one in studies], list_with="advisor evidence --studies")
    return found


def _positive(**sizes: int | None) -> None:
    for name, value in sizes.items():
        if value is not None and value <= 0:
            raise BadRequest(f"{name} must be at least 1, not {value}", field=name, value=value)


def _effect(finding: Finding) -> float | None:
    """Points by which a finding is better than full fine-tuning in its setting, whichever way its metric goes."""
    if finding.full_value is None or finding.unit != "points":
        return None
    effect = finding.value - finding.full_value
    return round(effect if finding.higher_is_better else -effect, 6)


def _nearness(
    finding: Finding, task_type: str | None, architecture: str | None, parameters: int | None, samples: int | None
) -> float:
    """1 where sizes agree, falling by e for each decade between them; unknown sizes count as a decade away.

    Findings without full fine-tuning beside them say less, suspect ones and those of another paper least.
    """
    away = 0.0
    for mine, theirs in ((parameters, finding.model_parameters), (samples, finding.samples)):
        if mine is not None:
            away += abs(math.log10(mine / theirs)) if theirs else 1.0
    if finding.suspect or finding.copied_from:
        away += 1.0
    if finding.full_value is None:
        away += 0.3
    return math.exp(-away)


def _share_or_size(value: Any, name: str, of: int | None) -> int | None:
    """A size, or a percentage of the model's ("0.29%"), which is unknown where the model's is."""
    if not isinstance(value, str) or not value.strip().endswith("%"):
        return size_of(value, name)
    try:
        share = float(value.strip()[:-1]) / 100
    except ValueError as problem:
        raise BadRequest(f"{name} must be a number or a percentage, not {short(value)}", field=name) from problem
    if not 0 < share <= 1:
        raise BadRequest(f"{name} must be above 0 % and at most 100 %, not {short(value)}", field=name)
    return None if of is None else max(1, round(of * share))


def predict_case(case: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one line of `--predict`: low, mid, high in points (90 %), the probability, the studies.

    `model_params`, `n_train_samples` and `trainable_parameters` (a number or "0.3%") may be null or missing: unknown,
    and wider for it. So may `learning_rate_tuned` and `own_method`, which then stand at their averages over
    studies. `method`, `architecture` and `task_type` may not.

    Raises:
        BadRequest, UnknownName: as `predict_quality`; also a missing or unknown key.
    """
    allowed = {
        *("architecture", "model_params", "task_type", "n_train_samples", "method", "trainable_parameters"),
        *("options", "learning_rate_tuned", "own_method", "id"),
    }
    strange = sorted(set(case) - allowed)
    if strange:
        raise BadRequest(f"unknown key: {', '.join(strange)}", hints=[f"known keys: {', '.join(sorted(allowed))}"])
    for needed in ("architecture", "task_type", "method"):
        if not isinstance(case.get(needed), str):
            raise BadRequest(f"{needed} is missing or no text", field=needed)
    for answerable in ("learning_rate_tuned", "own_method"):
        if not isinstance(case.get(answerable), (bool, type(None))):
            raise BadRequest(f"{answerable} must be true, false or null", field=answerable)
    if not isinstance(case.get("options") or {}, dict):
        raise BadRequest("options must be an object", field="options")
    parameters = size_of(case.get("model_params"), "model_params")
    quality = predict_quality(
        case["method"],
        architecture=case["architecture"],
        model_parameters=parameters,
        task_type=case["task_type"],
        samples=size_of(case.get("n_train_samples"), "n_train_samples"),
        trainable_parameters=_share_or_size(case.get("trainable_parameters"), "trainable_parameters", parameters),
        options=case.get("options"),
        learning_rate_tuned=case.get("learning_rate_tuned"),
        own_method=case.get("own_method"),
    )
    effect = quality.effect
    answer: dict[str, Any] = {
        "method": our_name(case["method"]),
        "effect": {"low": effect.low, "mid": effect.mid, "high": effect.high},
        "low": effect.low,
        "mid": effect.mid,
        "high": effect.high,
        "unit": "points",
        "within_one_point": quality.within_one_point,
        "probability": quality.within_one_point,
        "studies": quality.studies,
        "evidence": quality.evidence,
        "citations": [{"study": c.study, "url": c.url, "weight": c.weight} for c in quality.citations],
        "warnings": list(quality.warnings),
    }
    return {"id": case["id"], **answer} if "id" in case else answer


def predict_lines(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One answer a line, in order; a bad line becomes an error object, the rest go on; blank lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            try:
                case = json.loads(line)
            except (ValueError, RecursionError) as problem:
                said = getattr(problem, "msg", "a number too long or too many brackets")
                raise BadRequest(f"line {number} is not JSON: {said}", line=number) from problem
            if not is_object(case):
                raise BadRequest(f"line {number} is not a JSON object", line=number)
            yield predict_case(case)
        except AdvisorError as error:
            yield {**error.facts(), "line": number}
