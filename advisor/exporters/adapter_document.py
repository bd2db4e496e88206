"""A recipe's adapter as peft's `adapter_config.json`, and the recipe's options back from one. No torch, no model.

Groups of targets become module names by the catalogue's own list; what a method does beyond its config (an optimizer
of its own, parameters frozen after attaching, a start drawn from rows) no such file can say.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from advisor.catalog.methods import find_method, method_for_adapter_config, options_of
from advisor.catalog.methods.method import Method
from advisor.catalog.models.target_names import group_of, target_names
from advisor.catalog.models.tasks import peft_task_type
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Task
from advisor.errors import AdvisorError, IllegalRecipe

GROUPS: Final = ("all-linear", "attention", "attention-qv", "attention-v", "mlp", "keys-values-mlp", "all-norms")
SAYS_NOTHING: Final = frozenset(
    "base_model_name_or_path inference_mode auto_mapping revision peft_version task_type".split()  # noqa: SIM905
)
"""Keys that peft writes into every file and that change nothing of the training."""
_SAME_AS_ABSENT: Final[Mapping[str, Any]] = {
    "bias": "none",
    "init_lora_weights": True,
    "init_weights": True,
    "qalora_group_size": 16,
}
"""Values that LoRA's relatives take where a key is absent (peft 0.21.2)."""

_ASKED_BY_EMPTY: Final = ("kasa_config",)
"""Keys whose empty object asks for a variant with its own defaults."""


def adapter_document(spec: ModelSpec, task: Task, recipe: Recipe) -> dict[str, Any]:
    """The adapter config of a recipe whose method peft implements.

    Raises:
        IllegalRecipe: the method is not peft's, or its targets have no known names in this architecture.
    """
    if recipe.adapter_config is not None:
        return {**recipe.adapter_config, "base_model_name_or_path": spec.name}
    method = find_method(recipe.method)
    if method.peft_type is None:
        raise IllegalRecipe(
            f"{method.name} is advisor's own implementation: no adapter_config.json describes it",
            hints=["to train it: advisor tune"],
            method=method.name,
        )
    return {
        "peft_type": method.peft_type,
        "task_type": peft_task_type(spec, task),
        "base_model_name_or_path": spec.name,
        **_settings(method, spec, recipe.options),
    }


def _settings(method: Method, spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    build = method.peft_options
    made = {} if build is None else build(spec, options_of(method, options))
    made = {key: value for key, value in made.items() if value is not None}
    wanted, rescales = made.get("target_modules"), made.pop("_rescale_inputs", False)
    if isinstance(wanted, str) and wanted not in GROUPS:
        made["target_modules"] = [wanted]  # a text is a pattern to peft, and a name to us
    elif isinstance(wanted, str):
        made["target_modules"] = _named(method, spec, wanted)
        if rescales:
            made["feedforward_modules"] = _named(method, spec, "feed-forward-ends")
    return made


def _named(method: Method, spec: ModelSpec, group: str) -> list[str] | str:
    found = target_names(spec, group)
    if found is None:
        raise IllegalRecipe(
            f"{method.name}: which modules of {spec.name} are {group} is not written down for {spec.model_type}",
            hints=["name them: --target-modules q_proj,v_proj"],
            method=method.name,
            model=spec.name,
        )
    return found


def options_from(document: Mapping[str, Any], spec: ModelSpec, task: Task) -> tuple[Method, dict[str, Any]] | None:
    """The method of an adapter config and the options that make exactly this config; None where no options do.

    Raises:
        IllegalRecipe: no method has this peft_type.
    """
    method = method_for_adapter_config(document)
    if method.peft_type is None or method.peft_options is None:
        return None
    settings = _plain(document)
    options: dict[str, Any] = {}
    for option, key in _keys_of(method, spec).items():
        if key in settings:
            options[option] = settings[key]
        elif method.options[option].default is not None:
            return None  # peft's own default stands there, and it may be another than ours
    targets = options.get("target_modules")
    if isinstance(targets, str) or is_list(targets):
        options["target_modules"] = group_of(spec, targets) or targets
    try:
        again = adapter_document(spec, task, Recipe.model_validate({"method": method.name, "options": options}))
    except AdvisorError:
        return None
    if targets == "all-linear":
        document = {**document, "target_modules": again["target_modules"]}  # peft's own word for the group
    if _comparable(again) != _comparable(document):
        return None
    return method, options


def _keys_of(method: Method, spec: ModelSpec) -> dict[str, str]:
    """Option -> peft's key for it, found by changing one option at a time and looking which key follows."""
    assert method.peft_options is not None
    defaults = options_of(method, {})
    found: dict[str, str] = {}
    for name, value in defaults.items():
        probe = _probe(value)
        try:
            made = method.peft_options(spec, {**defaults, name: probe})
        except (TypeError, ValueError, KeyError, AttributeError):
            continue
        key = next((key for key, built in made.items() if built == probe and type(built) is type(probe)), None)
        if key is not None:
            found[name] = key
    return found


def _probe(default: Any) -> Any:
    """A value that no default of another key equals."""
    if isinstance(default, bool):
        return "\0probe"
    if isinstance(default, float):
        return 0.123456789
    if isinstance(default, list):
        return ["\0probe"]
    return "\0probe" if isinstance(default, str) else 987_654_321


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in SAYS_NOTHING and key != "peft_type"}


def _comparable(document: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config decides: nothing empty, no default, names in order."""
    kept: dict[str, Any] = {}
    for key, value in _plain(document).items():
        empty = value is None or value is False or value == [] or (value == {} and key not in _ASKED_BY_EMPTY)
        if empty or _SAME_AS_ABSENT.get(key) == value:
            continue
        kept[key] = sorted(value) if key.endswith("_modules") and is_list(value) else value
    return kept


def module_names(value: list[str] | str | None) -> list[str] | str | None:
    """Target modules as peft takes them: one plain name becomes a list, a pattern stays the text it is."""
    return [value] if isinstance(value, str) and value != "all-linear" and re.fullmatch(r"[\w.]+", value) else value


def lora_settings(
    spec: ModelSpec, task: Task, recipe: Recipe, known: Collection[str], *, patterns: bool = False
) -> tuple[dict[str, Any], str]:
    """What a recipe's LoRA adapter says in peft's keys, and why a tool that has these keys cannot take it ("": it can).

    A whole alpha is an int, which most tools insist on.

    Args:
        known: peft's keys that the tool has a word for.
        patterns: the tool takes a pattern of module paths, too.
    """
    try:
        document = adapter_document(spec, task, recipe)
    except AdvisorError as error:
        return {}, error.message
    if document.get("peft_type") != "LORA":
        return {}, f"it trains LoRA and its variants only, not {recipe.method}"
    # where a config is silent peft's own defaults hold (peft 0.21, LoraConfig), not the tool's
    said = {"r": 8, "lora_alpha": 8, "lora_dropout": 0.0, **_comparable(document)}
    strange = [key for key in said if key not in known]
    if strange:
        return {}, f"it has no word for {strange[0]} = {said[strange[0]]!r}"
    targets = said.get("target_modules")
    if isinstance(targets, str) and targets != "all-linear" and not patterns:
        return {}, f"it takes names of modules, and those of {spec.name} take a pattern to say"
    alpha = said.get("lora_alpha")
    if isinstance(alpha, float) and alpha.is_integer():
        said["lora_alpha"] = int(alpha)
    return said, ""
