"""Which releases of the libraries a trace holds for, and what is said where the shipped traces do not apply.

What a training step allocates and computes is settled by code of torch, transformers, peft, bitsandbytes and TRL.
Their patch releases mend faults and leave that code's shape; a release of another series (the first two numbers) may
change it. So traces are keyed by series. A pre-release stands for itself alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

from advisor.catalog.optimizer_names import OF_BITSANDBYTES
from advisor.domain.recipe import Recipe
from advisor.domain.trace.trace_schema import Trace
from advisor.libraries import installed_versions

LIBRARIES: Final = ("torch", "transformers", "peft", "bitsandbytes", "trl")

SHIPPED_WITH: Final = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "peft": "0.21.2",
    "bitsandbytes": "0.50.2",
    "trl": "1.16.0",
}
"""What the shipped traces were made with; `tests/tracer/test_library_releases.py` compares it with the files."""

ALIKE: Final = {
    "torch": ("2.13",),
    "transformers": ("5.23", "5.24"),
    "peft": ("0.21",),
    "bitsandbytes": ("0.50",),
    "trl": ("1.16",),
}
"""Series in which the shipped traces come out the same: all were made again with each, `test_shipped_streams.py`."""

_FINAL: Final = re.compile(r"(\d+)\.(\d+)(\.\d+)*(\.post\d+)?")


@cache
def versions() -> dict[str, str]:
    """The installed versions of the libraries a trace depends on, without local parts; absent ones are left out."""
    return {name: told.split("+")[0] for name, told in installed_versions(LIBRARIES).items()}


def series(version: str) -> str:
    """`2.13.1` -> `2.13`: what patch releases have in common. A pre-release is its own series."""
    found = _FINAL.fullmatch(version)
    return f"{found[1]}.{found[2]}" if found else version


def keyed_versions(recipe: Recipe, installed: Mapping[str, str]) -> dict[str, str]:
    """The releases that a recipe's trace depends on, one name for each series.

    Those of `ALIKE` go by the release that the shipped traces were made with. bitsandbytes, which the shipped traces
    know and a plain install lacks, counts as that release where it is absent.
    """
    found = {"bitsandbytes": SHIPPED_WITH["bitsandbytes"], **installed}
    return {
        name: SHIPPED_WITH[name] if series(version) in ALIKE[name] else series(version)
        for name, version in found.items()
        if _bears(name, recipe)
    }


def _bears(library: str, recipe: Recipe) -> bool:
    if library == "bitsandbytes":
        return needs_bitsandbytes(recipe)
    return library != "trl" or recipe.trainer == "trl"


def needs_bitsandbytes(recipe: Recipe) -> bool:
    """Whether its layers or its optimizer are that library's."""
    return recipe.base != "dtype" or recipe.optimizer in OF_BITSANDBYTES


def other_series(recipe: Recipe) -> list[str]:
    """Libraries of a series that the shipped traces were not tested with: `transformers 5.25 (tested with 5.23)`."""
    used = keyed_versions(recipe, versions())
    return [
        f"{name} {version} (tested with {' and '.join(ALIKE[name])})"
        for name, version in used.items()
        if version != SHIPPED_WITH[name]
    ]


def patch_note(made: Trace, recipe: Recipe) -> str:
    """What to say of a trace that was made with other releases than are installed; empty where it was not."""
    installed = versions()
    differing = [
        f"{name} {version} ({installed[name]} is installed)"
        for name, version in made.versions.items()
        if _bears(name, recipe) and installed.get(name, version) != version
    ]
    if not differing:
        return ""
    return f"the step was traced with {', '.join(differing)}: in these releases it comes out the same"
