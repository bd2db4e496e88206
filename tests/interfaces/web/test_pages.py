"""The page in a reader's hands: with a keyboard, by ear, on a phone, without JavaScript, with hostile names in it."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from html.parser import HTMLParser
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest

import advisor
from advisor.interfaces.web import page_routes
from advisor.interfaces.web.answer_finder import AnswerFinder
from advisor.interfaces.web.job_queue import JobQueue, PageJob
from advisor.interfaces.web.questions import FORMS
from tests.interfaces.web.asgi import ask
from tests.interfaces.web.conftest import RECIPE, settled

HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e\x00"
PATHS = {"recommend": "/", "recipe": "/recipe", "compare": "/compare"}
RECOMMENDED = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "samples": "2000", "method": "lora"}
HTMX = {"hx-request": "true"}


class Reader(HTMLParser):
    """A page's elements in order, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.all.append((tag, dict(attrs)))

    def of(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.all if tag in tags]


@pytest.fixture(scope="module", params=["empty", "recipe", "recommend", "error", "export"])
def page(request, application, recipe_page) -> str:
    """One page of each kind."""
    if request.param == "empty":
        return ask(application, "/compare").text
    if request.param == "recipe":
        return recipe_page.text
    if request.param == "recommend":
        return settled(application, "/", RECOMMENDED).text
    if request.param == "error":
        return settled(application, "/recipe", RECIPE | {"gpu": "H10"}).text
    return settled(application, "/export", {"form": "recipe", "to": "trl", **RECIPE}).text


def test_whatever_is_filled_in_has_a_label_and_a_name(page):
    reader = Reader(page)
    labelled = {label.get("for") for label in reader.of("label")}
    for field in reader.of("input", "select"):
        assert field.get("name"), field
        assert field.get("type") == "hidden" or field["id"] in labelled, field


def test_an_element_is_named_once_and_what_is_referred_to_is_there(page):
    reader = Reader(page)
    names = [attributes["id"] for _, attributes in reader.all if attributes.get("id")]
    assert sorted(names) == sorted(set(names))
    for _, attributes in reader.all:
        for attribute in ("for", "aria-describedby", "list"):
            assert attributes.get(attribute) in {None, *names}


def test_nothing_runs_but_our_own_files_and_nothing_is_styled_in_place(page):
    reader = Reader(page)
    for tag, attributes in reader.all:
        assert not [name for name in attributes if name.startswith(("on", "hx-on", "style"))], attributes
        assert tag != "style"
        assert not (attributes.get("href") or "").lower().startswith("javascript:")
        assert not (attributes.get("src") or "").startswith(("http", "//"))
    assert all((script.get("src") or "").startswith("/static/") for script in reader.of("script"))
    # no text stands in a script
    assert re.findall(r"<script[^>]*>(.+?)</script>", page) == []


def test_it_is_made_for_phones_for_the_dark_and_for_those_who_listen(page, application):
    reader = Reader(page)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in reader.of("meta")
    assert any(attributes.get("role") == "status" for _, attributes in reader.all)
    assert reader.of("html")[0]["lang"] == "en"
    assert len(reader.of("main")) == 1
    assert reader.of("a")[0]["href"] == "#answer"
    style = ask(application, "/static/page.css").text
    for words in ("prefers-color-scheme: dark", "max-width: 46rem", "prefers-reduced-motion", ":focus-visible"):
        assert words in style
    for picture in reader.of("svg"):
        assert len(picture["aria-label"] or "") > 20


def test_without_javascript_a_form_asks_the_same(page):
    for form in Reader(page).of("form"):
        assert (form.get("action") or "").startswith("/")
        assert form.get("method") in ("get", "post")
        assert form.get("hx-get") in (None, (form["action"] or "").removesuffix("#answer"))
    assert "<noscript>" not in page or "refresh" in page


def test_the_answer_says_what_the_command_line_says(recipe_page):
    assert recipe_page.status == 200
    for words in ("lora for meta-llama/Llama-3.1-8B on H100-SXM: fits", "Which batches fit", "Take it with you"):
        assert words in recipe_page.text
    assert recipe_page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PATHS.values())
@pytest.mark.parametrize("name", ["model", "gpu", "method"])
def test_hostile_names_are_text_and_nothing_else(application, path, name):
    told = settled(application, path, RECIPE | {name: HOSTILE} if path == "/recipe" else {**RECOMMENDED, name: HOSTILE})
    assert told.status in (400, 404)
    assert "<script>alert" not in told.text
    assert "&lt;script&gt;" in told.text
    for sign in ("\x1b", "\u202e", "\x00"):
        assert sign not in told.text


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        (RECIPE | {"gpu": "H10"}, 404, "near names"),
        (RECIPE | {"model": "/etc"}, 400, "folder of the machine"),
        (RECIPE | {"model": "../../x"}, 400, "folder of the machine"),
        (RECIPE | {"samples": "many"}, 400, "must be a number"),
        (RECIPE | {"rank": "-1"}, 400, "rank"),
        (RECIPE | {"data": "/etc/passwd"}, 400, "unknown argument"),
        (RECIPE | {"nonsense": "1"}, 400, "nonsense"),
        ({"gpu": "H100"}, 400, "--model is missing"),
        (RECIPE | {"model": "x" * 400}, 400, "too long"),
        ("model=a&model=b&gpu=L4", 400, "twice"),
    ],
)
def test_a_wrong_question_is_told_as_on_the_command_line(application, query, status, words):
    told = settled(application, "/recipe", query)
    assert (told.status, words in told.text) == (status, True), told.text[-3000:]
    assert 'role="alert"' in told.text
    # the form keeps what was asked
    assert "Traceback" not in told.text


def test_what_does_not_fit_the_budget_says_what_would(application):
    told = settled(application, "/", RECOMMENDED | {"budget_usd": "0.001"})
    assert told.status == 422
    assert "nothing keeps a budget" in told.text
    assert "to fit" in told.text


def test_a_slider_is_answered_from_the_known_step_and_the_exact_answer_follows(application, recipe_page):
    moved = RECIPE | {"batch_size": "2"}
    quick = ask(application, "/recipe", moved, headers=HTMX)
    assert "Quick figures" in quick.text
    assert "<html" not in quick.text
    assert 'hx-swap-oob="innerHTML"' in quick.text
    (poll,) = [a for a in Reader(quick.text).of("p") if a.get("class") == "pending"]
    assert dict(parse_qsl(urlsplit(poll["hx-get"]).query)) == moved
    exact = settled(application, "/recipe", moved, headers={**HTMX, "advisor-exact": "1"})
    assert "Quick figures" not in exact.text
    assert (exact.headers["hx-retarget"], exact.headers["hx-reswap"]) == ("#answer", "innerHTML")


def test_a_budget_is_weighed_at_once_as_it_is_in_full(application):
    settled(application, "/", RECOMMENDED)
    limited = RECOMMENDED | {"budget_usd": "5"}
    quick = ask(application, "/", limited, headers=HTMX)
    exact = settled(application, "/", limited, headers={**HTMX, "advisor-exact": "1"})
    said = [re.search("<h1>(.*?)</h1>", told.text)[1] for told in (quick, exact)]
    assert "Weighed anew" in quick.text
    assert said[0] == said[1]


def test_while_it_is_worked_out_the_page_says_so_and_asks_again_by_itself(application, monkeypatch):
    monkeypatch.setattr(page_routes, "PATIENCE", 0.0)
    told = ask(application, "/recipe", RECIPE | {"batch_size": "3"})
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in told.text
    assert 'class="pending"' in told.text
    assert "so far" in told.text


class Halfway:
    """A worker that has priced two methods and goes on with the third."""

    go = threading.Event()

    def ask(self, verb, arguments, hear):
        hear({"progress": [2, 3, "dora"]})
        for row in (["lora", "20.0 GiB", "5 m", "fits"], ["<b>full", "90.0 GiB", "9 m", "does not fit"]):
            hear({"row": row, "of": "MethodOutcome"})
        self.go.wait(60)
        return {"error": {"error": "DoesNotFit", "message": "nothing fits", "exit_code": 3}}

    def end(self):
        self.go.set()


def test_methods_are_shown_as_they_are_priced_with_and_without_javascript(monkeypatch):
    from advisor.interfaces.web.application import application as made

    jobs = JobQueue(Halfway)
    application = made(jobs, None, ahead=False)
    try:
        monkeypatch.setattr(page_routes, "PATIENCE", 0.2)
        whole = ask(application, "/", RECOMMENDED).text
        assert "20.0 GiB" in whole
        assert "&lt;b&gt;full" in whole
        assert "<noscript><meta" in whole
        monkeypatch.setattr(page_routes, "PATIENCE", 30.0)
        polled = ask(application, "/", RECOMMENDED, headers={**HTMX, "advisor-exact": "1", "advisor-rows": "1"})
        assert "20.0 GiB" in polled.text, "told at once, since one row more is there"
        (poll,) = [a for a in Reader(polled.text).of("p") if a.get("class") == "pending"]
        assert json.loads(poll["hx-headers"])["Advisor-Rows"] == "2"
        assert poll["hx-target"] == "#" + Reader(polled.text).of("div")[0]["id"]
        Halfway.go.set()
        told = ask(application, "/", RECOMMENDED, headers={**HTMX, "advisor-exact": "1", "advisor-rows": "2"})
        assert "nothing fits" in told.text
        assert "20.0 GiB" not in told.text
    finally:
        jobs.close()


@pytest.mark.parametrize("form", PATHS)
def test_every_field_of_a_form_is_told_by_its_address(application, form):
    fields = {field.get("name") for field in Reader(ask(application, PATHS[form]).text).of("input", "select")}
    assert set(FORMS[form]) <= fields


@pytest.mark.slow
def test_what_a_ranking_links_to_is_a_question_that_is_understood(application):
    ranking = settled(application, "/", RECOMMENDED | {"method": "lora,ia3"}).text
    links = [a["href"] for a in Reader(ranking).of("a") if (a.get("href") or "").startswith(("/recipe?", "/compare?"))]
    assert len(links) >= 3
    for link in links:
        parts = urlsplit(link)
        assert all(len(values) == 1 for values in parse_qs(parts.query).values())
        assert "unknown argument" not in ask(application, parts.path, parts.query).text


def test_ranks_are_traced_ahead_one_at_a_time_and_only_while_nothing_waits(application, recipe_page):
    class Asked:
        def __init__(self) -> None:
            self.jobs: list[PageJob] = []
            self.free = True

        def ask(self, verb, arguments, lane="slow"):
            self.jobs.append(PageJob(verb, arguments))
            return self.jobs[-1]

        def known(self, verb, arguments):
            return None

        def idle(self):
            return self.free

    jobs = Asked()
    finder = AnswerFinder(jobs)
    candidate = advisor.estimate(**{**RECIPE, "seq_len": 512, "samples": 2000})
    for _ in range(3):
        finder._prepare({}, candidate)
    rank = candidate.facts["options"]["rank"]
    assert [job.arguments for job in jobs.jobs] == [{"rank": 2 * rank}]
    jobs.free = False
    jobs.jobs[0].reply.set_result({"answer": None})
    finder._prepare({}, candidate)
    assert len(jobs.jobs) == 1


def test_two_recipes_stand_beside_each_other(application):
    asked = {**RECIPE, "method_2": "lora", "batch_size": "1", "batch_size_2": "2"}
    told = settled(application, "/compare", asked)
    assert told.status == 200, told.text
    assert "second against first" in told.text
    assert told.text.count("<svg") == 2
    assert re.search(r"<th scope=\"row\">peak memory</th><td>.*?</td><td>.*?</td><td>\+\d", told.text)


def test_files_of_a_tool_are_shown_and_kept(application, recipe_page):
    asked = {"form": "recipe", "to": "trl", **RECIPE}
    shown = settled(application, "/export", asked)
    name = re.search(r"<h2>(.*?)</h2>", shown.text)[1]
    kept = ask(application, "/export", asked | {"file": name})
    assert kept.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert "meta-llama/Llama-3.1-8B" in kept.text
    packed = ask(application, "/export", asked | {"file": "*"})
    assert name in zipfile.ZipFile(io.BytesIO(packed.body)).namelist()
    assert ask(application, "/export", asked | {"file": "../x"}).status == 404
    assert settled(application, "/export", asked | {"to": "nonsense"}).status == 404
    assert settled(application, "/export", asked | {"form": "x"}).status == 400


@pytest.mark.slow
def test_any_ranked_method_is_exported_and_none_that_was_not_ranked(application):
    asked = RECOMMENDED | {"method": "lora,ia3"}
    ranking = settled(application, "/", asked).text
    marks = [one for one in Reader(ranking).of("input") if one.get("type") == "radio"]
    assert {one["value"] for one in marks} == {"lora", "ia3"}
    assert [("checked" in one) for one in marks] == [True, False]
    assert {one["form"] for one in marks} == {"take-away"}
    told = {
        row: settled(application, "/export", {"form": "recommend", "to": "peft", "row": row, **asked}).text
        for row in ("lora", "ia3")
    }
    assert "IA3" in told["ia3"]
    assert "IA3" not in told["lora"]
    for query in (
        {"form": "recommend", "row": "full"},
        {"form": "recommend", "row": HOSTILE},
        {"form": "recipe", "row": "ia3", "method": "lora"},
    ):
        wrong = settled(application, "/export", {"to": "peft", **asked, **query})
        assert wrong.status == 400, query
        assert "<script>" not in wrong.text.replace("<script src", "")


def test_the_report_is_kept_as_a_file(application, recipe_page, monkeypatch):
    from advisor.interfaces.report import page as report

    monkeypatch.setattr(report, "can_draw", lambda: False)
    told = settled(application, "/report", {"form": "recipe", **RECIPE})
    assert told.headers["content-disposition"].startswith("attachment")
    assert told.text.startswith("<!doctype html>")


def test_what_is_served_as_a_file_is_ours_alone(application):
    for name in page_routes.STATIC:
        assert ask(application, f"/static/{name}").status == 200
    for name in ("../application.py", "htmx.LICENSE.txt", "x"):
        assert ask(application, f"/static/{name}").status == 404
    assert "htmx.org" not in urlencode(page_routes.STATIC)
