"""Which methods there are, how they are found, and whether a recipe that names one is legal. No torch."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import TYPE_CHECKING, Any

from advisor.catalog.methods.batching_rules import against_batching
from advisor.catalog.methods.method import Method, Option
from advisor.catalog.methods.peft_types import installed_peft_types, peft_version
from advisor.catalog.methods.unlisted_peft import generic_method
from advisor.catalog.methods.with_images import against_images
from advisor.domain.plain_values import is_sequence
from advisor.errors import IllegalRecipe, UnknownName

if TYPE_CHECKING:
    from advisor.domain.model import ModelSpec
    from advisor.domain.recipe import Recipe
    from advisor.domain.request.vocabulary import Task
    from advisor.domain.workload import Workload

MODULES: tuple[str, ...] = (
    "full",
    "lora",
    "rslora",
    "dora",
    "qlora",
    "adalora",
    "ia3",
    "prompt_tuning",
    "prefix_tuning",
    "p_tuning",
    "layernorm_tuning",
    "bitfit",
    "vera",
    "oft",
    "adapter_houlsby",
    "adapter_pfeiffer",
    "pissa",
    "olora",
    "eva",
    "corda",
    "lora_ga",
    "loftq",
    "mica",
    "lora_plus",
    "lora_fa",
    "alora",
    "bd_lora",
    "kasa",
    "velora",
    "monteclora",
    "orthogonal_lora",
    "loha",
    "lokr",
    "boft",
    "hra",
    "miss",
    "randlora",
    "fourierft",
    "waveft",
    "c3a",
    "road",
    "shira",
    "delora",
    "gralora",
    "hira",
    "lily",
    "adamss",
    "frod",
    "deft",
    "glora",
    "peanut",
    "psoft",
    "pvera",
    "vblora",
    "unilora",
    "tinylora",
    "beft",
    "osf",
    "supertuning",
    "trainable_tokens",
    "llama_adapter",
    "cpt",
    "cartridge",
    "shadow",
    "multitask_prompt_tuning",
    "poly",
    "xlora",
    "adapter_series",
    "adapter_parallel",
    "adapter_scaled_parallel",
    "adapter_drop",
    "compacter",
    "compacter_plus",
    "krona",
    "ssf",
    "red",
    "loreft",
    "direft",
    "fish",
    "diff_pruning",
    "partial",
    "linear_probe",
    "embeddings",
    "cross_attention",
    "dylora",
    "nola",
    "svft",
    "mam",
    "unipelt",
    "galore",
)
"""One line a method: the file of this folder that holds its METHOD, in the order they are listed to people."""


@cache
def methods() -> tuple[Method, ...]:
    """Every method: those with a file, then those that only the installed peft knows (a conservative entry)."""
    written = tuple(importlib.import_module(f"advisor.catalog.methods.{name}").METHOD for name in MODULES)
    known = {m.peft_type for m in written}
    found = tuple(generic_method(name) for name in installed_peft_types() if name not in known)
    return written + found


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


@cache
def _names() -> dict[str, Method]:
    """Every spelling a method answers to; its own name wins over another's alias, the earlier over the later."""
    spellings: dict[str, Method] = {}
    for method in methods():
        spellings.setdefault(_plain(method.name), method)
    for method in methods():
        for name in (*method.evidence_names, method.title):
            spellings.setdefault(_plain(name), method)
    for method in methods():
        if method.peft_type is not None and not method.adapter_marks:
            spellings.setdefault(_plain(method.peft_type), method)
            spellings.setdefault(_plain(method.peft_type).replace("-", ""), method)
    return spellings


def find_method(name: str) -> Method:
    """The method of that name; its title, peft's name (`LORA`) and studies' names (`adapter_houlsby`) do too.

    Raises:
        UnknownName: nobody calls a method so; the error says the near names.
    """
    found = _names().get(_plain(name))
    if found is None:
        known = sorted({m.name for m in methods()} | set(_names()))
        raise UnknownName.of("method", name, known, list_with="advisor methods")
    return found


def _bears(config: Mapping[str, Any], key: str, mark: Any) -> bool:
    value = config.get(key)
    if mark is True:
        # an empty object asks for a variant with its own defaults (kasa_config)
        return bool(value) or value == {} or (key == "init_lora_weights" and value is True)
    if isinstance(value, str) and isinstance(mark, str):
        return value.lower() == mark or value.lower().startswith(f"{mark}_")
    return bool(value == mark)


def method_for_adapter_config(config: Mapping[str, Any]) -> Method:
    """The method that a peft `adapter_config.json` describes, LoRA's variants told apart by their settings.

    Raises:
        IllegalRecipe: no `peft_type`, or one that neither the catalogue nor the installed peft knows.
    """
    peft_type = str(config.get("peft_type") or "").upper().rpartition(".")[2]
    candidates = [m for m in methods() if m.peft_type == peft_type]
    if not candidates:
        known = sorted({m.peft_type for m in methods() if m.peft_type})
        near = difflib.get_close_matches(peft_type, known, n=3, cutoff=0.5)
        said = f"peft_type {config.get('peft_type')!r}" if peft_type else "no peft_type"
        raise IllegalRecipe(
            f"adapter config with {said}",
            cause=f"installed peft knows: {', '.join(known)}",
            hints=[f"near names: {', '.join(near)}"] if near else [],
            peft_type=config.get("peft_type"),
            near=near,
        )
    marked = [
        m for m in candidates if m.adapter_marks and all(_bears(config, k, v) for k, v in m.adapter_marks.items())
    ]
    plain = [m for m in candidates if not m.adapter_marks and m.default_base == "dtype" and m.optimizer is None]
    return (sorted(marked, key=lambda m: -len(m.adapter_marks)) or plain or candidates)[0]


def options_of(method: Method, given: Mapping[str, Any]) -> dict[str, Any]:
    """The method's options with `given` in the place of defaults; an `alpha` of None becomes twice the rank.

    Raises:
        IllegalRecipe: an option the method has not, of the wrong type, or not positive where it must be.
    """
    unknown = [name for name in given if name not in method.options]
    if unknown:
        near = difflib.get_close_matches(unknown[0], method.options, n=3, cutoff=0.5)
        takes = ", ".join(method.options) or "none"
        raise IllegalRecipe(
            f"{method.name} has no option {unknown[0]!r}",
            cause=f"its options: {takes}",
            hints=_instead_of_option(method, near),
            method=method.name,
            option=unknown[0],
        )
    options = {name: given.get(name, option.default) for name, option in method.options.items()}
    for name, option in method.options.items():
        if name in given:
            _check_option(method, name, option, given[name])
    if "alpha" in options and options["alpha"] is None and "rank" in options:
        options["alpha"] = 2 * options["rank"]
    return options


def _instead_of_option(method: Method, near: list[str]) -> list[str]:
    if near:
        return [f"near names: {', '.join(near)}"]
    if method.peft_type is not None:
        return ["--adapter-config FILE passes any setting of peft"]
    return [f"to see its options: advisor methods {method.name}"]


def _check_option(method: Method, name: str, option: Option, value: Any) -> None:
    wrong = _wrong_number(option, value) if option.low is not None else _wrong_choice(name, option, value)
    if not wrong:
        return
    hints = [f"default: {name} = {option.default}"]
    if option.low is not None and option.high is not None:
        hints.append(f"usual range: {option.low:g} to {option.high:g}")
    raise IllegalRecipe(
        f"{method.name}: {name} = {value!r} {wrong}", hints=hints, method=method.name, option=name, value=value
    )


def _wrong_number(option: Option, value: Any) -> str:
    if value is None:
        return "" if option.default is None else "is not a number"
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return "is not a number"
    if isinstance(option.default, int) and not isinstance(option.default, bool) and value != int(value):
        return "is not a whole number"
    if value < 0 or (value == 0 and option.low is not None and option.low > 0):
        return "must be positive"
    return "must not exceed 1" if option.high is not None and option.high <= 1 < value else ""


def _wrong_choice(name: str, option: Option, value: Any) -> str:
    if is_sequence(value):
        held = tuple(value)
        if name.startswith("target_") and not (held and all(isinstance(one, str) and one for one in held)):
            return "must name at least one layer, each by a text"
        return ""
    named = name == "target_modules" and isinstance(value, str)
    if not option.choices or named or value in option.choices:
        return ""
    return f"must be one of {', '.join(map(str, option.choices))}"


def _why_not(method: Method, spec: ModelSpec, recipe: Recipe, task: Task) -> tuple[str, list[str]] | None:
    """The first reason against, and what to do instead."""
    if method.cannot:
        return method.cannot, []
    if method.peft_type is not None and method.peft_type not in installed_peft_types():
        have = peft_version()
        return f"it needs peft {method.needs_peft} or newer, installed is {have}", ["to install: pip install -U peft"]
    if spec.architecture not in method.architectures:
        others = [
            m.name for m in methods() if m.core and m.family == method.family and spec.architecture in m.architectures
        ]
        where = ", ".join(sorted(method.architectures))
        return f"{spec.name} is {_article(spec.architecture)} model; it runs on {where}", _instead(others)
    if spec.architecture == "denoiser" and (reason := against_denoiser(method, recipe)):
        return reason, _instead([m.name for m in methods() if m.core and not against_denoiser(m, recipe)])
    if method.prompt and spec.task_class in ("ImageClassification", "SpeechSeq2Seq"):
        others = [m.name for m in methods() if m.core and not m.prompt and spec.architecture in m.architectures]
        takes = "pixels" if spec.task_class == "ImageClassification" else "audio features"
        return f"{spec.name} takes {takes}, and peft puts prompts before token embeddings", _instead(others)
    if task not in method.tasks:
        others = [m.name for m in methods() if m.core and m.family == method.family and task in m.tasks]
        return f"it cannot learn {task}; it learns {', '.join(sorted(method.tasks))}", _instead(others)
    from advisor.catalog.models.checkpoint import stored_base

    stored = stored_base(spec)
    if stored is not None and stored not in method.bases:
        return not_on_stored(method, spec), ["nearest legal choice: --method qlora", "or the model before quantisation"]
    if stored is not None and recipe.base != stored:
        return f"the checkpoint is stored in {stored} and cannot be loaded as a base in {recipe.base}", [
            f"nearest legal choice: --base {stored}"
        ]
    if recipe.base not in method.bases:
        others = [m.name for m in methods() if m.core and recipe.base in m.bases]
        return f"it does not run on a base in {recipe.base}, only in {', '.join(sorted(method.bases))}", [
            f"nearest legal choice: --base {method.default_base}",
            *_instead(others),
        ]
    if spec.model_type in _TRANSPOSED and not method.transposed:
        others = [m.name for m in methods() if m.core and m.family == method.family and m.transposed]
        return f"{spec.name} holds its weights transposed (Conv1D), which peft's {method.name} does not", _instead(
            others
        )
    if recipe.gradient_checkpointing and not method.checkpointing:
        return "it does not work under gradient checkpointing", ["nearest legal choice: --no-gradient-checkpointing"]
    reason = method.refuse(spec, recipe, task) if method.refuse is not None else None
    return (reason, []) if reason else None


def against_denoiser(method: Method, recipe: Recipe) -> str:
    """Why a method does not run on a diffusion model here; "" where it does."""
    if method.prompt:
        return "a diffusion model takes latents, and peft puts prompts before token embeddings"
    if method.needs_data:
        return "it starts from batches of training rows, and those of a diffusion model are not read here"
    if method.peft_type is None and method.family != "full":
        return "its module is advisor's own, made for blocks of language models"
    if recipe.base != "dtype" or method.default_base != "dtype":
        return "quantised diffusion models are not modelled"
    return ""


def not_on_stored(method: Method, spec: ModelSpec) -> str:
    """Why a method cannot train on a checkpoint that bitsandbytes quantised."""
    from advisor.catalog.models.checkpoint import stored_base

    what = f"the checkpoint is stored in {stored_base(spec)}"
    if method.family in ("full", "selective"):
        return f"{what}: quantised weights cannot be trained, only adapters beside them"
    return f"{what}, on which {method.name} does not run"


_TRANSPOSED = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


def _article(architecture: str) -> str:
    return f"an {architecture}" if architecture.startswith("e") else f"a {architecture}"


def _instead(names: list[str]) -> list[str]:
    return [f"methods that can: {', '.join(names[:5])}"] if names else []


def prompt_length(recipe: Recipe) -> int:
    """Tokens that the recipe's method puts before every sample, 0 without a prompt: each takes a position."""
    method = find_method(recipe.method)
    if not method.prompt:
        return 0
    config = recipe.adapter_config
    options = {name: recipe.options.get(name, option.default) for name, option in method.options.items()}
    length = options.get("virtual_tokens") if config is None else config.get("num_virtual_tokens")
    text = options.get("tokens") if config is None else config.get("cpt_token_ids")
    # what is neither is refused where options and configs are checked
    return length if isinstance(length, int) else len(text) if is_sequence(text) else 0


def longest(spec: ModelSpec, recipe: Recipe, task: Task, field: str) -> int | None:
    """Most tokens that a sample's `seq_len` or `target_len` may have beside the prompt; None: no limit is known.

    Past keys and values take positions no less than embeddings do, of the decoder where there is one.

    Source: peft 0.21.2 on transformers 5.23: with a table of positions the first sample too long fails, with rotary
    ones it goes beyond what the model was trained on.
    """
    cached = task == "seq2seq" and find_method(recipe.method).prompt == "cache"
    if spec.context_length is None or field != ("target_len" if cached else "seq_len"):
        return spec.context_length
    return spec.context_length - prompt_length(recipe)


def _beyond_context(spec: ModelSpec, recipe: Recipe, workload: Workload) -> tuple[str, list[str]] | None:
    """Why a prompt and the sample it stands before do not fit the model's context, and what does."""
    context, prompt = spec.context_length, prompt_length(recipe)
    for field, length in (("seq_len", workload.seq_len), ("target_len", workload.target_len)):
        most = longest(spec, recipe, workload.task, field)
        if length and context and most is not None and most < length and most < context:
            hints = [f"nearest legal choice: --{field.replace('_', '-')} {most}"] if most > 0 else []
            if length < context:
                hints.append(f"or a prompt of at most {context - length} tokens")
            return f"its prompt of {prompt} tokens and {field} {length} exceed the context, {context} tokens", hints
    return None


def check_recipe(spec: ModelSpec, recipe: Recipe, workload: Workload) -> Method:
    """The recipe's method, once it is sure that it may run on this model, base, task and length.

    Raises:
        UnknownName: no such method.
        IllegalRecipe: the reason it cannot run, and the nearest legal choice.
    """
    method = find_method(recipe.method)
    against = _why_not(method, spec, recipe, workload.task) or _beyond_context(spec, recipe, workload)
    against = against or against_batching(recipe, workload)
    if against is None and workload.images is not None:
        against = against_images(method, recipe)
    if against is not None:
        reason, hints = against
        raise IllegalRecipe(
            f"{method.name} cannot fine-tune {spec.name} so: {reason}",
            hints=hints,
            method=method.name,
            model=spec.name,
            reason=reason,
        )
    if recipe.adapter_config is None:
        options_of(method, recipe.options)
    return method
