"""The GPUs that a recipe fits: the smallest, and the one on which it costs least."""

from __future__ import annotations

from collections.abc import Sequence

from advisor.catalog.gpus import find_gpu, gpus
from advisor.catalog.prices import offers
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.questions.fitting import Fitted, Fitting
from advisor.domain.units import duration, gib
from advisor.errors import DoesNotFit
from advisor.estimator.estimate_request import EstimateRequest, hardware_of
from advisor.estimator.fitting.tries import tried


def gpus_that_fit(request: EstimateRequest, names: Sequence[str], spec: ModelSpec) -> Fitting:
    """Every card named, or with none every card that has a price: what the recipe needs, takes and costs there.

    Raises:
        UnknownName: a name that means no GPU.
        DoesNotFit: it fits none of them.
    """
    cards = [find_gpu(name)[0] for name in names] if names else [gpu for gpu in gpus() if offers(gpu.name)]
    found: list[tuple[Gpu, Fitted, Candidate | None]] = []
    for card in cards:
        asked = request.model_copy(update={"gpu": card.name})
        one = tried(card.name, asked, hardware_of(asked), spec, thorough=False)
        found.append((card, one.row, one.candidate))
    for row in sorted((entry for entry in found if entry[1].fits), key=lambda entry: _cost(entry[1])):
        # the look over all cards left the allocator's fragmentation out
        asked = request.model_copy(update={"gpu": row[0].name})
        exact = tried(row[0].name, asked, hardware_of(asked), spec, thorough=True)
        found[found.index(row)] = (row[0], exact.row, exact.candidate)
        if exact.fits:
            break
    able = [entry for entry in found if entry[1].fits]
    if not able:
        raise _none(found)
    cheapest = min(able, key=lambda entry: _cost(entry[1]))
    smallest = min(able, key=lambda entry: (entry[0].usable_bytes, _cost(entry[1])))
    candidate = cheapest[2]
    assert candidate is not None
    said = f"of {len(found)} GPUs {len(able)} hold it; cheapest: {_said(cheapest)}; smallest: {_said(smallest)}"
    rows = sorted((entry[1] for entry in found), key=lambda row: (not row.fits, *_cost(row)))
    return Fitting(
        vary="gpu",
        value=cheapest[0].name,
        says=said,
        found=candidate,
        tried=tuple(rows),
        smallest=smallest[0].name,
        cheapest=cheapest[0].name if cheapest[1].usd is not None else "",
        notes=("all but the cheapest are priced without the allocator's replay",),
    )


def _cost(row: Fitted) -> tuple[float, float]:
    usd = float("inf") if row.usd is None else row.usd.mid
    return (usd, float("inf") if row.seconds is None else row.seconds.mid)


def _said(entry: tuple[Gpu, Fitted, Candidate | None]) -> str:
    card, row, _ = entry
    assert row.need is not None
    assert row.seconds is not None
    money = "" if row.usd_per_hour is None else f", {row.usd_per_hour:.2f} USD/h"
    of = "" if row.limit_bytes is None else f" of {gib(row.limit_bytes)}"
    return f"{card.name} ({gib(row.need.mid)}{of}, {duration(row.seconds.mid)}{money})"


def _none(found: Sequence[tuple[Gpu, Fitted, Candidate | None]]) -> DoesNotFit:
    near = max(found, key=lambda entry: entry[0].usable_bytes)[1]
    need = near.refusal or ("" if near.need is None else f"needs {gib(near.need.mid)}")
    return DoesNotFit(
        f"this recipe fits none of {len(found)} GPUs",
        cause=f"{near.name}: {need}",
        hints=["to choose a recipe too: advisor recommend --gpu any", "to spread it: --gpus 8 --parallelism fsdp2"],
        tried=[entry[1].model_dump(mode="json") for entry in found],
    )
