"""How many latent positions a picture of a diffusion model is, and what else its training keeps or drops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from advisor.catalog.models.denoisers.denoiser_index import DenoiserEntry, find_denoiser
from advisor.domain.model import ModelSpec
from advisor.domain.units import gib
from advisor.errors import BadRequest, UnsupportedModel

OF_PRICED: Final[Mapping[str, float]] = {"frod": 0.64, "psoft": 0.73, "fourierft": 1.09, "waveft": 1.10}
"""Methods whose public run on FLUX.2 (peft's comparison, L40S) held another share of what is priced than the interval
allows, and which: benchmarks/image_generation.py. Why is not known."""


def entry_of(spec: ModelSpec) -> DenoiserEntry:
    """The catalogue's entry of a model that was resolved.

    Raises:
        UnsupportedModel: it is none of the catalogue's.
    """
    found = find_denoiser(spec.name)
    if found is None:
        raise UnsupportedModel(f"{spec.name} is no diffusion model of the catalogue", model=spec.name)
    return found


def latent_side(spec: ModelSpec, side: int | None) -> tuple[int, int, tuple[str, ...]]:
    """Pixels and latent positions of one side of a square picture, and what was assumed.

    Args:
        side: as asked for, in pixels; None takes that of diffusers' training script.

    Raises:
        BadRequest: the picture does not divide into positions; says the nearest size that does.
    """
    entry = entry_of(spec)
    notes: tuple[str, ...] = ()
    if side is None:
        side = entry.resolution
        notes = (f"no --image-size was given: {side} x {side} pixels, as diffusers' training script takes",)
    step = entry.pixels_a_side * (2 ** (len(entry.config.get("down_block_types", "1234")) - 1) if _plane(entry) else 1)
    check_divides(spec, side, step)
    return side, side // entry.pixels_a_side, notes


def check_divides(spec: ModelSpec, side: int, step: int) -> None:
    """Refuse pictures whose side is no multiple of `step` pixels.

    Raises:
        BadRequest: says the nearest size that is.
    """
    if side % step:
        nearest = max(step, round(side / step) * step)
        raise BadRequest(
            f"pictures of {side} x {side} pixels do not divide into what {spec.name} reads, {step} pixels at a time",
            hints=[f"nearest possible: --image-size {nearest}"],
            model=spec.name,
            image_size=side,
        )


def _plane(entry: DenoiserEntry) -> bool:
    """Whether the denoiser halves the plane of latents as it goes down, as U-Nets do."""
    return entry.class_name.startswith("UNet")


def cached_note(spec: ModelSpec) -> str:
    """That text encoders and the autoencoder are not in memory, and what they would take."""
    entry = entry_of(spec)
    parameters = sum(part.parameters for part in entry.encoders) + entry.autoencoder_parameters
    names = ", ".join(part.name for part in entry.encoders)
    beside = "; the workspace of cuDNN's convolutions is not counted" if _plane(entry) else ""
    return (
        f"latents and text embeddings are taken as computed beforehand: {names} and the autoencoder are not in memory, "
        f"where they would take {gib(2 * parameters)} in 16 bits; neither is trained{beside}"
    )


def peak_note(task: str, method: str) -> tuple[str, ...]:
    """That a method's memory on a diffusion model was measured at something else than is priced, where it was."""
    share = OF_PRICED.get(method) if task == "denoising" else None
    if share is None:
        return ()
    more = f"{share - 1:.0%} more" if share > 1 else f"{1 - share:.0%} less"
    return (f"memory: a public run of {method} on FLUX.2 held {more} than is priced here, for a reason not known",)
