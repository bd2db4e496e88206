"""Slices of a GPU that NVIDIA's Multi-Instance GPU (MIG) makes: what each holds of its parent."""

from advisor.catalog.gpus.mig.slices import profiles_of as profiles_of
from advisor.catalog.gpus.mig.slices import slice_of as slice_of
from advisor.catalog.gpus.mig.slices import split_name as split_name
