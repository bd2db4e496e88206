"""`--report FILE`: refused before anything is computed, written when the answer is there. Pictures load when asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rich_click as click

from advisor.interfaces.cli.output import clean, quiet


def report_writer(path: str | None, *, force: bool) -> Callable[[Any], None]:
    """What writes a result's report, told on stderr; nothing where none was asked for.

    Raises:
        BadRequest: the file is there already, before anything is computed.
    """
    if path is None:
        return lambda found: None
    from advisor.interfaces.report.page import check_free, write_html

    place = check_free(path, force=force)

    def write(found: Any) -> None:
        from advisor.interfaces.report.documents import html_of

        write_html(html_of(found), place)
        if not quiet():
            click.echo(clean(f"wrote {place}"), err=True)

    return write
