"""Where things are in a transformer, found by structure: its blocks, their linear layers, sub-layers and heads.

A *block* is a child of a ModuleList that holds linear layers: `model.layers.0`, `bert.encoder.layer.0`. Names
below are dotted module paths. Families spell their layers differently, but all register a sub-layer's
projections in the order they run, the output projection last; that order is what is relied upon.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from inspect import signature
from typing import Any, Literal, cast

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from advisor.errors import IllegalRecipe

Kind = Literal["attention", "cross-attention", "feed-forward"]

_ATTENTION = ("attn", "attention", "mixer", "linear_attn", "mamba")
_CROSS = ("crossattention", "encoder_attn", "encdecattention", "cross_attn")
_OTHER_MODALITY = ("visual", "vision_tower", "vision_model", "audio_tower", "multi_modal_projector")
_ROUTERS = ("gate", "router", "shared_expert_gate")


@dataclass(frozen=True, slots=True)
class SubLayer:
    """Attention or feed-forward of one block: the modules its input enters (I wide) and its output leaves (O wide)."""

    block: str
    index: int
    kind: Kind
    entry: str
    exit: str
    width_in: int
    width_out: int


def is_linear(module: nn.Module) -> bool:
    """A weight-matrix layer that can be adapted: torch, GPT-2's transposed Conv1D, or a quantised subclass."""
    return isinstance(module, nn.Linear | Conv1D)


def widths(module: nn.Module) -> tuple[int, int]:
    """Input and output width of a linear layer, also where 4-bit storage hides the shape."""
    if isinstance(module, Conv1D):
        return int(module.weight.shape[0]), int(module.weight.shape[1])
    return int(module.in_features), int(module.out_features)  # type: ignore[arg-type]


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module below and with its dotted path, the model itself as ""; torch's own method says no types."""
    return cast("Iterator[tuple[str, nn.Module]]", model.named_modules())


def blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The repeated layers of the language model, in order: path -> module."""
    found: dict[str, nn.Module] = {}
    for path, module in named_modules(model):
        if not isinstance(module, nn.ModuleList) or _of_other_modality(model, path):
            continue
        if any(path.startswith(f"{block}.") for block in found):
            continue
        for name, child in module.named_children():
            if any(is_linear(m) for m in child.modules()):
                found[f"{path}.{name}"] = child
    return found


def _of_other_modality(model: nn.Module, path: str) -> bool:
    """Whether a module is a tower beside the language model; of a picture classifier the tower is the model."""
    if type(model).__name__.endswith("ForImageClassification"):
        return False
    return any(part in _OTHER_MODALITY for part in path.split("."))


def _routes(relative: str) -> bool:
    """Whether a layer chooses among experts instead of computing."""
    parts = relative.split(".")
    return parts[-1] in _ROUTERS or "router" in parts


def _kind(relative: str) -> Kind:
    lowered = relative.lower()
    if any(word in lowered for word in _CROSS):
        return "cross-attention"
    return "attention" if any(word in lowered for word in _ATTENTION) else "feed-forward"


def linears(model: nn.Module) -> dict[str, tuple[str, Kind]]:
    """Linear layers inside the blocks, routers left out: path -> (path within its block, kind)."""
    found: dict[str, tuple[str, Kind]] = {}
    for block, module in blocks(model).items():
        for name, child in named_modules(module):
            if is_linear(child) and not _routes(name):
                found[f"{block}.{name}"] = (name, _kind(name))
    return found


def sublayers(model: nn.Module) -> Iterator[SubLayer]:
    """Attention, cross-attention and feed-forward of every block, in the order of the blocks."""
    for index, (block, module) in enumerate(blocks(model).items()):
        grouped: dict[Kind, list[tuple[str, nn.Module]]] = {}
        for name, child in named_modules(module):
            if is_linear(child) and not _routes(name):
                grouped.setdefault(_kind(name), []).append((name, child))
        experts = _mixture(module)
        if experts is not None:
            width = _hidden(module)
            grouped.pop("feed-forward", None)
            yield from _ends(block, index, grouped)
            yield SubLayer(block, index, "feed-forward", f"{block}.{experts}", f"{block}.{experts}", width, width)
        else:
            yield from _ends(block, index, grouped)


def _ends(block: str, index: int, grouped: dict[Kind, list[tuple[str, nn.Module]]]) -> Iterator[SubLayer]:
    for kind in ("attention", "cross-attention", "feed-forward"):
        members = grouped.get(kind)
        if not members:
            continue
        (first, entry), (last, leave) = members[0], members[-1]
        yield SubLayer(block, index, kind, f"{block}.{first}", f"{block}.{last}", widths(entry)[0], widths(leave)[1])


def _mixture(block: nn.Module) -> str | None:
    """Path of the mixture-of-experts module in a block: the parent of its `experts`."""
    for name, _ in named_modules(block):
        if name.rpartition(".")[2] == "experts":
            return name.rpartition(".")[0] or name
    return None


def _hidden(block: nn.Module) -> int:
    """The residual stream's width, read from the block's first linear layer."""
    return next(widths(m)[0] for m in block.modules() if is_linear(m))


def norms(model: nn.Module) -> list[str]:
    """Paths of the normalisation layers over the hidden width: those of the blocks and the final one."""
    return [
        path
        for path, module in named_modules(model)
        if "norm" in type(module).__name__.lower()
        and isinstance(getattr(module, "weight", None), torch.Tensor)
        and not _of_other_modality(model, path)
    ]


def heads(model: nn.Module) -> list[str]:
    """Children of a task model that are not its pre-trained body or its language-model head: new at the start."""
    body = getattr(model, "base_model_prefix", "")
    if not type(model).__name__.endswith(("Classification", "Regression")):
        return []
    return [
        name
        for name, child in model.named_children()
        if name not in (body, "model", "transformer", "bert", "roberta", "vision_model", "lm_head")
        and any(True for _ in child.parameters())
    ]


_NOT_GENERATIVE = ("Classification", "QuestionAnswering")
"""Task models of which peft (0.21.2, `_prefix_tuning_forward`) asks that their forward names `past_key_values`."""


def refuse_without_cache(model: nn.Module, method: str) -> None:
    """A prefix enters as past keys and values, which some encoders' forward does not take.

    Raises:
        IllegalRecipe: neither the model nor its body takes `past_key_values`.
    """
    body = getattr(model, getattr(model, "base_model_prefix", "") or "forward", model)
    candidates = [model.forward, getattr(body, "forward", model.forward)]
    taken = {name for forward in candidates for name in signature(forward).parameters}
    # transformers 5.24 calls it `cache`, and still takes the earlier name
    if "past_key_values" not in taken and "cache" in taken and type(model).__name__.endswith(_NOT_GENERATIVE):
        raise IllegalRecipe(
            f"{method}: the installed peft hands a prefix to {type(model).__name__} as past_key_values, which the "
            "installed transformers calls cache, so peft refuses it",
            hints=["nearest legal choice: prompt-tuning", "with prefixes: pip install 'transformers<5.24'"],
            method=method,
        )
    if not taken & {"past_key_values", "cache"}:
        raise IllegalRecipe(
            f"{method}: {type(model).__name__} takes no past keys and values, through which a prefix enters",
            hints=["nearest legal choice: prompt-tuning"],
            method=method,
        )
    config: Any = model.config
    kinds = getattr(config.get_text_config(), "layer_types", None) or ()
    if any("linear" in str(kind) for kind in kinds):
        # peft 0.21.2 makes a DynamicCache of attention layers alone
        raise IllegalRecipe(
            f"{method}: {type(model).__name__} has layers of linear attention, which keep no past keys and values",
            hints=["nearest legal choice: prompt-tuning"],
            method=method,
        )


def select(model: nn.Module, wanted: str | list[str]) -> list[str]:
    """Paths of the linear layers that `wanted` names: a group of TARGET_GROUPS, or module names (path endings).

    Raises:
        IllegalRecipe: a name matches no linear layer; the error says the names there are.
    """
    inside = linears(model)
    if isinstance(wanted, str) and wanted in GROUPS:
        last = {place.exit for place in sublayers(model) if place.kind == "feed-forward"}
        chosen = [path for path, (name, kind) in inside.items() if _in_group(wanted, name, kind, path in last)]
        if chosen:
            return chosen
        raise no_match(wanted, (relative for relative, _ in inside.values()))
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    everything = [path for path, module in named_modules(model) if is_linear(module)]
    hits: set[str] = set()
    for name in names:
        meant = ending_in(name, everything)
        if not meant:
            raise no_match(name, (relative for relative, _ in inside.values()))
        hits.update(meant)
    return [path for path in everything if path in hits]


_QUERIES = ("q", "query", "q_lin", "q_proj", "query_proj")
_KEYS = ("k", "key", "k_lin", "k_proj", "key_proj")
_VALUES = ("v", "value", "v_lin", "v_proj", "value_proj")
_FUSED = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "qkv", "in_proj", "in_proj_qkv", "kv_b_proj")
GROUPS = ("all-linear", "attention", "attention-qv", "attention-v", "mlp", "keys-values-mlp")
"""Groups of targets by role; `keys-values-mlp` is what (IA)3 rescales, the feed-forward by its last layer."""


def _in_group(group: str, name: str, kind: Kind, ends_feed_forward: bool) -> bool:
    if group == "all-linear":
        return True
    if group == "mlp":
        return kind == "feed-forward"
    if kind == "feed-forward":
        return group == "keys-values-mlp" and ends_feed_forward
    chosen = {
        "attention-qv": _QUERIES + _VALUES + _FUSED,
        "attention-v": _VALUES + _FUSED,
        "keys-values-mlp": _KEYS + _VALUES + _FUSED,
    }
    return group == "attention" or name.rpartition(".")[2] in chosen[group]


def no_match(name: str, there: Iterable[str]) -> IllegalRecipe:
    """The refusal of a target that no module is called, with the names `there` are."""
    known = sorted(set(there))
    last = sorted({path.rpartition(".")[2] for path in known})
    near = difflib.get_close_matches(name, dict.fromkeys([*last, *known]), n=3, cutoff=0.4)
    return IllegalRecipe(
        f"target module {name!r} matches nothing in this model",
        cause=f"its linear layers: {', '.join(known)}",
        hints=[f"near names: {', '.join(near)}"] if near else ["target_modules = all-linear adapts all of them"],
        target=name,
        near=near,
    )


def ending_in(name: str, paths: Iterable[str]) -> list[str]:
    """The module paths that a name means: the path itself, or its last parts."""
    return [path for path in paths if path == name or path.endswith(f".{name}")]


def suffixes(model: nn.Module, chosen: list[str]) -> list[str]:
    """The shortest list of path endings that match `chosen` and no other module, as peft's `target_modules`."""
    inside = linears(model)
    wanted = set(chosen)
    endings: set[str] = set()
    paths = [path for path, _ in named_modules(model)]
    for relative in sorted({inside[path][0] if path in inside else path for path in chosen}):
        hits = set(ending_in(relative, paths))
        endings |= {relative} if hits <= wanted else hits & wanted
    return sorted(endings)
