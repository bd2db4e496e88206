"""docs/exports.md says of every tool which methods it takes; it is written anew with ADVISOR_WRITE_GOLDEN=1."""

from __future__ import annotations

import os
from pathlib import Path

from advisor.catalog.methods import methods
from advisor.errors import IllegalRecipe
from advisor.exporters.export import exported
from advisor.exporters.formats import EXPORTERS, REFUSED
from tests.conformance.tiny import DECODER, ENCODER, ENCODER_DECODER
from tests.exporters.jobs import job_for

DOCUMENT = Path(__file__).parents[2] / "docs" / "exports.md"
LETTERS = ((DECODER, "D"), (ENCODER, "E"), (ENCODER_DECODER, "S"))
INTRODUCTION = """# Which tool takes which method

Written by `ADVISOR_WRITE_GOLDEN=1 pytest tests/exporters/test_support_table.py`. **D**: a decoder, to continue text.
**E**: an encoder, to classify. **S**: an encoder-decoder, sequence to sequence. Asked of small Llama, BERT, T5 models
with AdamW in bfloat16; torchtune knows models by name, and here none of these. `--to` says why where a cell is empty.

"""


def takes(exporter, method) -> str:
    found = ""
    for tiny, letter in LETTERS:
        changes = {"optimizer": "adamw_torch"} if exporter.name == "torchtune" else {}
        try:
            exported(job_for(method, tiny, **changes), exporter)
        except IllegalRecipe:
            continue
        found += letter
    return found


def table() -> str:
    shown = [exporter for exporter in EXPORTERS if exporter.name not in ("accelerate", "torchtune")]
    lines = [f"| method | {' | '.join(e.name for e in shown)} |", f"|---|{'---|' * len(shown)}"]
    nowhere = []
    for method in methods():
        cells = [takes(exporter, method) for exporter in shown]
        if any(cells):
            lines.append(f"| {method.name} | {' | '.join(cells)} |")
        else:
            nowhere.append(method.name)
    described = [f"- **{e.name}** ({e.format.said}): {e.says}" for e in EXPORTERS]
    return "\n".join(
        [
            *lines,
            "",
            f"No tool's files can say these, which `advisor tune` trains: {', '.join(nowhere)}.",
            "",
            "## The tools",
            "",
            *described,
            *(f"- **{name}**: not yet; {why}" for name, why in REFUSED.items()),
            "",
        ]
    )


def test_the_document_is_what_the_exporters_say():
    text = INTRODUCTION + table()
    if os.environ.get("ADVISOR_WRITE_GOLDEN"):
        DOCUMENT.write_text(text, encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == text
