"""How a peft config meets a model: names that peft rewrites, layers it cannot adapt, weights that modules share."""

# pyright: reportUnknownMemberType=false
# peft's functions name only some of their types

from __future__ import annotations

import copy
import importlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from advisor.assembly.adapters import module_search as layers
from advisor.catalog.methods.method import Method
from advisor.errors import IllegalRecipe

_SHOWN = 4


def rewritten(config: Any, model: nn.Module, method: Method) -> Any:
    """The config as the installed peft rewrites it for this model before attaching; the same where it does not.

    Experts that were linear layers of their own up to transformers 4 (Mixtral's `w1`, `w2`, `w3`, Qwen3-MoE's
    `gate_proj`) are slices of fused parameters in transformers 5, and peft 0.21 turns their names into
    `target_parameters`.

    Raises:
        IllegalRecipe: peft cannot rewrite it, such as one of two fused projections without the other.
    """
    try:
        convert: Any = importlib.import_module("peft.utils.transformers_weight_conversion")
    except ImportError:  # an older peft or transformers has no such step
        return config
    changed = copy.deepcopy(config)
    try:
        convert.convert_peft_config_for_transformers(
            changed, model=model, conversions=convert.get_model_conversion_mapping(model)
        )
    except ValueError as refused:
        raise IllegalRecipe(
            f"peft cannot use these target modules of {method.name} on {type(model).__name__}",
            cause=str(refused),
            hints=["nearest legal choice: name every projection of the experts, or none"],
            method=method.name,
        ) from refused
    return changed


def fused_targets(config: Any, changed: Any) -> tuple[list[str], list[str]]:
    """Names that peft turned into parameters, and those parameters; both empty where it did not."""
    before = getattr(config, "target_modules", None)
    names = {before} if isinstance(before, str) else set(before or ())
    after = getattr(changed, "target_modules", None)
    kept = {after} if isinstance(after, str) else set(after or ())
    fresh = set(getattr(changed, "target_parameters", None) or ()) - set(
        getattr(config, "target_parameters", None) or ()
    )
    return (sorted(names - kept), sorted(fresh)) if fresh else ([], [])


def fused_names(model: nn.Module, names: Iterable[str], method: Method) -> list[str]:
    """Those of `names` that are no layer of the model, but that peft turns into parameters of its fused experts.

    Raises:
        IllegalRecipe: peft cannot turn them, see `rewritten`.
    """
    from peft import LoraConfig

    paths = [path for path, _ in layers.named_modules(model)]
    absent = [name for name in names if not layers.ending_in(name, paths)]
    if not absent or method.peft_type != "LORA":
        return []
    config = LoraConfig(target_modules=absent)
    return fused_targets(config, rewritten(config, model, method))[0]


def unsupported_target(model: nn.Module, config: Any, method: Method, refused: Exception) -> IllegalRecipe | None:
    """peft's "Target module X is not supported" as: which modules, of which class, and what to write instead.

    None where the refusal is another. The model may be partly adapted already, as peft leaves it.
    """
    told = re.match(r"Target module (?:<class ')?([\w.]+)", str(refused).strip())
    if told is None or "not supported" not in str(refused):
        return None
    kind = told[1].rpartition(".")[2]
    matched = _matched(model, config)
    bad = [path for path, module in matched.items() if not _adaptable(module, kind)]
    good = [path for path in matched if path not in set(bad)]
    hints: list[str] = []
    apart = sorted({_apart(path, good) for path in bad})
    if good and hasattr(config, "exclude_modules") and all(apart):
        pattern = "|".join(re.escape(prefix) for prefix in apart)
        hints.append(f'nearest legal choice: "exclude_modules": "({pattern})(\\..*)?"'.replace("\\", "\\\\"))
    if good:
        names = "|".join(sorted({re.escape(path.rpartition(".")[2]) for path in good}))
        root = _common(good)
        pattern = f"{re.escape(root)}\\..*\\.({names})" if root else f".*\\.({names})"
        if all((re.fullmatch(pattern, path) is not None) == (path in set(good)) for path in matched):
            hints.append(f'or "target_modules": "{pattern}"'.replace("\\", "\\\\"))
    if not hints:
        usable = sorted({path.rpartition(".")[2] for path, m in layers.named_modules(model) if layers.is_linear(m)})
        hints.append(f"layers that it can adapt: {', '.join(usable)}")
    kinds = sorted({type(matched[path]).__name__ for path in bad}) or [kind]
    return IllegalRecipe(
        f"{method.name}: the targets match modules that peft cannot adapt ({', '.join(kinds)})",
        cause=f"{_listed(bad) or kind} match too"
        + (f", beside {len(good)} that it can adapt ({_listed(good)})" if good else ""),
        hints=hints,
        method=method.name,
        unsupported=bad[:64],
    )


def _matched(model: nn.Module, config: Any) -> dict[str, nn.Module]:
    """Modules that the config targets, as peft matches them; what lies inside an adapter is left out."""
    from peft.tuners import tuners_utils

    found: dict[str, nn.Module] = {}
    inside: list[str] = []
    for path, module in layers.named_modules(model):
        if not path or any(path.startswith(outer) for outer in inside):
            continue
        if isinstance(module, tuners_utils.BaseTunerLayer):
            inside.append(path + ".")
        if tuners_utils.check_target_module_exists(config, path):
            found[path] = module
    return found


def _adaptable(module: nn.Module, refused: str) -> bool:
    """Whether a matched module is an adapter by now, or could be; not of the class that peft has just refused."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    if isinstance(module, BaseTunerLayer):
        return True
    return type(module).__name__ != refused and layers.is_linear(module)


def _apart(path: str, others: list[str]) -> str:
    """The shortest beginning of a path that no other path has; empty where there is none."""
    parts = path.split(".")
    for count in range(1, len(parts) + 1):
        start = ".".join(parts[:count])
        if not any(other == start or other.startswith(start + ".") for other in others):
            return start
    return ""


def _common(paths: list[str]) -> str:
    """The beginning that all paths have in common, in whole names and without a layer's number."""
    shared: list[str] = []
    for parts in zip(*(path.split(".")[:-1] for path in paths), strict=False):
        if len(set(parts)) > 1 or parts[0].isdigit():
            break
        shared.append(parts[0])
    return ".".join(shared)


def _listed(paths: list[str]) -> str:
    """Paths with their numbers replaced by *, each once with how many there are."""
    counts: dict[str, int] = {}
    for path in paths:
        name = re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)
        counts[name] = counts.get(name, 0) + 1
    shown = [f"{name} ({count})" for name, count in list(counts.items())[:_SHOWN]]
    more = len(counts) - _SHOWN
    return ", ".join(shown) + (f" and {more} more kinds" if more > 0 else "")


def adapted_tied(model: nn.Module, config: Any) -> list[str]:
    """The embeddings' or the head's path where the adapter changes it and both share one weight; of the bare model.

    Empty where peft keeps the two together (`ensure_weight_tying`, trained tokens).
    """
    from peft.tuners import tuners_utils

    if getattr(config, "ensure_weight_tying", False) or getattr(config, "is_prompt_learning", False):
        return []
    found: list[str] = []
    whole: Iterable[str] = getattr(config, "modules_to_save", None) or ()
    targeted = hasattr(config, "target_modules") and config.target_modules and config.target_modules != "all-linear"
    follows = type(config).__name__ == "TrainableTokensConfig"
    for path in tied_paths(model):
        saved = any(layers.ending_in(str(name), [path]) for name in whole)
        if saved or (targeted and not follows and bool(tuners_utils.check_target_module_exists(config, path))):
            found.append(path)
    return found


def tied_paths(model: nn.Module) -> list[str]:
    """Paths of the input embeddings and the output head where they share one weight, else none."""
    ends: list[nn.Module | None] = []
    for getter in ("get_input_embeddings", "get_output_embeddings"):
        try:
            ends.append(getattr(model, getter)())
        except (AttributeError, NotImplementedError):
            ends.append(None)
    weights = [getattr(end, "weight", None) for end in ends]
    if weights[0] is None or weights[0] is not weights[1]:
        return []
    return [path for path, module in layers.named_modules(model) if any(module is end for end in ends)]


def tied_notice(paths: list[str]) -> str:
    """What an adapter on a tied weight means, in words."""
    return (
        f"the adapter changes {' and '.join(paths)}, whose weight the input embeddings and the output head share: "
        "merged, or saved as a whole model, it would change both, and the model would no longer be the one trained. "
        "Keep the adapter apart, or untie the weights first, or set ensure_weight_tying where peft has it"
    )


def absent_parameters(model: nn.Module, settings: Mapping[str, Any]) -> list[str]:
    """Names in `target_parameters` that no parameter of the model has: peft passes over them in silence."""
    paths = [path for path, _ in model.named_parameters()]
    wanted: Iterable[str] = settings.get("target_parameters") or ()
    return [str(name) for name in wanted if not layers.ending_in(str(name), paths)]
