"""The table of `tune_search.py` and what it claims, from the lines of its searches."""

from __future__ import annotations

import math
import statistics
from typing import Any

WITHIN = 0.02
"""The recommendation alone is to be at most this far below the best of the random trials."""


def expected_best(scores: list[float], count: int, *, higher: bool) -> float:
    """Mean over all draws of `count` of these scores of the best among them."""
    ordered = sorted(scores, reverse=not higher)
    every = math.comb(len(ordered), count)
    return sum(math.comb(i, count - 1) * score for i, score in enumerate(ordered)) / every


def table(lines: list[dict[str, Any]]) -> str:
    """A line a set and size: evaluation score (test score) of each searcher, median over its seeds."""
    rows = [
        "| set | rows x epochs | the recommendation | advisor, 8 | TPE, 8 | random, 8 (mean) | random, 32 "
        "| its best, other seeds | first within 2 points | 8 reach it | OOM |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*rows, *(_row(part) for part in by_size(lines))])


def by_size(lines: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The lines of each set and size."""
    sizes = sorted({(r["set"], r["samples"]) for r in lines})
    return [[r for r in lines if (r["set"], r["samples"]) == size] for size in sizes]


def median(part: list[dict[str, Any]], searcher: str, key: str) -> float | None:
    """Over the seeds of a searcher; None where it has not run."""
    values = [r[key] for r in part if r["searcher"] == searcher and r[key] is not None]
    return statistics.median(values) if values else None


def claims(part: list[dict[str, Any]]) -> tuple[bool | None, bool | None]:
    """(the recommendation is near the best random trial, the search reaches it); None where one has not run."""
    first, ours = median(part, "advisor", "first"), median(part, "advisor", "best")
    best = median(part, "random", "best")
    if first is None or ours is None or best is None:
        return None, None
    sign = 1 if part[0]["higher_is_better"] else -1
    # a loss has no points: 2 % of it stand for them
    margin = WITHIN if sign > 0 else WITHIN * best
    return sign * (first - best) >= -margin - 1e-9, sign * (ours - best) >= -1e-9


def broken_claims(part: list[dict[str, Any]]) -> list[str]:
    """What does not hold for a set and size, in words."""
    where = f"{part[0]['set']}, {part[0]['samples']} rows"
    near, reached = claims(part)
    found = [f"{where}: a trial ran out of memory"] if any(r["oom"] for r in part) else []
    found += [f"{where}: the recommendation is more than 2 points below random search"] if near is False else []
    found += [f"{where}: the search does not reach random search's best"] if reached is False else []
    return found


def _row(part: list[dict[str, Any]]) -> str:
    """A set and size."""
    higher = part[0]["higher_is_better"]

    def cell(searcher: str, key: str) -> str:
        value, test = median(part, searcher, key), median(part, searcher, f"test_of_{key}")
        seeds = sum(r["searcher"] == searcher for r in part)
        said = "" if value is None else f"{value:.3f}"
        return said + (f" ({test:.3f})" if test is not None else "") + (f" n={seeds}" if seeds > 1 else "")

    drawn = [s for r in part if r["searcher"] == "random" for s in r["scores"] if s is not None]
    again = [s for r in part for s in r.get("again", ()) if s is not None]
    cells = (
        part[0]["set"],
        f"{part[0]['samples']:,} x {part[0]['epochs']:g}",
        cell("advisor", "first"),
        cell("advisor", "best"),
        cell("tpe", "best"),
        f"{expected_best(drawn, 8, higher=higher):.3f}" if len(drawn) >= 8 else "",
        cell("random", "best"),
        f"{statistics.median(again):.3f} n={len(again)}" if again else "",
        *({True: "yes", False: "no", None: ""}[holds] for holds in claims(part)),
        str(sum(r["oom"] for r in part)),
    )
    return f"| {' | '.join(cells)} |"
