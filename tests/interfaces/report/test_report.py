"""A report is one file that needs no other, says all that the terminal says, and cannot be steered by names in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from advisor.domain.candidate import BREAKDOWN, Candidate
from advisor.estimator.memory.feasibility import feasibility, lengths_around
from advisor.estimator.memory.step_memory import step_memory
from advisor.interfaces.asked import machine_of, model_of
from advisor.interfaces.cli.main import run
from advisor.interfaces.report import page as pages
from advisor.interfaces.report.documents import html_of

ASKED = ["estimate", "--model", "meta-llama/Llama-3.2-3B", "--gpu", "L40S", "--method", "lora", "--rank", "32"]
ASKED += ["--batch-size", "4", "--seq-len", "683", "--samples", "2000"]
HOSTILE = "<script>alert(1)</script>\"'&\x1b[2J\u202e]]>"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path_factory.getbasetemp() / "report-home"))


@pytest.fixture(scope="module")
def candidate(tmp_path_factory) -> Candidate:
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert run([*ASKED, "--json"]) == 0
    return Candidate.model_validate(json.loads(said.getvalue()))


class Reader(HTMLParser):
    """What a page would fetch or run, its texts, its pictures' words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def fetched(text: str) -> list[str]:
    """Whatever a browser would run or ask for by itself; links are followed by people alone."""
    found = []
    for tag, attributes in Reader(text).tags:
        if tag in ("script", "iframe", "object", "embed", "link", "base", "form", "img", "image", "use"):
            found.append(tag)
        found += [name for name in attributes if name.startswith("on") or name in ("src", "srcset", "action")]
    return [*found, *re.findall(r"url\(|@import", text)]


def test_a_report_asks_for_nothing_runs_nothing_and_is_small(candidate):
    text = html_of(candidate)
    assert fetched(text) == []
    assert "default-src 'none'" in text
    assert len(text.encode()) < 2_000_000
    for words in ("fits", "Memory through one step", "The wall", "What studies found", "Predicted against", "Sources"):
        assert words in text


def test_each_picture_has_words_and_numbers_beside_it(candidate):
    text = html_of(candidate)
    pictures = [attributes for _, attributes in Reader(text).tags if attributes.get("role") == "img"]
    assert len(pictures) == 5
    assert all(len(attributes["aria-label"] or "") > 20 for attributes in pictures)
    assert text.count("<details>") == len(pictures)
    assert text.count("<svg") == len(pictures)


def test_light_dark_print_and_phones_are_provided_for(candidate):
    text = html_of(candidate)
    for words in ("prefers-color-scheme: dark", "@media print", "width=device-width"):
        assert words in text
    drawn = "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    used = set(re.findall(r"var\(--([\w-]+)\)", drawn))
    defined = set(re.findall(r"--([\w-]+):", text))
    assert used <= defined
    # whatever is drawn takes the page's colours
    assert set(re.findall(r'(?:fill|stroke)="(#[0-9a-fA-F]+)"', drawn)) == set()


def test_hostile_names_are_text_and_nothing_else(candidate):
    workload = candidate.workload.model_copy(update={"model": HOSTILE})
    recipe = candidate.recipe.model_copy(update={"method": "lora"})
    evil = candidate.model_copy(
        update={"workload": workload, "recipe": recipe, "assumptions": (HOSTILE,), "versions": {HOSTILE: HOSTILE}}
    )
    text = html_of(evil)
    assert fetched(text) == []
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "&lt;script&gt;" in text


def test_hostile_names_in_a_picture_are_text_too():
    from advisor.interfaces.report.figure import Figure, data, field, svg

    spec = {"data": data([{"x": HOSTILE}]), "mark": "text", "encoding": {"text": field("x", "nominal")}}
    drawn = svg(Figure("t", "s", "a", spec, (), ()))
    assert "<script" not in drawn
    assert "&lt;script" in drawn


def test_a_report_is_not_written_over_unasked_and_nothing_is_computed_before_that_is_known(tmp_path, capsys):
    path = tmp_path / "out.html"
    path.write_text("mine", encoding="utf-8")
    assert run([*ASKED, "--report", str(path)]) == 2
    assert "--force" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == "mine"
    assert run([*ASKED, "--report", str(path), "--force"]) == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert run([*ASKED, "--report", str(tmp_path / "out.pdf")]) == 2


def test_without_the_extra_the_numbers_are_there_and_what_to_install_is_said(candidate, monkeypatch):
    monkeypatch.setattr(pages, "can_draw", lambda: False)
    text = html_of(candidate)
    assert "<svg" not in text
    assert "advisor[report]" in text
    assert "saved activations" in text


def test_the_curve_of_a_step_peaks_where_the_estimate_does(candidate):
    machine, model = machine_of(candidate), model_of(candidate)
    found = step_memory(candidate, machine, model)
    sums = [sum(sizes[i] for sizes in found.parts.values()) for i in range(len(found.reserved))]
    assert max(sums) == round(candidate.memory.peak_allocated.mid)
    at = sums.index(max(sums))
    for name, sizes in found.parts.items():
        assert sizes[at] == candidate.memory.breakdown[name]
    assert set(found.parts) <= set(BREAKDOWN)
    assert all(total <= held for total, held in zip(sums, found.reserved, strict=True))


def test_the_wall_only_rises(candidate):
    cells = feasibility(candidate, machine_of(candidate), model_of(candidate))
    order = ("fits", "may fit", "does not fit")
    for one in cells:
        for other in cells:
            if other.batch >= one.batch and other.length >= one.length:
                assert other.mid >= one.mid
                assert order.index(other.verdict) >= order.index(one.verdict)
    assert {c.verdict for c in cells} >= {"fits", "does not fit"}


@pytest.mark.parametrize(("length", "context"), [(1, 512), (683, 8192), (512, 512), (100_000, 131_072), (5, None)])
def test_lengths_of_the_wall_are_near_the_one_asked_and_within_the_context(length, context):
    found = lengths_around(length, context)
    assert found == tuple(sorted(set(found)))
    assert context is None or found[-1] <= context
    assert found[0] <= max(64, length)
    assert 2 * found[-1] > length


@pytest.mark.slow
def test_a_recommendation_says_settings_refusals_and_why(tmp_path, capsys):
    path = tmp_path / "r.html"
    asked = ["recommend", "--model", "meta-llama/Llama-3.2-3B", "--gpu", "L40S", "--samples", "2000"]
    assert run([*asked, "--method", "lora,ia3,full", "--report", str(path), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    text = Path(path).read_text(encoding="utf-8")
    assert fetched(text) == []
    for words in ("What the methods cost", "Settings to start with", "Why", "learning_rate", "by the size of the data"):
        assert words in text


def test_the_machine_of_an_answer_leaves_the_room_that_was_asked_for_and_is_none_of_several_cards(candidate):
    machine = machine_of(candidate)
    assert machine.limit_bytes == pytest.approx(candidate.limit_bytes, abs=1)
    half = candidate.model_copy(update={"limit_bytes": candidate.limit_bytes // 2})
    assert machine_of(half).limit_bytes == pytest.approx(half.limit_bytes, abs=1)
    # one rank of a sharded job holds other tensors than one card alone
    assert machine_of(candidate.model_copy(update={"gpu_count": 2, "sharding": "fsdp2"})) is None
