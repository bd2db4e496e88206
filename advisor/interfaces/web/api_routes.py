# annotations are needed as they stand: FastAPI reads them, and what they name is imported in a function
"""The verbs for programs: JSON in, out what `--json` prints, with the command line's errors; see openapi.json."""

import json
from collections.abc import Callable
from typing import Any, Final

from advisor.domain.candidate import Candidate
from advisor.domain.plain_values import is_object
from advisor.domain.recommendation import Recommendation
from advisor.errors import AdvisorError, BadRequest
from advisor.exporters.export_job import Export
from advisor.interfaces.mcp.tools import AgentTool, tools
from advisor.interfaces.web.answer_finder import Answered
from advisor.interfaces.web.job_queue import JobQueue, QueueFull
from advisor.interfaces.web.page_routes import small_body
from advisor.interfaces.web.questions import check_remote

MOST_BYTES: Final = 2**20
PATIENCE: Final = 600.0
"""Seconds that a program waits for its answer; asked again after, it finds what was worked out meanwhile."""
ANSWERS: Final[dict[str, type]] = {"recommend": Recommendation, "estimate": Candidate, "export": Export}
ERROR: Final[dict[str, Any]] = {
    "title": "Error",
    "type": "object",
    "required": ["error", "message", "exit_code"],
    "properties": {
        "error": {"type": "string", "description": "its kind, as UnknownName"},
        "message": {"type": "string", "description": "what happened"},
        "cause": {"type": "string", "description": "the largest cause"},
        "hints": {"type": "array", "items": {"type": "string"}, "description": "what to ask instead"},
        "exit_code": {"type": "integer", "description": "of the command line: 2 wrong request, 3 nothing fits, 4 file"},
    },
}
TOLD: Final = {
    400: "wrong request",
    404: "a name that nobody knows, with near ones",
    413: "the body is too long",
    422: "nothing fits, and what would",
    503: "too many questions, or still being worked on: ask again after Retry-After seconds",
}


def add_api(application: Any, jobs: JobQueue | None) -> None:
    """Add a POST of each verb to a FastAPI application; without `jobs` only to be described."""
    for tool in tools():
        application.add_api_route(
            f"/api/{tool.name}",
            _handler(tool.name, jobs),
            methods=["POST"],
            name=tool.name,
            summary=tool.says,
            responses=_responses(tool),
            openapi_extra={"requestBody": _body(tool)},
        )


def _handler(verb: str, jobs: JobQueue | None) -> Callable[..., Any]:
    from starlette.requests import Request
    from starlette.responses import Response

    async def answered(request: Request) -> Response:
        assert jobs is not None
        try:
            arguments = await _arguments(request)
            check_remote(arguments)
            reply = await jobs.ask(verb, arguments).settled(PATIENCE)
        except TooLong as error:
            return _json(error.facts(), 413)
        except (AdvisorError, QueueFull) as error:
            return _failed(Answered.failed(error))
        if reply is None:
            return _failed(Answered.failed(QueueFull(30)))
        if "error" in reply:
            return _failed(Answered.failed(reply["error"]))
        return _json(reply["answer"], 200)

    answered.__doc__ = None
    return answered


class TooLong(BadRequest):
    """A body of too many bytes."""


async def _arguments(request: Any) -> dict[str, Any]:
    """The keywords of the verb in a request's body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest("the body must be JSON", hints=["send it with Content-Type: application/json"])
    try:
        body = await small_body(request, MOST_BYTES)
    except BadRequest as error:
        raise TooLong(error.message, hints=error.hints) from None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the body is not JSON", cause=str(error)[:200]) from error
    if not is_object(found):
        raise BadRequest("the body must be a JSON object of the verb's arguments")
    return dict(found)


def _failed(found: Answered) -> Any:
    told: dict[str, Any] = {"cause": "", "hints": [], "exit_code": 1, **(found.error or {})}
    return _json(told, found.status, {"retry-after": str(found.retry_after)} if found.retry_after else {})


def _json(value: Any, status: int, headers: dict[str, str] | None = None) -> Any:
    from starlette.responses import Response

    text = json.dumps(value, allow_nan=False, default=str)
    return Response(text, status, {"cache-control": "no-store", **(headers or {})}, media_type="application/json")


def _body(tool: AgentTool) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": tool.schema}}}


def _responses(tool: AgentTool) -> dict[int | str, dict[str, Any]]:
    errors = {
        status: {"description": why, "content": {"application/json": {"schema": ERROR}}} for status, why in TOLD.items()
    }
    return {200: {"model": ANSWERS[tool.name], "description": "as the command line prints with --json"}, **errors}
