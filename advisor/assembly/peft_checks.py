"""What a request says against itself or against the model, found before peft is asked."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.assembly.peft_compatibility import absent_parameters
from advisor.catalog.methods.method import Method
from advisor.domain.plain_values import is_collection
from advisor.errors import IllegalRecipe

_ONE_NAME = ("ADAPTION_PROMPT",)
"""Whose `target_modules` is one name, where a text is a pattern for all others."""
_NO_LENGTH = ("CPT",)
"""Prompts as long as the tokens given."""
_HEADS = ("classifier", "score")
"""peft itself adds both names to a classifier's config, whichever the model has."""


def refuse_wrong_values(config_class: Any, settings: Mapping[str, Any], method: Method) -> None:
    """Values of a user's own config that peft would compute with and fail: texts for numbers, no prompt's length.

    Raises:
        IllegalRecipe: with the field and peft's own default.
    """
    for field in dataclasses.fields(config_class):
        value = settings.get(field.name)
        kinds = set(re.findall(r"\w+", str(field.type))) - {"Optional", "None", "class"}
        if value is not None and kinds and kinds <= {"int", "float"} and not _is_number(value):
            raise _wrong_value(method, field.name, value, "is not a number", _default(field))
    length = settings.get("num_virtual_tokens")
    has_length = "num_virtual_tokens" in {field.name for field in dataclasses.fields(config_class)}
    if has_length and method.peft_type not in _NO_LENGTH and not (isinstance(length, int) and length > 0):
        usual = method.options["virtual_tokens"].default if "virtual_tokens" in method.options else 20
        raise _wrong_value(method, "num_virtual_tokens", length, "is no length of a prompt", usual)
    highest, mean = settings.get("init_r"), settings.get("target_r")
    if isinstance(highest, int) and highest == mean and not settings.get("tinit"):
        # peft 0.21.2 asks for the 0th smallest score at the first step after tinit
        raise _wrong_value(method, "init_r", highest, "is target_r too: nothing is left to prune", highest + 1)
    if isinstance(highest, int) and isinstance(mean, int) and mean > highest:
        raise _wrong_value(method, "target_r", mean, f"is above init_r = {highest}, from which it is pruned", highest)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _default(field: Any) -> Any:
    return None if field.default is dataclasses.MISSING else field.default


def _wrong_value(method: Method, name: str, value: Any, why: str, instead: Any) -> IllegalRecipe:
    return IllegalRecipe(
        f"{method.name}: {name} = {value!r} {why}",
        hints=[f"nearest legal choice: {name} = {instead!r}"],
        method=method.name,
        option=name,
        value=value,
    )


def refuse_absent_targets(model: nn.Module, method: Method, settings: Mapping[str, Any]) -> None:
    """Names in a user's own config that match nothing: peft passes over them unless all fail.

    Raises:
        IllegalRecipe: a name, or a pattern, without a match; the error says the names there are.
    """
    wanted = settings.get("target_modules")
    if isinstance(wanted, str):
        found = _ends if method.peft_type in _ONE_NAME else _matches
        if wanted != "all-linear" and not found(wanted, model):
            raise _absent(wanted, model)
    elif is_collection(wanted):
        for name in wanted:
            if not _ends(str(name), model):
                raise _absent(str(name), model)
    for name in absent_parameters(model, settings):
        raise _absent_parameter(name, model)


def unmatched_whole_modules(model: nn.Module, settings: Mapping[str, Any]) -> list[str]:
    """Names in `modules_to_save` that the model does not have: peft passes over them in silence."""
    named: Iterable[str] = settings.get("modules_to_save") or ()
    return [name for name in named if name not in _HEADS and not _ends(str(name), model)]


def _ends(name: str, model: nn.Module) -> list[str]:
    return layers.ending_in(name, (path for path, _ in layers.named_modules(model)))


def _linear(model: nn.Module) -> list[str]:
    return [path for path, module in layers.named_modules(model) if layers.is_linear(module)]


def _matches(pattern: str, model: nn.Module) -> list[str]:
    try:
        return [path for path, _ in layers.named_modules(model) if path and re.fullmatch(pattern, path)]
    except re.error as error:
        raise IllegalRecipe(
            f"target_modules = {pattern!r} is no regular expression",
            cause=str(error),
            hints=["nearest legal choice: a list of module names, or all-linear"],
            target=pattern,
        ) from error


def _absent(name: str, model: nn.Module) -> IllegalRecipe:
    return layers.no_match(name, (path.rpartition(".")[2] for path in _linear(model)))


def _absent_parameter(name: str, model: nn.Module) -> IllegalRecipe:
    # a weight of a linear layer is adapted through its module
    known = sorted({path.rpartition(".")[2] for path, p in model.named_parameters() if p.dim() > 2})
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=3, cutoff=0.4)
    return IllegalRecipe(
        f"target parameter {name!r} matches nothing in this model",
        cause=f"its parameters of three dimensions: {', '.join(known)}" if known else "it has no fused experts",
        hints=[f"near names: {', '.join(near)}"] if near else ["leave target_parameters out, or name target_modules"],
        target=name,
        near=near,
    )


def refuse_wide_ranks(model: nn.Module, method: Method, settings: Mapping[str, Any]) -> None:
    """A rank above the width of every layer adapted is no low rank at all.

    Raises:
        IllegalRecipe: with the widest rank that is one.
    """
    if ("rank" not in method.options and "initial_rank" not in method.options) or method.any_rank:
        return
    adapted = _adapted(model, settings.get("target_modules"))
    ranks = [(settings.get("init_r") or settings.get("r"), adapted)]
    pattern: Mapping[str, Any] = settings.get("rank_pattern") or {}
    for key, rank in pattern.items():
        ranks.append((rank, layers.ending_in(key, adapted)))
    for rank, paths in ranks:
        fits = [min(layers.widths(model.get_submodule(path))) for path in paths]
        if fits and isinstance(rank, int) and rank > max(fits):
            raise IllegalRecipe(
                f"{method.name}: rank {rank} is above the width of every layer adapted (at most {max(fits)})",
                hints=[f"nearest legal choice: rank {max(fits)}"],
                method=method.name,
                rank=rank,
                widest=max(fits),
            )


def _adapted(model: nn.Module, wanted: Any) -> list[str]:
    linear = _linear(model)
    if wanted == "all-linear":
        return linear
    if isinstance(wanted, str):
        return [path for path in _matches(wanted, model) if path in set(linear)]
    if is_collection(wanted):
        return [path for name in wanted for path in layers.ending_in(str(name), linear)]
    return []
