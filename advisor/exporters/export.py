"""The exporters' door: a recipe as the files of a trainer, with what the trainer does otherwise said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

from advisor.catalog.objectives import find_objective
from advisor.catalog.optimizer_names import optimizer_named
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import Recommendation
from advisor.domain.request.export_options import ExportOptions
from advisor.domain.request.validation import check_names
from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.exporters.export_job import Export, Exporter, ExportJob
from advisor.exporters.export_source import Source, job_of
from advisor.exporters.formats import EXPORTERS, find_exporter
from advisor.exporters.launch import LAUNCHERS, SEGMENTS, launch
from advisor.exporters.several_gpus import against_several, files_for_all, notes_on_several


def export(source: Source, **options: Unpack[ExportOptions]) -> Export:
    """A recipe as the files that a trainer runs, every setting that decides memory written out.

    Args:
        source: a Recommendation, a Candidate, a finished study, a case as a line of `advisor estimate --from` has it,
            or the path of a file with one of them (`advisor recommend --json`, `study.json`, `advisor tune`'s folder).
        options: see `advisor.domain.request.export_options.ExportOptions`; `to` names the tool.

    Returns:
        The files with their names, the command that runs them, the recipe as the tool will run it, and notes: what the
        tool does otherwise than the recipe, and what its files do not hold.

    Raises:
        IllegalRecipe: the tool cannot run this recipe; says why and which can.
        UnknownName: no such tool or launcher.
        BadFile, BadRequest: the source holds no recipe, or several.

    Example:
        advisor.export(advisor.recommend("Qwen/Qwen2.5-7B", "L4", samples=2_000), to="trl").files[0].text
    """
    check_names(options, ExportOptions.__annotations__)
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    target = given.get("to")
    if not target:
        raise BadRequest("--to is missing", hints=[f"one of: {', '.join(e.name for e in EXPORTERS)}"])
    exporter = find_exporter(str(target))
    job = job_of(source, given.get("method"), given.get("model"))
    fields = {"data": "data", "output_dir": "output", "seed": "seed"}
    named = {field: given[key] for key, field in fields.items() if key in given}
    return exported(replace(job, **named), exporter, given.get("launch"))


def exported(job: ExportJob, exporter: Exporter, launcher: str | None = None) -> Export:
    """The export of a job. Raises as `export`."""
    objective = job.workload.objective
    if objective != "sft":
        raise IllegalRecipe(
            f"trainings by {objective} are priced, not exported yet",
            hints=[f"write the config of {find_objective(objective).trainer} with the settings of advisor recommend"],
            to=exporter.name,
            objective=objective,
        )
    if job.workload.images is not None:
        raise IllegalRecipe(
            "trainings with pictures are priced, not exported yet: a trainer's file would train on texts alone",
            hints=["write the trainer's config for pictures with the settings of advisor recommend"],
            to=exporter.name,
            model=job.model,
        )
    reason = _reason_against(exporter, job)
    if reason:
        others = [one.name for one in EXPORTERS if one is not exporter and _takes(one, job)]
        raise IllegalRecipe(
            f"{exporter.name} cannot run this recipe ({job.recipe.method}): {reason}",
            hints=[f"what can: --to {', '.join(others)}"] if others else ["to train it: advisor tune"],
            to=exporter.name,
            method=job.recipe.method,
            reason=reason,
        )
    job, notes = exporter.as_run(job)
    if job.model == job.spec.name and job.spec.source == "catalogue":
        notes = (f"{job.model} is loaded; an instruct or later one of the same definition: --model NAME", *notes)
    files = (*exporter.files(job), *files_for_all(exporter.name, job))
    command, line = exporter.command(job), ""
    notes = (*notes, *notes_on_several(job))
    if job.recipe.expandable_segments:
        command = f"env {SEGMENTS} {command}"
        notes = (*notes, f"priced with {SEGMENTS} in the environment, which no file of a trainer says")
    named = optimizer_named(job.recipe.optimizer)
    # a tool for quantised bases brings bitsandbytes of its own
    more_packages = () if named is None or named.package in ("", "bitsandbytes") else (named.package,)
    if more_packages:
        notes = (*notes, f"to install besides: pip install {more_packages[0]}, which has {job.recipe.optimizer}")
    if launcher is not None:
        if launcher not in LAUNCHERS:
            raise UnknownName.of("launcher", launcher, list(LAUNCHERS), list_with="advisor export --help")
        needed = (*exporter.format_of(job).requirements, *more_packages)
        more, line = launch(launcher, job, command, needed, [file.name for file in files])
        files = (*files, *((more,) if more is not None else ()))
        if launcher == "hf-jobs":
            notes = (*notes, f"hf jobs carries the script alone: {job.data} must be an address that a job can read")
    return Export(
        to=exporter.name,
        version=exporter.format_of(job).said,
        recipe=job.recipe,
        files=files,
        command=command,
        launch=line,
        notes=notes,
    )


def tools_for(source: Source) -> tuple[str, ...]:
    """The tools that can train a source's recipe, one built on the trainer that it was priced for first.

    None for diffusion models and for trainings by preference and reinforcement: priced and not exported yet.

    Raises:
        BadFile, BadRequest: the source holds no recipe, or several.
    """
    if isinstance(source, Recommendation | Candidate) and source.workload.task == "denoising":
        return ()
    job = job_of(source)
    if job.workload.objective != "sft":
        return ()
    names = [one.name for one in EXPORTERS if _takes(one, job)]
    return tuple(sorted(names, key=lambda name: name != job.recipe.trainer))


def _takes(exporter: Exporter, job: ExportJob) -> bool:
    """Whether another tool could run the job and holds all of it."""
    if exporter.name in ("peft", "accelerate"):
        return False
    return _reason_against(exporter, job) is None


def _reason_against(exporter: Exporter, job: ExportJob) -> str | None:
    """Why a tool cannot run the job, or None; its settings may be what cannot be written."""
    try:
        return against_several(exporter.name, job) or exporter.against(job)
    except IllegalRecipe as error:
        return error.message
