"""A card the catalogue does not have, described by its memory and by a card whose rates it shares."""

from __future__ import annotations

import re
from typing import Final

from advisor.catalog.gpus.gpu_lookup import find_gpu
from advisor.catalog.gpus.laws import BOUNDS
from advisor.catalog.gpus.own_cards import LESS_ABOVE, LESS_BELOW_40_GIB
from advisor.domain.hardware import Gpu
from advisor.domain.units import GIB, gib
from advisor.errors import BadRequest

_SIZE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(g|gb|gib|m|mb|mib)?\s*", re.IGNORECASE)
_SCALE: Final = {"": 10**9, "g": 10**9, "gb": 10**9, "gib": 2**30, "m": 10**6, "mb": 10**6, "mib": 2**20}


def memory_in(text: str | float) -> int:
    """Bytes of `24GB`, `23.6GiB` or `24564MiB`; a bare number is in GB. GB are read as 10^9, which is never too much.

    Raises:
        BadRequest: not a size, or one that no accelerator has.
    """
    found = _SIZE.fullmatch(str(text))
    size = int(float(found[1]) * _SCALE[(found[2] or "").lower()]) if found else 0
    least, most, _ = BOUNDS["memory_bytes"]
    if not least <= size <= most:
        raise BadRequest(
            f"--gpu-memory {text!r} is not the memory of a GPU",
            cause=f"it must lie between {gib(int(least))} and {gib(int(most))}",
            hints=["for example: --gpu-memory 24GB, or as nvidia-smi reports it: --gpu-memory 24564MiB"],
            field="gpu_memory",
            value=text,
        )
    return size


def described_gpu(gpu: str | None, memory: str | float | None, like: str | None) -> tuple[Gpu, str]:
    """The card meant by `--gpu`, `--gpu-memory` and `--gpu-like` together, and a note on how it was read.

    Without the latter two it is the catalogue's `gpu`. With them it has that memory and the rates of `like` (of
    `gpu` itself where only the memory is given), under a name of its own, so that no measurement or price of a
    real card is taken for its; `gpu` may then be any name, or none.

    Raises:
        UnknownName: no such `like`, or no such `gpu` where it is to be found in the catalogue.
        BadRequest: a size no card has, or `like` without `memory`, or nothing at all.
    """
    if memory is None and like is None:
        if not gpu:
            raise BadRequest("--gpu is missing", hints=["to list what there is: advisor gpus"], field="gpu")
        return find_gpu(gpu)
    if memory is None:
        raise BadRequest(
            f"--gpu-like {like} says how fast the card is, not how much it holds",
            hints=[f"to say it: --gpu-memory 24GB --gpu-like {like}"],
            field="gpu_memory",
        )
    model, note = find_gpu(like or gpu or "")
    size = memory_in(memory)
    usable = size - (LESS_BELOW_40_GIB if size < 40 * GIB else LESS_ABOVE)
    label = gpu or f"a GPU like {model.name}"
    shown = f"{size / GIB:.1f} GiB"
    card = model.model_copy(
        update={
            "name": f"{label} as described, {shown}",
            "aliases": (),
            "like": model.name,
            "memory_bytes": size,
            "usable_bytes": usable,
            "usable_why": "the memory described, less what PyTorch does not report on cards of that size",
            "measured_bf16_flop_s": None,
            "confidence": "low",
            "notes": f"described by its user: {shown}, with the rates of {model.name}",
        }
    )
    said = f"{label} is not looked up but described: {shown} of memory and the rates of {model.name}, an assumption"
    return card, f"{said}; {note}" if note else said
