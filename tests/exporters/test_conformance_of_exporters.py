"""Every exporter is asked for every method: it writes what its tool reads, or says why not."""

from __future__ import annotations

import ast
import json
from typing import get_type_hints

import pytest
import yaml

from advisor.catalog.methods import methods
from advisor.catalog.trainer_formats import trainer_format
from advisor.domain.request.argument import described
from advisor.domain.request.export_options import ExportOptions
from advisor.errors import IllegalRecipe
from advisor.exporters.export import exported
from advisor.exporters.export_job import Export
from advisor.exporters.formats import EXPORTERS
from advisor.exporters.scripts.hf_script import OWN_KEYS
from tests.conformance.tiny import DECODER, ENCODER, ENCODER_DECODER, MIXTURE
from tests.exporters.jobs import job_for

EVERY_EXPORTER = pytest.mark.parametrize("exporter", EXPORTERS, ids=lambda e: e.name)
TINY = (DECODER, ENCODER, ENCODER_DECODER, MIXTURE)
EXTRA = {"hf": set(OWN_KEYS)}


def keys_of(document: dict, sections: set[str]) -> set[str]:
    found = set()
    for key, value in document.items():
        if key in sections:
            found |= {f"{key}.{inner}" for inner in value}
        else:
            found.add(key)
    return found


def check(found: Export) -> None:
    """The text is of its format, and holds no key that the tool does not know."""
    known = trainer_format(found.to if found.to != "script" else "trl")
    sections = {key.partition(".")[0] for key in known.keys if "." in key}
    for file in found.files:
        if file.name.endswith(".py"):
            ast.parse(file.text)
        elif file.name == "dataset_info.json":
            json.loads(file.text)
        elif found.to != "peft":
            document = json.loads(file.text) if file.name.endswith(".json") else yaml.safe_load(file.text)
            strange = keys_of(document, sections) - set(known.keys) - EXTRA.get(found.to, set())
            assert not strange, (found.to, strange)
            if file.name.endswith(".yaml"):
                assert known.said in file.text.partition("\n\n")[0]
        else:
            assert json.loads(file.text)["peft_type"]


@EVERY_EXPORTER
@pytest.mark.parametrize("tiny", TINY, ids=lambda t: t.name)
def test_every_method_is_written_or_refused_with_a_reason(exporter, tiny):
    written = 0
    refused: list[IllegalRecipe] = []
    for method in methods():
        try:
            found = exported(job_for(method, tiny), exporter)
        except IllegalRecipe as error:
            refused.append(error)
            continue
        check(found)
        written += 1
    assert all(len(error.message) > 20 and (error.hints or error.cause) for error in refused)
    if exporter.name in ("hf", "script"):
        assert written >= 25, written


@pytest.mark.parametrize("name", ["trl", "axolotl", "llamafactory", "unsloth", "ms-swift"])
def test_the_usual_methods_are_written_by_all_that_train_decoders(name):
    exporter = next(e for e in EXPORTERS if e.name == name)
    for method in methods():
        if method.name in ("full", "lora", "rslora", "dora", "qlora"):
            check(exported(job_for(method, DECODER), exporter))


@EVERY_EXPORTER
def test_the_help_names_it(exporter):
    assert exporter.name in described(get_type_hints(ExportOptions, include_extras=True)["to"]).text.split(", ")


def test_each_file_of_the_folder_is_in_the_tuple():
    from pathlib import Path

    import advisor.exporters.formats as formats

    files = {path.stem for path in Path(formats.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {type(exporter).__module__.rpartition(".")[2] for exporter in EXPORTERS}
    assert len({exporter.name for exporter in EXPORTERS}) == len(EXPORTERS)
