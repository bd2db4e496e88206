"""Pictures of the choice: methods by memory, time, money and quality; quality by data size; the studies behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from advisor.domain.candidate import Candidate, Quality
from advisor.domain.quantity import Quantity
from advisor.domain.recommendation import Recommendation
from advisor.domain.units import GIB, HOUR
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.report.figure import COLOURS, FAINT, INK, WIDTH, Figure, data, field
from advisor.literature.evidence import Bearing

ROW: Final = 24
SHOWN_METHODS: Final = 10
SHOWN_STUDIES: Final = 12
NEAREST: Final = 8
"""Results of one study that a forest plot is drawn from, the nearest to the question."""
UNITS: Final = {"B": GIB, "s": HOUR}
POINTS: Final = "points against full fine-tuning"
LABELS: Final = 190
"""Pixels of a label: a longer one ends in dots."""


def tradeoffs(found: Recommendation) -> Figure:
    """Each ranked method's memory, time, money and quality with its interval, the choice in colour."""
    ranked = found.ranked[:SHOWN_METHODS]
    order = [candidate.recipe.method for candidate in ranked]
    values: dict[str, list[Quantity | None]] = {
        "peak memory, GiB": [c.memory.peak_device for c in ranked],
        "training, hours": [c.time.training for c in ranked],
        "cost, USD": [c.money.at(spot=found.spot) for c in ranked],
        POINTS: [c.quality.effect if c.quality else None for c in ranked],
    }
    panels = [
        _panel(title, known, order, found.choice)
        for title, of in values.items()
        if (known := [(c, value) for c, value in zip(ranked, of, strict=True) if value is not None])
    ]
    rows = tuple(
        (
            c.recipe.method,
            show(c.memory.peak_device, basis=False),
            show(c.time.training, basis=False),
            show(c.money.at(spot=found.spot), basis=False),
            "unknown" if c.quality is None else show(c.quality.effect, basis=False),
        )
        for c in ranked
    )
    return Figure(
        title="What the methods cost, and how good they are likely to be",
        says="Dots are expectations, lines hold the truth nine times in ten; methods in the order of the ranking, the "
        "choice first. Below 0 points a method is expected to do worse than full fine-tuning.",
        alt="; ".join(f"{name}: {memory}, {time}, {money}, {points}" for name, memory, time, money, points in rows)
        + ".",
        spec={"vconcat": panels, "spacing": 12},
        heads=("method", "memory", "time", "money", "points"),
        rows=rows,
    )


def _panel(
    title: str, values: Sequence[tuple[Candidate, Quantity]], order: list[str], choice: Candidate
) -> dict[str, Any]:
    rows = [
        {
            "method": candidate.recipe.method,
            "mid": value.mid / (scale := UNITS.get(value.unit, 1)),
            "low": value.low / scale,
            "high": value.high / scale,
            "chosen": candidate is choice,
        }
        for candidate, value in values
    ]
    return _dots_with_lines(title, rows, order, zero=title != POINTS)


def _dots_with_lines(title: str, rows: Sequence[Mapping[str, Any]], order: list[str], *, zero: bool) -> dict[str, Any]:
    y = field("method", "nominal", sort=order, title=None, axis={"ticks": False, "domain": False, "labelLimit": LABELS})
    colour = {"condition": {"test": "datum.chosen", "value": COLOURS[0]}, "value": INK}
    layers: list[dict[str, Any]] = [
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "encoding": {"x": field("low", title=title, scale={"zero": zero}), "x2": {"field": "high"}},
        },
        {"mark": {"type": "point", "filled": True, "size": 70, "opacity": 1}, "encoding": {"x": field("mid")}},
    ]
    if not zero:
        ground = {"data": data([{"x": 0}]), "mark": {"type": "rule", "color": FAINT}}
        layers.insert(
            0, {**ground, "encoding": {"x": field("x"), "y": {"value": 0}, "y2": {"value": {"expr": "height"}}}}
        )
    for layer in layers[-2:]:
        layer["encoding"] |= {"y": y, "color": colour}
    return {"data": data(rows), "width": WIDTH - 110, "height": {"step": ROW}, "layer": layers}


def studies(bearing: Sequence[Bearing], candidate: Candidate) -> Figure | None:
    """A forest plot: what each study found of the method against full fine-tuning, and what is predicted from all."""
    quality = candidate.quality
    rows = list(_by_study(bearing))[:SHOWN_STUDIES]
    if quality is None or not rows:
        return None
    own = {"method": "predicted", "mid": quality.effect.mid, "low": quality.effect.low, "high": quality.effect.high}
    shown: list[dict[str, Any]] = [*({**row, "chosen": False} for row in rows), {**own, "chosen": True}]
    method = candidate.recipe.method
    return Figure(
        title=f"What studies found of {method}",
        says="Points against full fine-tuning in the same setting: the mean of a study's nearest results and their "
        "range, studies nearest to this question first; last, the prediction drawn from all of them.",
        alt="; ".join(f"{row['method']} {row['mid']:+.1f}" for row in shown) + ".",
        spec=_dots_with_lines(POINTS, shown, [str(row["method"]) for row in shown], zero=False),
        heads=("study", "mean", "lowest", "highest", "results"),
        rows=tuple(
            (
                row["method"],
                f"{row['mid']:+.1f}",
                f"{row['low']:+.1f}",
                f"{row['high']:+.1f}",
                str(row.get("count", "")),
            )
            for row in shown
        ),
    )


def _by_study(bearing: Sequence[Bearing]) -> Iterator[dict[str, Any]]:
    """Studies in the order of their nearest result, each by its few nearest ones."""
    effects: dict[str, list[float]] = {}
    for one in bearing:
        found = effects.setdefault(one.study, [])
        if one.effect is not None and len(found) < NEAREST:
            found.append(one.effect)
    for name, found in effects.items():
        if found:
            mean = sum(found) / len(found)
            yield {"method": name, "mid": mean, "low": min(found), "high": max(found), "count": len(found)}


def by_data_size(qualities: Mapping[int, Quality], candidate: Candidate) -> Figure:
    """The expected effect at other numbers of samples."""
    rows = [
        {"samples": n, "mid": q.effect.mid, "low": q.effect.low, "high": q.effect.high} for n, q in qualities.items()
    ]
    x = field("samples", title="samples", scale={"type": "log"}, axis={"format": "~s", "tickCount": 5})
    layers: list[dict[str, Any]] = [
        {
            "data": data(rows),
            "mark": {"type": "area", "color": COLOURS[0], "opacity": 0.25},
            "encoding": {"x": x, "y": field("low", title=POINTS), "y2": {"field": "high"}},
        },
        {
            "data": data(rows),
            "mark": {"type": "line", "color": COLOURS[0], "strokeWidth": 2},
            "encoding": {"x": x, "y": field("mid")},
        },
        {"data": data([{"y": 0}]), "mark": {"type": "rule", "color": FAINT}, "encoding": {"y": field("y")}},
    ]
    asked = candidate.workload.samples
    if asked:
        line = {"type": "rule", "color": INK, "strokeDash": [4, 4]}
        layers.append({"data": data([{"samples": asked}]), "mark": line, "encoding": {"x": x}})
    method = candidate.recipe.method
    first, last = next(iter(qualities.items())), list(qualities.items())[-1]
    return Figure(
        title=f"{method} by the size of the data",
        says="Expected points against full fine-tuning, and the range that holds a new study nine times in ten; dashed "
        "is what was asked.",
        alt=" and ".join(f"{amount(q.effect.mid, 'score')} points at {n:,} samples" for n, q in (first, last)) + ".",
        spec={"width": WIDTH, "height": 180, "layer": layers},
        heads=("samples", "points"),
        rows=tuple((f"{n:,}", show(q.effect, basis=False)) for n, q in qualities.items()),
    )
