"""The house's own rules, read from the source: who may import whom, how large a file may be, what is registered."""

from __future__ import annotations

import ast
import graphlib
import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import advisor
from advisor.interfaces.cli.main import VERBS, load

ROOT = Path(advisor.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
MODULES = {".".join(["advisor", *path.relative_to(ROOT).with_suffix("").parts]): path for path in SOURCES}

FLOORS = {
    "errors": 0,
    "domain": 1,
    "store": 2,
    "processes": 3,
    "loading": 3,
    "libraries": 3,
    "bug_log": 3,
    "config_reader": 3,
    "catalog": 4,
    "literature": 5,
    "dataset": 5,
    "assembly": 6,
    "tracer": 7,
    "profiler": 7,
    "training": 7,
    "estimator": 8,
    "recommender": 9,
    "tuner": 10,
    "experiments": 11,
    "exporters": 12,
    "planner": 12,
    "interfaces": 13,
}
"""Imports run down only; two wings of one floor never see each other."""

MAY_IMPORT_TORCH = {"loading", "dataset", "assembly", "tracer", "profiler", "training", "tuner"}
LINES = 420
FUNCTION_LINES = 90


def wing(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


@cache
def imports(path: Path, *, top_level_only: bool = False) -> list[tuple[str, int]]:
    """Every module imported by a file, with its line; with `top_level_only` those that run on import."""
    return list(_imports(path, top_level_only=top_level_only))


def _imports(path: Path, *, top_level_only: bool) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = _running_on_import(tree) if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES or f"{whole}.__init__" in MODULES else str(node.module)), node.lineno


def _running_on_import(tree: ast.Module) -> Iterator[ast.AST]:
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            stack.extend(ast.iter_child_nodes(node))


def test_there_is_a_house_to_test():
    assert len(SOURCES) > 20
    assert {wing(name) for name in MODULES} >= set(FLOORS) - {"planner", "profiler"}


def test_every_wing_has_its_floor():
    assert {wing(name) for name in MODULES} - {"__init__", "__main__", "_data"} <= set(FLOORS)


def test_the_document_shows_these_floors():
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    named = re.compile(r"(?:advisor/)?(\w+)(?:\.py|/)?`?")
    assert {name: int(floor) for floor, names in rows for name in named.findall(names)} == FLOORS


def test_imports_run_down_only():
    asked = [(name, *found) for name in MODULES if wing(name) in FLOORS for found in imports(MODULES[name])]
    assert len(asked) > 1000
    for name, imported, line in asked:
        mine, theirs = wing(name), wing(imported)
        if not imported.startswith("advisor.") or theirs == mine:
            continue
        if theirs not in FLOORS:
            assert mine == "interfaces", f"{name}:{line} imports {imported} from the front door"
            continue
        assert FLOORS[theirs] < FLOORS[mine], f"{name}:{line} imports {imported}, which is not below it"


def test_nothing_but_a_face_imports_the_front_door():
    for name, path in MODULES.items():
        if wing(name) != "interfaces":
            assert not [line for imported, line in imports(path) if imported == "advisor"], name


def test_imports_go_round_in_no_circle():
    """Those inside functions too: an import put off is a circle all the same."""
    known = {name.removesuffix(".__init__"): path for name, path in MODULES.items()}
    graph = {
        name: {imported for imported, _ in imports(path) if imported in known and imported != name}
        for name, path in known.items()
        if name != "advisor"
    }
    tuple(graphlib.TopologicalSorter(graph).static_order())


FILES_IN_A_FOLDER = 14
REGISTRIES = {"catalog/methods", "interfaces/cli"}
"""Folders with one file for each entry."""


def test_no_folder_holds_more_files_than_one_can_survey():
    count = Counter(path.parent.relative_to(ROOT).as_posix() for path in SOURCES if path.stem != "__init__")
    assert {folder: n for folder, n in count.items() if n > FILES_IN_A_FOLDER and folder not in REGISTRIES} == {}


DOORS = {verb.replace("-", "_") for verb in VERBS} | {"estimate", "profile"}
"""A verb is the name of a command's file, of the file that holds its function, and of the noun it makes."""


def test_a_file_name_says_which_file_is_meant():
    stems = Counter(path.stem for path in SOURCES if path.stem != "__init__")
    assert {stem for stem, n in stems.items() if n > 1} <= DOORS | {"__main__"}


def test_a_class_name_exists_once():
    places = defaultdict(list)
    for name, path in MODULES.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_function_is_named_as_a_module_beside_it():
    """But a door, which its own file is named after."""
    known = {name.removesuffix(".__init__") for name in MODULES}
    for name, path in MODULES.items():
        package = name.removesuffix(".__init__") if path.stem == "__init__" else name.rpartition(".")[0]
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name != path.stem:
                assert f"{package}.{node.name}" not in known, f"{name}.{node.name}"


def test_torch_is_imported_only_where_models_are_built_or_run():
    without = [name for name in MODULES if wing(name) not in MAY_IMPORT_TORCH]
    assert len(without) > 300
    assert [
        f"{name}:{line}"
        for name in without
        for imported, line in imports(MODULES[name])
        if imported.split(".")[0] == "torch"
    ] == []


def test_files_and_functions_are_small_rooms():
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= LINES, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                assert (node.end_lineno or 0) - node.lineno < FUNCTION_LINES, f"{name}.{node.name}"


def test_every_command_file_is_in_the_table_of_verbs():
    files = {path.stem for path in (ROOT / "interfaces" / "cli").glob("*.py")}
    assert files - {"__init__", "main", "output", "click_options"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_first_line_of_help_is_the_same_in_both_places(verb):
    command = load(verb)
    assert command.name == verb
    assert (command.help or "").partition("\n\n")[0].replace("\n", " ").strip() == VERBS[verb][1]


@pytest.mark.parametrize("name", [*advisor.VERBS, *advisor.NOUNS])
def test_every_public_name_is_there_and_called_so(name):
    assert getattr(advisor, name).__name__ == name


def test_a_public_verb_stays_a_function_after_its_wing_was_imported():
    for name, module in advisor.VERBS.items():
        __import__(module)
        assert callable(getattr(advisor, name))


def test_asking_any_command_for_help_loads_no_torch():
    program = (
        "import sys\nfrom advisor.interfaces.cli.main import VERBS, load\n"
        "[load(verb) for verb in VERBS]\n"
        "heavy = {'torch', 'transformers', 'peft', 'trl', 'datasets', 'sklearn', 'optuna', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_advisor_imports_nothing_else():
    program = "import sys; before = set(sys.modules); import advisor; print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40


def test_no_two_test_files_share_a_name():
    """pytest imports them by bare name, and the second of a name would not be collected."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


LITTLE_TYPED = {
    name: name.replace("scikit-learn", "sklearn")
    for name in (
        *("accelerate", "altair", "bitsandbytes", "datasets", "huggingface_hub", "optuna", "peft"),
        *("scikit-learn", "scipy", "torch", "transformers", "trl"),
    )
}
"""Libraries of which the type checker learns little, by the name in comments, and the name they are imported by."""
MAY_BE_OFF = {"reportUnknownMemberType", "reportPrivateUsage", "reportPrivateImportUsage"}
"""What a file may do without: types of a library's functions, and that names it keeps to itself are left alone."""
STUBS = ROOT.parent / "typings"


def test_a_file_relaxes_the_type_checker_only_for_a_library_that_it_names_and_imports():
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        whole = re.findall(r"^# pyright: (.*)\n((?:# .*\n)*)", text, re.MULTILINE)
        assert len(whole) == len(re.findall(r"^#\s*pyright:", text, re.MULTILINE)) <= 1, name
        for rules, why in whole:
            imported = {module.partition(".")[0] for module, _ in imports(path)}
            assert {rule.strip() for rule in rules.split(",")} <= {f"{rule}=false" for rule in MAY_BE_OFF}, name
            meant = {module for word, module in LITTLE_TYPED.items() if re.search(rf"\b{word}\b", why)}
            assert meant, f"{name}: the line below says which library is the reason"
            assert meant <= imported, f"{name}: {meant - imported} is not imported"


def test_the_type_checker_is_strict_everywhere_else():
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pyright"]
    assert settings["typeCheckingMode"] == "strict"
    # packages without stubs are allowed; what is unknown of them is not
    assert {name for name in settings if name.startswith("report")} == {"reportMissingTypeStubs"}


@pytest.mark.parametrize("stub", sorted(STUBS.rglob("*.pyi")), ids=lambda path: path.relative_to(STUBS).as_posix())
def test_a_stub_declares_what_its_library_has(stub):
    parts = stub.relative_to(STUBS).with_suffix("").parts
    library = ".".join(part for part in parts if part != "__init__")
    assert any(library in {module for module, _ in imports(path)} for path in SOURCES) or len(parts) > 1
    have = importlib.import_module(library)
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert hasattr(have, node.name), f"{library}.{node.name}"
