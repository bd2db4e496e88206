"""The verbs as an agent sees them: a name, what it is for, a JSON schema, and an answer short enough to read.

The schemas are those of the verbs' own requests, so that a keyword here is the command line's and Python's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import create_model

import advisor
from advisor.domain.candidate import Candidate
from advisor.domain.plain_values import is_object
from advisor.domain.recommendation import Recommendation
from advisor.domain.request.export_options import ExportOptions
from advisor.errors import BadRequest
from advisor.exporters.export_job import Export
from advisor.interfaces import verdict
from advisor.interfaces.amounts import show
from advisor.interfaces.cli.output import clean, plain


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent reads, and the same as values; `choice` in them can be handed to `export`."""

    text: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AgentTool:
    """One verb."""

    name: str
    says: str
    schema: dict[str, Any]
    call: Callable[[dict[str, Any]], Answer]


def tools() -> tuple[AgentTool, ...]:
    """All that are offered. Planning many trainings is not there yet, and tuning takes hours: run its command."""
    from advisor.estimator.estimate_request import EstimateRequest
    from advisor.recommender.recommend_request import RecommendRequest

    return (
        AgentTool(
            "recommend",
            "Which fine-tuning method, batch, precision and settings to use for a model on a GPU; what memory, time "
            "and money that takes and how good it is likely to be, each with its 90 % interval. Say samples, or there "
            "is no time and no cost. Nothing is trained.",
            RecommendRequest.model_json_schema(),
            _recommend,
        ),
        AgentTool(
            "estimate",
            "Memory, time and money of one recipe on one GPU, and whether it fits. Nothing is trained.",
            EstimateRequest.model_json_schema(),
            _estimate,
        ),
        AgentTool(
            "export",
            "A recipe as the files of a trainer (trl, hf, axolotl, llamafactory ...), as text; nothing is written. "
            "`source` is `choice` of recommend's or estimate's answer, or estimate's own arguments.",
            export_schema(),
            _export,
        ),
    )


def export_schema() -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: (hint, None) for name, hint in get_type_hints(ExportOptions, include_extras=True).items()
    }
    schema = create_model("ExportArguments", **fields).model_json_schema()
    source = {"type": "object", "description": "a recipe: `choice` of an answer, or the arguments of estimate"}
    return {**schema, "properties": {"source": source, **schema["properties"]}, "required": ["source", "to"]}


def _recommend(arguments: dict[str, Any]) -> Answer:
    found: Recommendation = advisor.recommend(**arguments)
    others = [
        {
            "method": one.recipe.method,
            "memory": show(one.memory.peak_device),
            "time": show(one.time.training),
            "money": show(one.money.at(spot=found.spot)),
            "quality": show(verdict.quality_of(one)),
        }
        for one in found.ranked[1:]
    ]
    lines = [*_lines(found.choice, verdict.of_recommendation(found), spot=found.spot)]
    lines += [f"settings: {verdict.settings(found)}"] if found.settings else []
    lines += [f"instead: {one['method']}: {one['memory']}, {one['time']}, {one['money']}" for one in others[:3]]
    lines += [f"note: {note}" for note in verdict.unresolved(found.notes)]
    return _answer(
        lines,
        choice=found.choice,
        settings=found.settings,
        others=others,
        why=found.why,
        refused=found.refused,
        notes=found.notes,
    )


def _estimate(arguments: dict[str, Any]) -> Answer:
    found: Candidate = advisor.estimate(**arguments)
    lines = [*_lines(found, verdict.of_candidate(found)), *(f"note: {text}" for text in found.assumptions)]
    return _answer(lines, choice=found)


def _export(arguments: dict[str, Any]) -> Answer:
    options = dict(arguments)
    source: Any = options.pop("source", None)
    if not is_object(source):
        raise BadRequest("export needs `source`, an object that holds a recipe", field="source")
    found: Export = advisor.export(recipe_in(source), **options)
    lines = [f"--- {file.name}\n{file.text}" for file in found.files]
    lines += [f"run: {found.launch or found.command}", *(f"note: {note}" for note in found.notes)]
    return _answer(lines, **found.model_dump(mode="json"))


def recipe_in(source: Mapping[str, Any]) -> Candidate | Mapping[str, Any]:
    """A candidate as an answer holds it, else a case of the estimator."""
    if "recipe" not in source:
        return source
    try:
        return Candidate.model_validate(source)
    except ValueError as error:
        raise BadRequest("`source` is not the `choice` of an answer", cause=str(error)[:200], field="source") from error


def _lines(candidate: Candidate, sentence: str, *, spot: bool = False) -> list[str]:
    return [sentence, *(f"{name}: {text}" for name, text in verdict.facts(candidate, spot=spot))]


def _answer(lines: list[str], **values: Any) -> Answer:
    return Answer(clean("\n".join(lines)), plain(values))
