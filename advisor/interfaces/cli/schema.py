"""`advisor schema [NAME]`: the JSON schemas of what the verbs take and answer."""

from __future__ import annotations

import json
from typing import Any

import rich_click as click

from advisor.domain.request.command_options import JsonAnswer
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit


@click.command("schema")
@click.argument("name", required=False, default="")
@options_of(JsonAnswer)
def command(name: str, as_json: bool) -> None:
    """Print the JSON schema of what a verb takes or answers, or list them.

    Answers are what --json prints. Keys may be added in any release; one that goes or changes is told in the changelog.

    \b
    Examples:
      advisor schema
      advisor schema candidate
      advisor schema estimate-request --json
    """
    from advisor.interfaces.schema import SCHEMAS, schema

    if not name:
        emit(
            {known: _said(known) for known in SCHEMAS},
            as_json,
            table=lambda said: [_line(*one) for one in said.items()],
        )
        return
    emit(schema(name), as_json, table=_indented)


def _said(name: str) -> str:
    """The first line of a type's description."""
    from advisor.interfaces.schema import type_of

    return (type_of(name).__doc__ or "").strip().partition("\n")[0]


def _line(name: str, said: str) -> str:
    return f"{name:<18} {said}"


def _indented(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=2, ensure_ascii=False)
