"""What can be exported: a recommendation, a candidate, a finished study, or a case of `advisor estimate --from`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

from advisor import store
from advisor.catalog.methods import check_recipe
from advisor.catalog.models import resolve_model
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.recommendation import Recommendation
from advisor.domain.tuning import TunedStudy
from advisor.domain.units import gib
from advisor.domain.workload import Workload
from advisor.errors import BadFile, BadRequest
from advisor.estimator.estimate_request import from_case, hardware_of, workload_of
from advisor.estimator.precision_request import recipe_asked
from advisor.exporters.export_job import ExportJob

Source = Recommendation | Candidate | TunedStudy | Mapping[str, Any] | str | Path

_CASE: Final = '{"model": "meta-llama/Llama-3.2-3B", "method": "lora", "batch_size": 4, "seq_len": 683}'


def job_of(source: Source, method: str | None = None, model: str | None = None) -> ExportJob:
    """The recipe that a source holds, and the workload that it is for.

    Args:
        source: a value, a case of the estimator, or the path of a file that holds one; of a study its folder too.
        method: of a recommendation, which of the ranked ones.
        model: what is trained, where the source names none or another of the same definition.

    Raises:
        BadFile: no such file, or it holds none of these.
        BadRequest: a study without a best trial, a method that was not ranked, several cases.
    """
    if isinstance(source, str | Path):
        path = store.expanded(source)
        return job_of(_read(path / "study.json" if path.is_dir() else path), method, model)
    if isinstance(source, Recommendation):
        return _of_candidate(_ranked(source, method), model)
    if method is not None and not isinstance(source, Mapping):
        raise BadRequest(f"--method {method} chooses among ranked recipes, and this source has one")
    if isinstance(source, Candidate):
        return _of_candidate(source, model)
    if isinstance(source, TunedStudy):
        return _of_study(source, model)
    return _of_case({**source, **({"method": method} if method else {}), **({"model": model} if model else {})})


def _read(path: Path) -> Source:
    """What a file holds, by its schema; a file without one is a case, or a line of cases."""
    try:
        document = store.read_document(path)
    except BadFile as error:
        case = _one_line(path)
        if case is None:
            raise error
        return case
    kind = str(document.get("schema", "")).partition("/")[0]
    if kind == Recommendation.KIND:
        return store.made_of(Recommendation, document, path)
    if kind == TunedStudy.KIND:
        return store.made_of(TunedStudy, document, path)
    if kind:
        raise BadFile(
            f"{path} holds a {kind}, which is no recipe",
            hints=["what can be exported: the JSON of recommend, of estimate or of a study, and a case of --from"],
            path=str(path),
        )
    return _candidate(document, path) if "recipe" in document and "workload" in document else document


def _candidate(document: dict[str, Any], path: Path) -> Candidate:
    try:
        return Candidate.model_validate(document)
    except ValueError as error:
        raise BadFile(
            f"{path} is not what advisor estimate --json prints", cause=str(error)[:200], path=str(path)
        ) from error


def _one_line(path: Path) -> dict[str, Any] | None:
    """The case of a file of cases, one JSON object a line; None where the file is none."""
    try:
        lines = [line for line in store.content(path).decode("utf-8").splitlines() if line.strip()]
        cases: list[Any] = [json.loads(line) for line in lines]
    except (OSError, ValueError, RecursionError, BadFile):
        return None
    if len(cases) > 1 and all(isinstance(case, dict) for case in cases):
        raise BadRequest(
            f"{path} holds {len(cases)} cases, and one recipe is exported at a time",
            hints=[f"keep one line, for example: {_CASE}"],
            path=str(path),
        )
    return cast("dict[str, Any]", cases[0]) if cases and isinstance(cases[0], dict) else None


def _ranked(found: Recommendation, method: str | None) -> Candidate:
    if method is None:
        return found.choice
    for candidate in found.ranked:
        if candidate.recipe.method == method:
            return candidate
    raise BadRequest(
        f"{method} is not among the ranked recipes",
        hints=[f"ranked: {', '.join(c.recipe.method for c in found.ranked)}"],
        method=method,
    )


def _resolved(name: str, model: str | None) -> ModelSpec:
    """The model of a recipe, under another name where one is given that means the same definition."""
    spec = resolve_model(name)
    if model is None:
        return spec
    other = resolve_model(model)
    if other.name != spec.name and not other.digests & spec.digests:
        raise BadRequest(
            f"the recipe is for {spec.name}, and {model} is another model",
            hints=[f"to price it: advisor estimate --model {model}"],
            model=model,
        )
    return other


def _of_candidate(candidate: Candidate, model: str | None) -> ExportJob:
    peak = candidate.memory.peak_device
    card = candidate.gpu if candidate.gpu_count == 1 else f"each {candidate.gpu}"
    return ExportJob(
        workload=candidate.workload,
        recipe=candidate.recipe,
        spec=_resolved(candidate.workload.model, model),
        gpu=candidate.gpu,
        count=candidate.gpu_count,
        nodes=candidate.nodes,
        sharding=candidate.sharding,
        peak=f"predicted peak on {card}: {gib(peak.mid)} ({gib(peak.low)} to {gib(peak.high)}), {peak.basis}",
    )


def _of_study(study: TunedStudy, model: str | None) -> ExportJob:
    if study.best_recipe is None:
        raise BadRequest(
            f"the study {study.name} has no best trial yet", hints=[f"to go on: {study.resume}"] if study.resume else []
        )
    best = next((trial.workload for trial in study.trials if trial.number == study.best), None)
    workload = best or study.workload
    gpu = "" if study.device.startswith("cpu") else study.device
    return ExportJob(workload, study.best_recipe, _resolved(workload.model, model), gpu=gpu)


def _of_case(case: Mapping[str, Any]) -> ExportJob:
    request = from_case(case)
    spec = resolve_model(request.model)
    card: Gpu | None = None
    spread: dict[str, Any] = {}
    if request.gpu or request.gpu_like:
        hardware = hardware_of(request)
        card = hardware.gpu
        spread = {"gpu": card.name, "count": hardware.count, "nodes": hardware.nodes, "sharding": hardware.sharding}
    recipe = recipe_asked(request, spec, card)[0]
    workload: Workload = workload_of(request, spec, recipe)[0]
    check_recipe(spec, recipe, workload)
    return ExportJob(workload, recipe, spec, **spread)
