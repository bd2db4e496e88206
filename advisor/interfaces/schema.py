"""The published JSON schemas: what each verb takes, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from pydantic import BaseModel

from advisor.domain.stored import Stored
from advisor.errors import UnknownName

SCHEMAS: Final[Mapping[str, str]] = {
    "estimate-request": "advisor.estimator.estimate_request:EstimateRequest",
    "recommend-request": "advisor.recommender.recommend_request:RecommendRequest",
    "tune-request": "advisor.tuner.tune_query:TuneQuery",
    "probe-request": "advisor.experiments.probe_query:ProbeQuery",
    "plan-request": "advisor.planner.plan_request:PlanRequest",
    "candidate": "advisor.domain.candidate:Candidate",
    "recommendation": "advisor.domain.recommendation:Recommendation",
    "fitting": "advisor.domain.questions.fitting:Fitting",
    "tuned-study": "advisor.domain.tuning:TunedStudy",
    "probe": "advisor.domain.questions.probing:ProbeAnswer",
    "fleet-plan": "advisor.domain.fleet.fleet_plan:FleetPlan",
    "export": "advisor.exporters.export_job:Export",
    "profile": "advisor.domain.profile:Profile",
    "calibration": "advisor.domain.profile:Calibration",
    "gpu": "advisor.domain.hardware:Gpu",
}
"""Name -> the type: requests as verbs take them, answers as `--json` prints them, and files that people keep."""
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema(name: str) -> dict[str, Any]:
    """The JSON schema of a request, an answer or a stored file.

    Before version 1.0 of advisor keys may be added in any release; one that goes or changes is told in the changelog.
    A stored document says its own version under `schema`, and older ones are read.

    Args:
        name: one of `SCHEMAS`: `estimate-request`, `candidate`, `recommendation` ...

    Returns:
        The schema, JSON-ready, with `$schema` and `$id`.

    Raises:
        UnknownName: no such schema.

    Example:
        advisor.schema("candidate")["properties"]["memory"]
    """
    if name not in SCHEMAS:
        raise UnknownName.of("schema", name, list(SCHEMAS), list_with="advisor schema")
    kind = type_of(name)
    made = kind.model_json_schema(mode="validation" if name.endswith("-request") else "serialization")
    if issubclass(kind, Stored):
        made["properties"] = {"schema": {"const": kind.schema_tag()}, **made["properties"]}
    return {"$schema": DIALECT, "$id": f"advisor:{name}", **made}


def type_of(name: str) -> type[BaseModel]:
    """The type that a published schema is of."""
    module, _, attribute = SCHEMAS[name].partition(":")
    return getattr(import_module(module), attribute)
