"""Pictures of memory: a step part by part, and the wall of batch and length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from advisor.domain.candidate import Candidate
from advisor.domain.units import GIB, gib
from advisor.estimator.memory.feasibility import Cell
from advisor.estimator.memory.step_memory import StepMemory
from advisor.interfaces.report.figure import COLOURS, FAINT, INK, WIDTH, Figure, data, field
from advisor.interfaces.terminal.memory_bar import largest

SHOWN_PARTS: Final = 6
HEIGHT: Final = 220
CELL: Final = 34
MARKS: Final = {"fits": "●", "may fit": "◐", "does not fit": "·"}
"""A verdict's mark, so that no colour is needed."""


def timeline(found: StepMemory, candidate: Candidate) -> Figure:
    """A step's memory by part, what is reserved, and the limit."""
    names = largest({name: max(sizes) for name, sizes in found.parts.items()}, SHOWN_PARTS)
    points = range(len(found.reserved))
    parts = {name: found.parts[name] for name in names if name in found.parts}
    others = [sizes for name, sizes in found.parts.items() if name not in parts]
    if others:
        parts["other"] = tuple(sum(sizes[i] for sizes in others) for i in points)
    # what is always there lies at the bottom, so that what comes and goes is seen to
    parts = dict(sorted(parts.items(), key=lambda part: -min(part[1])))
    areas = [
        {"at": i, "part": name, "order": number, "GiB": sizes[i] / GIB}
        for number, (name, sizes) in enumerate(parts.items())
        for i in points
    ]
    reserved = [{"at": i, "GiB": (found.reserved[i] + found.context) / GIB} for i in points]
    limit, top = candidate.limit_bytes / GIB, candidate.memory.peak_device.high / GIB
    starts = _phases(found.phases)
    x: dict[str, Any] = field("at", axis=None)
    y = field("GiB", title="GiB", scale={"domain": [0, max(limit, top) * 1.06], "nice": False})
    colour = field("part", "nominal", title=None, sort=list(parts), scale={"domain": list(parts), "range": COLOURS})
    layers = [
        {
            "data": data(areas),
            "mark": {"type": "area", "interpolate": "step-after"},
            "encoding": {"x": x, "y": {**y, "stack": "zero"}, "color": colour, "order": field("order")},
        },
        {
            "data": data(reserved),
            "mark": {"type": "line", "color": INK, "strokeWidth": 1.5, "interpolate": "step-after"},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": data([{"GiB": limit}]),
            "mark": {"type": "rule", "color": INK, "strokeDash": [6, 4], "strokeWidth": 2},
            "encoding": {"y": y},
        },
        {
            "data": data([{"GiB": limit, "text": f"limit {limit:.1f} GiB"}]),
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": 11, "x": 0, "color": INK, "fontSize": 13},
            "encoding": {"y": y, "text": field("text", "nominal")},
        },
        {
            "data": data(starts),
            "mark": {"type": "text", "align": "left", "baseline": "top", "y": HEIGHT + 6, "color": INK, "fontSize": 12},
            "encoding": {"x": x, "text": field("phase", "nominal")},
        },
    ]
    peak = candidate.memory
    told = ", ".join(f"{name} {gib(size)}" for name, size in largest(peak.breakdown, SHOWN_PARTS).items())
    return Figure(
        title="Memory through one step",
        says="Areas are what is in use, by part; the line is what the allocator holds, with the CUDA context; dashed, "
        "the limit. From left to right in the order of events, which is not to scale in time.",
        alt=f"Memory peaks in {peak.peak_phase}, {gib(peak.peak_device.mid)} of {gib(candidate.limit_bytes)}: {told}.",
        spec={"width": WIDTH, "height": HEIGHT, "layer": layers, "padding": {"bottom": 26}},
        heads=("at the peak", "bytes"),
        rows=tuple((name, gib(size)) for name, size in largest(peak.breakdown, 99).items()),
    )


def _phases(phases: Sequence[str]) -> list[dict[str, Any]]:
    """Where each phase of some length begins: forward, backward and optimizer; shorter ones would overlap."""
    found: list[dict[str, Any]] = []
    for i, phase in enumerate(phases):
        fresh = phase not in {one["phase"] for one in found}
        if phase in ("forward", "backward", "optimizer") and fresh and len(phases) - i > len(phases) // 8:
            found.append({"at": i, "phase": phase})
    return found


def wall(cells: Sequence[Cell], candidate: Candidate) -> Figure:
    """What fits of each micro-batch and length."""
    workload, recipe = candidate.workload, candidate.recipe
    batches, lengths = sorted({c.batch for c in cells}), sorted({c.length for c in cells})
    rows = [
        {
            "batch": str(c.batch),
            "tokens": f"{c.length:,}",
            "verdict": c.verdict,
            "GiB": f"{c.mid / GIB:.0f}" if c.mid < 1000 * GIB else "",
        }
        for c in cells
    ]
    x = field("tokens", "ordinal", title="tokens of the longest sample", sort=[f"{n:,}" for n in lengths])
    x["axis"] = {"labelAngle": 0, "domain": False, "ticks": False}
    y = field("batch", "ordinal", title="micro-batch", sort=[str(n) for n in reversed(batches)])
    y["axis"] = {"domain": False, "ticks": False}
    verdicts = list(MARKS)
    colour = field("verdict", "nominal", title=None, sort=verdicts)
    colour["scale"] = {"domain": verdicts, "range": ["var(--yes)", "var(--maybe)", FAINT]}
    weight = {"condition": {"test": "datum.verdict == 'does not fit'", "value": 0.55}, "value": 1}
    layers = [
        {"mark": {"type": "rect", "stroke": "var(--page)", "strokeWidth": 2}, "encoding": {"color": colour}},
        {
            "mark": {"type": "text", "fontSize": 13, "color": INK},
            "encoding": {"text": field("GiB", "nominal"), "opacity": weight},
        },
    ]
    fits = [c for c in cells if c.verdict == "fits"]
    best = max(fits, key=lambda c: c.batch * c.length, default=None)
    said = f"the most tokens at once: {best.batch} x {best.length:,}" if best else "nothing of this fits"
    return Figure(
        title="The wall: which batches fit",
        says=f"GiB needed by {recipe.method} at each micro-batch and length, other settings as they are; asked for is "
        f"{recipe.micro_batch_size} x {workload.seq_len:,}. A quick sum: what may fit, advisor estimate says exactly.",
        alt=f"A map of micro-batches by lengths; {said}.",
        spec={
            "data": data(rows),
            "width": {"step": CELL + 14},
            "height": {"step": CELL},
            "encoding": {"x": x, "y": y},
            "layer": layers,
        },
        heads=("micro-batch", *(f"{n:,}" for n in lengths)),
        rows=tuple((str(b), *(f"{c.verdict}, {gib(c.mid)}" for c in cells if c.batch == b)) for b in batches),
    )
