"""`advisor web`: the verbs as a page of this machine, and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from advisor.domain.request.command_options import WebCommand
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import clean, emit, quiet

if TYPE_CHECKING:
    from advisor.interfaces.web.http_server import Listening


@click.command("web")
@options_of(WebCommand)
def command(host: str | None, port: int | None, browser: bool, as_json: bool) -> None:
    """A page of this machine to ask, compare and move sliders on, and the same verbs for programs.

    Listens on this machine alone; on any other address it asks for a token, which is printed, or taken from
    ADVISOR_WEB_TOKEN. A page's address holds its whole question, and can be shared. Ctrl-C ends it. With --json the
    OpenAPI document is printed, and nothing is served. Needs advisor[web].

    \b
    Examples:
      advisor web
      advisor web --port 9000 --open
      advisor web --host 0.0.0.0
      advisor web --json
    """
    from advisor.interfaces.web import http_server

    if as_json:
        http_server.check_installed()
        from advisor.interfaces.web.application import openapi

        emit(openapi(), as_json)
        return

    def tell(where: Listening) -> None:
        click.echo(clean(f"advisor is at {where.address}"), err=True)
        if where.note and not quiet():
            click.echo(clean(f"note: {where.note}"), err=True)
        if browser:
            import webbrowser

            webbrowser.open(where.address)

    http_server.serve(host, port, tell)
