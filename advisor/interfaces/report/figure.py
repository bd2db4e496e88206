"""A picture of a report: a Vega-Lite chart drawn once as SVG, its caption, its words for who cannot see it, its table.

Colours are the page's own variables, so that one drawing serves light, dark and print; none means anything alone.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from advisor.interfaces.cli.output import clean

WIDTH: Final = 400
"""Units of a chart's width, of letters 13 high: readable where a phone is 360 wide."""
SCALE: Final = 1.2
"""A chart is shown so much larger than its units, where its place is wide enough: letters as high as the text's."""
INK: Final = "currentColor"
COLOURS: Final = tuple(f"var(--c{number})" for number in range(1, 9))
"""Okabe and Ito's, which people with any common colour blindness tell apart; the page's style says them."""
FAINT: Final = "var(--faint)"

CONFIG: Final[dict[str, Any]] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "axis": {
        "labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "gridColor": INK,
        "gridOpacity": 0.15, "labelFontSize": 13, "titleFontSize": 13, "titleFontWeight": "normal",
        "labelFlush": False, "labelSeparation": 12,
    },
    "legend": {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 13, "titleFontSize": 13, "orient": "bottom",
        "columns": 3, "columnPadding": 22,
    },
    "title": {"color": INK, "fontSize": 13, "fontWeight": "normal", "anchor": "start"},
    "header": {"labelColor": INK, "titleColor": INK, "labelFontSize": 13},
    "view": {"stroke": None},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart.

    `says` stands below it; `alt` tells in words what it shows; `heads` and `rows` are its numbers. `spec` is
    Vega-Lite, without data from outside.
    """

    title: str
    says: str
    alt: str
    spec: Mapping[str, Any]
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def can_draw() -> bool:
    """Whether the `report` extra is installed."""
    return importlib.util.find_spec("vl_convert") is not None


def svg(figure: Figure) -> str:
    """The chart as one SVG element, no wider than its place; letters that a reader's fonts make wider are not cut."""
    import vl_convert

    drawn = vl_convert.vegalite_to_svg({**figure.spec, "config": CONFIG})
    head, _, rest = drawn.partition(">")
    box = head[head.index("viewBox=") :].split('"')[1]
    width = round(SCALE * float(box.split()[2]))
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" viewBox="{box}"'
    return f'{opening} aria-hidden="true" focusable="false">{rest}'


def data(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows as Vega-Lite takes them; a control character in a text would end the whole process in vl-convert."""
    return {
        "values": [
            {name: clean(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows
        ]
    }


def field(name: str, kind: str = "quantitative", **more: Any) -> dict[str, Any]:
    """An encoding of one column; dots and brackets in its name mean nothing."""
    return {"field": name, "type": kind, **more}
