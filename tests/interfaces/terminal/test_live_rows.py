"""Methods as they are priced: a live table on a terminal, lines in a log, nothing under --quiet."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from advisor.domain.recommendation import GpuOption, Refusal
from advisor.interfaces.priced_row import row_of
from advisor.interfaces.terminal import live_rows
from advisor.interfaces.terminal.live_rows import RowLines, rows_as_priced
from advisor.recommender.sizing import MethodOutcome
from tests.recommender.conftest import make_candidate


def outcome(name: str = "lora", **more) -> MethodOutcome:
    return MethodOutcome(method=name, candidate=make_candidate(name, gib=20.0, hours=1.0, **more))


def too_large(name: str = "full") -> MethodOutcome:
    smallest = make_candidate(name, gib=90.0).model_copy(update={"fits": False})
    return MethodOutcome(
        method=name, smallest=smallest, refusal=Refusal(method=name, reason="too large", kind="does-not-fit")
    )


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(
        live_rows, "console", lambda stderr: Console(file=stream, width=80, height=24, force_terminal=True)
    )
    return stream


def test_a_row_says_name_memory_time_and_whether_it_fits():
    assert row_of(outcome()) == ("lora", "20.0 GiB", "1 h 00 m", "fits")
    assert row_of(outcome(base="nf4")).name == "lora on nf4"
    assert row_of(too_large())[1:] == ("90.0 GiB", "1 h 00 m", "does not fit")
    refused = MethodOutcome(method="vera", refusal=Refusal(method="vera", reason="no", kind="cannot-run"))
    assert row_of(refused) == ("vera", "", "", "cannot run")
    assert row_of(GpuOption(gpu="L4", gpu_count=2, refusal="no")) == ("2 x L4", "", "", "refused")
    assert row_of(GpuOption(gpu="L4", candidate=make_candidate("lora"))).name == "L4, lora"


def test_on_a_terminal_a_row_is_there_as_soon_as_it_is_priced_and_gone_at_the_end(terminal):
    with rows_as_priced("pricing") as (advance, priced):
        advance(0, 2, "lora")
        begun = time.thread_time()
        priced(outcome())
        shown = terminal.getvalue()
        assert "20.0 GiB" in shown
        assert time.thread_time() - begun < 0.1
        priced(too_large())
        assert "2 priced, 1 fit" in terminal.getvalue()
        assert "pricing: lora" in terminal.getvalue()
    # the last thing said is the lines being erased and the cursor shown again
    assert re.search(r"\x1b\[2K[^\w]*$", terminal.getvalue())


def test_more_rows_than_the_terminal_has_lines_keep_to_it(terminal):
    with rows_as_priced("pricing") as (advance, priced):
        for number in range(30):
            advance(number, 30, "x")
            priced(outcome(f"method-{number}"))
        last = terminal.getvalue().rpartition("method-0")[2].rpartition("memory")[2]
    assert "method-29" in last
    assert last.count("\n") < 24


def test_no_color_is_heeded(terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    with rows_as_priced("pricing") as (advance, priced):
        advance(0, 1, "full")
        priced(too_large())
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.getvalue())


def test_a_log_gets_a_line_a_method_once_the_wait_is_long_and_no_control_characters(capsys):
    lines = RowLines("pricing", patience=0.02)
    lines.priced(outcome("remembered"))
    lines.advance(0, 3, "lora")
    lines.priced(outcome())
    lines._clock.join(5)
    lines.priced(too_large())
    lines.end()
    lines.priced(outcome("late"))
    shown = capsys.readouterr()
    assert shown.out == ""
    head, first, second = shown.err.splitlines()
    assert head.startswith("pricing 3:")
    assert first.split()[:3] == ["lora", "20.0", "GiB"]
    assert "1 of 3, about" in first
    assert "does not fit" in second
    assert "2 of 3" in second
    assert "\x1b" not in shown.err


def test_a_wrong_question_is_refused_before_anything_is_said(capsys):
    lines = RowLines("pricing", patience=0.0)
    lines._clock.join(5)
    lines.end()
    assert capsys.readouterr().err == ""


def test_a_log_hears_nothing_of_an_answer_that_comes_at_once(capsys):
    with rows_as_priced("pricing") as (advance, priced):
        advance(0, 1, "lora")
        priced(outcome())
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_quiet_is_quiet(terminal, monkeypatch):
    monkeypatch.setattr(live_rows, "quiet", lambda: True)
    with rows_as_priced("pricing") as (advance, priced):
        advance(0, 1, "lora")
        priced(outcome())
    assert terminal.getvalue() == ""
