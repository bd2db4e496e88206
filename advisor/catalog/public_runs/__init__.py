"""Runs that others published, one JSON file a source: `public_runs()` lists them.

A newcomer adds a source by adding `<id>.json`. What is refused: a file not named after its id, an id that occurs twice,
and a run without any figure.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from advisor import store
from advisor.catalog.models.spec import spec_of
from advisor.domain.model import ModelSpec
from advisor.domain.public_run import PublicRun, PublicRuns
from advisor.errors import BadFile

FOLDER: Final = Path(__file__).resolve().parent


@cache
def public_runs() -> tuple[PublicRuns, ...]:
    """All sources, by name.

    Raises:
        BadFile: a file is damaged, or breaks one of the laws above; says which.
    """
    found: list[PublicRuns] = []
    seen: dict[str, str] = {}
    for path in sorted(FOLDER.glob("*.json")):
        source = store.read(PublicRuns, path)
        broken = [f"its id is {source.id!r}, so the file must be {source.id}.json"] if source.id != path.stem else []
        for run in source.runs:
            if run.id in seen:
                broken.append(f"run {run.id} is in {seen[run.id]} too")
            if not has_figure(run):
                broken.append(f"run {run.id} has no figure")
            seen[run.id] = source.id
        if broken:
            raise BadFile(f"public runs {path.name} break a law: {broken[0]}", path=str(path), broken=broken)
        found.append(source)
    return tuple(found)


def has_figure(run: PublicRun) -> bool:
    """Whether anything was measured: memory, time or rate."""
    figures = (run.peak_allocated_bytes, run.peak_reserved_bytes, run.peak_device_bytes, run.peak_unsaid_bytes)
    return any(f is not None for f in (*figures, run.step_seconds, run.tokens_per_second))


def spec_for(source: PublicRuns, run: PublicRun) -> ModelSpec:
    """The model of a run: from its source's own configs, else from the catalogue.

    Raises:
        UnknownName: neither holds it.
        ValueError: the run cannot be asked.
    """
    from advisor.catalog.models import resolve_model

    if run.asked is None:
        raise ValueError(f"run {run.id} cannot be put as a question")
    name = str(run.asked["model"])
    if name not in source.models:
        return resolve_model(name)
    return spec_of(
        source.models[name], name=name, asked=name, source="catalogue", where=f"config in public runs {source.id}"
    )
