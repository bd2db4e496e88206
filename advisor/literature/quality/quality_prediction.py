"""How good a method is likely to be on a new task: its effect against full fine-tuning, with the doubt left in.

Arithmetic on `calibration/quality.json` alone: no torch, no scipy, below a millisecond a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from advisor.catalog.findings.method_names import KIND_OF, our_name
from advisor.catalog.findings.task_types import task_type_of
from advisor.domain.candidate import Citation, Quality
from advisor.domain.plain_values import is_collection
from advisor.domain.quantity import Quantity
from advisor.errors import BadRequest, NoEvidence
from advisor.literature.quality.features import StudySetting, architecture_of
from advisor.literature.quality.posterior import Posterior, posterior

ATTENTION_MODULES: Final = frozenset(
    (
        *("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "out_proj", "in_proj", "query_proj", "key_proj"),
        *("value_proj", "q", "k", "v", "o", "query", "key", "value", "qkv", "Wqkv", "c_attn", "query_key_value"),
        *("q_lin", "k_lin", "v_lin", "out_lin", "self_attn", "attention"),
    )
)
"""Last parts of module names that belong to attention."""

SHOWN_STUDIES: Final = 6


def predict_quality(
    method: str,
    *,
    architecture: str,
    model_parameters: int | None,
    task_type: str | None,
    samples: int | None,
    trainable_parameters: int | None = None,
    options: Mapping[str, Any] | None = None,
    learning_rate_tuned: bool | None = None,
    own_method: bool | None = None,
) -> Quality:
    """Effect of `method` against full fine-tuning of the same model on the same data, in points (0-100).

    What a *new study* would find: where it is not said whether its authors propose the method (`own_method`) and
    whether the rate was tuned for each method, both are taken at their averages over studies. Who trains for
    himself says `own_method=False`, and `learning_rate_tuned=True` if he tunes; False asks about one rate for every
    method, which soft prompts do not survive.
    `trainable_parameters` is accepted and not used: leaving studies out showed that their number says
    nothing further once the method is known. `options["target_modules"]` is: attention alone loses at few samples.

    Returns:
        Low and high are 90 %: they held the rows of left-out studies about nine times in ten.
    Raises:
        UnknownName: the method, architecture or task type is unknown.
        BadRequest: a size is not positive.
        NoEvidence: the "method" is not to tune at all.
    """
    sizes = {"samples": samples, "model_parameters": model_parameters, "trainable_parameters": trainable_parameters}
    for name, value in sizes.items():
        if value is not None and not value > 0:
            raise BadRequest(f"{name} must be at least 1, not {value}", field=name, value=value)
    name = our_name(method)
    if KIND_OF[name] == "none":
        raise NoEvidence(
            "the untouched model is not a method: how far tuning lifts it depends on the task alone",
            hints=["the scores of untouched models: advisor evidence --method no-tuning"],
            method=name,
        )
    model = posterior()
    question = StudySetting(
        method=name,
        architecture=architecture_of(architecture),
        task_type=task_type_of(task_type) if task_type is not None else "NLU",
        samples=samples,
        parameters=model_parameters,
        own=model.usual.own(name) if own_method is None else float(own_method),
        untuned=model.usual.untuned_share if learning_rate_tuned is None else float(not learning_rate_tuned),
        attention_only=only_attention(options),
    )
    return answer(model, question)


def only_attention(options: Mapping[str, Any] | None) -> bool:
    """Whether `target_modules` names attention's projections and nothing else."""
    targets = (options or {}).get("target_modules")
    if isinstance(targets, str):
        targets = [targets]
    if not is_collection(targets) or not targets:
        return False
    return all(str(target).rsplit(".", 1)[-1] in ATTENTION_MODULES for target in targets)


@lru_cache(maxsize=4096)
def answer(model: Posterior, question: StudySetting) -> Quality:
    """The Quality of one question under one fit; kept, since every price of a recipe asks it."""
    if question.kind == "full":
        return Quality(
            effect=Quantity.exact(0.0, "score", "measured", "full fine-tuning is what effects are measured against"),
            within_one_point=1.0,
            studies=len(model.fit.studies),
            evidence="full fine-tuning is the reference: its effect is 0 by definition",
        )
    mean, scale, moves = model.answer(question)
    low, high = (_score(mean + scale * model.quantile(level)) for level in (0.05, 0.95))
    mid = min(max(mean, low), high)
    within = 1 - model.below((-1.0 - mean) / scale)
    direct = [study for study in model.fit.studies if question.method in study.methods]
    alike = [study for study in model.fit.studies if question.kind in study.kinds]
    evidence = _evidence(question, len(direct), len(alike))
    bearing = direct or alike
    return Quality(
        effect=Quantity(low=low, mid=mid, high=high, unit="score", basis="modelled", why=evidence),
        within_one_point=within,
        studies=len(direct),
        evidence=evidence,
        citations=_citations(model, moves, {study.id for study in bearing}, question),
        warnings=tuple(_warnings(question, len(direct))),
    )


def _score(points: float) -> float:
    """A difference of two scores of 0-100 points."""
    return min(max(points, -100.0), 100.0)


def _evidence(question: StudySetting, direct: int, alike: int) -> str:
    if direct:
        said = f"{direct} {'study tells' if direct == 1 else 'studies tell'} of {question.method}, {alike} of its kind"
    elif alike:
        said = f"no study of {question.method}: {alike} of its kind ({question.kind}) stand in, interval widened"
    else:
        said = f"no study of {question.method} or of its kind ({question.kind}): only what methods have in common"
    if 0 < question.own < 1:
        return f"{said}; {question.own:.0%} of new studies that tell of such a method propose it, and find it better"
    return said


def _citations(model: Posterior, moves: Any, bearing: set[str], question: StudySetting) -> tuple[Citation, ...]:
    """Studies that moved the mean most; `weight` is the share of all movement that is theirs."""
    total = sum(abs(float(move)) for move in moves) or 1.0
    ranked = sorted(zip(model.fit.studies, moves, strict=True), key=lambda pair: -abs(float(pair[1])))
    cited: list[Citation] = []
    for study, move in ranked:
        if len(cited) == SHOWN_STUDIES or abs(float(move)) < 0.005 * total:
            break
        about = question.method if study.id in bearing and question.method in study.methods else "methods like it"
        direction = "up" if move > 0 else "down"
        says = f"{study.title}: moved {about} {direction}"
        cited.append(Citation(study=study.id, url=study.url, says=says, weight=abs(float(move)) / total))
    return tuple(cited)


def _warnings(question: StudySetting, direct: int) -> list[str]:
    found: list[str] = []
    n = question.samples
    if n is None:
        found.append("the number of samples is unknown: no penalty for few samples is in this figure")
    elif question.kind == "soft prompt" and n < 1_000:
        found.append(f"soft prompts lose badly below about 1,000 samples; you have {n:,}")
    elif question.architecture == "encoder" and n < 1_000 and question.decades_below_a_billion > 0.5:
        found.append(f"small encoders trained with few parameters have collapsed at some 100 samples; you have {n:,}")
    if question.attention_only and question.architecture == "decoder" and (n is None or n < 5_000):
        found.append("attention-only targets lost 8-19 points to all linear layers at a few hundred samples")
    if not direct:
        found.append(f"no published result of {question.method} is in the catalogue")
    return found
