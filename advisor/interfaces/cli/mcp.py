"""`advisor mcp`: the verbs as tools of an agent."""

from __future__ import annotations

import rich_click as click

from advisor.domain.request.command_options import JsonAnswer
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit


@click.command("mcp")
@options_of(JsonAnswer)
def command(as_json: bool) -> None:
    """Offer recommend, estimate and export to an agent, by the Model Context Protocol on stdin and stdout.

    With --json the tools and their schemas are printed, and nothing is served. Needs advisor[mcp].

    \b
    Examples:
      advisor mcp --json
      advisor mcp
    """
    if as_json:
        from advisor.interfaces.mcp.tools import tools

        emit([{"name": t.name, "description": t.says, "input_schema": t.schema} for t in tools()], as_json)
        return
    from advisor.interfaces.mcp.server import serve

    serve()
