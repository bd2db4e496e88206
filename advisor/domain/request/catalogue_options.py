"""The command line of the verbs that read the catalogue: methods, gpus, prices, models and evidence."""

from __future__ import annotations

from typing import Annotated, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.verb_options import (
    AsJson,
    BatchSize,
    Gpu,
    GpuLike,
    GpuMemory,
    Model,
    OneBase,
    OneMethod,
    Samples,
    SeqLen,
    TaskTypeName,
)
from advisor.domain.request.vocabulary import Aspect, Family

ArchitectureName = Annotated[str, Argument("decoder, encoder or encoder-decoder.", metavar="SHAPE")]
FINDINGS_SHOWN = 25
"""Findings that an answer lists where nobody says how many."""


class MethodFilters(TypedDict, total=False):
    """Which methods of the catalogue are meant."""

    family: (
        Annotated[
            Family,
            Argument(
                "full, additive, selective, reparameterised or hybrid, as Han et al. sort methods.", metavar="NAME"
            ),
        ]
        | None
    )
    mergeable: Annotated[bool, Argument("Only methods that merge into the base weights.", switch=True)]
    base: Annotated[OneBase, VerbDetail("Only methods that run so.", "any")] | None
    architecture: Annotated[ArchitectureName, VerbDetail("Only methods for it.")] | None
    search: Annotated[str, Argument("Only methods whose name or description holds TEXT.", metavar="TEXT")] | None
    core: Annotated[bool, Argument("Only what `recommend` considers without being asked.", switch=True)]


class MethodsCommand(MethodFilters, total=False):
    """`advisor methods`, beside the names."""

    tree: Annotated[bool, Argument("Draw the taxonomy, methods that are only placed in it included.", switch=True)]
    model: Annotated[Model, VerbDetail("Methods are priced on it, with --gpu.")] | None
    gpu: Annotated[Gpu, VerbDetail("With --model.")] | None
    gpu_memory: GpuMemory | None
    gpu_like: GpuLike | None
    batch_size: BatchSize | None
    seq_len: Annotated[SeqLen, VerbDetail(shown_default="1024, or the most that the model takes")] | None
    samples: Annotated[Samples, VerbDetail("For a comparison's time, cost and quality.")] | None
    as_json: AsJson


class GpusCommand(TypedDict, total=False):
    """`advisor gpus`, beside what is searched."""

    template: Annotated[bool, Argument("Print a file to fill in for a card that is not listed.", switch=True)]
    add: Annotated[str, Argument("Check such a file and keep it among your own cards.", metavar="FILE")] | None
    as_json: AsJson


class PricesCommand(TypedDict, total=False):
    """`advisor prices`, beside the GPU."""

    refresh: Annotated[bool, Argument("Read the clouds' published lists anew (needs advisor[prices]).", switch=True)]
    as_json: AsJson


class BearingQuestion(TypedDict, total=False):
    """A task to which published findings may bear."""

    method: Annotated[OneMethod, VerbDetail("Or as a study or peft calls it.")] | None
    task_type: TaskTypeName | None
    architecture: Annotated[ArchitectureName, VerbDetail("Or vision.")] | None
    model_params: Annotated[int, Argument("Parameters of the model: 8e9 or 8B.", metavar="SIZE", reads="count")] | None
    samples: Samples | None
    study: Annotated[str, Argument("Only this study's findings.", metavar="ID")] | None
    aspect: (
        Annotated[Aspect, Argument("quality, forgetting, cost, law or curve.", metavar="NAME", shown_default="quality")]
        | None
    )
    limit: Annotated[int, Argument("Findings shown.", shown_default=str(FINDINGS_SHOWN), ge=1)] | None


class EvidenceCommand(BearingQuestion, total=False):
    """`advisor evidence`: the question, and other things that studies answer."""

    list_studies: Annotated[bool, Argument("List the studies instead.", flag="--studies", switch=True)]
    list_task_types: Annotated[bool, Argument("List the task types instead.", flag="--task-types", switch=True)]
    predict: Annotated[str, Argument("Predict a JSONL file (- is stdin), see above.", metavar="FILE")] | None
    settings: Annotated[bool, Argument("Recommend hyperparameters for --method, with their sources.", switch=True)]
    curve: (
        Annotated[str, Argument("The expected effect at sizes from 30 to a million samples.", metavar="METHOD")] | None
    )
    forgetting: (
        Annotated[str, Argument("What each study measured it to forget, against full fine-tuning.", metavar="METHOD")]
        | None
    )
    pilot: Annotated[str, Argument("Your scores at two or more sizes, with --target.", metavar="N:SCORE,...")] | None
    target: Annotated[float, Argument("The score you want, on the pilots' scale.")] | None
    fit: Annotated[bool, Argument("Fit the quality model anew to all studies (minutes).", switch=True)]
    as_json: AsJson
