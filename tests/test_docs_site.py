"""The site of the documents: a page a verb with every option, no page forgotten, every command and link alive."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import yaml

from advisor.interfaces.cli.main import VERBS, load

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
spec = importlib.util.spec_from_file_location("site_pages", ROOT / "docs" / "site_pages.py")
site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(site)
MADE = site.made_pages()


class Config(yaml.SafeLoader):
    """mkdocs.yml names a function of a library, which is not loaded here."""


Config.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda loader, suffix, node: suffix)
SETTINGS = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Config)


def listed(nav) -> list[str]:
    found = []
    for entry in nav:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        found += listed(target) if isinstance(target, list) else [target]
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_a_page_with_every_option_that_its_help_shows(verb):
    page = MADE[f"verbs/{verb}.md"]
    assert VERBS[verb][1] in page.replace("\n", " ")
    for one in load(verb).params:
        if one.param_type_name == "option" and not one.hidden and one.name != "help":
            assert f"`{one.opts[0]}`" in page
            assert one.help.replace("|", "\\|").replace("<", "&lt;") in page


def test_every_page_is_listed_and_every_one_that_is_listed_is_there():
    mine = {path.relative_to(ROOT / "docs").as_posix() for path in DOCS} | set(MADE)
    named = set(listed(SETTINGS["nav"])) - {"verbs/"}
    assert named <= mine
    assert {page for page in mine if not page.startswith("verbs/")} <= named
    config = site.on_config({"nav": SETTINGS["nav"]})
    assert set(listed(config["nav"])) == mine


@pytest.mark.parametrize("page", [*MADE, *(path.relative_to(ROOT / "docs").as_posix() for path in DOCS)])
def test_each_link_to_another_page_leads_somewhere(page):
    text = MADE.get(page) or (ROOT / "docs" / page).read_text(encoding="utf-8")
    there = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text):
        place = (ROOT / "docs" / page).parent.joinpath(target).resolve().relative_to((ROOT / "docs").resolve())
        assert place.as_posix() in there | set(MADE), target


def commands() -> list[tuple[str, str]]:
    """Every command of a document: those in blocks, and those whose answers were printed."""
    found = []
    for path in DOCS:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(r"^<!-- printed: (advisor .+?) -->$", text, re.MULTILINE)
        found += [(path.name, line) for line in lines if line.startswith("advisor ")]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_each_command_of_a_document_is_one_that_parses(page, line):
    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    load(verb).make_context(verb, arguments)


def test_five_stories_are_told_with_their_answers():
    stories = [path for path in DOCS if path.parent.name == "gallery" and path.name != "index.md"]
    assert len(stories) == 5
    for path in stories:
        marked = re.findall(r"<!-- printed: advisor .+? -->\n(```text\n.{40,}?\n```)?", path.read_text(), re.DOTALL)
        assert marked, path.name
        assert all(marked), f"{path.name}: python benchmarks/readme.py prints them"
