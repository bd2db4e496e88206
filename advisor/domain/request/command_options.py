"""The command line of the verbs that plan and train: the arguments of their functions, and what only a person types.

Each verb's options are one TypedDict, from which `advisor.interfaces.cli.click_options.options_of` makes them.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.export_options import ExportOptions, LaunchedBy
from advisor.domain.request.fit_options import FitOptions
from advisor.domain.request.plan_options import FleetFile, PlanOptions
from advisor.domain.request.tune_options import TuneOptions
from advisor.domain.request.verb_options import (
    AsJson,
    Data,
    EstimateOptions,
    Gpu,
    LocalModel,
    Model,
    Out,
    RecommendOptions,
)

Force = Annotated[bool, Argument("Overwrite files that are there.", switch=True)]
ReportFile = Annotated[
    str, Argument("Write the answer with its pictures as one HTML file that needs no other.", metavar="FILE")
]
Explain = Annotated[bool, Argument("Print all that the answer rests on.", switch=True)]
ExportedAs = Annotated[
    str, Argument("Write the choice as this tool's files: see advisor export.", metavar="TOOL", flag="--export")
]
ResumedFolder = Annotated[str, Argument("Go on with the study in a folder.", metavar="FOLDER")]


class ModelOnGpu(TypedDict, total=False):
    """What is asked about."""

    model: Model | None
    gpu: Gpu | None


class WrittenReport(TypedDict, total=False):
    """Where a report goes."""

    report: ReportFile | None
    force: Annotated[Force, VerbDetail("With --report.")]


class JsonAnswer(TypedDict, total=False):
    """How every verb answers."""

    as_json: AsJson


class WebCommand(TypedDict, total=False):
    """`advisor web`."""

    host: (
        Annotated[
            str,
            Argument("Address to listen on; a token is asked for beyond this machine.", "HOST", "127.0.0.1"),
        ]
        | None
    )
    port: (
        Annotated[int, Argument("Port to listen on; 0: any that is free.", shown_default="8765", ge=0, le=65535)] | None
    )
    browser: Annotated[bool, Argument("Open the page in the browser.", flag="--open", switch=True)]
    as_json: AsJson


class CaseFiles(TypedDict, total=False):
    """Where a recipe, or many, are read from."""

    config: (
        Annotated[
            str,
            Argument(
                "A trainer's config: TRL, transformers, peft, axolotl, LLaMA-Factory, unsloth, ms-swift.",
                metavar="FILE",
                flag="--from-config",
            ),
        ]
        | None
    )
    cases: Annotated[str, Argument("Cases, one JSON object a line; - is stdin.", metavar="FILE", flag="--from")] | None


class ExplainedAnswer(TypedDict, total=False):
    """How much is printed."""

    explain: Annotated[Explain, VerbDetail("Each figure's basis, all parts of memory, what fits, all assumptions.")]


class EstimateCommand(ModelOnGpu, EstimateOptions, CaseFiles, ExplainedAnswer, WrittenReport, JsonAnswer, total=False):
    """`advisor estimate`."""


class ModelOnGpus(TypedDict, total=False):
    """What is asked about, the GPU perhaps left to choose."""

    model: Model | None
    gpu: Annotated[Gpu, VerbDetail("Several with commas, or any: all that have a price.")] | None


class FitCommand(ModelOnGpus, FitOptions, JsonAnswer, total=False):
    """`advisor fit`."""


class ChoiceExport(TypedDict, total=False):
    """What becomes of a recommendation beside being printed."""

    explain: Annotated[Explain, VerbDetail("The whole ranking, reasons, refusals, studies, assumptions.")]
    target: ExportedAs | None
    out: Annotated[Out, VerbDetail("With --export: a file, or a folder of several files.", "printed")] | None
    report: ReportFile | None
    force: Annotated[Force, VerbDetail("With --export or --report.")]


class RecommendCommand(ModelOnGpus, RecommendOptions, ChoiceExport, JsonAnswer, total=False):
    """`advisor recommend`."""


class FleetAsked(TypedDict, total=False):
    """What the jobs run on."""

    fleet: FleetFile | None


class PlanFiles(TypedDict, total=False):
    """What becomes of a plan beside being printed."""

    picture: (
        Annotated[
            str, Argument("Draw it as .html, .png or .svg (needs advisor[report]).", metavar="FILE", flag="--gantt")
        ]
        | None
    )
    target: Annotated[ExportedAs, VerbDetail("Of each job; needs --out.")] | None
    launch: LaunchedBy | None
    out: Annotated[Out, VerbDetail("With --export: a folder, in it one a recipe.")] | None
    report: ReportFile | None
    force: Annotated[Force, VerbDetail("With --export or --report.")]


class PlanCommand(FleetAsked, PlanOptions, PlanFiles, JsonAnswer, total=False):
    """`advisor plan`, beside the jobs."""


class LocalTraining(TypedDict, total=False):
    """What is trained on this machine."""

    model: LocalModel | None
    data: Data | None


class OtherSearch(TypedDict, total=False):
    """Instead of a new search."""

    resume: ResumedFolder | None
    repeat: Annotated[int, Argument("Train a trial of --resume again, compare to the bit.", metavar="TRIAL")] | None
    join: Annotated[str, Argument("Help with a study in --storage that another machine began.", metavar="STUDY")] | None


class TuneCommand(LocalTraining, TuneOptions, OtherSearch, WrittenReport, JsonAnswer, total=False):
    """`advisor tune`."""


class WrittenFiles(TypedDict, total=False):
    """Where an export goes."""

    out: Annotated[Out, VerbDetail("A file, or a folder of several files.", "printed")] | None
    force: Force


class ExportCommand(ExportOptions, WrittenFiles, JsonAnswer, total=False):
    """`advisor export`, beside the source."""
