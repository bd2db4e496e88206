"""The arguments of `advisor export`, in the form of those of the other verbs."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.verb_options import Data, Model, OneMethod, Seed

ExportTarget = Annotated[
    str,
    Argument(
        "trl, hf, peft, axolotl, llamafactory, unsloth, torchtune, ms-swift, accelerate, sentence-transformers, script",
        metavar="TOOL",
        least_length=1,
    ),
]
LaunchedBy = Annotated[
    Literal["slurm", "skypilot", "dstack", "hf-jobs"],
    Argument("slurm, skypilot, dstack or hf-jobs: how to start it there, too.", metavar="NAME"),
]


class ExportOptions(TypedDict, total=False):
    """The arguments of `advisor.export` beside the source."""

    to: ExportTarget | None
    data: Annotated[Data, VerbDetail("Named, not read.", shown_default="train.jsonl")] | None
    output_dir: (
        Annotated[str, Argument("Folder that the training writes.", metavar="FOLDER", shown_default="out")] | None
    )
    method: Annotated[OneMethod, VerbDetail("Of the ranking's, another than the first.")] | None
    model: Annotated[Model, VerbDetail("Loaded instead: another of the same definition.")] | None
    seed: Annotated[Seed, VerbDetail(shown_default="42")] | None
    launch: LaunchedBy | None
