"""What will happen to a config that somebody has: read as a case of the estimator, every key used or named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.catalog.methods import find_method, methods
from advisor.catalog.models import resolve_model
from advisor.config_reader import read_config_file
from advisor.domain.candidate import Candidate
from advisor.domain.plain_values import is_object
from advisor.errors import AdvisorError, BadFile, BadRequest
from advisor.estimator.estimate import answer_with_changes, from_case
from advisor.exporters.adapter_document import options_from
from advisor.exporters.formats import EXPORTERS
from advisor.exporters.settings import Settings

UNREAD: Final = {
    "compute_environment": "an accelerate config says nothing of model or method",
    "checkpointer": "torchtune's configs name its own models: give the recipe by options",
}
"""A key by which a format is known that cannot be read -> why."""


@dataclass(frozen=True, slots=True)
class ReadConfig:
    """A config as a case of `advisor estimate`, and in words what became of every other key."""

    tool: str
    case: dict[str, Any]
    notes: tuple[str, ...]


def read_config(path: str | Path, given: Mapping[str, Any] | None = None) -> ReadConfig:
    """The case that a trainer's config describes.

    Args:
        path: a YAML or JSON file, or a folder with an `adapter_config.json`.
        given: what else is known (`model` and the like); it wins over the config.

    Raises:
        BadFile: no such file, or not YAML or JSON as we read it.
        BadRequest: no tool's config that we know, or keys that contradict or ask for what is not modelled.
    """
    place = store.expanded(path)
    place = place / "adapter_config.json" if place.is_dir() else place
    return read_config_document(read_config_file(place), place, given or {})


def read_config_document(document: Mapping[str, Any], path: Path, given: Mapping[str, Any]) -> ReadConfig:
    """`read_config` of a document that was read from `path`."""
    exporter = next((one for one in EXPORTERS if one.recognises(document)), None)
    if exporter is None:
        raise _unknown(document, path)
    settings = Settings(document, exporter.format)
    found = exporter.read(settings)
    case = {**{key: value for key, value in found.case.items() if value is not None}, **given}
    named_options = any(key in given for key in ("method", "adapter_config"))
    if named_options:
        case = {key: value for key, value in case.items() if key not in ("method", "adapter_config") or key in given}
    case = case if named_options else _with_options(case)
    said = settings.format.said
    lines = [f"config: read as {said}'s, from {path.name}", *(f"config: {note}" for note in found.notes)]
    overruled = [key for key in given if found.case.get(key) not in (None, given[key])]
    if overruled:
        lines.append(f"config: options overrule it: {', '.join(overruled)}")
    if settings.unused():
        lines.append(f"config: not used: {', '.join(settings.unused())}")
    lines += [
        f"config: {key} is of an older version, and not used: now {settings.format.earlier[key]}"
        for key in settings.earlier()
    ]
    if settings.unknown():
        lines.append(
            f"config: unknown to {said} and not used, of a newer version or misspelt: {', '.join(settings.unknown())}; "
            f"the tool's own answer: {settings.format.unknown_key}"
        )
    return ReadConfig(exporter.name, case, tuple(lines))


def estimate_config(path: str | Path, **given: Any) -> Candidate:
    """`advisor.estimate` of a trainer's config; options that are given win over it.

    Raises:
        As `read_config` and `advisor.estimate`; a config without a model, or a machine that nobody named.
    """
    read = read_config(path, given)
    for name in ("model", "gpu"):
        if name not in read.case and not (name == "gpu" and "gpu_like" in read.case):
            raise BadRequest(
                f"the config says no {name}: --{name} is missing", hints=[f"to list them: advisor {name}s"]
            )
    candidate = answer_with_changes(from_case(read.case))
    return candidate.model_copy(update={"assumptions": (*read.notes, *candidate.assumptions)})


def _with_options(case: dict[str, Any]) -> dict[str, Any]:
    """The case with a method and its options in the place of an adapter config that says no more than they do."""
    document, model = case.get("adapter_config"), case.get("model")
    if not is_object(document) or not model:
        return _tidy(case)
    try:
        spec = resolve_model(model)
        made = options_from(document, spec, case.get("task") or spec.task)
    except AdvisorError:
        return _tidy(case)
    if made is None:
        return _tidy(case)
    method, options = made
    rest = {key: value for key, value in case.items() if key not in ("adapter_config", "optimizer", "rate_ratio")}
    optimizer = case.get("optimizer")
    by_optimizer = {m.optimizer: m for m in methods() if m.optimizer is not None and m.peft_type == method.peft_type}
    if optimizer in by_optimizer:
        method = by_optimizer[optimizer]
    elif optimizer is not None:
        rest["optimizer"] = optimizer
    if method.name == "lora" and case.get("base") in ("nf4", "int8"):
        method = find_method("qlora")
    options = {**options, **({"rate_ratio": case["rate_ratio"]} if "rate_ratio" in case else {})}
    return {**rest, "method": method.name, "options": {k: v for k, v in options.items() if k in method.options}}


def _tidy(case: dict[str, Any]) -> dict[str, Any]:
    """A ratio of rates decides no cost, and an adapter config has no place for it."""
    return {key: value for key, value in case.items() if key != "rate_ratio"}


def _unknown(document: Mapping[str, Any], path: Path) -> AdvisorError:
    for key, why in UNREAD.items():
        if key in document:
            return BadRequest(f"{path} cannot be read as a recipe: {why}", path=str(path))
    if "schema" in document:
        return BadRequest(f"{path} is advisor's own file", hints=["to export it: advisor export FILE --to trl"])
    return BadFile(
        f"{path} is no config of a trainer that we read",
        cause=f"its keys: {', '.join(list(document)[:8]) or 'none'}",
        hints=["read are: TRL, transformers' TrainingArguments, peft, axolotl, LLaMA-Factory, unsloth, ms-swift"],
        path=str(path),
    )
