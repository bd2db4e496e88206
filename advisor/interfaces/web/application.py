"""The page, its files and the verbs for programs as one application; and the document that describes the last."""

from __future__ import annotations

import json
from typing import Any

import advisor
from advisor.bug_log import bug_line
from advisor.interfaces.cli.output import clean
from advisor.interfaces.web.answer_finder import AnswerFinder
from advisor.interfaces.web.api_routes import add_api
from advisor.interfaces.web.guard import Guard
from advisor.interfaces.web.job_queue import JobQueue
from advisor.interfaces.web.page_routes import Pages

SAYS = (
    "Plans fine-tuning before anything is trained. Each verb takes the arguments of the command line and of Python, "
    "and answers with what --json prints there. Numbers carry their interval, unit and basis."
)


def application(jobs: JobQueue, token: str | None, *, ahead: bool = True) -> Guard:
    """The guarded application, which asks `jobs`; `token` as of Guard, `ahead` as of AnswerFinder."""
    # without its own pages of documents: they load scripts from elsewhere
    made = _api(jobs)

    async def described(request: Any) -> Any:
        from starlette.responses import Response

        return Response(json.dumps(made.openapi()), media_type="application/json")

    guard = Guard(made, token)
    pages = Pages(AnswerFinder(jobs, ahead=ahead), guard)
    made.add_route("/openapi.json", described, methods=["GET"])
    for path, handler in (
        ("/", pages.recommend),
        ("/recipe", pages.recipe),
        ("/compare", pages.compare),
        ("/export", pages.export),
        ("/report", pages.report),
        ("/static/{name}", pages.file),
    ):
        made.add_route(path, handler, methods=["GET"])
    made.add_route("/token", pages.token, methods=["GET", "POST"])
    made.add_exception_handler(Exception, _bug)
    return guard


async def _bug(request: Any, error: Exception) -> Any:
    """One line for who asked; the traceback lies in a file of this machine."""
    from starlette.responses import Response

    told = clean(f"advisor failed on this, which is a bug: {bug_line(error)}")
    if request.url.path.startswith("/api/"):
        facts: dict[str, Any] = {
            "error": type(error).__name__,
            "message": told,
            "cause": "",
            "hints": [],
            "exit_code": 1,
        }
        return Response(json.dumps(facts), 500, media_type="application/json")
    return Response(f"{told}\n", 500, media_type="text/plain")


def openapi() -> dict[str, Any]:
    """The OpenAPI document; nothing is started."""
    return _api(None).openapi()


def _api(jobs: JobQueue | None) -> Any:
    from fastapi import FastAPI

    made = FastAPI(
        title="advisor", version=advisor.__version__, description=SAYS, openapi_url=None, docs_url=None, redoc_url=None
    )
    add_api(made, jobs)
    return made
