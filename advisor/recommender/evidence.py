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
from advisor.errors import UnknownName
from advisor.recommender.question import Question

SCHEDULES: Final = ("cosine", "linear", "constant", "constant_with_warmup")
"""Schedules that transformers' Trainer takes without further arguments."""


def with_settings(question: Question, names: Sequence[str]) -> Question:
    """The question with each method's options and training settings, from evidence and catalogue."""
    options: dict[str, dict[str, Any]] = {}
    training: dict[str, dict[str, Any]] = {}
    for name in names:
        method = find_method(name)
        known = {setting.name: setting for setting in published(question, name)}
        options[name] = _moved_options(method, known)
        training[name] = _training(method, known)
    return question.model_copy(update={"options": options, "training": training})


def with_usual_length(question: Question) -> Question:
    """The epochs, where nobody gave them, moved into the range published for LoRA on such data.

    One length for all methods, so that their costs compare; LoRA's, because most runs are known of it.
    """
    usual = next((s for s in published(question, "lora") if s.name == "epochs"), None)
    if question.request.epochs is not None or usual is None:
        return question
    epochs = _within(question.workload.epochs, usual)
    if epochs == question.workload.epochs:
        return question
    note = f"epochs: {epochs:g}, since published runs on such data take {usual.low:g} to {usual.high:g}"
    workload = question.workload.model_copy(update={"epochs": float(epochs)})
    return question.model_copy(update={"workload": workload, "notes": (*question.notes, note)})


def published(question: Question, name: str) -> tuple[Setting, ...]:
    """What studies and repositories set for this method; none where nobody published any."""
    from advisor.estimator.settings import recommend_settings

    try:
        return recommend_settings(
            name,
            architecture=question.spec.architecture,
            model_parameters=question.spec.parameters,
            hidden_size=question.spec.hidden,
            task_type=question.workload.task_type,
            samples=question.workload.samples,
        )
    except UnknownName:
        return ()


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


def _training(method: Method, known: Mapping[str, Setting]) -> dict[str, Any]:
    """Fields of a recipe: learning rate, schedule, warm-up, weight decay."""
    fields: dict[str, Any] = {}
    rate = known["learning_rate"].value if "learning_rate" in known else method.learning_rate.default
    if isinstance(rate, (int, float)) and rate > 0:
        fields["learning_rate"] = float(rate)
    for name in ("warmup_ratio", "weight_decay"):
        value = known[name].value if name in known else None
        # below this it moves no weight by a bf16 step, and the optimizer's step would be another one
        if isinstance(value, (int, float)) and (value >= 1e-4 or name == "warmup_ratio"):
            fields[name] = float(value)
    if "schedule" in known and known["schedule"].value in SCHEDULES:
        fields["schedule"] = known["schedule"].value
    return fields


def settings_of(question: Question, choice: Candidate) -> tuple[Setting, ...]:
    """Every hyperparameter as priced: value, range to search, where it comes from, conflicts among sources."""
    recipe, workload = choice.recipe, choice.workload
    method = find_method(recipe.method)
    known = {setting.name: setting for setting in published(question, recipe.method)}
    used: dict[str, Any] = {"learning_rate": recipe.learning_rate, **options_of(method, recipe.options)}
    used["effective_batch_size"] = workload.effective_batch_size
    used["epochs"] = workload.epochs
    used["steps"] = workload.optimizer_steps()
    for name in ("warmup_ratio", "schedule", "weight_decay"):
        used[name] = getattr(recipe, name)
    catalogued = {"learning_rate": method.learning_rate, **method.options}
    return tuple(
        _as_used(name, value, known.get(name), catalogued.get(name))
        for name, value in used.items()
        if value is not None
    )


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
