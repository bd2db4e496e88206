"""The texts of exported files: YAML and JSON with the versions they were written for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from advisor.catalog.trainer_formats import TrainerFormat
from advisor.exporters.export_job import ExportJob


def stanza(format: TrainerFormat, job: ExportJob, command: str) -> list[str]:
    """What stands at the head of every export, a line each: the recipe, the version, the command."""
    recipe, workload = job.recipe, job.workload
    base = f" on a {recipe.base} base" if recipe.base != "dtype" else ""
    lines = [
        f"{recipe.method}{base} for {job.model}, {recipe.micro_batch_size} x {recipe.gradient_accumulation} samples "
        f"of at most {workload.seq_len} tokens a step",
        f"written by advisor for {format.said}; other versions may read it otherwise",
        f"install: pip install {' '.join(repr(one) if '[' in one else one for one in format.requirements)}",
        f"run: {command}",
    ]
    if job.peak:
        lines.insert(1, job.peak)
    return [" ".join(line.split()) for line in lines]


def yaml_text(document: Mapping[str, Any], head: list[str]) -> str:
    """A YAML file whose first lines are comments, its keys in the order given."""
    import yaml

    body = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {line}\n" for line in head) + body


def json_text(document: Mapping[str, Any]) -> str:
    """A JSON file; its format has no comments."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
