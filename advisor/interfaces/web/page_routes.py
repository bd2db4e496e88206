"""The pages: a form whose whole state is in the address, and its answer, with and without JavaScript.

Without, a page that is not ready yet asks again by itself every two seconds. With, the form asks for the answer alone:
first for the quick figures of known traces, then for the exact ones, and meanwhile for how far those are.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import advisor
from advisor.errors import AdvisorError, BadRequest
from advisor.interfaces.cli.output import clean
from advisor.interfaces.report.page import visible
from advisor.interfaces.web.answer_finder import Answered, AnswerFinder
from advisor.interfaces.web.guard import Guard, local_address
from advisor.interfaces.web.job_queue import QueueFull
from advisor.interfaces.web.questions import FORMS, OF_ONE_RECIPE, FormName, fields_of

ROOMS: Final[tuple[tuple[FormName, str, str], ...]] = (
    ("recommend", "/", "Which method"),
    ("recipe", "/recipe", "One recipe"),
    ("compare", "/compare", "Two recipes"),
)
INTRO: Final[dict[FormName, str]] = {
    "recommend": "Which fine-tuning method to use on your GPU, what it takes, and how sure that is",
    "recipe": "What one recipe takes, and whether it fits",
    "compare": "Two recipes beside each other",
}
EXAMPLES: Final[dict[FormName, tuple[tuple[str, str], ...]]] = {
    "recommend": (
        ("/?model=meta-llama%2FLlama-3.1-8B&gpu=H100&samples=2000", "Llama-3.1-8B on an H100, 2000 samples"),
        ("/?model=google-bert%2Fbert-base-uncased&gpu=T4&samples=500&task_type=NLU", "BERT on a T4, 500 samples"),
    ),
    "recipe": (
        (
            "/recipe?model=meta-llama%2FLlama-3.2-3B&gpu=L40S&method=lora&rank=32&batch_size=4&seq_len=683&samples=2000",
            "LoRA of rank 32 for Llama-3.2-3B on an L40S",
        ),
    ),
    "compare": (
        (
            "/compare?model=meta-llama%2FLlama-3.2-3B&gpu=L40S&seq_len=683&samples=2000&method=lora&rank=32"
            "&batch_size=4&method_2=full&batch_size_2=4",
            "LoRA and full fine-tuning of Llama-3.2-3B on an L40S",
        ),
    ),
}
FIRST: Final[dict[FormName, int]] = {"recommend": 7, "recipe": 7, "compare": 99}
"""Fields before the fold; a slider's field is always among them, and the budget."""
STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
MOST_FORM_BYTES: Final = 4096
PATIENCE: Final = 1.2
"""Seconds that a request waits for its answer before it says how far that is."""
FILE_PATIENCE: Final = 25.0
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Pages:
    """The handlers of every page; each takes a Starlette request and gives a response."""

    def __init__(self, finder: AnswerFinder, guard: Guard) -> None:
        from jinja2 import Environment, PackageLoader, StrictUndefined

        self.finder, self.guard = finder, guard
        self.templates = Environment(
            loader=PackageLoader("advisor.interfaces.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=visible,
            trim_blocks=True,
        )
        folder = files("advisor.interfaces.web") / "static"
        self.static = {name: (folder / name).read_bytes() for name in STATIC}
        self.stamp = hashlib.sha256(b"".join(self.static.values())).hexdigest()[:12]
        self.lists = _known_names()

    async def recommend(self, request: Any) -> Any:
        return await self._question(request, "recommend")

    async def recipe(self, request: Any) -> Any:
        return await self._question(request, "recipe")

    async def compare(self, request: Any) -> Any:
        return await self._question(request, "compare")

    async def _question(self, request: Any, form: FormName) -> Any:
        """The page of a form, or for htmx its answer alone."""
        fragment = request.headers.get("hx-request") == "true" and "hx-history-restore-request" not in request.headers
        exact = request.headers.get("advisor-exact") == "1"
        asked: dict[str, str] = {}
        try:
            asked = query_of(request)
            seen = rows_shown(request) if fragment else None
            quick = fragment and not exact
            found = await self.finder.answer(form, asked, PATIENCE, quick=quick, seen=seen) if asked else None
        except (AdvisorError, QueueFull) as error:
            found = Answered.failed(error)
        path = next(address for name, address, _ in ROOMS if name == form)
        query = urlencode(asked)
        context = {
            **self._shared(form),
            **_of_answer(found),
            "asked": asked,
            "query": query,
            "address": f"{path}?{query}",
            "fragment": fragment,
        }
        headers = {"retry-after": str(found.retry_after)} if found and found.retry_after else {}
        if fragment and exact and found and found.pending:
            return self._html("pending.html.j2", context)
        if fragment:
            # what is polled replaces the line that says how far it is; the answer goes to its own place
            more = {"hx-retarget": "#answer", "hx-reswap": "innerHTML"} if exact else {}
            return self._html("answer.html.j2", context, found.status if found else 200, {**headers, **more})
        fields = fields_of(form, asked)
        context |= {
            "path": path,
            "fields": fields,
            "first": FIRST[form],
            "of_one": OF_ONE_RECIPE,
            "more_open": any(field.value for field in fields[FIRST[form] :]),
            "button": "Compare" if form == "compare" else "Answer",
            "part": "answer.html.j2",
            "lists": self.lists,
        }
        return self._html("question.html.j2", context, found.status if found else 200, headers)

    async def export(self, request: Any) -> Any:
        """The files of a tool for an answer, shown, or one of them or all to keep."""
        from starlette.responses import Response

        context: dict[str, Any] = {**self._shared("recipe"), "fragment": False, "asked": {}, "query": ""}
        try:
            asked = query_of(request)
            file = asked.pop("file", None)
            address = f"/export?{urlencode(asked)}"
            form = _form_in(asked)
            export = {name: asked.pop(name) for name in ("to", "launch", "row") if name in asked}
            reply = await self.finder.export(form, asked, export, FILE_PATIENCE)
        except (AdvisorError, QueueFull) as error:
            found = Answered.failed(error)
            return self._html("export.html.j2", {**context, **_of_answer(found), "address": ""}, found.status)
        if reply is None:
            told = "This is still being worked out."
            return self._html("export.html.j2", {**context, **_of_answer(None), "pending": told, "address": address})
        if file is None:
            return self._html("export.html.j2", {**context, **_of_answer(None), "export": reply, "address": address})
        texts = {one["name"]: one["text"] for one in reply["files"]}
        if file == "*":
            return _attached(_zipped(texts), f"{reply['to']}.zip", "application/zip")
        if file not in texts:
            return Response("advisor: no such file\n", 404, media_type="text/plain")
        return _attached(texts[file].encode(), file, "application/octet-stream")

    async def report(self, request: Any) -> Any:
        """The report of an answer, to keep."""
        from starlette.responses import Response

        try:
            asked = query_of(request)
            text = await self.finder.report(_form_in(asked), asked, FILE_PATIENCE)
        except (AdvisorError, QueueFull) as error:
            told = Answered.failed(error)
            return Response(clean(f"advisor: {error}\n"), told.status, media_type="text/plain")
        if text is None:
            later = {"retry-after": "5"}
            return Response("advisor: still being worked out; try again\n", 503, later, media_type="text/plain")
        return _attached(text.encode(), "advisor-report.html", "text/html; charset=utf-8")

    async def token(self, request: Any) -> Any:
        """The form that asks for the token, and what it sends."""
        from starlette.responses import RedirectResponse

        shared: dict[str, Any] = {**self._shared("recommend"), "wrong": False}
        if self.guard.token is None:
            return RedirectResponse("/", 303)
        if request.method != "POST":
            return self._html("token.html.j2", {**shared, "to": local_address(request.query_params.get("to", "/"))})
        body = await small_body(request, MOST_FORM_BYTES)
        sent = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        to = local_address(sent.get("to", "/"))
        if self.guard.right(sent.get("token", "")):
            return RedirectResponse(to, 303, {"set-cookie": self.guard.cookie(), "cache-control": "no-store"})
        # who guesses waits
        await asyncio.sleep(0.5)
        return self._html("token.html.j2", {**shared, "wrong": True, "to": to}, 403)

    async def file(self, request: Any) -> Any:
        """The style, the scripts, the icon."""
        from starlette.responses import Response

        name = request.path_params["name"]
        if name not in self.static:
            return Response("advisor: no such file\n", 404, media_type="text/plain")
        kept = {"cache-control": "public, max-age=86400"}
        return Response(self.static[name], 200, kept, media_type=STATIC[name])

    def _shared(self, form: FormName) -> dict[str, Any]:
        return {
            "form": form,
            "rooms": ROOMS,
            "title": f"advisor: {INTRO[form]}",
            "intro": INTRO[form],
            "examples": EXAMPLES[form],
            "stamp": self.stamp,
            "version": advisor.__version__,
        }

    def _html(
        self, template: str, context: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Any:
        from starlette.responses import HTMLResponse

        text = self.templates.get_template(template).render(context)
        return HTMLResponse(text, status, {"cache-control": "no-store", "vary": "HX-Request", **(headers or {})})


def query_of(request: Any) -> dict[str, str]:
    """What an address asks; empty parameters are left out.

    Raises:
        BadRequest: a parameter is there twice.
    """
    pairs: list[tuple[str, str]] = request.query_params.multi_items()
    asked: dict[str, str] = {}
    for name, text in pairs:
        if name in asked:
            raise BadRequest(f"{name} is said twice", hints=["leave one of them out"], field=name)
        if text.strip():
            asked[name] = text
    return asked


def rows_shown(request: Any) -> int:
    """How many rows of a pending answer the page says that it shows."""
    said = request.headers.get("advisor-rows", "0")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 5 else 0


def _of_answer(found: Answered | None) -> dict[str, Any]:
    if found is None:
        return {"view": None, "error": None, "pending": "", "quick": "", "spoken": "", "rows": ()}
    error = found.error
    spoken = (error or {}).get("message") or (found.view or {}).get("verdict") or found.pending
    return {
        "view": found.view,
        "error": {"cause": "", "hints": [], **error} if error else None,
        "pending": found.pending,
        "quick": found.quick,
        "rows": found.rows,
        "spoken": spoken,
    }


def _form_in(asked: dict[str, str]) -> FormName:
    """Takes the form's name out of a query."""
    given = asked.pop("form", "")
    for name in FORMS:
        if name == given and name != "compare":
            return name
    raise BadRequest("form must be recommend or recipe", field="form")


def _known_names() -> dict[str, list[str]]:
    """What the fields of model, GPU and method suggest."""
    return {
        "model": [one.id for one in advisor.models()],
        "gpu": [one.name for one in advisor.gpus()],
        "method": [one.name for one in advisor.methods()],
    }


def _attached(content: bytes, name: str, kind: str) -> Any:
    from starlette.responses import Response

    told = f'attachment; filename="{UNSAFE.sub("-", name)}"'
    return Response(content, 200, {"content-disposition": told, "cache-control": "no-store"}, media_type=kind)


def _zipped(texts: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            archive.writestr(UNSAFE.sub("-", name), text)
    return made.getvalue()


async def small_body(request: Any, most: int) -> bytes:
    """A request's body; what is longer than `most` bytes is not read further."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise BadRequest(f"the body is longer than {most} bytes", hints=["send less"])
    return body
