"""The tools over the Model Context Protocol, on this process's stdin and stdout."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING, Any

from advisor.bug_log import bug_line
from advisor.errors import AdvisorError, MissingExtra

if TYPE_CHECKING:
    from advisor.interfaces.mcp.tools import AgentTool, Answer

INSTRUCTIONS = (
    "Plans fine-tuning before anything is trained. Ask `recommend` first; `estimate` prices one recipe; `export` turns "
    "an answer's `choice` into a trainer's files. Numbers carry intervals: tell them along."
)


def serve() -> None:
    """Answer until stdin ends.

    Raises:
        MissingExtra: the SDK is not installed.
    """
    if importlib.util.find_spec("mcp") is None:
        raise MissingExtra.of("mcp", extra="mcp", why="a server for agents")
    asyncio.run(_serve())


def _tools() -> tuple[AgentTool, ...]:
    """Loaded when first asked for: an agent waits a second for the greeting, and longer for an answer."""
    from advisor.interfaces.mcp.tools import tools

    return tools()


async def _serve() -> None:
    from mcp import types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    # one answer at a time: what a trace replaces in the libraries is the whole process's
    turn = asyncio.Lock()

    async def on_list(context: Any, parameters: Any) -> types.ListToolsResult:
        offered = await asyncio.to_thread(_tools)
        listed = [types.Tool(name=t.name, description=t.says, input_schema=t.schema) for t in offered]
        return types.ListToolsResult(tools=listed)

    async def on_call(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
        offered = {tool.name: tool for tool in await asyncio.to_thread(_tools)}
        tool = offered.get(parameters.name)
        if tool is None:
            return _said(types, f"there is no tool {parameters.name}; there are {', '.join(offered)}", None, wrong=True)
        async with turn:
            answer, wrong = await asyncio.to_thread(_called, tool, parameters.arguments or {})
        return _said(types, answer.text, answer.values, wrong=wrong)

    server = Server("advisor", instructions=INSTRUCTIONS, on_list_tools=on_list, on_call_tool=on_call)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


def _called(tool: AgentTool, arguments: dict[str, Any]) -> tuple[Answer, bool]:
    """The answer, or an error's facts, and whether it is one: an agent is to read it and ask better."""
    from advisor.interfaces.mcp.tools import Answer

    try:
        return tool.call(arguments), False
    except AdvisorError as error:
        return Answer(str(error), error.facts()), True
    except Exception as error:
        # a bug in one answer must not end the others
        return Answer(f"advisor failed on this, which is a bug: {bug_line(error)}", {}), True


def _said(types: Any, text: str, values: dict[str, Any] | None, *, wrong: bool) -> Any:
    content = [types.TextContent(type="text", text=text)]
    return types.CallToolResult(content=content, structured_content=values or None, is_error=wrong)
