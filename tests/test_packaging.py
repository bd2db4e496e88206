"""What ships, what the checks are, and that the documents name what is there."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import advisor

ROOT = Path(__file__).parents[1]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIG["project"]
ADVISORIES = json.loads((ROOT / ".ci" / "advisories.json").read_text(encoding="utf-8"))["advisories"]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    loader = SourceFileLoader("ci_audit", str(ROOT / ".ci" / "audit"))
    made = module_from_spec(spec_from_loader("ci_audit", loader))
    loader.exec_module(made)
    return made


def test_types_and_licence_ship():
    assert (ROOT / "advisor" / "py.typed").is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert PROJECT["license-files"] == ["LICENSE"]


def test_the_version_has_one_home():
    assert "version" in PROJECT["dynamic"]
    assert (ROOT / CONFIG["tool"]["hatch"]["version"]["path"]) == Path(advisor.__file__)
    assert re.fullmatch(r"\d+\.\d+\.\d+", advisor.__version__)
    assert f"## [{advisor.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_dir_shows_the_public_names_alone():
    assert dir(advisor) == sorted([*advisor.VERBS, *advisor.NOUNS, "__version__"])


def test_python_m_advisor_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "advisor", "--version"], capture_output=True, text=True, check=True)
    assert advisor.__version__ in done.stdout


def test_the_source_distribution_holds_what_its_tests_read():
    """Each name that a test joins to the root of the repository is among what the sdist includes."""
    included = {line.strip("/") for line in CONFIG["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]}
    joined = re.compile(r"\bROOT / \"([^\"]+)\"")
    for path in (ROOT / "tests").rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "ROOT = Path(__file__)" not in text:
            continue
        for name in joined.findall(text):
            shipped = name in included | {"pyproject.toml"} or (name.endswith(".md") and "*.md" in included)
            assert shipped, f"{path.name} reads {name}"
    for name in included:
        assert list(ROOT.glob(name)), f"the sdist includes {name}, which is not there"


def test_an_index_is_given_no_relative_picture():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for one in CONFIG["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text, changed = re.subn(one["pattern"], one["replacement"], text)
        assert changed
    assert not re.findall(r"!\[[^\]]*\]\((?!https:)", text)


@pytest.mark.parametrize("name", ["run", "matrix", "release"])
def test_the_checks_are_scripts_that_bash_can_read(name):
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / name)], check=True)


def test_ci_runs_linters_types_advisories_and_both_sets_of_tests():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    steps = (
        "ruff check",
        "ruff format --check",
        "pyright --pythonpath",
        ".ci/audit",
        "$tests",
        "pytest -m 'slow and not exhaustive'",
        ".ci/matrix",
    )
    assert [text.index(step) for step in (*steps, ".ci/matrix")]


def test_a_test_that_is_marked_slow_says_so_in_its_own_file():
    """`.ci/run` looks for slow tests in the files that name the mark."""
    marked = [p for p in (ROOT / "tests").rglob("*.py") if "mark.slow" in p.read_text(encoding="utf-8")]
    assert all(p.name.startswith("test_") for p in marked)


def test_the_default_run_leaves_out_the_marks_that_ci_runs_apart():
    options = CONFIG["tool"]["pytest"]["ini_options"]
    assert "-m 'not gpu and not slow and not exhaustive'" in options["addopts"]
    assert {line.partition(":")[0] for line in options["markers"]} == {"gpu", "slow", "exhaustive"}


def test_the_offline_list_finds_what_is_affected_and_only_that(audit):
    one = [{"package": "filelock", "affected": "<3.20.1", "id": "CVE-0", "what": "a race"}]
    assert audit.offline({"filelock": "3.20.0"}, one) == ["filelock 3.20.0: CVE-0, a race"]
    assert audit.offline({"filelock": "3.20.1", "torch": "2.12"}, one) == []


def test_packages_that_the_service_skips_are_not_taken_for_audited(audit, monkeypatch):
    answer = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "skip_reason": "not found"},
            {"name": "c", "version": "1", "vulns": [{"id": "CVE-1"}]},
        ]
    }
    done = subprocess.CompletedProcess([], 1, json.dumps(answer), "")
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    assert audit.online({"a": "1", "b": "1", "c": "1"}) == (["c 1: CVE-1"], {"b"})
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", "no network"))
    assert audit.online({"a": "1"}) == ([], {"a"})


def test_no_lower_bound_and_no_pin_lets_a_known_advisory_in():
    pins = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line]
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for line in [*PROJECT["dependencies"], *extras, *pins]:
        requirement = Requirement(line)
        (lowest,) = (specifier.version for specifier in requirement.specifier)
        for known in ADVISORIES:
            if canonicalize_name(requirement.name) == known["package"]:
                assert lowest not in SpecifierSet(known["affected"]), f"{line} lets {known['id']} in"


def test_every_path_that_a_document_names_is_there():
    """Paths in backquotes with a slash, unless they hold a placeholder or are a command's or a user's own."""
    named = 0
    for document in DOCUMENTS:
        for path in re.findall(
            r"`((?:advisor|tests|benchmarks|docs|profiles|calibration|\.ci)/[^`\s]*)`", document.read_text("utf-8")
        ):
            if re.search(r"[<>{}…]|NAME", path):
                continue
            found = list(ROOT.glob(path.rstrip("/"))) if "*" in path else [ROOT / path]
            assert found, f"{document.name} names {path}"
            assert found[0].exists(), f"{document.name} names {path}"
            named += 1
    assert named >= 20


def test_every_function_that_the_architecture_names_is_where_it_says():
    """`file.py`: `name()` in a table row or sentence of docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    pairs = re.findall(r"`(advisor/[\w/]+\.py)`: `(\w+)(?:\(\))?`", text)
    assert len(pairs) >= 5
    for path, name in pairs:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        kinds = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, kinds)}, f"{path} has no {name}"


@pytest.mark.parametrize("script", ["run", "matrix"])
def test_tests_that_ci_names_are_there(script):
    named = re.findall(r"\btests/[\w/.]+", (ROOT / ".ci" / script).read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []
