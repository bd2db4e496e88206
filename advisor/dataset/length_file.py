"""Lengths of samples from a file of numbers, where the rows themselves are elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from advisor import store
from advisor.domain.trace.timeline import Ints
from advisor.errors import BadFile, BadRequest

QUANTILES: Final = 512
"""Lengths kept of a file; the longest of a batch and of a run are told apart by them."""
LONGEST: Final = 10**7
"""Tokens of the longest sample that any request takes."""


@dataclass(frozen=True, slots=True)
class SampleLengths:
    """Tokens of the samples in a file: how many there are, their mean, the longest, equally likely ones ascending."""

    samples: int
    mean: float
    longest: int
    quantiles: tuple[int, ...]
    cut: float
    """Share of the samples that were longer than allowed."""


def read_lengths(path: str, at_most: int | None = None) -> SampleLengths:
    """Token counts from a text file, one a line, or a JSON list; longer ones are cut to `at_most`.

    Raises:
        BadFile: it is missing, empty, or holds what is no count of tokens; says where.
    """
    place = store.expanded(path)
    try:
        text = store.content(place).decode("utf-8-sig")
    except OSError as error:
        raise BadFile(f"cannot read {place}", cause=error.strerror or str(error), path=str(place)) from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{place} is not text", cause=str(error)[:200], path=str(place)) from error
    lengths = _numbers(text, place)
    wrong = np.flatnonzero((lengths < 1) | (lengths > LONGEST))
    if wrong.size:
        first = int(wrong[0])
        raise BadFile(
            f"{place}: sample {first + 1} has {int(lengths[first]):,} tokens",
            cause=f"{wrong.size:,} of {lengths.size:,} lengths are no numbers from 1 to {LONGEST:,}",
            hints=["leave out samples without a token: nothing is learned from them"],
            path=str(place),
        )
    cut = float((lengths > at_most).mean()) if at_most is not None else 0.0
    kept = np.sort(lengths if at_most is None else np.minimum(lengths, at_most))
    return SampleLengths(len(kept), float(kept.mean()), int(kept[-1]), quantiles_of(kept), cut)


def lengths_from(path: str, seq_len: int | None, context: int | None) -> tuple[dict[str, Any], list[str]]:
    """A workload's fields of length and number of samples, and what is to be said of them.

    Args:
        seq_len: the longest allowed, where it was asked for; else the model's context is.

    Raises:
        BadFile: as `read_lengths`.
    """
    found = read_lengths(path, seq_len or context)
    notes = [f"lengths: {found.samples:,} samples of {found.mean:.0f} tokens, at most {found.longest}, in {path}"]
    if found.cut:
        notes.append(f"lengths: {found.cut:.1%} of the samples are cut at {found.longest} tokens")
    return {
        "samples": found.samples,
        "seq_len": found.longest,
        "mean_seq_len": found.mean,
        "length_quantiles": found.quantiles,
        "lengths": f"read from {path}",
    }, notes


def quantiles_of(lengths: Ints) -> tuple[int, ...]:
    """At most QUANTILES equally likely ones of ascending lengths, the longest among them."""
    if len(lengths) <= QUANTILES:
        return tuple(lengths.tolist())
    at = np.linspace(0, len(lengths) - 1, QUANTILES).round().astype(np.int64)
    return tuple(lengths[at].tolist())


def refuse_beside(path: str | None, **given: Any) -> None:
    """Refuse what a file of lengths already says.

    Raises:
        BadRequest: one of the options was given beside the file.
    """
    for name, value in given.items():
        if path is not None and value is not None:
            option = f"--{name.replace('_', '-')}"
            raise BadRequest(
                f"{option} was given beside --length-file, which says it itself",
                hints=[f"leave {option} out, or the file"],
                field=name,
            )


def _numbers(text: str, place: Path) -> Ints:
    """[n] whole numbers of a file, n > 0."""
    try:
        found: Any = json.loads(text) if text.lstrip().startswith("[") else text.split()
        lengths = np.array(found, dtype=np.int64)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadFile(
            f"{place} is no list of token counts",
            cause=str(error)[:200],
            hints=["one whole number a line, or a JSON list of them: [312, 87, 1024]"],
            path=str(place),
        ) from error
    if lengths.ndim != 1 or not lengths.size:
        raise BadFile(f"{place} holds no lengths", hints=["one whole number a line"], path=str(place))
    return lengths
