"""`advisor methods`: list, filter, draw, explain and compare fine-tuning methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from advisor.domain.request.catalogue_options import MethodsCommand
from advisor.errors import BadRequest
from advisor.interfaces.amounts import amount, stacked
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import emit, fitted, grid, progress

if TYPE_CHECKING:
    from advisor.catalog.methods.describe import Description
    from advisor.domain.candidate import Candidate
    from advisor.recommender.compare import Priced

FIRST_OUT: Final = ("at inference", "family", "basis", "merges", "cost", "training")
"""Columns of a comparison that a narrow terminal does without, the least telling first."""


@click.command("methods")
@click.argument("names", nargs=-1)
@options_of(MethodsCommand)
def command(names: tuple[str, ...], tree: bool, as_json: bool, **asked: Any) -> None:
    """List, filter, explain and compare fine-tuning methods.

    One NAME explains it. With --model and --gpu, those named are priced side by side; without names, all that
    the filters keep.

    \b
    Examples:
      advisor methods --mergeable --base nf4
      advisor methods dora
      advisor methods lora dora vera --model meta-llama/Llama-3.2-1B --gpu L4
      advisor methods --model mistralai/Ministral-8B-Instruct-2410 --gpu H100 --mergeable
      advisor methods --tree
    """
    from advisor.catalog.methods import find_method
    from advisor.catalog.methods.describe import describe, family_tree, select_methods

    model, gpu = asked.pop("model"), asked.pop("gpu")
    sizes = {name: asked.pop(name) for name in ("batch_size", "seq_len", "samples", "gpu_memory", "gpu_like")}
    has_gpu = gpu is not None or sizes["gpu_like"] is not None
    if tree:
        emit(family_tree(), as_json, table=_tree)
        return
    if (model is not None) != has_gpu:
        raise BadRequest("a comparison needs --model and --gpu both")
    chosen = tuple(find_method(name) for name in names) or select_methods(**asked)
    if model is not None and has_gpu:
        from advisor.recommender.compare import compare

        with progress("pricing") as advance:
            priced = compare(model, gpu, [m.name for m in chosen], on_progress=advance, **given(sizes))
        emit(_facts(priced), as_json, table=lambda _: _comparison(priced, in_order=bool(names)))
    elif len(names) == 1:
        emit(describe(chosen[0]), as_json, table=_explanation)
    else:
        emit([describe(m) for m in chosen], as_json, table=_listing)


def _listing(found: Sequence[Description]) -> Iterator[Any]:
    from advisor.catalog.methods import methods

    rows = [(d.name, d.family, d.subfamily, ", ".join(d.bases), "yes" if d.mergeable else "no", d.says) for d in found]
    headings = ("method", "family", "kind", "bases", "merges", "what it does")
    yield from fitted(headings, rows, first_out=("bases", "kind", "family"), wraps={"kind": 22, "what it does": 40})
    yield from (f"notice  {d.notice}" for d in found if d.notice)
    yield f"{len(rows)} of {len(methods())} methods; to explain one: advisor methods NAME"


def _explanation(d: Description) -> Iterator[Any]:
    yield f"{d.title} ({d.name}): {d.says}"
    facts = [
        ("family", f"{d.family}: {d.subfamily}"),
        ("paper", f"{d.paper} {d.paper_where} ({d.year})".replace("  ", " ")),
        ("runs on", f"{', '.join(d.architectures)}; {', '.join(d.tasks)}"),
        ("bases", ", ".join(d.bases)),
        ("merges", "yes" if d.mergeable else "no"),
        ("inference", d.inference_overhead),
        ("serving", d.serving),
        ("checkpoint", d.checkpoint),
        ("checkpointing", "works" if d.checkpointing else "does not work under gradient checkpointing"),
        ("start", d.start_up or "nothing beyond loading"),
        ("optimizer", d.optimizer or "any"),
        ("forgetting", d.forgetting),
        ("studies call it", ", ".join(d.evidence_names)),
        ("implemented by", d.implemented_by),
    ]
    if d.cannot:
        facts.insert(0, ("not trainable", d.cannot))
    yield grid(("", ""), facts)
    rows = [(name, str(o["default"]), o["range"], o["says"], o["source"]) for name, o in d.options.items()]
    headings = ("option", "default", "range", "what", "source")
    yield from fitted(headings, rows, first_out=("source",), wraps={"range": 20, "what": 20, "source": 36})
    if d.notice:
        yield f"  notice: {d.notice}"
    for failure in d.failure_modes:
        yield f"  watch: {failure}"


def _tree(families: Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]) -> Any:
    from rich.tree import Tree

    root = Tree("fine-tuning methods (families of Han et al., arXiv:2403.14608)")
    for family, kinds in families.items():
        branch = root.add(family)
        for kind, members in kinds.items():
            leaf = branch.add(kind)
            for member in members:
                leaf.add(f"{member['name']}: {member['says']}")
    return root


def _facts(priced: Sequence[Priced]) -> list[dict[str, Any]]:
    """One object a method: its candidate, or the facts of its refusal."""
    return [
        {"method": one.method, "candidate": one.candidate.model_dump(mode="json")}
        if one.candidate is not None
        else {"method": one.method, **(one.refusal or {})}
        for one in priced
    ]


def _comparison(priced: Sequence[Priced], *, in_order: bool) -> Iterator[Any]:
    """One row a method that can run, as asked or the fastest step first; then who cannot, and why."""
    able = [(one.method, one.candidate) for one in priced if one.candidate is not None]
    if not in_order:
        able.sort(key=lambda one: (not one[1].fits, one[1].time.step.mid))
    rows = [_cells(name, candidate) for name, candidate in able]
    if rows:
        recipe, workload = able[0][1].recipe, able[0][1].workload
        yield (
            f"{workload.model} on {able[0][1].gpu}: {recipe.micro_batch_size} x {workload.seq_len} tokens a step, "
            f"each method with its default options"
        )
        paid = able[0][1].money.on_demand
        if paid is not None:
            yield f"cost at {paid.why}"
        known = [name for name in rows[0] if any(row[name] not in ("unknown", "") for row in rows)]
        right = "trained,peak memory,step"
        yield from fitted(known, [[row[name] for name in known] for row in rows], first_out=FIRST_OUT, right=right)
    refused = [(one.method, _reason(one.refusal)) for one in priced if one.refusal is not None]
    if refused:
        yield grid(("cannot run here", "because"), refused)


def _reason(facts: dict[str, Any]) -> str:
    said = str(facts.get("reason") or facts.get("message") or "")
    cause = str(facts.get("cause") or "")
    return f"{said}: {cause}" if cause and cause not in said else said


def _cells(name: str, found: Candidate) -> dict[str, str]:
    from advisor.catalog.methods import find_method

    method = find_method(name)
    return {
        "method": name,
        "family": method.family,
        "trained": f"{found.trainable_parameters:,}",
        "peak memory": amount(found.memory.peak_device.mid, "B"),
        "fits": "yes" if found.fits else "no",
        "step": amount(found.time.step.mid, "s"),
        "training": "unknown" if found.time.training is None else amount(found.time.training.mid, "s"),
        "cost": "unknown" if found.money.on_demand is None else amount(found.money.on_demand.mid, "USD"),
        "vs full": stacked(found.quality.effect).replace("\n", " ") if found.quality is not None else "unknown",
        "merges": "is whole" if method.family == "full" else "yes" if method.mergeable else "no",
        "at inference": method.inference_overhead,
        "basis": found.time.step.basis,
    }
