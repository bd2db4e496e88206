"""The catalogue's diffusion models, one file for all: the denoiser that is trained, and what its batch is made of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from advisor import store
from advisor.domain.model import ModelSpec
from advisor.domain.stored import Stored, Value
from advisor.errors import MissingExtra, UnsupportedModel

FOLDER: Final = Path(__file__).parent


class FrozenPart(Value):
    """A network of the pipeline that is not trained, and its number of parameters."""

    name: str
    parameters: int = Field(gt=0)


class DenoiserEntry(Value):
    """One diffusion model. `config` holds the keywords of diffusers' class `class_name` that differ from its own.

    A picture is `pixels_a_side` pixels for each latent position of a side, patches counted in. `resolution` is the side
    that diffusers' training script takes where nobody says, `targets` what its LoRA adapts. `parameters` is the number
    of the class built from `config`; `published` what its makers say, under `count_rule`.
    """

    id: str
    aliases: tuple[str, ...] = ()
    family: str
    class_name: Literal[
        "UNet2DConditionModel", "SD3Transformer2DModel", "FluxTransformer2DModel", "Flux2Transformer2DModel"
    ]
    config: dict[str, Any]
    parameters: int = Field(gt=0)
    published: int = Field(gt=0)
    count_rule: str = Field(min_length=1)
    source: str = Field(min_length=1)
    pixels_a_side: int = Field(gt=0)
    text_tokens: int = Field(gt=0)
    text_source: str
    resolution: int = Field(gt=0)
    targets: tuple[str, ...]
    targets_source: str
    encoders: tuple[FrozenPart, ...]
    autoencoder_parameters: int = Field(gt=0)


class DenoiserIndex(Stored):
    """All entries."""

    KIND = "denoisers"

    denoisers: tuple[DenoiserEntry, ...]


@functools.cache
def denoisers() -> tuple[DenoiserEntry, ...]:
    """Every diffusion model of the catalogue."""
    return store.read(DenoiserIndex, FOLDER / "index.json").denoisers


def find_denoiser(name: str) -> DenoiserEntry | None:
    """The entry of an id or alias, whatever the case, with or without the owner; None where no model is called so."""
    return _names().get("-".join(name.lower().split()))


def spec_of_denoiser(entry: DenoiserEntry, asked: str) -> ModelSpec:
    """The model that is trained of a diffusion model: its denoiser, under `denoiser` of the spec's config.

    Raises:
        MissingExtra: diffusers is not installed, without which no method of it can be priced.
    """
    if find_spec("diffusers") is None:
        raise MissingExtra.of("diffusers", extra="diffusion", why="a diffusion model")
    alias = "" if asked.strip().lower() == entry.id.lower() else ", of which that is another name"
    return ModelSpec.model_validate(
        {
            "name": entry.id,
            "asked": asked,
            "source": "catalogue",
            "where": f"catalogue entry {entry.id}{alias}",
            "config": {"model_type": entry.class_name, "denoiser": entry.config, "targets": list(entry.targets)},
            "task_class": "Denoising",
            "architecture": "denoiser",
            "parameters": entry.parameters,
        }
    )


def usual_targets(spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    """The layers that a diffusion model's scripts adapt, for a method whose `options` name layers; {} for others."""
    if spec.task_class != "Denoising" or "target_modules" not in options:
        return {}
    return {"target_modules": list(spec.config["targets"])}


def refuse_denoiser(entry: DenoiserEntry, asked: str) -> UnsupportedModel:
    """The refusal of a diffusion model where one is not taken."""
    return UnsupportedModel(
        f"{asked.strip()} is a diffusion model ({entry.id}), which this command does not take",
        cause=f"diffusers trains its {entry.class_name}; no trainer that advisor runs or writes for does",
        hints=["to list the models it takes: advisor models"],
        model=entry.id,
        field="model",
    )


@functools.cache
def _names() -> dict[str, DenoiserEntry]:
    found: dict[str, DenoiserEntry] = {}
    for entry in denoisers():
        for name in (entry.id, *entry.aliases):
            found.setdefault(name.lower(), entry)
            found.setdefault(name.rpartition("/")[2].lower(), entry)
    return found
