"""The largest batch, length or model that a GPU holds, all else as asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from advisor.catalog.methods import find_method
from advisor.catalog.models import resolve_model
from advisor.catalog.models.image_lengths import images_asked
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.questions.fitting import Fitted, Fitting
from advisor.domain.request.vocabulary import Varied
from advisor.domain.units import gib
from advisor.errors import BadRequest, DoesNotFit
from advisor.estimator.estimate import answer_on
from advisor.estimator.estimate_request import EstimateRequest
from advisor.estimator.fitting.tries import Tried, tried

LARGEST_BATCH: Final = 4096
LARGEST_LENGTH: Final = 2**20
"""Where the search for the largest ends, for models that say no context."""
STEPS_OF_LENGTH: Final = 64
"""A length is found to this part of itself: what one token more does is below the estimate's own error."""
BYTES_OF_A_WEIGHT: Final = {"nf4": 0.5, "int8": 1.0, "dtype": 2.0}
"""Least bytes of a weight as it is stored: no model whose weights alone are too large is traced."""


def largest_size(request: EstimateRequest, vary: Varied, hardware: Hardware, spec: ModelSpec) -> Fitting:
    """The candidate at the largest batch or length that fits.

    Raises:
        DoesNotFit: not even a batch, or a length, of one does.
        BadRequest: the recipe cannot run there at all.
    """
    field = {"batch": "batch_size", "length": "seq_len"}[vary]
    most = LARGEST_BATCH if vary == "batch" else spec.context_length or LARGEST_LENGTH
    least = 1 if vary == "batch" else min(most, shortest_beside(request, spec))
    one = "a batch of one" if vary == "batch" else f"a length of {least}"
    rows: dict[int, Fitted] = {}

    def at(size: int, *, thorough: bool) -> Tried:
        found = tried(str(size), request.model_copy(update={field: size}), hardware, spec, thorough=thorough)
        rows[size] = found.row
        return found

    # what cannot be priced at all is told as estimate tells it
    answer_on(request.model_copy(update={field: least}), hardware, spec, use_measured=False, thorough=False)
    if not at(least, thorough=False).fits:
        raise _nothing(one, rows[least], hardware)
    low, high = _bracket(lambda size: at(size, thorough=False).fits, least, most)
    exact = 1 if vary == "batch" else max(1, low // STEPS_OF_LENGTH)
    while high - low > exact:
        middle = (low + high) // 2
        low, high = (middle, high) if at(middle, thorough=False).fits else (low, middle)
    # the search left the allocator's fragmentation out, which decides the last few sizes
    found = at(low, thorough=True)
    while not found.fits and low > least:
        high, low = low, max(least, low - exact)
        found = at(low, thorough=True)
    if found.candidate is None or not found.fits:
        raise _nothing(one, rows[least], hardware)
    above = "" if high > most else _needs(rows.get(high) or at(high, thorough=True).row, str(high))
    said = f"the largest {vary} that fits {hardware.gpu.name}: {low}{above or ', the most there is'}"
    ordered = tuple(rows[size] for size in sorted(rows))
    return Fitting(vary=vary, value=str(low), says=said, found=found.candidate, tried=ordered)


def shortest_beside(request: EstimateRequest, spec: ModelSpec) -> int:
    """The shortest length that holds the pictures of a sample, with a token after each; 1 without pictures.

    Raises:
        BadRequest, UnsupportedModel: as `images_asked`.
    """
    task = request.task or spec.task
    images = images_asked(spec, request.objective or "sft", task, count=request.images, size=request.image_size)
    return 1 if images is None else images.count * (images.tokens + 1)


def _bracket(fits: Callable[[int], bool], least: int, most: int) -> tuple[int, int]:
    """A size that fits and a larger one that does not; `least` does, and beyond `most` nothing."""
    low = least
    while low < most:
        size = min(most, 2 * low)
        if not fits(size):
            return low, size
        low = size
    return most, most + 1


def largest_model(
    request: Callable[[str], EstimateRequest], names: Sequence[str], hardware: Hardware, told: Callable[[str], None]
) -> Fitting:
    """The candidate of the largest of some models that fits; each is traced, so few are tried.

    Memory is taken to grow with parameters, which holds within a family: the next larger ones are named with what
    they need.

    Args:
        request: the request for a model's name.
        names: models of the catalogue, or folders.

    Raises:
        DoesNotFit: none fits.
        UnknownName: a model that nobody knows.
        BadRequest: one whose parameters are not known, such as a folder's.
    """
    specs = [resolve_model(name) for name in names]
    unknown = [spec.name for spec in specs if not spec.parameters]
    if unknown:
        raise BadRequest(
            f"models are compared by their parameters, and those of {unknown[0]} are not known before it is traced",
            hints=["name models of the catalogue: advisor models"],
            model=unknown[0],
        )
    specs.sort(key=lambda spec: spec.parameters or 0)
    asked = request(specs[0].asked)
    least = BYTES_OF_A_WEIGHT[asked.base or (find_method(asked.method).default_base if asked.method else "dtype")]
    able = [spec for spec in specs if (spec.parameters or 0) * least / _shards(hardware) <= hardware.limit_bytes]
    rows: dict[str, Fitted] = {}
    low, high, best = -1, len(able), None
    while high - low > 1:
        middle = (low + high) // 2
        spec = able[middle]
        told(spec.name)
        found = tried(spec.name, request(spec.asked), hardware, spec, thorough=True)
        rows[spec.name] = found.row
        if found.fits:
            low, best = middle, found.candidate
        else:
            high = middle
    if best is None:
        nearest = next(iter(rows.values()), Fitted(name=specs[0].name, refusal="its weights alone are too large"))
        which = f"the smallest of {len(specs)} models" if len(specs) > 1 else specs[0].name
        raise _nothing(which, nearest, hardware)
    name = best.workload.model
    above = _needs(rows[able[high].name], able[high].name) if high < len(able) else ""
    said = f"the largest of {len(specs)} models that fits {hardware.gpu.name}: {name}{above}"
    if len(specs) == 1:
        said = f"{name} fits {hardware.gpu.name}"
    over = len(specs) - len(able)
    notes = (f"{over} models whose weights alone exceed {gib(hardware.limit_bytes)} were not traced",) if over else ()
    return Fitting(vary="model", value=name, says=said, found=best, tried=tuple(rows.values()), notes=notes)


def _shards(hardware: Hardware) -> int:
    return hardware.count if hardware.sharding in ("fsdp1", "fsdp2", "zero3") else 1


def _needs(row: Fitted, name: str) -> str:
    """What the next larger one would take."""
    if row.need is None or row.limit_bytes is None:
        return f"; {name} cannot be: {row.refusal}"
    return f"; {name} needs {gib(row.need.mid)} of {gib(row.limit_bytes)}"


def _nothing(what: str, row: Fitted, hardware: Hardware) -> DoesNotFit:
    need = row.refusal if row.need is None else f"it needs {gib(row.need.mid)}, {gib(hardware.limit_bytes)} may be used"
    return DoesNotFit(
        f"not even {what} fits {hardware.gpu.name}: {need}",
        hints=["for what would fit: advisor recommend with the same model and GPU"],
        limit_bytes=hardware.limit_bytes,
    )
