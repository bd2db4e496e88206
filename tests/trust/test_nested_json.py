"""JSON nested 10^5 deep is no traceback, wherever it is read: Python's parser gives up with a RecursionError."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

import advisor
from advisor.interfaces.cli import main
from advisor.interfaces.cli.click_options import pair

ROOT = Path(advisor.__file__).parent
OURS = {
    "training/training_process.py",
    "assembly/adapters/data_driven_init.py",
    "recommender/workers/compare_worker.py",
    "recommender/workers/method_worker.py",
    "interfaces/web/job_worker.py",
    "interfaces/web/worker_process.py",
    "dataset/chat_template.py",
    "dataset/splits.py",
    "catalog/prices/list_reader.py",
}
"""Files that read what advisor itself wrote a moment before: between processes, or behind a checksum."""
DEEP = "[" * 100_000


def unguarded(tree: ast.AST) -> list[int]:
    """Lines of `json.loads` outside any `try` that names RecursionError."""
    safe = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("RecursionError" in ast.unparse(h.type) for h in node.handlers if h.type is not None)
        for part in node.body
        for inner in ast.walk(part)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "json.loads" and id(node) not in safe
    ]


def test_every_place_that_reads_json_of_others_knows_that_it_may_be_nested():
    found = {
        path.relative_to(ROOT).as_posix(): lines
        for path in sorted(ROOT.rglob("*.py"))
        if (lines := unguarded(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert {path: lines for path, lines in found.items() if path not in OURS} == {}


def test_the_law_sees_a_read_without_it():
    assert unguarded(ast.parse("try:\n    json.loads(t)\nexcept ValueError:\n    pass"))
    assert not unguarded(ast.parse("try:\n    json.loads(t)\nexcept (ValueError, RecursionError):\n    pass"))


def test_a_nested_option_is_text():
    assert pair(f"name={DEEP}") == ("name", DEEP)


@pytest.mark.parametrize("verb", ["estimate", "evidence"])
def test_a_nested_line_is_an_error_object(verb: str, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(DEEP + "\n"))
    option = {"estimate": "--from", "evidence": "--predict"}[verb]
    assert main.run([verb, option, "-"]) in (0, 2)
    said = capsys.readouterr()
    assert "Traceback" not in said.out + said.err
    assert '"error": "BadRequest"' in said.out
