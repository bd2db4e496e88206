"""A law read from the sources: nothing but `advisor/loading.py` loads what comes from a model's folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import advisor

ROOT = Path(advisor.__file__).parent
DOOR = ROOT / "loading.py"
SOURCES = [path for path in sorted(ROOT.rglob("*.py")) if path != DOOR]

LOADERS = {
    "from_pretrained",
    "from_config",
    "from_file",
    "load_dataset",
    "load_adapter_from_hub",
    "get_class_from_dynamic_module",
    "pipeline",
    "read_pickle",
    "unsafe_load",
    "trust_remote_code",
}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy"}
CODE = {"eval", "exec", "compile", "__import__"}


def _names(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node
        elif isinstance(node, ast.Name):
            yield node.id, node
        elif isinstance(node, ast.alias):
            yield node.name.rpartition(".")[2], node
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node


def faults(text: str) -> list[str]:
    """What a source does that only the door may do."""
    found: list[str] = []
    tree = ast.parse(text)
    for name, node in _names(tree):
        line = getattr(node, "lineno", 0)
        if name in LOADERS or (name.startswith("Auto") and name[4:5].isupper()):
            found.append(f"{line}: {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [f"{node.lineno}: {m}" for m in modules if m.partition(".")[0] in MODULES]
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CODE or called in ("torch.load", "np.load", "numpy.load", "yaml.load"):
                found.append(f"{node.lineno}: {called}")
    return found


def test_only_the_door_loads_from_a_model_folder():
    assert {str(path): told for path in SOURCES if (told := faults(path.read_text(encoding="utf-8")))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "AutoTokenizer.from_pretrained(f)",
        "from transformers import AutoProcessor",
        "import pickle",
        "torch.load(p)",
        "datasets.load_dataset('x')",
        "f(trust_remote_code=True)",
        "exec(text)",
    ],
)
def test_the_law_sees_what_it_forbids(line: str):
    assert faults(line)


def test_every_load_in_the_door_says_that_no_code_is_run():
    tree = ast.parse(DOOR.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            said = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
            of_peft = ast.unparse(node.func.value) == "PeftModel"
            if node.func.attr in ("from_pretrained", "from_config") and not of_peft:
                assert said.get("trust_remote_code") == "False", ast.unparse(node)
            if ast.unparse(node.func) == "torch.load":
                assert said.get("weights_only") == "True"
