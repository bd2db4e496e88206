"""attach(): put a recipe's adapter on a model, with peft itself or with a module of our own; freeze the rest."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from torch import nn

from advisor.assembly import peft_checks as refusals
from advisor.assembly import peft_compatibility as compatibility
from advisor.assembly.adapters import data_driven_init as starts
from advisor.assembly.adapters import module_search as layers
from advisor.assembly.adapters.peft_on_meta import meta_safe, settle_forward
from advisor.catalog.methods import check_recipe, find_method, method_for_adapter_config, options_of
from advisor.catalog.methods.method import Method
from advisor.catalog.models.tasks import PEFT_TASK_TYPES, peft_task_type
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_list
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Task
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger("advisor")


def attach(
    model: nn.Module,
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    start: starts.AdapterStart = starts.AdapterStart(),  # noqa: B008, frozen
) -> nn.Module:
    """As `attach_and_tell`, which says what comes of the adapter; here notices go to the log.

    Raises: as there.
    """
    made = attach_and_tell(model, spec, workload, recipe, start)
    for notice in made.notices:
        _log.warning(notice)
    return made.model


@dataclass(frozen=True, slots=True)
class AttachedModel:
    """A model with its adapter, what of its config is not as it reads, and the tied weights changed on one side only.

    `tied` are paths in the bare model.
    """

    model: nn.Module
    notices: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()


def attach_and_tell(
    model: nn.Module,
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    start: starts.AdapterStart = starts.AdapterStart(),  # noqa: B008, frozen
) -> AttachedModel:
    """The model with the recipe's adapter on it, only what the method trains requiring gradients.

    `model` is a transformers model on meta, cpu or cuda, its linear layers quantised or not; it is changed in
    place. Adapters of a 16-bit base are float32, as peft makes them. A new classification head is trained too.
    `start` gives a method that starts from data its rows, or the start it had; without, only costs can be measured.

    Raises:
        UnknownName: no such method.
        IllegalRecipe: the method cannot run on this model, base or task, or its settings do not fit the model.
    """
    if recipe.adapter_config is not None:
        recipe = recipe.model_copy(update={"method": method_for_adapter_config(recipe.adapter_config).name})
    method = check_recipe(spec, recipe, workload)
    if method.prompt == "cache":
        layers.refuse_without_cache(model, method.name)
    if method.attach is not None:
        model.requires_grad_(False)
        options = options_of(method, recipe.options)
        attached: nn.Module = _load(method.attach)(model, spec, workload, recipe, options)
        train_heads(attached)
        if method.needs_data:
            starts.after_attaching(attached, start, method)
        return AttachedModel(attached)
    config = peft_config(spec, workload, recipe, model)
    tied = compatibility.adapted_tied(model, config) if _names_modules(recipe) else []
    notices = _notices(model, spec, workload, recipe, config, tied)
    reads = method.needs_data or start.saved is not None
    if reads:
        config = starts.before_attaching(model, config, start, method, on_meta=_on_meta(model))
    attached = _with_peft(model, config, method)
    if reads:
        starts.after_attaching(attached, start, method)
    if method.after is not None:
        _load(method.after)(attached, recipe.options)
    if recipe.optimizer.replace("-", "").replace("_", "") == "lorafa":
        freeze_lora_a(attached, {})
    return AttachedModel(attached, notices, tuple(tied))


def _load(address: str) -> Callable[..., Any]:
    module, _, name = address.partition(":")
    return getattr(importlib.import_module(module), name)


def train_heads(model: nn.Module) -> None:
    """Let a new classification head learn: it has no pre-trained values. peft's own models see to theirs."""
    if hasattr(model, "peft_config"):
        return
    for name in layers.heads(model):
        model.get_submodule(name).requires_grad_(True)


def freeze_lora_a(model: nn.Module, options: Mapping[str, Any]) -> None:
    """LoRA-FA trains B only (arXiv:2308.03303)."""
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)


def _on_meta(model: nn.Module) -> bool:
    return any(p.device.type == "meta" for p in model.parameters())


def _with_peft(model: nn.Module, config: Any, method: Method) -> nn.Module:
    from peft import get_peft_model

    on_meta = _on_meta(model)
    if on_meta and str(getattr(config, "prompt_tuning_init", "")).rpartition(".")[2].upper() == "TEXT":
        # which values a prompt starts from costs nothing, and its text would need the tokenizer at hand
        config.prompt_tuning_init = "RANDOM"
    try:
        with meta_safe() if on_meta else starts.exact_bases():
            attached = cast("nn.Module", get_peft_model(cast("PreTrainedModel", model), config))
    except AttributeError as refused:
        if method.prompt != "input":
            raise
        raise _no_embeddings(model, method) from refused
    except (ValueError, TypeError, NotImplementedError, LookupError, AssertionError) as refused:
        unsupported = compatibility.unsupported_target(model, config, method, refused)
        if unsupported is not None:
            raise unsupported from refused
        raise IllegalRecipe(
            f"peft refuses {method.name} with these settings on {type(model).__name__}",
            cause=str(refused).strip().splitlines()[0] if str(refused).strip() else type(refused).__name__,
            hints=[f"to see its options: advisor methods {method.name}"],
            method=method.name,
        ) from refused
    if method.prompt == "input" and getattr(attached, "word_embeddings", model) is None:
        raise _no_embeddings(model, method)
    if on_meta:
        _follow_the_base(attached)
        settle_forward(attached)
    # a cast re-registers AdaLoRA's constant current rank as a trainable parameter (peft 0.21.2)
    for name, parameter in attached.named_parameters():
        if ".ranknum." in name:
            parameter.requires_grad_(False)
    return attached


def _no_embeddings(model: nn.Module, method: Method) -> IllegalRecipe:
    """peft looks for token embeddings in the last of the model's parts that is a model itself (0.21.2)."""
    return IllegalRecipe(
        f"{method.name}: peft finds no token embeddings in {type(model).__name__}, before which a prompt would stand",
        hints=["nearest legal choice: --method lora"],
        method=method.name,
    )


def _follow_the_base(model: nn.Module) -> None:
    """Put trained parameters that peft left on the CPU where a real run has them: with the base weights.

    peft stops moving a parameter dict once it finds a meta tensor in it, which a real device never is.
    """
    owners = [(m, name, p) for m in model.modules() for name, p in m.named_parameters(recurse=False)]
    moved: dict[int, nn.Parameter] = {}
    for owner, name, parameter in owners:
        if parameter.requires_grad and parameter.device.type == "cpu":
            moved.setdefault(id(parameter), nn.Parameter(parameter.to("meta")))
            setattr(owner, name, moved[id(parameter)])


def peft_config(spec: ModelSpec, workload: Workload, recipe: Recipe, model: nn.Module | None = None) -> Any:
    """peft's config object for a recipe: from the method's options, or from the user's own adapter config.

    With a model, groups of targets become module names and wrong names are refused; without one, a group
    stays as written (`all-linear` is peft's own word for it).

    Raises:
        IllegalRecipe: no such peft_type here, targets the model does not have, or settings peft refuses.
    """
    if recipe.adapter_config is not None:
        settings, _ = adapter_settings(recipe.adapter_config, spec, workload.task)
        method = method_for_adapter_config(recipe.adapter_config)
    else:
        method = find_method(recipe.method)
        options = options_of(method, recipe.options)
        build = method.peft_options
        settings = {} if build is None else build(spec, options)
        settings = {k: v for k, v in settings.items() if v is not None}
        settings["task_type"] = peft_task_type(spec, workload.task)
        if model is not None:
            if spec.task_class == "ImageClassification" and "modules_to_save" in _fields(str(method.peft_type)):
                # without a task type peft does not know that the head is new
                settings["modules_to_save"] = layers.heads(model)
            _name_targets(model, settings, method)
            if method.prompt == "input":
                embeddings = cast("nn.Embedding", cast("PreTrainedModel", model).get_input_embeddings())
                # peft guesses the hidden size, which is not the embeddings' width in every family
                settings["token_dim"] = embeddings.weight.shape[1]
                settings |= {"num_layers": spec.layers, "num_attention_heads": spec.heads}
    refusals.refuse_wrong_values(_config_class(str(method.peft_type)), settings, method)
    config = _config(str(method.peft_type), settings, method)
    if model is not None:
        built = compatibility.rewritten(config, model, method)
        names = {"target_modules", "target_parameters"} if compatibility.fused_targets(config, built)[0] else ()
        matched = settings | {name: getattr(built, name) for name in names}
        if recipe.adapter_config is not None:
            refusals.refuse_absent_targets(model, method, matched)
        refusals.refuse_wide_ranks(model, method, matched)
    return config


def _notices(
    model: nn.Module, spec: ModelSpec, workload: Workload, recipe: Recipe, config: Any, tied: list[str]
) -> tuple[str, ...]:
    """What of a user's own adapter config does not count on this bare model, or counts for more than it says, in words.

    `tied`: the tied weights that the adapter changes on one side only.
    """
    if not _names_modules(recipe):
        return ()
    told: list[str] = []
    method = find_method(recipe.method)
    if recipe.adapter_config is not None:
        settings, notices = adapter_settings(recipe.adapter_config, spec, workload.task)
        told += notices
        for name in refusals.unmatched_whole_modules(model, settings):
            told.append(f"adapter config: modules_to_save {name!r} matches nothing in this model")
    gone, parameters = compatibility.fused_targets(config, compatibility.rewritten(config, model, method))
    if gone:
        told.append(
            f"target_modules {', '.join(gone)}: the installed transformers holds these as fused parameters "
            f"({', '.join(parameters)}), and the installed peft adapts those"
        )
    if tied:
        told.append(compatibility.tied_notice(tied))
    return tuple(told)


def _names_modules(recipe: Recipe) -> bool:
    """Whether the recipe names modules itself; groups of targets never mean the embeddings, the head or experts."""
    if recipe.adapter_config is not None:
        return True
    return find_method(recipe.method).attach is None and isinstance(recipe.options.get("target_modules"), str | list)


def adapter_settings(config: Mapping[str, Any], spec: ModelSpec, task: Task) -> tuple[dict[str, Any], list[str]]:
    """A user's adapter config as keywords for the installed peft, and what had to be left out or added, in words.

    Raises:
        IllegalRecipe: the peft_type is unknown to the installed peft, or the task_type cannot run on this model.
    """
    method = method_for_adapter_config(config)
    known = _fields(str(method.peft_type))
    notices = [
        f"adapter config: {key} = {value!r} is unknown to the installed peft and left out"
        for key, value in config.items()
        if key not in known and key != "peft_type" and value
    ]
    settings = {
        k: v for k, v in config.items() if k in known and k not in ("peft_type", "auto_mapping", "inference_mode")
    }
    if settings.get("task_type") and spec.task_class == "SpeechSeq2Seq":
        raise IllegalRecipe(
            f"adapter config: task_type {settings['task_type']!r} does not work on {spec.name}",
            cause="peft's model of that type passes input_ids, and a speech model takes input_features",
            hints=["leave task_type out: peft then passes on what it is given"],
            task_type=settings["task_type"],
        )
    if not settings.get("task_type") and peft_task_type(spec, task) and (task != "causal-lm" or method.prompt):
        settings["task_type"] = PEFT_TASK_TYPES[task]
        notices.append(f"adapter config: no task_type; {PEFT_TASK_TYPES[task]} taken, as the task is {task}")
    return settings, notices


def _config_class(peft_type: str) -> Any:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils.peft_types import PeftType

    try:
        return PEFT_TYPE_TO_CONFIG_MAPPING[PeftType[peft_type]]
    except KeyError:
        raise IllegalRecipe(
            f"the installed peft has no {peft_type}", hints=["to install: pip install -U peft"]
        ) from None


def _fields(peft_type: str) -> set[str]:
    return {field.name for field in dataclasses.fields(_config_class(peft_type)) if field.init}


def _config(peft_type: str, settings: Mapping[str, Any], method: Method) -> Any:
    try:
        return _config_class(peft_type)(**settings)
    except (ValueError, TypeError, NotImplementedError, AttributeError, KeyError, ImportError) as refused:
        raise IllegalRecipe(
            f"peft refuses these settings of {method.name}",
            cause=str(refused).strip().splitlines()[0] if str(refused).strip() else type(refused).__name__,
            hints=[f"to see its options: advisor methods {method.name}"],
            method=method.name,
        ) from refused


def _name_targets(model: nn.Module, settings: dict[str, Any], method: Method) -> None:
    wanted = settings.get("target_modules")
    if wanted == "all-norms":
        settings["target_modules"] = layers.norms(model)
    elif isinstance(wanted, str) or is_list(wanted):
        # peft itself turns some names into parameters of fused experts: they are left to it
        fused = [] if wanted in layers.GROUPS else compatibility.fused_names(model, _listed(wanted), method)
        rest = wanted if wanted in layers.GROUPS else [name for name in _listed(wanted) if name not in fused]
        chosen = layers.select(model, rest) if rest or not fused else []
        settings["target_modules"] = [*fused, *layers.suffixes(model, chosen)]
        if settings.pop("_rescale_inputs", False):
            ends = {place.exit for place in layers.sublayers(model) if place.kind == "feed-forward"}
            settings["feedforward_modules"] = layers.suffixes(model, [path for path in chosen if path in ends])


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
