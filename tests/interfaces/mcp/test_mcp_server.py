"""The tools of an agent, asked by the SDK's own client over the pipes of a real process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from advisor.interfaces.cli.main import VERBS, load
from advisor.interfaces.mcp.tools import tools

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
CASE = {"model": "meta-llama/Llama-3.2-3B", "gpu": "L40S", "method": "lora", "batch_size": 4, "seq_len": 683}


async def _conversation(home: str) -> dict[str, Any]:
    from mcp import Client, StdioServerParameters

    environment = {**os.environ, "ADVISOR_HOME": home, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = ["-m", "advisor", "mcp"]
    told: dict[str, Any] = {}
    async with Client(StdioServerParameters(command=sys.executable, args=command, env=environment)) as client:
        told["tools"] = await client.list_tools()
        told["estimate"] = await client.call_tool("estimate", CASE)
        choice = told["estimate"].structured_content["choice"]
        told["export"] = await client.call_tool("export", {"source": choice, "to": "trl"})
        told["wrong"] = await client.call_tool("estimate", {**CASE, "gpu": "H10"})
        told["unknown"] = await client.call_tool("estimate", {**CASE, "nonsense": 1})
        told["none"] = await client.call_tool("train", {})
        told["after"] = await client.call_tool("export", {"source": CASE, "to": "axolotl"})
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, Any]:
    pytest.importorskip("mcp")
    return asyncio.run(_conversation(str(tmp_path_factory.mktemp("home"))))


def text(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


def test_the_tools_are_listed_with_schemas_of_the_verbs_own_arguments(told):
    listed = {tool.name: tool.input_schema for tool in told["tools"].tools}
    assert set(listed) == {"recommend", "estimate", "export"}
    for name in ("model", "gpu", "samples", "seq_len"):
        assert name in listed["recommend"]["properties"]
    assert listed["export"]["required"] == ["source", "to"]
    assert all(schema["type"] == "object" for schema in listed.values())


def test_an_estimate_reads_as_a_sentence_and_holds_the_candidate(told):
    assert not told["estimate"].is_error
    assert "fits" in text(told["estimate"]).splitlines()[0]
    assert told["estimate"].structured_content["choice"]["memory"]["peak_device"]["mid"] > 2**30


def test_an_answers_choice_is_exported_and_so_is_a_case(told):
    assert "learning_rate" in text(told["export"])
    assert told["export"].structured_content["to"] == "trl"
    assert "base_model: meta-llama/Llama-3.2-3B" in text(told["after"])


def test_a_wrong_request_is_an_error_that_says_what_to_ask_and_ends_nothing(told):
    assert told["wrong"].is_error
    assert told["wrong"].structured_content["near"]
    assert told["unknown"].is_error
    assert "nonsense" in text(told["unknown"])
    assert told["none"].is_error
    assert "recommend" in text(told["none"])
    assert not told["after"].is_error


def test_without_the_sdk_it_is_said_what_to_install(monkeypatch, capsys):
    from advisor.interfaces.cli.main import run
    from advisor.interfaces.mcp import server

    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    assert run(["mcp"]) == 2
    assert "advisor[mcp]" in capsys.readouterr().err


def test_schemas_are_json_and_say_each_argument():
    for tool in tools():
        json.dumps(tool.schema)
        assert tool.says
        if tool.name == "recommend":
            assert (
                "description" in tool.schema["properties"]["samples"] or "anyOf" in tool.schema["properties"]["samples"]
            )


@pytest.mark.parametrize(
    "line", re.findall(r"`(advisor [a-z]+ -.*?|advisor [a-z]+ \w.*?)`", (ROOT / "SKILL.md").read_text())
)
def test_each_command_of_the_skill_parses(line):
    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    load(verb).make_context(verb, arguments)
