"""A MIG slice as a card of its own, derived from its parent by NVIDIA's table of profiles.

A memory slice carries its share of the bandwidth with it, so bandwidth goes by memory; compute goes by SMs.

Source: NVIDIA Multi-Instance GPU User Guide, "Supported MIG Profiles" and the definition of a memory slice.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from advisor import store
from advisor.domain.hardware import Gpu, Source
from advisor.domain.stored import Stored, Value
from advisor.domain.units import GIB
from advisor.errors import BadRequest

_FILE: Final = Path(__file__).with_name("profiles.json")
_PROFILE: Final = re.compile(r"(?:\bmig\b)?[\s.:_-]*(?:(\d)c\.)?(\d)g\.(\d+)gb((?:[+-][a-z.]+)*)", re.IGNORECASE)
_RATES: Final = ("fp32_flop_s", "tf32_flop_s", "bf16_flop_s", "fp8_flop_s", "int8_op_s")


class MigProfile(Value):
    """One MIG profile: its shares of the parent, and the memory a driver reports for it where that was seen."""

    name: str
    memory_share: float = Field(gt=0, le=1)
    sm_share: float = Field(gt=0, le=1)
    memory_gib: float | None = Field(None, gt=0)


class MigTable(Value):
    """The profiles of GPUs that are cut alike."""

    parents: tuple[str, ...]
    profiles: tuple[MigProfile, ...]
    sources: tuple[Source, ...]


class MigTables(Stored):
    """All of NVIDIA's tables."""

    KIND = "mig-profiles"

    least_memory: float = Field(gt=0, le=1)
    least_memory_why: str
    tables: tuple[MigTable, ...]


@functools.cache
def _tables() -> MigTables:
    return store.read(MigTables, _FILE)


def split_name(name: str) -> tuple[str, str] | None:
    """The parent's part of a name and the profile: `A100-SXM4-80GB MIG 1g.10gb` -> that card, 1g.10gb; else None.

    What is said of media engines (`+me`, `+gfx`) does not bear on training and is dropped.

    Raises:
        BadRequest: a compute instance (`1c.3g.40gb`) that shares its memory with others.
    """
    found = _PROFILE.search(name)
    if found is None:
        return None
    profile = f"{found[2]}g.{found[3]}gb"
    if found[1] and found[1] != found[2]:
        raise BadRequest(
            f"{name!r} is a compute instance: what it may hold of {profile} is open, since others share it",
            hints=[f"to price the whole slice: {profile}"],
            gpu=name,
        )
    rest = f"{name[: found.start()]} {name[found.end() :]}".strip()
    return re.sub(r"^nvidia\.com/|[\s/_-]+$", "", rest), profile


def profiles_of(parent: str) -> tuple[str, ...]:
    """The names of the profiles a GPU can be cut into; none where it has no MIG."""
    return tuple(profile.name for table in _tables().tables if parent in table.parents for profile in table.profiles)


def parents_with(profile: str) -> tuple[str, ...]:
    """The GPUs that can be cut into slices of this profile."""
    return tuple(
        parent for table in _tables().tables if profile in {p.name for p in table.profiles} for parent in table.parents
    )


def slice_of(parent: Gpu, name: str) -> Gpu:
    """The slice `name` (`3g.40gb`) of a GPU, as a card of its own that no measurement belongs to.

    Raises:
        BadRequest: the GPU has no MIG, or no such profile; the hint names those it has.
    """
    tables = _tables()
    for table in tables.tables:
        for profile in table.profiles if parent.name in table.parents else ():
            if profile.name == name:
                return _derived(parent, profile, table, tables)
    has, able = profiles_of(parent.name), parents_with(name)
    others = f"GPUs with {name}: {', '.join(able)}" if able else "no GPU has that slice; to list all: advisor gpus"
    raise BadRequest(
        f"{parent.name} has no MIG slice {name}",
        hints=[f"its slices: {', '.join(has)}"] if has else [others],
        gpu=parent.name,
        profile=name,
        near=[f"{parent.name}-MIG-{each}" for each in has] or [f"{each}-MIG-{name}" for each in able],
    )


def _derived(parent: Gpu, profile: MigProfile, table: MigTable, tables: MigTables) -> Gpu:
    if profile.memory_gib is not None:
        memory = min(int(profile.memory_gib * GIB), parent.usable_bytes)
        why = f"{profile.memory_gib:g} GiB, as the driver lists the profile"
    elif profile.memory_share == 1:
        memory, why = parent.usable_bytes, f"all of what {parent.name} offers"
    else:
        memory = int(parent.memory_bytes * profile.memory_share * tables.least_memory)
        why = f"{profile.memory_share:g} of the memory, times {tables.least_memory:g}: {tables.least_memory_why}"
    rates: dict[str, Any] = {
        field: None if (rate := getattr(parent, field)) is None else rate * profile.sm_share for field in _RATES
    }
    bandwidth = parent.bandwidth_bytes_s
    return parent.model_copy(
        update={
            **rates,
            "name": f"{parent.name}-MIG-{profile.name}",
            "aliases": (),
            "memory_bytes": memory,
            "usable_bytes": memory,
            "usable_why": why,
            "bandwidth_bytes_s": None if bandwidth is None else bandwidth * profile.memory_share,
            "interconnect": None,
            "interconnect_bytes_s": None,
            "tdp_w": None,
            "measured_bf16_flop_s": None,
            "confidence": "low" if parent.confidence == "low" else "medium",
            "sources": (*table.sources, *parent.sources),
            "notes": f"{profile.sm_share:.0%} of the SMs and {profile.memory_share:.1%} of memory and bandwidth of "
            f"{parent.name}; slices share power and clocks, which is not modelled",
        }
    )
