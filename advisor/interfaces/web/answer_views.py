"""An answer as the page's templates take it: sentences, rows, lengths of bars; numbers are said as in the terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from advisor.domain.candidate import Candidate
from advisor.domain.plain_values import is_object
from advisor.domain.quantity import Quantity
from advisor.domain.recommendation import Recommendation
from advisor.domain.units import GIB, gib
from advisor.interfaces import verdict
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.terminal.memory_bar import largest

BAR: Final = 1000
"""Units of a bar's length."""
PARTS: Final = 5
RECIPE: Final = ("batch_size", "gradient_accumulation", "base", "gradient_checkpointing", "optimizer", "dtype")
"""What a recipe's address says beside model, GPU, length and method."""


NOTHING: Final[dict[str, Any]] = {
    "heads": (),
    "ranked": (),
    "why": (),
    "would_change": (),
    "refused": (),
    "wall": None,
    "notes": (),
    "tools": (),
}
"""Parts that not every answer has."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One part of a bar of memory, in units of BAR."""

    name: str
    size: str
    start: int
    length: int
    number: int


@dataclass(frozen=True, slots=True)
class MemoryBar:
    """Peak memory by part, with the limit; `words` say the same."""

    parts: tuple[Stretch, ...]
    limit: int
    words: str


@dataclass(frozen=True, slots=True)
class RankedRow:
    """One method of a ranking; `address` opens its recipe, `beside` compares it with the choice."""

    method: str
    cells: tuple[str, ...]
    address: str
    beside: str


def bar(candidate: Candidate) -> MemoryBar:
    """The bar of a candidate's peak."""
    limit, peak = candidate.limit_bytes, candidate.memory.peak_device.mid
    scale = BAR / max(limit, peak, 1)
    parts: list[Stretch] = []
    reached = 0.0
    for number, (name, size) in enumerate(largest(candidate.memory.breakdown, PARTS).items(), 1):
        start = round(reached)
        reached += size * scale
        parts.append(Stretch(name, gib(size), start, max(0, round(reached) - start), number))
    told = ", ".join(f"{part.name} {part.size}" for part in parts)
    return MemoryBar(tuple(parts), round(limit * scale), f"Peak {gib(peak)} of {gib(limit)} allowed: {told}.")


def view_of_recommendation(found: Recommendation, asked: Mapping[str, str]) -> dict[str, Any]:
    """The view of a recommendation."""
    heads = ("method", "batch", "memory", "time", "cost", "points against full")
    return {
        **NOTHING,
        "verdict": verdict.of_recommendation(found),
        "facts": [*verdict.facts(found.choice, spot=found.spot), *_settings(found)],
        "bar": bar(found.choice),
        "heads": heads,
        "ranked": [_ranked(one, found, asked) for one in found.ranked],
        "why": found.why,
        "would_change": found.would_change,
        "refused": [(one.method, one.kind, one.reason) for one in found.refused],
        "notes": list(verdict.unresolved(found.notes)),
        "tools": _tools(*found.ranked),
    }


def view_of_candidate(
    candidate: Candidate, wall: Sequence[Sequence[Any]] = (), *, quick: bool = False
) -> dict[str, Any]:
    """The view of one recipe. `wall`: (batch, tokens, verdict, bytes) of others; `quick`: exact figures follow."""
    return {
        **NOTHING,
        "verdict": verdict.of_candidate(candidate),
        "facts": list(verdict.facts(candidate)),
        "bar": bar(candidate),
        "wall": _wall(wall),
        "notes": [*candidate.time.advice, *candidate.assumptions],
        "tools": [] if quick else _tools(candidate),
    }


def view_of_comparison(first: Candidate, second: Candidate) -> dict[str, Any]:
    """The view of two recipes beside each other."""
    rows: list[tuple[str, str, str, str]] = []
    for name, one, other in (
        ("peak memory", first.memory.peak_device, second.memory.peak_device),
        ("one step", first.time.step, second.time.step),
        ("training", first.time.training, second.time.training),
        ("cost", first.money.on_demand, second.money.on_demand),
        ("points against full", verdict.quality_of(first), verdict.quality_of(second)),
    ):
        if one is not None or other is not None:
            rows.append((name, show(one), show(other), _difference(one, other)))
    rows.append(("trained parameters", f"{first.trainable_parameters:,}", f"{second.trainable_parameters:,}", ""))
    return {
        "verdicts": [verdict.of_candidate(first), verdict.of_candidate(second)],
        "heads": ("", _short(first), _short(second), "second against first"),
        "rows": rows,
        "bars": [bar(first), bar(second)],
    }


def rank_of(candidate: Candidate) -> Any:
    """The rank of a candidate's method; None where it has none."""
    options: Any = candidate.facts.get("options")
    return options.get("rank") if is_object(options) else None


def _short(candidate: Candidate) -> str:
    rank = rank_of(candidate)
    return verdict.way(candidate.recipe) + (f", rank {rank}" if rank else "")


def _difference(one: Quantity | None, other: Quantity | None) -> str:
    """How much the second is more; both come from one model of cost, so that most of their errors are shared."""
    if one is None or other is None:
        return ""
    more = other.mid - one.mid
    share = f" ({more / one.mid:+.0%})" if one.unit != "score" and one.mid > 0 else ""
    sign = "" if one.unit == "score" else ("+" if more >= 0 else "−")
    return sign + amount(more if one.unit == "score" else abs(more), one.unit, one.mid) + share


def _settings(found: Recommendation) -> Iterator[tuple[str, str]]:
    if found.settings:
        yield "settings", verdict.settings(found)


def _ranked(one: Candidate, found: Recommendation, asked: Mapping[str, str]) -> RankedRow:
    recipe, effect = one.recipe, verdict.quality_of(one)
    paid = one.money.at(spot=found.spot)
    cells = (
        verdict.way(recipe),
        f"{recipe.micro_batch_size} x {recipe.gradient_accumulation}",
        show(one.memory.peak_device, basis=False),
        show(one.time.training or one.time.step, basis=False),
        show(paid, basis=False),
        show(effect, basis=False),
    )
    mine, choices = _address(one, asked), _address(found.choice, asked)
    shared = ("model", "gpu", "samples", "seq_len", "epochs", "task")
    differs = ("method", "rank", "batch_size", "base")
    both = {name: mine[name] for name in shared if name in mine}
    both |= {name: choices[name] for name in differs if name in choices}
    both |= {f"{name}_2": mine[name] for name in differs if name in mine}
    return RankedRow(recipe.method, cells, f"/recipe?{urlencode(mine)}", f"/compare?{urlencode(both)}")


def _address(one: Candidate, asked: Mapping[str, str]) -> dict[str, str]:
    """The query of a candidate's own recipe."""
    recipe, workload = one.recipe, one.workload
    rank = rank_of(one)
    said = {
        "model": asked.get("model") or workload.model,
        "gpu": one.gpu,
        "method": recipe.method,
        "batch_size": str(recipe.micro_batch_size),
        "seq_len": str(workload.seq_len),
        "rank": "" if rank is None else str(rank),
        "samples": "" if workload.samples is None else str(workload.samples),
        "epochs": f"{workload.epochs:g}",
        "task": workload.task,
        "objective": "" if workload.objective == "sft" else workload.objective,
        "gradient_accumulation": str(recipe.gradient_accumulation),
        "base": recipe.base,
        "gradient_checkpointing": "yes" if recipe.gradient_checkpointing else "no",
        "optimizer": recipe.optimizer,
        "dtype": recipe.dtype,
    }
    return {name: text for name, text in said.items() if text}


def _wall(cells: Sequence[Sequence[Any]]) -> dict[str, Any]:
    batches, lengths = sorted({cell[0] for cell in cells}), sorted({cell[1] for cell in cells})
    known = {(cell[0], cell[1]): (cell[2], f"{cell[3] / GIB:,.1f}") for cell in cells}
    rows = [(batch, [known.get((batch, length), ("", "")) for length in lengths]) for batch in batches]
    return {"lengths": [f"{length:,}" for length in lengths], "rows": rows}


def _tools(*candidates: Candidate) -> list[str]:
    """The tools that can train the first, then those that can train another; which one cannot is said when asked."""
    from advisor.errors import AdvisorError
    from advisor.exporters.export import tools_for

    found: dict[str, None] = {}
    for candidate in candidates:
        with contextlib.suppress(AdvisorError):
            found |= dict.fromkeys(tools_for(candidate))
    return list(found)
