"""What a reader is told is said in a reader's words: not in torch's, nor in those we use among ourselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import advisor
from advisor.tracer.shipped_traces import shipped_keys, shipped_trace

ROOT = Path(advisor.__file__).parent
OURS = re.compile(
    r"bool\(tensor\)|tensor\.item|tensor\.tolist|FakeTensor|meta[ -](tensor|device|kernel)|on meta\b|dispatch"
    r"|two clocks|nowhere worse|\billegal\b|\bbells?\b|\bseats?\b|\bcoach|\bcensus\b|\bincumbent|\bchallenger",
    re.IGNORECASE,
)
"""Words that are never told; a reader of the code may need those of torch."""
METAPHORS = re.compile(r"\bbells?\b|\bseats?\b|\bcoach", re.IGNORECASE)
"""Words that are not even in docstrings."""

OWN_TEXTS = {
    "domain/trace/trace_schema.py": "the earlier texts that are reworded when an old trace is read",
    "training/checkpoints.py": "the earlier key of a checkpoint's mark",
}
SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).as_posix() not in OWN_TEXTS]


def texts(path: Path) -> Iterator[tuple[str, int]]:
    """Every text of a file that may be shown, with its line: what is no docstring and no lone word."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    shut = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in shut
            and " " in node.value
        ):
            yield node.value, node.lineno


def test_no_text_of_the_product_speaks_our_own_language() -> None:
    assert [f"{path}:{line}: {text[:80]}" for path in SOURCES for text, line in texts(path) if OURS.search(text)] == []


def test_no_docstring_holds_a_metaphor_of_ours() -> None:
    told = [
        (path, node.value.value)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]
    assert len(told) > 1000
    assert [f"{path}: {text}" for path, text in told if METAPHORS.search(text)] == []


@pytest.mark.exhaustive
def test_what_the_shipped_traces_assume_is_said_in_a_readers_words() -> None:
    shipped = [found for key in shipped_keys() if (found := shipped_trace(key)) is not None]
    said = {text for trace in shipped for text in trace.assumptions}
    assert said
    assert {text for text in said if OURS.search(text)} == set()
