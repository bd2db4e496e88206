"""`advisor methods`: list, filter, draw, explain and compare fine-tuning methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import rich_click as click

import advisor
from advisor.catalog.methods import find_method, methods
from advisor.catalog.methods.describe import FAMILIES, Description, describe, family_tree, select_methods
from advisor.domain.recipe import Base
from advisor.errors import AdvisorError, BadRequest
from advisor.interfaces.cli.common import amount, emit, grid, json_option

if TYPE_CHECKING:
    from advisor.catalog.methods.method import Method


@click.command("methods")
@click.argument("names", nargs=-1)
@click.option("--family", type=click.Choice(FAMILIES), help="Only this family of Han et al.")
@click.option("--mergeable", is_flag=True, help="Only methods that merge into the base weights.")
@click.option("--base", type=click.Choice(["dtype", "int8", "nf4"]), help="Only methods that run on this base.")
@click.option(
    "--architecture", type=click.Choice(["decoder", "encoder", "encoder-decoder"]), help="Only for this kind."
)
@click.option("--search", metavar="TEXT", help="Only methods whose name or description holds TEXT.")
@click.option("--core", is_flag=True, help="Only what `recommend` considers without being asked.")
@click.option("--tree", is_flag=True, help="Draw the taxonomy, methods that are only placed in it included.")
@click.option("--model", metavar="NAME", help="Compare the methods named on this model ...")
@click.option("--gpu", metavar="NAME", help="... and this GPU.")
@click.option(
    "--batch-size", type=int, default=1, show_default=True, help="Samples of a micro-batch, for a comparison."
)
@click.option(
    "--seq-len", type=int, default=1024, show_default=True, help="Longest sample in tokens, for a comparison."
)
@click.option("--samples", type=int, help="Training samples, for a comparison's time, cost and quality.")
@json_option
def command(names: tuple[str, ...], tree: bool, as_json: bool, **asked: Any) -> None:
    """List, filter, explain and compare fine-tuning methods.

    One NAME explains it. Several, or any with --model and --gpu, are priced side by side.

    \b
    Examples:
      advisor methods --mergeable --base nf4
      advisor methods dora
      advisor methods lora dora vera --model meta-llama/Llama-3.2-1B --gpu L4
      advisor methods --tree
    """
    model, gpu = asked.pop("model"), asked.pop("gpu")
    sizes = {name: asked.pop(name) for name in ("batch_size", "seq_len", "samples")}
    if tree:
        emit(family_tree(), as_json, table=lambda _: _tree())
        return
    if (model is None) != (gpu is None):
        raise BadRequest("a comparison needs --model and --gpu both")
    chosen = tuple(find_method(name) for name in names) or select_methods(**asked)
    if model is not None and gpu is not None:
        emit(
            _compared(chosen if names else [m for m in chosen if m.core], model, gpu, sizes), as_json, table=_comparison
        )
    elif len(names) == 1:
        emit(describe(chosen[0]), as_json, table=_explanation)
    else:
        emit([describe(m) for m in chosen], as_json, table=_listing)


def _listing(found: Sequence[Description]) -> Iterator[Any]:
    rows = [(d.name, d.family, d.subfamily, ", ".join(d.bases), "yes" if d.mergeable else "no", d.says) for d in found]
    yield grid(("method", "family", "kind", "bases", "merges", "what it does"), rows)
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
    rows = [(name, o["default"], o["range"], o["says"], o["source"]) for name, o in d.options.items()]
    yield grid(("option", "default", "range", "what", "source"), rows)
    for failure in d.failure_modes:
        yield f"  watch: {failure}"


def _tree() -> Any:
    from rich.tree import Tree

    root = Tree("fine-tuning methods (families of Han et al., arXiv:2403.14608)")
    for family, kinds in family_tree().items():
        branch = root.add(family)
        for kind, members in kinds.items():
            leaf = branch.add(kind)
            for member in members:
                leaf.add(f"{member['name']}: {member['says']}")
    return root


def _compared(chosen: Sequence[Method], model: str, gpu: str, sizes: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a method: its Candidate, or the reason it cannot run."""
    estimate = cast(Callable[..., Any], advisor.estimate)
    rows: list[dict[str, Any]] = []
    for method in chosen:
        base: Base = method.default_base
        try:
            candidate = estimate(model=model, gpu=gpu, method=method.name, base=base, **sizes)
        except AdvisorError as refused:
            rows.append({"method": method.name, **refused.facts()})
        else:
            rows.append({"method": method.name, "candidate": candidate.model_dump(mode="json")})
    return rows


def _comparison(rows: Sequence[dict[str, Any]]) -> Any:
    def cells(row: dict[str, Any]) -> tuple[str, ...]:
        found = row.get("candidate")
        if found is None:
            return (row["method"], "-", "-", "-", "-", "-", f"{row['message']} {row['cause']}".strip())
        memory, time, quality = found["memory"]["peak_device"], found["time"]["step"], found["quality"]
        return (
            row["method"],
            f"{found['trainable_parameters']:,}",
            amount(memory["mid"], "B"),
            "yes" if found["fits"] else "no",
            amount(time["mid"], "s"),
            f"{quality['effect']['mid']:+.1f}" if quality else "no evidence",
            "merges" if find_method(row["method"]).mergeable else "stays",
        )

    headings = ("method", "trained", "peak memory", "fits", "a step", "points against full", "notes")
    return grid(headings, [cells(row) for row in rows], right="trained,peak memory,a step")
