"""The arguments of `advisor export`, in the form of those of the other verbs."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from advisor.domain.request.verb_options import Argument

ExportTarget = Annotated[
    str,
    Argument(
        "trl, hf, peft, axolotl, llamafactory, unsloth, torchtune, ms-swift, accelerate, sentence-transformers, script",
        metavar="TOOL",
        least_length=1,
    ),
]


class ExportOptions(TypedDict, total=False):
    """The arguments of `advisor.export` beside the source."""

    to: ExportTarget | None
    data: Annotated[str, Argument("Rows that the export names.", metavar="FILE", shown_default="train.jsonl")] | None
    output_dir: (
        Annotated[str, Argument("Folder that the training writes.", metavar="FOLDER", shown_default="out")] | None
    )
    method: Annotated[str, Argument("Of the ranking's, another than the first.", metavar="NAME")] | None
    model: Annotated[str, Argument("What is loaded: another of the same definition.", metavar="NAME")] | None
    seed: Annotated[int, Argument("Of the training.", shown_default="42", ge=0)] | None
    launch: (
        Annotated[
            Literal["slurm", "skypilot", "dstack", "hf-jobs"],
            Argument("slurm, skypilot, dstack or hf-jobs: how to start it there, too.", metavar="NAME"),
        ]
        | None
    )
