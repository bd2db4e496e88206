"""Hyperparameters to start from: the catalogue's where published settings agree with it, else theirs.

What a published setting was worth depends on so much that one inside the published range is not improved by
moving to its median; and a rank or a dropout decides memory, so it is moved only with cause. The learning
rate, which decides no memory and most of the quality, is the evidence's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from advisor.catalog.methods import find_method, options_of
from advisor.catalog.methods.method import Method, Option
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Setting
from advisor.domain.units import plural
from advisor.literature.hyperparameters.denoising_rates import denoising_settings
from advisor.literature.hyperparameters.objective_rates import objective_settings
from advisor.literature.hyperparameters.speech_rates import speech_settings
from advisor.literature.hyperparameters.training_length import (
    converging_batch,
    converging_epochs,
    fields_for_short_training,
    steps_needed,
    too_short,
    training_fields,
)
from advisor.recommender.recommend_request import ResolvedRequest

OF_OBJECTIVES: Final = ("num_generations", "beta", "loss_type", "cpo_alpha", "simpo_gamma")
"""Settings of an objective that no recipe holds."""
YARDSTICK: Final = "lora"
"""The method whose trainings set the length for all."""


def with_settings(question: ResolvedRequest, names: Sequence[str]) -> ResolvedRequest:
    """The question with each method's options and training settings, from evidence and catalogue."""
    options: dict[str, dict[str, Any]] = {}
    training: dict[str, dict[str, Any]] = {}
    for name in names:
        method = find_method(name)
        known = {setting.name: setting for setting in _published(question, name)}
        options[name] = _moved_options(method, known)
        training[name] = training_fields(method, known)
        if _too_short(question):
            training[name], options[name] = fields_for_short_training(
                method, training[name], options[name], question.workload, question.spec.hidden
            )
    return question.model_copy(update={"options": options, "training": training})


def with_usual_length(question: ResolvedRequest) -> ResolvedRequest:
    """Epochs, where nobody gave them, that converge within what was published for LoRA on such data; else the batch.

    One length for all methods, so that their costs compare; LoRA's, because most runs are known of it.
    """
    request, workload = question.request, question.workload
    if workload.objective != "sft" or workload.task == "denoising":
        return question
    update: dict[str, Any] = {}
    note = ""
    if request.epochs is None:
        update["epochs"], note = converging_epochs(YARDSTICK, workload, _published(question, YARDSTICK))
    elif request.effective_batch_size is None:
        update["effective_batch_size"], note = converging_batch(YARDSTICK, workload)
    if not note:
        return question
    return question.model_copy(
        update={"workload": workload.model_copy(update=update), "notes": (*question.notes, note)}
    )


def short_training_note(question: ResolvedRequest) -> tuple[str, ...]:
    """What is told of a training that the user wants shorter than it takes to converge."""
    if not _too_short(question):
        return ()
    steps, needed = question.workload.optimizer_steps(), steps_needed(YARDSTICK, question.workload)
    return (
        f"length: {plural(steps or 0, 'step')}, where {YARDSTICK} needs about {needed:,} to converge; what needs more "
        f"than it gets is set to learn faster, and the quality expected is of trainings that converge",
    )


def _too_short(question: ResolvedRequest) -> bool:
    """Whether the length the user asked for leaves LoRA, the yardstick of all, unconverged."""
    if question.request.epochs is None or question.workload.objective != "sft":
        return False
    if question.workload.task == "denoising":
        return False
    own_head = any(setting.name == "head_learning_rate" for setting in _published(question, YARDSTICK))
    return too_short(YARDSTICK, question.workload, own_head=own_head)


def _published(question: ResolvedRequest, name: str) -> tuple[Setting, ...]:
    if question.workload.objective != "sft":
        return objective_settings(find_method(name), question.workload.objective)
    if question.spec.task_class == "SpeechSeq2Seq":
        return speech_settings(find_method(name))
    if question.spec.task_class == "Denoising":
        return denoising_settings(find_method(name))
    # imported here: reading the published settings takes longer than many an answer
    from advisor.literature.hyperparameters.suggest import settings_published_for

    return settings_published_for(name, question.spec, question.workload)


def _moved_options(method: Method, known: Mapping[str, Setting]) -> dict[str, Any]:
    """The numeric options whose default lies outside the published range, moved to its nearer end."""
    moved: dict[str, Any] = {}
    for name, option in method.options.items():
        default, setting = option.default, known.get(name)
        if setting is None or isinstance(default, bool) or not isinstance(default, (int, float)):
            continue
        inside = _within(default, setting)
        if inside != default:
            moved[name] = round(inside) if isinstance(default, int) else inside
    return moved


def _within(value: float, setting: Setting) -> float:
    low = value if setting.low is None else setting.low
    high = value if setting.high is None else setting.high
    return min(max(value, low), high)


def settings_of(question: ResolvedRequest, choice: Candidate) -> tuple[Setting, ...]:
    """Every hyperparameter as priced: value, range to search, where it comes from, conflicts among sources."""
    recipe, workload = choice.recipe, choice.workload
    method = find_method(recipe.method)
    known = {setting.name: setting for setting in _published(question, recipe.method)}
    used: dict[str, Any] = {"learning_rate": recipe.learning_rate, **options_of(method, recipe.options)}
    used["effective_batch_size"] = workload.effective_batch_size
    used["epochs"] = workload.epochs
    used["steps"] = workload.optimizer_steps()
    for name in ("head_learning_rate", "warmup_ratio", "schedule", "weight_decay"):
        used[name] = getattr(recipe, name)
    catalogued = {"learning_rate": method.learning_rate, **method.options}
    own = [known[name] for name in OF_OBJECTIVES if name in known]
    if workload.rollout is not None:
        as_asked = {name: getattr(workload.rollout, name) for name in ("num_generations", "beta")}
        own = [one.model_copy(update={"value": as_asked.get(one.name, one.value)}) for one in own]
    said = [
        _as_used(name, value, known.get(name), catalogued.get(name))
        for name, value in used.items()
        if value is not None
    ]
    return (*said, *own)


def _as_used(name: str, value: Any, setting: Setting | None, option: Option | None) -> Setting:
    """The value used, with what was published about it, else with what the catalogue says."""
    if setting is not None:
        said = setting.why if setting.value == value else f"published: {_short(setting.value)}, {setting.why}"
        return setting.model_copy(update={"value": value, "why": said})
    if option is None:
        return Setting(name=name, value=value, why="advisor's default or yours")
    source = f"{option.source.address} {option.source.where}".strip()
    return Setting.model_validate(
        {
            "name": name,
            "value": value,
            "low": option.low,
            "high": option.high,
            "choices": tuple(str(choice) for choice in option.choices),
            "why": option.says or "the catalogue's default",
            "sources": (source,) if source else (),
        }
    )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
