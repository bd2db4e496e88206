"""End to end in headless Chromium: asked by keyboard, sliders moved, dark and narrow, with and without scripts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.interfaces.web.chromium import Browser, program
from tests.interfaces.web.conftest import RECIPE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(program() is None, reason="no Chromium: apt-get install chromium"),
]
ROOT = Path(__file__).parents[3]
ANSWERED = "document.querySelector('#answer h1') && !document.querySelector('.pending')"
DONE = f"{ANSWERED} && !document.querySelector('.quick')"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = str(tmp_path_factory.mktemp("page-home"))
    own = os.environ | {"PYTHONPATH": str(ROOT), "ADVISOR_HOME": home, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "advisor", "web", "--port", "0"]
    with subprocess.Popen(command, env=own, stderr=subprocess.PIPE, text=True) as server:
        yield server.stderr.readline().split()[-1].rstrip("/")
        server.terminate()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as browser:
        yield browser
    # nothing was blocked by the content's policy, and no script failed
    assert browser.told == []


def test_an_address_is_answered_and_a_slider_redraws_it(page: Browser, address: str):
    page.open(f"{address}/recipe?{urlencode(RECIPE)}")
    page.until(DONE)
    before = page.value("document.querySelector('#answer h1').innerText")
    assert before.startswith("lora for meta-llama/Llama-3.1-8B on H100-SXM: fits")
    page.value("document.querySelector('#f-batch_size ~ input[type=range]').focus()")
    page.press("ArrowRight", 39)
    page.until(f"document.querySelector('#answer h1').innerText !== {before!r}")
    page.until(DONE)
    assert page.value("document.querySelector('#f-batch_size').value") == "2"
    assert "batch_size=2" in page.value("location.search")
    assert page.value("document.querySelector('#said').innerText") != ""
    # what was shared is what is seen
    page.open(page.value("location.href"))
    page.until(DONE)
    assert page.value("document.querySelector('#f-batch_size').value") == "2"


def test_it_is_used_by_the_keyboard_alone_and_focus_is_never_lost(page: Browser, address: str):
    page.open(f"{address}/recipe?{urlencode(RECIPE)}")
    page.until(DONE)
    reached = []
    for _ in range(24):
        page.press("Tab", 9)
        reached.append(page.value("document.activeElement.id || document.activeElement.innerText"))
    assert reached[0] == "To the answer"
    assert {"f-model", "f-gpu", "f-method", "f-batch_size", "Answer"} <= set(reached)
    page.value("document.querySelector('#f-batch_size').focus()")
    page.value("document.querySelector('#f-batch_size').value = '3'")
    page.press("Enter", 13)
    page.until("location.search.includes('batch_size=3')")
    page.until(DONE)
    assert page.value("document.activeElement.id") == "f-batch_size"


def test_a_wrong_question_is_told_where_the_answer_was(page: Browser, address: str):
    page.open(f"{address}/recipe?{urlencode(RECIPE | {'gpu': 'H10<b>'})}")
    page.until("!!document.querySelector('[role=alert]')")
    assert "H10<b>" in page.value("document.querySelector('[role=alert]').innerText")
    page.told.clear()  # the status 404 of the page itself


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_no_width_has_to_be_scrolled_sideways(address: str, width: int, tmp_path: Path):
    with Browser(tmp_path / "profile", width=width, dark=True) as page:
        page.open(f"{address}/recipe?{urlencode(RECIPE)}")
        page.until(DONE)
        assert page.value("document.documentElement.scrollWidth") <= width
        colours = page.value("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
        light, dark = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
        assert light > dark + 400


def test_without_scripts_the_page_answers_too(address: str, tmp_path: Path):
    with Browser(tmp_path / "profile") as page:
        page.do("Emulation.setScriptExecutionDisabled", {"value": True})
        page.open(f"{address}/recipe?{urlencode(RECIPE | {'batch_size': '5'})}")
        page.until(DONE)
        assert not page.value("document.querySelector('input[type=range]')")
        assert "5 x 1 samples" in page.value("document.querySelector('#answer').innerText")
