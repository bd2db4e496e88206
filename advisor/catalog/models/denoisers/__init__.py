"""Denoisers of diffusion models, which diffusers builds: what the catalogue knows of each, and names for them."""

from advisor.catalog.models.denoisers.denoiser_index import (
    DenoiserEntry,
    denoisers,
    find_denoiser,
    refuse_denoiser,
    spec_of_denoiser,
    usual_targets,
)
from advisor.catalog.models.denoisers.latent_size import peak_note

__all__ = [
    "DenoiserEntry",
    "denoisers",
    "find_denoiser",
    "peak_note",
    "refuse_denoiser",
    "spec_of_denoiser",
    "usual_targets",
]
