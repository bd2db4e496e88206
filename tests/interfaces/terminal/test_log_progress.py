"""A long wait without a terminal: lines now and then, none for a short one, none under --quiet."""

from __future__ import annotations

import re
import time

import pytest

from advisor.interfaces.cli import output
from advisor.interfaces.cli.output import progress, waiting, waiting_for
from advisor.interfaces.terminal import log_progress
from advisor.interfaces.terminal.log_progress import LogProgress


@pytest.fixture
def hasty(monkeypatch):
    """The first line at once, the next ones as quickly."""
    real = LogProgress.__init__
    quick = {"patience": 0.02, "pause": 0.02}
    monkeypatch.setattr(LogProgress, "__init__", lambda self, text, **kind: real(self, text, **kind, **quick))


def heard(capsys, expected: str) -> str:
    """What stderr was told, once it holds a line like this."""
    told, ends = "", time.monotonic() + 20
    while not re.search(expected, told) and time.monotonic() < ends:
        time.sleep(0.01)
        told += capsys.readouterr().err
    assert re.search(expected, told), told
    return told


def test_a_log_hears_what_is_done_and_how_long_is_left(hasty, capsys):
    with progress("calibrating") as advance:
        heard(capsys, r"calibrating\n")
        advance(0, 3, "step time")
        heard(capsys, r"calibrating: step time, 0 of 3 done\n")
        advance(2, 3, "reserved\x1b[31m memory")
        told = heard(capsys, r"calibrating: reserved.* memory, 2 of 3 done, about 1 s left\n")
        assert "\x1b" not in told
        advance(3, 3, "")
        heard(capsys, r"calibrating, 3 of 3 done\n")
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == "", "a line after the end"


def test_what_nobody_can_tell_is_said(hasty, capsys):
    with waiting("tracing"):
        heard(capsys, r"tracing, \d+ s so far, nobody knows how long it takes\n")


def test_time_left_is_of_the_pieces_done_and_the_time_they_took(monkeypatch):
    lines = LogProgress("pricing", counted=True, patience=60)
    lines.advance(0, 10, "a")
    begun = lines._begun
    monkeypatch.setattr(log_progress.time, "monotonic", lambda: begun + 30)
    lines.advance(3, 10, "d")
    assert lines.line() == "pricing: d, 3 of 10 done, about 70 s left"
    lines.end()


def test_a_short_wait_is_not_told(capsys):
    began = time.monotonic()
    with progress("pricing") as advance, waiting("tracing"):
        advance(0, 1, "lora")
    assert time.monotonic() - began < 2, "it ends with the work, not with the next line"
    assert capsys.readouterr().err == ""


def test_quiet_is_silent(hasty, monkeypatch, capsys):
    monkeypatch.setattr(output, "quiet", lambda: True)
    with progress("pricing") as advance, waiting("tracing"):
        advance(0, 1, "lora")
        time.sleep(0.1)
    assert capsys.readouterr().err == ""


def test_a_plan_that_is_there_ends_the_waiting_for_it(hasty, capsys):
    told = []
    with waiting_for("planning", lambda *found: told.append(found)) as planned:
        heard(capsys, "planning, ")
        planned(1, "two")
        capsys.readouterr()
        time.sleep(0.1)
        assert capsys.readouterr().err == "", "a line after the plan"
    assert told == [(1, "two")]
