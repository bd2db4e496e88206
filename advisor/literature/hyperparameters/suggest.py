"""Hyperparameters for one method on one task, from what others found or ship, each with its sources.

Every published setting weighs by how it came to be (found best > recommended > ... > library default), how
near its architecture, model size, task and data size are, and how many its repository already gave: one
repository with 300 example files speaks with one voice, not 300. The value is the weighted median of the
settings (the mode, for words), the range their weighted 10-90 %, and where they disagree the answer says so.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from advisor.catalog.findings.method_names import KIND_OF, our_name
from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.findings.task_types import task_type_of
from advisor.catalog.hyperparameters.published_settings import load_settings
from advisor.catalog.methods import find_method, options_of
from advisor.domain.model import ModelSpec
from advisor.domain.recommendation import Setting
from advisor.domain.units import plural
from advisor.domain.workload import Workload
from advisor.errors import BadRequest, UnknownName
from advisor.literature.evidence_architecture import evidence_architecture
from advisor.literature.hyperparameters.rate_law import RateQuestion, effective_alpha, law_rate
from advisor.literature.hyperparameters.steps_to_converge import fewest_steps
from advisor.literature.hyperparameters.weighting import (
    SettingQuery,
    WeightedSetting,
    count_sources,
    numbers_of,
    quantile,
    repository,
    tried_rates,
    weighted_settings,
)
from advisor.literature.quality.features import architecture_of

SHOWN_SOURCES: Final = 4
WELL_PUBLISHED: Final = 5
"""Voices enough that single runs at several rates need not be asked as well."""


def recommend_settings(
    method: str,
    *,
    architecture: str,
    model_parameters: int | None,
    hidden_size: int | None = None,
    model_type: str = "",
    task_type: str | None = None,
    samples: int | None = None,
    effective_batch_size: int | None = None,
    steps: int | None = None,
    lora_alpha: float | None = None,
) -> tuple[Setting, ...]:
    """Learning rate (a new head's too), rank, alpha, dropout, targets, batch, length, warm-up, schedule, weight decay.

    Only settings that the method has and that somebody published are answered: none is without a source.

    Args:
        hidden_size: width of the residual stream; with it a decoder's rate is the law's (rate_law), else a median.
        model_type: of the model's config; batch, steps and alpha (at the scale alpha / rank) bear on the law alone.

    Raises:
        UnknownName: the method, architecture or task type is unknown.
        BadRequest: a size is not positive.
    """
    for name, value in (("model_parameters", model_parameters), ("samples", samples), ("hidden_size", hidden_size)):
        if value is not None and value <= 0:
            raise BadRequest(f"{name} must be at least 1, not {value}", field=name, value=value)
    query = SettingQuery(
        our_name(method),
        architecture_of(architecture),
        model_parameters,
        task_class(task_type),
        samples,
    )
    law = None
    if hidden_size is not None and query.architecture == "decoder":
        law = law_rate(RateQuestion(query.method, model_type, hidden_size, effective_batch_size, steps, lora_alpha))
    found: list[Setting | None] = [_learning_rate(query, law), _head_learning_rate(query)]
    if KIND_OF[query.method] == "low rank":
        rank = _number(query, "rank", whole=True)
        found += [rank, _alpha(query, rank), _number(query, "dropout", log=False), _targets(query)]
    found += [_number(query, "num_virtual_tokens", whole=True), _number(query, "reduction_factor", whole=True)]
    batch = _number(query, "effective_batch_size", whole=True)
    epochs = _number(query, "epochs")
    found += [batch, *_duration(query, epochs, batch)]
    found += [_number(query, "warmup_ratio", log=False), _word(query, "schedule")]
    found.append(_number(query, "weight_decay", log=False))
    return tuple(one for one in found if one is not None)


def settings_published_for(name: str, spec: ModelSpec, workload: Workload) -> tuple[Setting, ...]:
    """What studies and repositories set for a method on such a model and task; none where nobody published any."""
    try:
        return recommend_settings(
            name,
            architecture=evidence_architecture(spec),
            model_parameters=spec.parameters,
            hidden_size=spec.hidden,
            model_type=str(spec.text_config.get("model_type") or spec.model_type),
            task_type=workload.task_type,
            samples=workload.samples,
            effective_batch_size=workload.effective_batch_size,
            steps=workload.optimizer_steps(),
            lora_alpha=_catalogued_alpha(name),
        )
    except UnknownName:
        return ()


def _catalogued_alpha(name: str) -> float | None:
    """The alpha that a recipe of the method has unless somebody changes it, at LoRA's scale; None without one."""
    method = find_method(name)
    options = options_of(method, {})
    alpha, rank = options.get("alpha"), options.get("rank")
    if not isinstance(alpha, (int, float)) or not isinstance(rank, int):
        return None
    return effective_alpha(alpha, rank, rank_stabilised="use_rslora" in method.adapter_marks)


def task_class(task_type: str | None) -> str | None:
    """The coarse class settings are grouped by; None where no task is told. Raises UnknownName."""
    if task_type is None:
        return None
    task_type = task_type_of(task_type)
    if task_type in ("math", "code", "reasoning", "pretraining"):
        return "skill"
    if task_type in ("NLG", "summarization", "translation"):
        return "generation"
    if task_type in ("instruction", "preference", "vision"):
        return task_type
    return "understanding"


def _number(
    query: SettingQuery, setting: str, *, whole: bool = False, log: bool = True, least: float = 0.0
) -> Setting | None:
    """The weighted median; what lies below `least` is not chosen from while anything else is said, but shown."""
    heard = weighted_settings(query, setting)
    if setting == "learning_rate" and count_sources(heard) < WELL_PUBLISHED:
        heard += tried_rates(query)
    numbers = numbers_of(heard, positive=log)
    if not numbers:
        return None
    values = [(value, weight) for value, weight, _ in numbers]
    values = [one for one in values if one[0] >= least] or values
    value, low, high = (quantile(values, level) for level in (0.5, 0.1, 0.9))
    shape: Callable[[float], float] = round if whole else float
    return Setting(
        name=setting,
        value=shape(value),
        low=shape(low),
        high=shape(high),
        why=_why(heard, query),
        sources=_sources(numbers, value),
        conflict=_conflict(numbers, value, ratio=4.0 if log else None),
    )


def _sources(numbers: Sequence[tuple[float, float, str]], value: float) -> tuple[str, ...]:
    """The loudest addresses, those that gave the very value first, one a repository."""
    ranked = sorted(numbers, key=lambda one: (one[0] != value, -one[1], one[2]))
    found: dict[str, str] = {}
    for _, _, source in ranked:
        found.setdefault(repository(source), source)
    return tuple(found.values())[:SHOWN_SOURCES]


def _why(heard: Sequence[WeightedSetting], query: SettingQuery) -> str:
    own = {one.method for one in load_settings().settings} >= {query.method}
    who = f"weighted median of {len(heard)} settings from {count_sources(heard)} repositories and papers"
    return who if own else f"{who}; none is of {query.method} itself"


def _conflict(numbers: Sequence[tuple[float, float, str]], value: float, ratio: float | None) -> str:
    """Heavy settings far from the value, named; empty when there are none. `ratio` None: any other value is far."""
    total = sum(weight for _, weight, _ in numbers)
    against: dict[float, tuple[float, str]] = {}
    for other, weight, source in numbers:
        far = other != value if ratio is None else max(other, value) > ratio * min(other, value)
        if far:
            sum_so_far = against.get(other, (0.0, source))
            against[other] = (sum_so_far[0] + weight, sum_so_far[1])
    loud = sorted(((w, v, s) for v, (w, s) in against.items() if w > 0.12 * total), reverse=True)
    return "; ".join(f"{v:g} in {repository(s)}" for _, v, s in loud[:3])


def _learning_rate(query: SettingQuery, law: Setting | None) -> Setting | None:
    # Few new parameters never learned at a lower rate than all the old ones; a run that tried it shows as conflict.
    fulls = None if query.method == "full" else _number(SettingQuery("full", *_rest(query)), "learning_rate")
    least = fulls.value if fulls and isinstance(fulls.value, float) and KIND_OF[query.method] != "partial" else 0.0
    found = _number(query, "learning_rate", least=least) or _rate_of_findings(query)
    # a classifier's head is not what the law was searched on: full fine-tuning of decoders to classify takes less
    if law is not None and not (query.method == "full" and query.task == "understanding"):
        return _with_median(law, found)
    if found is None or not isinstance(found.value, float):
        return found
    value, low, high = found.value, found.low or found.value, found.high or found.value
    low, high = min(low, value / 3), max(high, value * 3)
    why = found.why
    if fulls is not None and isinstance(fulls.value, float):
        why += f"; {value / fulls.value:.3g} times full fine-tuning's {fulls.value:g} here"
    return found.model_copy(update={"low": low, "high": high, "why": why})


def _with_median(law: Setting, median: Setting | None) -> Setting:
    """The law's rate, and what most use where that is another: they use it at every batch and width."""
    if median is None or not isinstance(median.value, float) or not isinstance(law.value, float):
        return law
    if max(law.value, median.value) <= 1.5 * min(law.value, median.value):
        return law
    return law.model_copy(update={"conflict": f"{median.value:g}, {median.why}, whatever batch and width"})


def _head_learning_rate(query: SettingQuery) -> Setting | None:
    """Of a new head beside an adapter, of encoders: nobody published one for decoders, whose heads are far wider.

    Where old weights move too, or a method is the head itself, the one learning rate was found for all of them.
    """
    beside = KIND_OF[query.method] not in ("full", "none", "partial", "mask")
    if query.architecture != "encoder" or query.task not in (None, "understanding") or not beside:
        return None
    found = _number(query, "head_learning_rate")
    return found and found.model_copy(update={"why": f"{found.why}, of a new head beside an adapter"})


def _rest(query: SettingQuery) -> tuple[str, int | None, str | None, int | None]:
    return query.architecture, query.parameters, query.task, query.samples


def _rate_of_findings(query: SettingQuery) -> Setting | None:
    """Rates that methods without published settings were run with, the best-scoring first."""
    runs = [
        (finding.learning_rate, finding.value - (finding.full_value or 0.0), finding.address, study.title)
        for study in load_studies()
        for finding in study.findings
        if finding.method == query.method and finding.learning_rate and finding.aspect == "quality"
    ]
    if not runs:
        return None
    rates = [rate for rate, _, _, _ in runs]
    best = max(runs, key=lambda run: run[1])
    return Setting(
        name="learning_rate",
        value=best[0],
        low=min(rates),
        high=max(rates),
        why=f"the rate of the best of {len(runs)} published runs ({best[3]}); nobody published a search",
        sources=tuple(dict.fromkeys(address for _, _, address, _ in runs))[:SHOWN_SOURCES],
    )


def _alpha(query: SettingQuery, rank: Setting | None) -> Setting | None:
    if rank is None or not isinstance(rank.value, int):
        return None
    heard = [
        weighted
        for weighted in weighted_settings(query, "alpha")
        if "2" in str(weighted.value) and not _is_number(weighted.value)
    ]
    numbers = numbers_of(weighted_settings(query, "alpha"), positive=True)
    sources = tuple(dict.fromkeys(weighted.source for weighted in heard))[:SHOWN_SOURCES]
    if not sources:
        return _number(query, "alpha", whole=True)
    usual = quantile([(value, weight) for value, weight, _ in numbers], 0.5) if numbers else 2.0 * rank.value
    conflict = "" if usual == 2 * rank.value else f"the weighted median of printed values is {usual:g}"
    return Setting(
        name="alpha",
        value=2 * rank.value,
        low=rank.value,
        high=4 * rank.value,
        why="twice the rank: crucial from rank 64 on and harmless below; rsLoRA divides by sqrt(rank) instead",
        sources=sources,
        conflict=conflict,
    )


def _is_number(value: float | str) -> bool:
    return isinstance(value, float)


def _targets(query: SettingQuery) -> Setting | None:
    """All linear layers, with who says so; configurations that adapt attention alone are the conflict."""
    heard = weighted_settings(query, "target_modules")
    every = [weighted for weighted in heard if weighted.value in ("all-linear", "all")]
    fewer = [weighted for weighted in heard if weighted not in every]
    studies = [
        study.url
        for study in load_studies()
        if study.id in ("georgian2023", "biderman2024", "qlora2023")
        and any(finding.targets == "all" or finding.targets == "attention" for finding in study.findings)
    ]
    if not every and not studies:
        return None
    loudness: dict[str, float] = defaultdict(float)
    for weighted in fewer:
        loudness[str(weighted.value)] += weighted.weight
    shown = sorted(loudness, key=lambda modules: (-loudness[modules], modules))
    return Setting(
        name="target_modules",
        value="all-linear",
        choices=("all-linear", *shown[:3]),
        why="attention alone lost 8-19 points at a few hundred samples and is behind at equal parameters",
        sources=tuple(dict.fromkeys([*studies, *(weighted.source for weighted in every)]))[:SHOWN_SOURCES],
        conflict=f"many configurations adapt less: {', '.join(shown[:2])}" if shown else "",
    )


def _word(query: SettingQuery, setting: str) -> Setting | None:
    heard = [weighted for weighted in weighted_settings(query, setting) if isinstance(weighted.value, str)]
    if not heard:
        return None
    weight: dict[str, float] = defaultdict(float)
    for weighted in heard:
        weight[str(weighted.value)] += weighted.weight
    ranked = sorted(weight, key=lambda word: (-weight[word], word))
    sources = [weighted.source for weighted in sorted(heard, key=lambda v: -v.weight) if weighted.value == ranked[0]]
    close = [word for word in ranked[1:] if weight[word] > 0.25 * weight[ranked[0]]]
    return Setting(
        name=setting,
        value=ranked[0],
        choices=tuple(ranked[:4]),
        why=f"the most heard of {len(heard)} settings from {count_sources(heard)} repositories and papers",
        sources=tuple({repository(source): source for source in sources}.values())[:SHOWN_SOURCES],
        conflict=f"also heard: {', '.join(close)}" if close else "",
    )


def _duration(query: SettingQuery, epochs: Setting | None, batch: Setting | None) -> list[Setting | None]:
    """Epochs, and the steps they come to; few samples need more epochs, or the method has not converged."""
    if epochs is None or query.samples is None or batch is None or not isinstance(batch.value, int):
        return [epochs, fewest_steps(query.method, query.task)]
    least = fewest_steps(query.method, query.task, batch.value)
    a_epoch = math.ceil(query.samples / batch.value)
    usual = float(epochs.value) if isinstance(epochs.value, (int, float)) else 3.0
    steps = math.ceil(a_epoch * usual)
    if least is None or not isinstance(least.value, int) or steps >= least.value:
        source = least.sources if least else epochs.sources
        why = f"{plural(usual, 'epoch')} of {plural(a_epoch, 'step')} at batch {batch.value}"
        return [epochs, Setting(name="steps", value=steps, why=why, sources=source)]
    needed = math.ceil(least.value / a_epoch)
    longer = epochs.model_copy(
        update={
            "value": float(needed),
            "high": max(float(needed), epochs.high or 0.0),
            "why": f"{usual:g} epochs are {steps:,} steps; {query.method} needs about {least.value:,} to converge",
            "conflict": f"usual are {usual:g} epochs; many passes over few instruction samples have hurt",
        }
    )
    return [longer, least.model_copy(update={"value": needed * a_epoch})]
