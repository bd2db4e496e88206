"""Which fine-tuning method to use on which GPU, what it costs, how good it will be, and how sure that is.

Every verb of the command line is a function here, with the same name and arguments, imported on first
use, so that `import advisor` costs milliseconds and loads neither torch nor the catalogue:

    import advisor
    answer = advisor.recommend("meta-llama/Llama-3.1-8B", "H100", samples=2_000)
    answer.choice.recipe.method

Wings are nouns and verbs are functions (`advisor.recommender` is a package, `advisor.recommend` a
function), so a name means the same before and after any submodule was imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__version__ = "0.1.0"

if TYPE_CHECKING:
    from advisor.catalog.gpus import gpus as gpus
    from advisor.catalog.methods import methods as methods
    from advisor.catalog.models import models as models
    from advisor.domain.candidate import Candidate as Candidate
    from advisor.domain.findings import Finding as Finding
    from advisor.domain.findings import Study as Study
    from advisor.domain.fleet.fleet_plan import FleetPlan as FleetPlan
    from advisor.domain.hardware import Gpu as Gpu
    from advisor.domain.hardware import Hardware as Hardware
    from advisor.domain.hardware import Price as Price
    from advisor.domain.model import ModelSpec as ModelSpec
    from advisor.domain.profile import Calibration as Calibration
    from advisor.domain.profile import Profile as Profile
    from advisor.domain.quantity import Quantity as Quantity
    from advisor.domain.questions.fitting import Fitting as Fitting
    from advisor.domain.recipe import Recipe as Recipe
    from advisor.domain.recommendation import Recommendation as Recommendation
    from advisor.domain.trace.trace_schema import Trace as Trace
    from advisor.domain.workload import Workload as Workload
    from advisor.errors import AdvisorError as AdvisorError
    from advisor.errors import BadFile as BadFile
    from advisor.errors import BadRequest as BadRequest
    from advisor.errors import DoesNotFit as DoesNotFit
    from advisor.estimator.audit import audit as audit
    from advisor.estimator.calibrate import calibrate as calibrate
    from advisor.estimator.doctor import doctor as doctor
    from advisor.estimator.estimate import estimate as estimate
    from advisor.estimator.fitting.fit import fit as fit
    from advisor.experiments.experiment import study as study
    from advisor.experiments.probe import probe as probe
    from advisor.exporters.export import export as export
    from advisor.exporters.export_job import Export as Export
    from advisor.interfaces.schema import schema as schema
    from advisor.literature.evidence import evidence as evidence
    from advisor.planner.plan import plan as plan
    from advisor.profiler.profile import profile as profile
    from advisor.recommender.recommend import recommend as recommend
    from advisor.tracer.trace import trace as trace
    from advisor.tuner.tune import tune as tune

VERBS: Final[dict[str, str]] = {
    "audit": "advisor.estimator.audit",
    "calibrate": "advisor.estimator.calibrate",
    "doctor": "advisor.estimator.doctor",
    "estimate": "advisor.estimator.estimate",
    "evidence": "advisor.literature.evidence",
    "export": "advisor.exporters.export",
    "fit": "advisor.estimator.fitting.fit",
    "gpus": "advisor.catalog.gpus",
    "methods": "advisor.catalog.methods",
    "models": "advisor.catalog.models",
    "plan": "advisor.planner.plan",
    "probe": "advisor.experiments.probe",
    "profile": "advisor.profiler.profile",
    "recommend": "advisor.recommender.recommend",
    "schema": "advisor.interfaces.schema",
    "study": "advisor.experiments.experiment",
    "trace": "advisor.tracer.trace",
    "tune": "advisor.tuner.tune",
}
"""Name of each verb and finder -> the module that holds the function of that name."""

NOUNS: Final[dict[str, str]] = {
    "Calibration": "advisor.domain.profile",
    "Candidate": "advisor.domain.candidate",
    "Export": "advisor.exporters.export_job",
    "Finding": "advisor.domain.findings",
    "Fitting": "advisor.domain.questions.fitting",
    "FleetPlan": "advisor.domain.fleet.fleet_plan",
    "Gpu": "advisor.domain.hardware",
    "Hardware": "advisor.domain.hardware",
    "ModelSpec": "advisor.domain.model",
    "Price": "advisor.domain.hardware",
    "Profile": "advisor.domain.profile",
    "Quantity": "advisor.domain.quantity",
    "Recipe": "advisor.domain.recipe",
    "Recommendation": "advisor.domain.recommendation",
    "Study": "advisor.domain.findings",
    "Trace": "advisor.domain.trace.trace_schema",
    "Workload": "advisor.domain.workload",
    "AdvisorError": "advisor.errors",
    "BadFile": "advisor.errors",
    "BadRequest": "advisor.errors",
    "DoesNotFit": "advisor.errors",
}
"""The values that go in and come out, and the errors worth catching -> their module."""


__all__ = [*VERBS, *NOUNS, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = VERBS.get(name) or NOUNS.get(name)
    if module is None:
        raise AttributeError(f"module 'advisor' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names alone: not what this file imports, nor the wings that happen to be loaded."""
    return sorted(__all__)
