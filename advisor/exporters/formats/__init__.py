"""The targets of `advisor export`. A new one is a file here, one in `catalog/trainer_formats/`, and an entry below."""

from __future__ import annotations

from typing import Final

from advisor.errors import IllegalRecipe, UnknownName
from advisor.exporters.export_job import Exporter
from advisor.exporters.formats.accelerate import ACCELERATE
from advisor.exporters.formats.axolotl import AXOLOTL
from advisor.exporters.formats.hf_trainer import HF_TRAINER
from advisor.exporters.formats.llamafactory import LLAMAFACTORY
from advisor.exporters.formats.ms_swift import MS_SWIFT
from advisor.exporters.formats.peft_config import PEFT_ADAPTER
from advisor.exporters.formats.sentence_transformers import SENTENCE_TRANSFORMERS
from advisor.exporters.formats.torchtune import TORCHTUNE
from advisor.exporters.formats.training_script import TRAINING_SCRIPT
from advisor.exporters.formats.trl_cli import TRL_CLI
from advisor.exporters.formats.unsloth import UNSLOTH

EXPORTERS: Final[tuple[Exporter, ...]] = (
    TRL_CLI,
    HF_TRAINER,
    PEFT_ADAPTER,
    AXOLOTL,
    LLAMAFACTORY,
    UNSLOTH,
    TORCHTUNE,
    MS_SWIFT,
    ACCELERATE,
    SENTENCE_TRANSFORMERS,
    TRAINING_SCRIPT,
)

REFUSED: Final = {
    "diffusers": "recipes of diffusion models are priced, and no script of diffusers is written from them yet"
}
"""Names that people will try -> why there is no such exporter."""


def find_exporter(name: str) -> Exporter:
    """The exporter of a name.

    Raises:
        IllegalRecipe: a tool whose trainings are not priced.
        UnknownName: no such exporter.
    """
    for exporter in EXPORTERS:
        if exporter.name == name.strip().lower():
            return exporter
    if name.strip().lower() in REFUSED:
        raise IllegalRecipe(f"--to {name}: {REFUSED[name.strip().lower()]}", to=name)
    raise UnknownName.of("exporter", name, [e.name for e in EXPORTERS], list_with="advisor export --help")
