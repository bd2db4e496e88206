"""The verbs for programs: described by the requests that check them, with the command line's answers and errors."""

from __future__ import annotations

import json

import pytest

import advisor
from advisor.errors import AdvisorError
from advisor.estimator.estimate_request import EstimateRequest
from advisor.interfaces.cli.output import plain
from advisor.interfaces.web.api_routes import MOST_BYTES
from advisor.recommender.recommend_request import RecommendRequest
from tests.interfaces.web.asgi import ask

CASE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora", "seq_len": 512, "samples": 2000}
JSON = {"content-type": "application/json"}


def post(application, verb, body, **more):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(application, f"/api/{verb}", method="POST", body=sent, **{"headers": JSON, **more})


def test_the_document_describes_each_verb_by_its_own_request(application):
    document = json.loads(ask(application, "/openapi.json").text)
    for verb, request in (("recommend", RecommendRequest), ("estimate", EstimateRequest)):
        described = document["paths"][f"/api/{verb}"]["post"]
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema["properties"]) == set(request.model_fields)
        assert {"200", "400", "404", "422", "503"} <= set(described["responses"])
        answer = described["responses"]["200"]["content"]["application/json"]["schema"]
        assert answer["$ref"].rpartition("/")[2] in document["components"]["schemas"]
    assert set(document["paths"]) == {"/api/recommend", "/api/estimate", "/api/export"}


def test_an_answer_is_what_the_command_line_prints_as_json(application):
    told = post(application, "estimate", CASE)
    assert told.status == 200
    assert json.loads(told.text) == json.loads(json.dumps(plain(advisor.estimate(**CASE)), default=str))


def test_an_answers_choice_is_exported_and_so_is_a_case(application):
    candidate = json.loads(post(application, "estimate", CASE).text)
    for source in (candidate, CASE):
        told = post(application, "export", {"source": source, "to": "trl"})
        assert told.status == 200, told.text
        assert json.loads(told.text)["files"]


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("estimate", CASE | {"gpu": "H10"}, 404),
        ("estimate", CASE | {"rank": 0}, 400),
        ("estimate", CASE | {"nonsense": 1}, 400),
        ("recommend", CASE | {"method": "lora", "budget_usd": 0.001}, 422),
        ("export", {"source": CASE, "to": "nonsense"}, 404),
    ],
)
def test_an_error_is_the_command_lines_own(application, verb, body, status):
    told = post(application, verb, body)
    facts = json.loads(told.text)
    assert told.status == status, facts
    try:
        arguments = dict(body)
        args = [arguments.pop("source")] if verb == "export" else []
        getattr(advisor, verb)(*args, **arguments)
    except AdvisorError as error:
        mine = json.loads(json.dumps(error.facts(), default=str))
        assert facts == {"cause": "", "hints": [], **mine}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", JSON, 400),
        (b"[1]", JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"\xff", JSON, 400),
        (b" " * (MOST_BYTES + 1), JSON, 413),
        (json.dumps(CASE).encode(), {"content-type": "text/plain"}, 400),
        (json.dumps(CASE).encode(), {"content-type": "application/x-www-form-urlencoded"}, 400),
    ],
)
def test_a_body_that_is_none_is_refused_in_the_same_form(application, body, headers, status):
    told = post(application, "estimate", body, headers=headers)
    assert told.status == status
    assert {"error", "message", "cause", "hints", "exit_code"} <= set(json.loads(told.text))


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("recommend", CASE | {"data": "/etc/passwd"}),
        ("recommend", CASE | {"length_file": "/etc/passwd"}),
        ("estimate", CASE | {"adapter_config": "/etc/passwd"}),
        ("estimate", CASE | {"model": "/etc"}),
        ("estimate", CASE | {"model": "~/models"}),
        ("export", {"source": CASE | {"length_file": "/etc/passwd"}, "to": "trl"}),
        ("export", {"source": {"recipe": {}, "workload": {"model": "/etc"}}, "to": "trl"}),
        ("export", {"source": CASE, "to": "trl", "model": "./x"}),
    ],
)
def test_no_file_of_this_machine_is_read_for_a_program(application, verb, body):
    told = post(application, verb, body)
    assert told.status == 400
    assert "machine" in told.text or "object here" in told.text
