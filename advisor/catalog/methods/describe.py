"""Methods as plain values for readers and programs: one description each, filters, the taxonomy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from advisor.catalog.methods.literature_only import PLACED
from advisor.catalog.methods.method import Method, Option
from advisor.catalog.methods.peft_types import capabilities, installed_peft_types, peft_version
from advisor.catalog.methods.registry import methods
from advisor.domain.model import Architecture
from advisor.domain.request.validation import check_choice
from advisor.domain.request.vocabulary import Base, Family

FAMILIES: tuple[str, ...] = get_args(Family)
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)


@dataclass(frozen=True, slots=True)
class Description:
    """What the catalogue knows of one method, JSON-ready."""

    name: str
    title: str
    says: str
    family: str
    subfamily: str
    paper: str
    paper_where: str
    year: int | None
    architectures: tuple[str, ...]
    tasks: tuple[str, ...]
    bases: tuple[str, ...]
    mergeable: bool
    inference_overhead: str
    serving: str
    checkpoint: str
    checkpointing: bool
    start_up: str
    optimizer: str | None
    forgetting: str
    failure_modes: tuple[str, ...]
    evidence_names: tuple[str, ...]
    implemented_by: str
    core: bool
    cannot: str
    notice: str
    options: Mapping[str, Mapping[str, Any]]


def describe(method: Method) -> Description:
    """The method, its options and learning rate with their ranges and sources, and what implements it here."""
    options = {"learning_rate": method.learning_rate, **method.options}
    return Description(
        name=method.name,
        title=method.title,
        says=method.says,
        family=method.family,
        subfamily=method.subfamily,
        paper=method.paper.address,
        paper_where=method.paper.where,
        year=method.year,
        architectures=tuple(sorted(method.architectures)),
        tasks=tuple(sorted(method.tasks)),
        bases=tuple(sorted(method.bases)),
        mergeable=method.mergeable,
        inference_overhead=method.inference_overhead,
        serving=method.serving,
        checkpoint=method.checkpoint,
        checkpointing=method.checkpointing,
        start_up=method.start_up,
        optimizer=method.optimizer,
        forgetting=method.forgetting,
        failure_modes=method.failure_modes,
        evidence_names=method.evidence_names,
        implemented_by=_implemented_by(method),
        core=method.core,
        cannot=method.cannot,
        notice=method.notice,
        options={name: _option(option) for name, option in options.items()},
    )


def _implemented_by(method: Method) -> str:
    if method.peft_type is None:
        return "advisor's own module"
    found = capabilities(method.peft_type)
    if found is None and method.peft_type in installed_peft_types():
        return f"peft {peft_version()}, {method.peft_type}"
    if found is None:
        return f"peft {method.needs_peft} or newer (not installed)"
    able = [word for word, true in (("merges", found.merges), ("bitsandbytes bases", found.quantised)) if true]
    return f"peft {found.version}, {found.config_class}" + (f" ({', '.join(able)})" if able else "")


def _option(option: Option) -> dict[str, Any]:
    if option.low is not None and option.high is not None:
        shown = f"{option.low:g} to {option.high:g}" + (", logarithmic" if option.log else "")
    else:
        shown = ", ".join(map(str, option.choices))
    source = f"{option.source.address} {option.source.where}".strip()
    return {
        "default": option.default,
        "low": option.low,
        "high": option.high,
        "log": option.log,
        "choices": list(option.choices),
        "range": shown,
        "says": option.says,
        "source": source,
    }


def select_methods(
    *,
    family: str | None = None,
    mergeable: bool = False,
    base: str | None = None,
    architecture: str | None = None,
    search: str | None = None,
    core: bool = False,
) -> tuple[Method, ...]:
    """The methods that meet every condition given, in the catalogue's order.

    Raises:
        UnknownName: no such family, base or architecture.
    """
    check_choice("family", family, FAMILIES)
    check_choice("base", base, get_args(Base))
    check_choice("architecture", architecture, ARCHITECTURES)
    return tuple(
        m
        for m in methods()
        if (family is None or m.family == family)
        and (not mergeable or m.mergeable)
        and (base is None or base in m.bases)
        and (architecture is None or architecture in m.architectures)
        and (search is None or search.lower() in f"{m.name} {m.title} {m.says} {m.subfamily}".lower())
        and (not core or m.core)
    )


def family_tree() -> dict[str, dict[str, list[dict[str, str]]]]:
    """Family -> kind -> its methods; those only placed say why they cannot be trained here."""
    tree: dict[str, dict[str, list[dict[str, str]]]] = {family: {} for family in FAMILIES}
    for method in methods():
        says = f"not trainable here: {method.cannot}" if method.cannot else method.says
        tree[method.family].setdefault(method.subfamily, []).append({"name": method.name, "says": says})
    for placed in PLACED:
        says = f"not trainable here: {placed.why_not}"
        tree[placed.family].setdefault(placed.subfamily, []).append({"name": placed.name, "says": says})
    return tree
