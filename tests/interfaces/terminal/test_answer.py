"""The first screen: a sentence, figures with intervals, a bar, what to type next; at any width, in any encoding."""

from __future__ import annotations

import io
import json
import shlex
import sys

import pytest
from rich.console import Console

from advisor.domain.candidate import Candidate
from advisor.domain.units import GIB
from advisor.interfaces import verdict
from advisor.interfaces.cli.main import run
from advisor.interfaces.terminal import answer
from advisor.interfaces.terminal.memory_bar import FREE, GLYPHS, LIMIT, PLAIN_GLYPHS, largest, memory_bar

LLAMA = ["--model", "meta-llama/Llama-3.2-3B", "--gpu", "L40S"]
RECIPE = ["--method", "lora", "--rank", "32", "--seq-len", "683"]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path_factory.getbasetemp() / "answer-home"))


@pytest.fixture
def fitting(capsys) -> Candidate:
    return candidate(capsys, "--batch-size", "4")


def candidate(capsys, *more: str) -> Candidate:
    assert run(["estimate", *LLAMA, *RECIPE, *more, "--json"]) == 0
    return Candidate.model_validate(json.loads(capsys.readouterr().out))


def test_an_estimate_is_one_screen_and_its_first_line_is_the_verdict(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["estimate", *LLAMA, *RECIPE, "--batch-size", "4", "--samples", "2000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert "fits" in lines[0]
    names = {line.split()[0] for line in lines if line and not line.startswith(" ")}
    assert {"memory", "time", "money", "quality", "train", "sure", "next"} <= names


def test_what_does_not_fit_says_by_how_much_and_what_to_type(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["estimate", *LLAMA, *RECIPE, "--batch-size", "64"]) == 0
    shown = capsys.readouterr().out
    assert "does not fit" in shown
    assert "too much" in shown
    assert LIMIT in shown
    assert "advisor recommend --model meta-llama/Llama-3.2-3B --gpu L40S" in shown


@pytest.mark.parametrize("height", [24, 40])
def test_a_terminal_shows_as_many_notes_as_it_has_room_for_and_counts_the_others(monkeypatch, height):
    screen = Console(file=io.StringIO(), width=80, height=height, force_terminal=True)
    monkeypatch.setattr(answer, "console", lambda: screen)
    notes = [
        f"lengths: note {number}, long enough for a second line on a terminal of 80 columns" for number in range(9)
    ]
    shown = answer._that_fit(notes, 16)
    assert shown == notes[: {24: 4, 40: 9}[height]], "two lines each"
    monkeypatch.setattr(answer, "console", lambda: Console(file=io.StringIO(), width=80, height=24))
    assert answer._that_fit(notes, 16) == notes, "a pipe has room for all"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_words_keep_to_the_terminals_width_and_commands_stay_whole(capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(["estimate", *LLAMA, *RECIPE, "--batch-size", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("next")]
    assert shlex.split(command)[1:3] == ["advisor", "recommend"]
    assert max(len(line) for line in lines if line != command) <= width


def test_quiet_is_the_answer_without_hints(capsys):
    assert run(["estimate", *LLAMA, *RECIPE, "--batch-size", "4", "--quiet"]) == 0
    shown = capsys.readouterr()
    assert "fits" in shown.out
    assert shown.err == ""
    assert not any(line.startswith(("next", "note", "more")) for line in shown.out.splitlines())


def test_no_color_is_heeded_and_a_pipe_gets_none(capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "")
    assert run(["estimate", *LLAMA, *RECIPE, "--explain"]) == 0
    assert run(["--help"]) == 0
    assert "\x1b[3" not in capsys.readouterr().out


def test_json_is_the_same_whether_explained_or_quiet(capsys):
    said = []
    for more in ([], ["--explain"], ["--quiet"]):
        assert run(["estimate", *LLAMA, *RECIPE, "--json", *more]) == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1


def test_the_bar_is_drawn_to_scale(fitting):
    bar, told = memory_bar(fitting, 60)
    drawn = bar[1 : bar.index("]")]
    assert len(drawn) == 60
    share = fitting.memory.peak_device.mid / fitting.limit_bytes
    assert abs(60 - drawn.count(FREE) - 60 * share) <= 1
    for glyph, size in zip(GLYPHS, largest(fitting.memory.breakdown, len(GLYPHS)).values(), strict=True):
        assert abs(drawn.count(glyph) - 60 * size / fitting.limit_bytes) <= 1
        assert f"{size / GIB:.1f}" in told


def test_hours_and_money_are_offered_where_nobody_said_how_many_rows(capsys):
    assert run(["estimate", *LLAMA, *RECIPE]) == 0
    assert "hours and money: add --samples" in capsys.readouterr().out
    assert run(["estimate", *LLAMA, *RECIPE, "--samples", "500"]) == 0
    assert "hours and money: add" not in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_peak_beyond_the_limit_is_marked_where_the_limit_is(fitting, share):
    beyond = fitting.model_copy(update={"limit_bytes": int(fitting.memory.peak_device.mid * share)})
    bar, told = memory_bar(beyond, 60)
    assert bar.index(LIMIT) - 1 == 60 * share
    assert f"{LIMIT} limit {beyond.limit_bytes / GIB:.1f}" in told


def test_parts_too_small_to_draw_are_summed_and_none_is_lost(fitting):
    parts = largest(fitting.memory.breakdown, 3)
    assert len(parts) == 3
    assert sum(parts.values()) == sum(fitting.memory.breakdown.values())


def test_a_stream_without_such_characters_gets_plain_ones(fitting, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    bar, told = memory_bar(fitting, 60)
    assert (bar + told).isascii()
    assert PLAIN_GLYPHS[0] in bar


def test_a_peak_whose_range_passes_the_limit_is_not_said_to_fit_for_sure(fitting):
    peak = fitting.memory.peak_device
    tight = fitting.model_copy(update={"limit_bytes": int((peak.mid + peak.high) / 2)})
    assert "may need up to" in verdict.fitting(tight)
    assert verdict.fitting(fitting).startswith("fits, ")
    assert verdict.fitting(fitting.model_copy(update={"fits": False, "limit_bytes": 2**30})).startswith("does not fit")


def test_a_model_name_of_a_strangers_folder_cannot_steer_the_terminal(fitting, capsys):
    from advisor.interfaces.cli.output import emit
    from advisor.interfaces.terminal.answer import estimated

    hostile = fitting.workload.model_copy(update={"model": "evil\x1b[2Jname\u202e"})
    emit(fitting.model_copy(update={"workload": hostile}), as_json=False, table=estimated)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
