"""What the installed peft says of its methods, read from its source: neither peft nor torch is imported."""

from __future__ import annotations

import ast
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BITSANDBYTES = ("bnb", "quantization_backend", "Linear4bit")
_PROMPTS = ("PromptLearningConfig", "PromptTuningConfig")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One PeftType in the installed peft. None: the source does not tell."""

    version: str
    config_class: str
    settings: tuple[str, ...]
    merges: bool
    quantised: bool
    prompt: bool


@cache
def peft_folder() -> Path | None:
    """Where the installed peft lies; None when there is none."""
    spec = importlib.util.find_spec("peft")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def peft_version() -> str:
    """Version of the installed peft, `none` without one."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("peft")
    except PackageNotFoundError:
        return "none"


@cache
def installed_peft_types() -> tuple[str, ...]:
    """The PeftType names of the installed peft; empty when peft is not installed."""
    folder = peft_folder()
    if folder is None:
        return ()
    for node in ast.walk(_parsed(folder / "utils" / "peft_types.py")):
        if isinstance(node, ast.ClassDef) and node.name == "PeftType":
            assigned = [line for line in node.body if isinstance(line, ast.Assign)]
            return tuple(t.id for line in assigned for t in line.targets if isinstance(t, ast.Name))
    return ()


@cache
def capabilities(peft_type: str) -> Capabilities | None:
    """What the installed peft can do with a method; None when it does not have it or hides where it is."""
    folder = peft_folder()
    if folder is None:
        return None
    for config in sorted((folder / "tuners").glob("*/config.py")):
        for node in ast.walk(_parsed(config)):
            if isinstance(node, ast.ClassDef) and f"PeftType.{peft_type}\n" in ast.unparse(node) + "\n":
                return _read(config.parent, node)
    return None


def _read(tuner: Path, config: ast.ClassDef) -> Capabilities:
    code = {path.name: path.read_text(encoding="utf-8") for path in tuner.glob("*.py")}
    fields = (
        line.target.id for line in config.body if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)
    )
    bases = " ".join(ast.unparse(base) for base in config.bases)
    return Capabilities(
        version=peft_version(),
        config_class=config.name,
        settings=tuple(fields),
        merges=any("def merge(" in text or "(nn.Module, LycorisLayer)" in text for text in code.values()),
        quantised=any(word in text for name, text in code.items() if name != "config.py" for word in _BITSANDBYTES),
        prompt=any(name in bases for name in _PROMPTS),
    )


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
