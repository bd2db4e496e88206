"""`advisor models [SEARCH]`: the model definitions of the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.command_options import JsonAnswer
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit, fitted

if TYPE_CHECKING:
    from advisor.catalog.models import ModelEntry

HEADINGS = ("model", "type", "task class", "parameters", "context", "licence", "gated", "other names")
FIRST_OUT = ("other names", "gated", "licence", "task class", "context", "type")


@click.command("models")
@click.argument("search", required=False, default="")
@options_of(JsonAnswer)
def command(search: str, as_json: bool) -> None:
    """List and search the models of the catalogue.

    A search looks into ids, aliases, families, types and task classes. Any other model is taken from a
    local folder with its config.json, from the Hub's cache, or from the Hub. A single match is shown with
    its sources.

    \b
    Examples:
      advisor models llama
      advisor models "qwen3 moe" --json
    """
    from advisor.catalog.models import models

    emit(models(search), as_json, table=_shown)


def _shown(entries: Sequence[ModelEntry]) -> list[Any]:
    cells = [_cells(entry) for entry in entries]
    parts: list[Any] = list(fitted(HEADINGS, cells, first_out=FIRST_OUT, right="parameters,context"))
    if len(entries) == 1:
        parts.append(_details(entries[0]))
    return parts


def _cells(entry: ModelEntry) -> list[str | None]:
    return [
        entry.id,
        entry.model_type,
        entry.task_class,
        f"{entry.parameters:,}",
        f"{entry.context_length:,}" if entry.context_length else None,
        entry.licence,
        {True: "yes", False: "no", None: "unknown"}[entry.gated],
        str(len(entry.aliases)) if entry.aliases else None,
    ]


def _details(entry: ModelEntry) -> str:
    """Names and sources of the one match."""
    lines = [f"also called: {', '.join(entry.aliases)}"] if entry.aliases else []
    lines.append(
        f"parameter count equals the published one: {entry.verified} ({entry.published_source or 'no source'})"
    )
    if entry.notes:
        lines.append(f"notes: {entry.notes}")
    lines.append(f"source: {entry.source}")
    return "\n".join(lines)
