"""What is printed does nothing to a terminal but appear; what the system refuses is one sentence and exit code 4."""

from __future__ import annotations

import errno
import json
import os

import pytest

from advisor.errors import OF_FILES, BadRequest
from advisor.interfaces.cli import main
from advisor.interfaces.cli.output import clean, emit, grid

NASTY = "a\x1b[31mred\x07\x08\x9b2J\u202eback\x00\rline\x7f"


def unseen(text: str) -> list[str]:
    return [c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in "\u202e\u2066"]


def test_cleaned_text_holds_no_control_characters_and_keeps_the_rest():
    assert not unseen(clean(NASTY))
    assert clean("zwei\nZeilen\tund 漢字 😀") == "zwei\nZeilen\tund 漢字 😀"


def test_json_stays_the_same_document(capsys):
    emit({"name": NASTY}, as_json=True)
    said = capsys.readouterr().out
    assert not unseen(said)
    assert json.loads(said) == {"name": NASTY}


def test_tables_and_lines_are_clean_and_markup_is_text(capsys):
    emit(1, as_json=False, table=lambda _: [grid(["x"], [[NASTY + "[bold]"]]), NASTY + "[link=evil]"])
    said = capsys.readouterr().out
    assert not unseen(said)
    assert "[bold]" in said
    assert "[link=evil]" in said


@pytest.mark.parametrize("as_json", [False, True])
def test_errors_are_clean(as_json: bool, monkeypatch, capsys):
    def fail(**more: object) -> None:
        raise BadRequest(NASTY)

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run(["x", "--json"] if as_json else ["x"]) == 2
    said = capsys.readouterr()
    assert not unseen(said.out + said.err)


@pytest.mark.parametrize("number", sorted(OF_FILES))
def test_what_the_system_refuses_is_one_sentence(number: int, monkeypatch, capsys):
    def fail(**more: object) -> None:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(main.cli, "main", fail)
    assert main.run(["x"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("Error: /some/file cannot be used")
    assert "Traceback" not in said


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(**more: object) -> None:
        raise OSError(errno.EBADF, "a bug")

    monkeypatch.setattr(main.cli, "main", fail)
    with pytest.raises(OSError, match="a bug"):
        main.run(["x"])
