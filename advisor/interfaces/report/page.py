"""A report's page: its sentence, its figures, pictures, lists and tables, in one file that needs no other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

from advisor import __version__, store
from advisor.errors import BadRequest
from advisor.interfaces.cli.output import clean
from advisor.interfaces.report.figure import Figure, can_draw, svg
from advisor.interfaces.verdict import Fact

TEMPLATE: Final = "page.html.j2"
WITHOUT_PICTURES: Final = "pictures: pip install 'advisor[report]'; until then their numbers stand as tables"


@dataclass(frozen=True, slots=True)
class Section:
    """One heading with what belongs below it; `links` are (address, text)."""

    title: str
    figure: Figure | None = None
    lines: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, figure: Figure) -> Section:
        """A picture, with its numbers for who cannot see it."""
        return cls(figure.title, figure, heads=figure.heads, rows=figure.rows)


@dataclass(frozen=True, slots=True)
class Page:
    """All that a report says, in its order."""

    verdict: str
    facts: tuple[Fact, ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...] = ()


def rendered(page: Page) -> str:
    """The page's text; every value is escaped by jinja2, pictures by the library that draws them."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("advisor.interfaces.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
    )
    drawn = can_draw()
    notes = (*page.notes, *(() if drawn else (WITHOUT_PICTURES,)))
    sections = [
        {
            "title": section.title,
            "figure": section.figure,
            "svg": Markup(clean(svg(section.figure))) if section.figure and drawn else "",
            "lines": section.lines,
            "links": section.links,
            "heads": section.heads,
            "rows": section.rows,
        }
        for section in (*page.sections, *([Section("Notes", lines=notes)] if notes else []))
    ]
    view = {
        "title": f"advisor: {page.verdict}",
        "verdict": page.verdict,
        "facts": page.facts,
        "sections": sections,
        "footer": f"Written by advisor {__version__} on {date.today().isoformat()}. Intervals should hold the truth "
        "nine times in ten; each figure says on what it stands.",
    }
    return environment.get_template(TEMPLATE).render(page=view)


def visible(value: Any) -> Any:
    """Control characters and changes of direction spelt out, as in the terminal."""
    from markupsafe import Markup

    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def check_free(path: str | Path, *, force: bool) -> Path:
    """The file a report goes to, asked before anything is computed.

    Raises:
        BadRequest: it is there already and `force` was not given, or its name does not end in .html.
    """
    place = store.expanded(path)
    if place.suffix.lower() not in (".html", ".htm"):
        raise BadRequest(f"a report is an HTML file, not {str(path)!r}", hints=["for example: --report out.html"])
    if place.exists() and not force:
        raise BadRequest(f"{place} is there already", hints=["to overwrite it: --force"], path=str(place))
    return place


def write_html(text: str, place: Path) -> Path:
    """Write a page whole or not at all.

    Raises:
        StoreUnavailable: the disk is full.
        BadFile: the folder cannot be written.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    store.durable(place, lambda temporary: store.write_bytes(temporary, text.encode()))
    return place


def figures(made: Iterable[Figure | None]) -> Iterator[Section]:
    """The sections of those pictures that there are."""
    yield from (Section.of(figure) for figure in made if figure is not None)
