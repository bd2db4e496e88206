"""CONTRIBUTING.md's recipes, followed to the letter in a copy of the tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tree as a newcomer has it, to be changed."""
    for name in ("advisor", "tests", "profiles", "calibration", "benchmarks", "docs", ".ci"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CONTRIBUTING.md", "constraints.txt", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(tree: Path, *command: str, **settings: str) -> str:
    """What a command prints that is run in the copy, on its code; it must succeed.

    Args:
        settings: of its environment.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree), "ADVISOR_HOME": str(tree / "home"), **settings}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=tree, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def replace(path: Path, *pairs: tuple[str, str]) -> None:
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text, f"{old!r} is not in {path.name}"
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")


def a_method(tree: Path) -> None:
    methods = tree / "advisor/catalog/methods"
    shutil.copy(methods / "ia3.py", methods / "rescaling.py")
    replace(
        methods / "rescaling.py",
        ('name="ia3"', 'name="rescaling"'),
        ('title="(IA)3"', 'title="Rescaling"'),
        ('evidence_names=("ia3", "(ia)3")', 'evidence_names=("rescaling",)'),
    )
    replace(methods / "registry.py", ('    "ia3",\n', '    "ia3",\n    "rescaling",\n'))
    assert "rescaling" in run(tree, "advisor", "methods", "rescaling")
    assert " passed" in run(tree, "pytest", "-k", "rescaling and not bytes", "tests/conformance", "-o", "addopts=")


def a_gpu(tree: Path) -> None:
    gpus = tree / "advisor/catalog/gpus"
    figures = json.loads((gpus / "l40s.json").read_text(encoding="utf-8"))
    figures |= {"name": "L99X", "aliases": ["NVIDIA L99X"]}
    (gpus / "l99x.json").write_text(json.dumps(figures), encoding="utf-8")
    assert "L99X" in run(tree, "advisor", "gpus", "L99X")
    assert " passed" in run(tree, "pytest", "-k", "L99X", "tests/catalog/test_gpus.py", "-o", "addopts=")


def a_model(tree: Path) -> None:
    models = tree / "advisor/catalog/models"
    index = json.loads((models / "index.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in index["models"] if entry["id"] == "allenai/OLMo-2-0325-32B")
    shutil.copy(models / "configs" / entry["config"], models / "configs" / "nobody__Owl-32B.json")
    index["models"].append(entry | {"id": "nobody/Owl-32B", "aliases": [], "config": "nobody__Owl-32B.json"})
    (models / "index.json").write_text(json.dumps(index), encoding="utf-8")
    assert "nobody/Owl-32B" in run(tree, "advisor", "models", "owl")
    assert " passed" in run(tree, "pytest", "-k", "Owl", "tests/catalog/test_models.py", "-o", "addopts=")


def a_study(tree: Path) -> None:
    studies = tree / "advisor/catalog/findings/studies"
    study = json.loads((studies / "adalora2023.json").read_text(encoding="utf-8")) | {"id": "adalora2099"}
    (studies / "adalora2099.json").write_text(json.dumps(study), encoding="utf-8")
    assert "adalora2099" in run(tree, "advisor", "evidence", "--studies")


def a_trainer(tree: Path) -> None:
    trainers = tree / "advisor/training/trainers"
    shutil.copy(trainers / "loop.py", trainers / "second_loop.py")
    text = (trainers / "second_loop.py").read_text(encoding="utf-8")
    text = re.sub(r'(\n    name[^\n]*= )"loop"', r'\1"second-loop"', text)
    assert '"second-loop"' in text
    (trainers / "second_loop.py").write_text(text.replace("\nLOOP", "\nSECOND_LOOP"), encoding="utf-8")
    imports = "from advisor.training.trainers.trainer import"
    replace(
        trainers / "__init__.py",
        (imports, f"from advisor.training.trainers.second_loop import SECOND_LOOP\n{imports}"),
        ("(LOOP, HF, TRL)", "(LOOP, HF, TRL, SECOND_LOOP)"),
    )
    replace(tree / "advisor/domain/request/vocabulary.py", ('Literal["loop", ', 'Literal["loop", "second-loop", '))
    ran = ("pytest", "-k", "second-loop", "tests/training/test_trainers.py", "-o", "addopts=")
    assert " passed" in run(tree, *ran)


def an_exporter(tree: Path) -> None:
    formats = tree / "advisor/catalog/trainer_formats"
    known = json.loads((formats / "accelerate.json").read_text(encoding="utf-8")) | {"name": "launchpad"}
    (formats / "launchpad.json").write_text(json.dumps(known), encoding="utf-8")
    exporters = tree / "advisor/exporters/formats"
    shutil.copy(exporters / "accelerate.py", exporters / "launchpad.py")
    replace(
        exporters / "launchpad.py",
        ("class Accelerate(", "class Launchpad("),
        ('name = "accelerate"', 'name = "launchpad"'),
        ("ACCELERATE = Accelerate()", "LAUNCHPAD = Launchpad()"),
    )
    imports = "from advisor.exporters.formats.llamafactory import"
    replace(
        exporters / "__init__.py",
        (imports, f"from advisor.exporters.formats.launchpad import LAUNCHPAD\n{imports}"),
        ("    ACCELERATE,\n", "    ACCELERATE,\n    LAUNCHPAD,\n"),
    )
    replace(tree / "advisor/domain/request/export_options.py", ("accelerate, ", "accelerate, launchpad, "))
    case = {"model": "meta-llama/Llama-3.2-1B", "gpu": "L4", "method": "lora", "seq_len": 512}
    (tree / "case.json").write_text(json.dumps(case), encoding="utf-8")
    assert "mixed_precision" in run(tree, "advisor", "export", "case.json", "--to", "launchpad")
    assert "launchpad" in run(tree, "advisor", "export", "--help")
    run(tree, "pytest", "tests/exporters/test_export_door.py", "-k", "launchpad", ADVISOR_WRITE_GOLDEN="1")
    assert " passed" in run(tree, "pytest", "-k", "launchpad", "tests/exporters", "-o", "addopts=")


RECIPES = [a_method, a_gpu, a_model, a_study, a_trainer, an_exporter]
"""In the order of the document."""


@pytest.mark.exhaustive
@pytest.mark.parametrize("follow", RECIPES)
def test_what_is_added_as_it_says_is_there(copy: Path, follow: Callable[[Path], None]):
    follow(copy)


def test_every_recipe_is_followed():
    _, _, recipes = TEXT.partition("\n## How to add\n")
    headings = re.findall(r"^### (.+)$", recipes.partition("\n## ")[0], re.MULTILINE)
    assert [heading.lower().replace(" ", "_") for heading in headings] == [follow.__name__ for follow in RECIPES]
