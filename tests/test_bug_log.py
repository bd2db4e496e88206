"""What went wrong with one method or one line is a line that names its file, and never a screen of frames."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

import pytest

from advisor.bug_log import bug_line, keep_traceback
from advisor.recommender import compare
from advisor.recommender.workers import method_worker


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    return tmp_path


def fails(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("by nothing\nand more lines")


def test_each_bug_has_a_file_of_its_own() -> None:
    paths = set()
    for _ in range(3):
        try:
            fails()
        except ZeroDivisionError as error:
            paths.add(keep_traceback(error))
    assert len(paths) == 3
    assert all(path is not None and "in fails" in path.read_text() for path in paths)


def test_where_no_file_can_be_written_the_line_names_none(own_home: Path) -> None:
    (own_home / "cache").write_text("in the way")
    assert bug_line(ValueError("x")) == "ValueError: x"
    assert bug_line(ValueError()) == "ValueError: "


def test_a_disk_without_room_keeps_no_half_of_a_traceback(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    assert bug_line(ValueError("x")) == "ValueError: x"
    assert [path for path in own_home.rglob("*") if path.is_file()] == []


def test_a_bug_in_one_method_of_a_recommendation_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(method_worker, "fit", fails)
    found = method_worker.fit_or_say(None, "lora", None)  # type: ignore[arg-type]
    assert found.refusal is not None
    said = found.refusal.reason
    assert "\n" not in said
    assert "ZeroDivisionError: by nothing" in said
    path = re.search(r"its traceback: (\S+)", said)
    assert path is not None
    assert "in fails" in Path(path[1]).read_text()
    assert capsys.readouterr() == ("", "")


def test_a_bug_in_one_method_of_a_comparison_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare, "find_method", fails)
    found = compare.price_or_say({"model": "m", "gpu": "L4"}, "lora")
    assert found.refusal is not None
    assert "its traceback: " in found.refusal["cause"]
    assert "\n" not in found.refusal["cause"]
    assert capsys.readouterr() == ("", "")
