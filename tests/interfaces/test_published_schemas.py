"""Published schemas: kept as goldens, true of real answers, and never narrower than those published before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import advisor
from advisor.errors import UnknownName
from advisor.interfaces.cli.schema import command
from advisor.interfaces.schema import SCHEMAS, schema

GOLDEN = Path(__file__).parents[1] / "golden" / "json_schema"
PUBLISHED = sorted(GOLDEN.glob("*/*.json"))
EVERY_SCHEMA = pytest.mark.parametrize("name", SCHEMAS)


def objects(document, place=""):
    """Each object schema by its place: the whole, and those under `$defs`."""
    if "properties" in document:
        yield place, document
    for name, inner in document.get("$defs", {}).items():
        yield from objects(inner, name)


@EVERY_SCHEMA
def test_every_schema_was_published_for_this_version(name):
    """With ADVISOR_WRITE_GOLDEN=1 they are written anew, at a release: read the difference, and tell of it."""
    path = GOLDEN / advisor.__version__ / f"{name}.json"
    if os.environ.get("ADVISOR_WRITE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(schema(name), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        path.write_text(text, encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["$id"] == schema(name)["$id"]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_no_key_of_an_earlier_schema_is_gone_and_none_is_newly_asked_for(path):
    today = dict(objects(schema(path.stem)))
    for place, old in objects(json.loads(path.read_text(encoding="utf-8"))):
        assert place in today, f"{path.stem} has no {place} any more"
        gone = set(old["properties"]) - set(today[place]["properties"])
        assert not gone, (place, gone)
        if path.stem.endswith("-request"):
            assert set(today[place].get("required", ())) <= set(old.get("required", ())), place


@EVERY_SCHEMA
def test_every_schema_is_self_contained_json(name):
    made = schema(name)
    text = json.dumps(made, allow_nan=False)
    named = {part.partition('"')[0] for part in text.split('"#/$defs/')[1:]}
    assert named <= set(made.get("$defs", {}))
    assert made["type"] == "object"


def test_an_answer_and_a_case_are_as_the_schemas_say():
    found = advisor.estimate("meta-llama/Llama-3.1-8B", "H100", method="lora", seq_len=512)
    assert set(found.model_dump(mode="json")) == set(schema("candidate")["properties"])
    asked = schema("estimate-request")
    assert {"model", "method", "seq_len"} <= set(asked["properties"])
    assert asked["required"] == ["model"]


def test_the_verb_lists_them_and_prints_one():
    listed = CliRunner().invoke(command, ["--json"])
    assert set(json.loads(listed.output)) == set(SCHEMAS)
    shown = CliRunner().invoke(command, ["candidate"])
    assert json.loads(shown.output) == schema("candidate")
    with pytest.raises(UnknownName, match="nonesuch"):
        schema("nonesuch")
