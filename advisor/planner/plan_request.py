"""What `advisor plan` is asked: jobs and fleet read and checked, the options each within its range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError, field_validator

from advisor import store
from advisor.config_reader import read_config_file
from advisor.domain.plain_values import is_mapping
from advisor.domain.request.plan_options import Confidence, Draws, TimeLimit
from advisor.domain.request.validation import check_names, first_problem, refusal_of
from advisor.domain.request.verb_options import Seed, names_in
from advisor.domain.stored import Value
from advisor.errors import BadFile, BadRequest
from advisor.planner.files.fleet_file import FleetFile
from advisor.planner.files.jobs_file import JobsFile

JobsSource = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
FleetSource = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
F = TypeVar("F", JobsFile, FleetFile)


class PlanRequest(Value):
    """The arguments of `plan()`, each within its range."""

    jobs: JobsFile
    fleet: FleetFile
    start: str | None = None
    confidence: Confidence = 0.8
    time_limit: TimeLimit = 60.0
    draws: Draws | None = None
    seed: Seed = 0
    price_change: tuple[str, ...] = ()
    add_gpu: tuple[str, ...] = ()
    deadline: tuple[str, ...] = ()

    @field_validator("price_change", "add_gpu", "deadline", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return names_in(names) if names is not None else ()


def checked(jobs: JobsSource, fleet: FleetSource, options: Mapping[str, Any]) -> PlanRequest:
    """The request, or why it is none.

    Raises:
        BadFile: a file cannot be read, or does not hold what it should; says which entry and field.
        BadRequest: the same of values given in Python, or an option out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    check_names(given, set(PlanRequest.model_fields) - {"jobs", "fleet"})
    asked = {"jobs": _read(JobsFile, jobs, "jobs"), "fleet": _read(FleetFile, fleet, "gpus"), **given}
    try:
        return PlanRequest.model_validate(asked)
    except ValidationError as error:
        raise refusal_of(error, given) from None


def _read(kind: type[F], source: Any, key: str) -> F:
    """A file or a Python value as jobs or fleet; a bare list is taken as the list under `key`."""
    path = store.expanded(source) if isinstance(source, str | Path) else None
    held: Any = source if path is None else read_config_file(path)
    if not is_mapping(held):
        held = {key: held}
    try:
        return kind.model_validate({str(name): value for name, value in held.items()})
    except ValidationError as error:
        raise _refused(error, held, key, path) from None


def _refused(error: ValidationError, held: Mapping[Any, Any], key: str, path: Path | None) -> BadFile | BadRequest:
    """The first problem, with the name of the job or GPU that has it."""
    place, said, value = first_problem(error, whole="the whole")
    parts = place.split(".")
    if len(parts) > 1 and parts[0] == key and parts[1].isdigit():
        entry: Any = held[key][int(parts[1])]
        label = next((entry[name] for name in ("name", "gpu") if entry.get(name)), "") if is_mapping(entry) else ""
        named = f"{key}, entry {int(parts[1]) + 1}{f' ({label})' if label else ''}"
        place = ", ".join([named, *([".".join(parts[2:])] if parts[2:] else [])])
    shown = "" if isinstance(value, dict | list | tuple) or value is None else f" (found {str(value)[:80]!r})"
    cause = f"{said}{shown}"
    fields: dict[str, Any] = {"field": place, "reason": said}
    if path is None:
        return BadRequest(f"the {'jobs' if key == 'jobs' else 'fleet'} cannot be: {place}", cause=cause, **fields)
    more = error.error_count() - 1
    return BadFile(
        f"{path} is wrong at {place}",
        cause=cause,
        hints=[f"{more} more {'entry is' if more == 1 else 'entries are'} wrong"] if more else [],
        path=str(path),
        **fields,
    )
