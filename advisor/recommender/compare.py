"""Methods priced side by side on one model and machine, each with its default options."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from advisor import store
from advisor.bug_log import bug_line
from advisor.catalog.methods import find_method, methods
from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.stored import Stored, Value
from advisor.errors import AdvisorError
from advisor.recommender.cache import stamp
from advisor.recommender.workers.pool import WORKERS, WORTH_STARTING, Progress, map_in_processes, silent


class Priced(Value):
    """One method's candidate, or the facts of why it has none (`message`, `cause`, `hints` ...)."""

    method: str
    candidate: Candidate | None = None
    refusal: dict[str, Any] | None = None


class Comparison(Stored):
    """What was found for one question, by method, kept in the cache folder."""

    KIND = "comparison"
    VERSION = 1

    priced: dict[str, Priced]


def compare(
    model: str,
    gpu: str | None,
    names: Sequence[str] | None = None,
    *,
    batch_size: int = 1,
    seq_len: int | None = None,
    samples: int | None = None,
    on_progress: Progress | None = None,
    **more: Any,
) -> list[Priced]:
    """Each method on one model and GPU: a Candidate at the batch and length given, or why it cannot run.

    Args:
        names: methods, in the order of the answer; None: all there are.
        gpu: a name `advisor gpus` knows; None where `gpu_memory` and `gpu_like` describe it.
        batch_size: samples of a micro-batch.
        seq_len: tokens of the longest sample.
        on_progress: told (done, total, what) as the work goes on.
        more: what else `advisor.estimate` takes and all methods share.

    Raises:
        BadRequest: the model or the GPU is unknown, or a value makes no sense whatever the method.
    """
    wanted = list(dict.fromkeys(find_method(name).name for name in names)) if names else [m.name for m in methods()]
    given = {"batch_size": batch_size, "seq_len": seq_len, "samples": samples, **more}
    shared = {"model": model, "gpu": gpu, **{key: value for key, value in given.items() if value is not None}}
    spec, gpu_found = _refuse_for_all(shared)
    tell = on_progress or silent
    # by what the names mean here: another model may lie in the folder, another card in the machine
    asked = {**shared, "definition": sorted(spec.digests), "card": gpu_found.model_dump(mode="json")}
    path = store.cache_dir() / "comparisons" / f"{stamp(asked)}.json.gz"
    kept = store.read_cache(Comparison, path)
    known = dict(kept.priced) if kept is not None else {}
    new = [name for name in wanted if name not in known]
    if new:
        found = _worked_out(shared, new, tell)
        known.update(found)
        sound = {name: one for name, one in known.items() if one.refusal is None or "bug" not in one.refusal}
        store.write_cache(Comparison(priced=sound), path)
    return [known[name] for name in wanted]


def _refuse_for_all(shared: Mapping[str, Any]) -> tuple[ModelSpec, Gpu]:
    """The model and the card; or what is wrong with the question itself, raised once and not once a method."""
    from advisor.catalog.gpus import check_attention
    from advisor.catalog.models import resolve_model
    from advisor.estimator.estimate_request import from_case, hardware_of, recipe_of, workload_of

    request = from_case({**shared, "method": "lora"})
    gpu = hardware_of(request).gpu
    check_attention(gpu, request.attn_implementation)
    spec = resolve_model(request.model, denoisers=True)
    workload_of(request, spec, recipe_of(request))
    return spec, gpu


def _worked_out(shared: Mapping[str, Any], names: Sequence[str], tell: Progress) -> dict[str, Priced]:
    import json

    cores = os.cpu_count() or 1
    if len(names) < WORTH_STARTING or cores < 2 or not sys.executable:
        found: dict[str, Priced] = {}
        for name in names:
            tell(len(found), len(names), name)
            found[name] = price_or_say(shared, name)
        tell(len(names), len(names), "")
        return found

    def read(name: str, answer: str, reason: str) -> Priced:
        return Priced.model_validate_json(answer) if answer else _failed(name, reason)

    return map_in_processes(
        names, "advisor.recommender.workers.compare_worker", json.dumps(shared), read, min(WORKERS, cores), tell
    )


def price_or_say(shared: Mapping[str, Any], name: str) -> Priced:
    """One method's price; what goes wrong with it is its refusal and not the end of the others."""
    from advisor.estimator.estimate import answer
    from advisor.estimator.estimate_request import from_case

    try:
        candidate = answer(from_case({"base": find_method(name).default_base, **shared, "method": name}))
    except AdvisorError as refused:
        return Priced(method=name, refusal=refused.facts())
    except Exception as error:
        return _failed(name, bug_line(error))
    return Priced(method=name, candidate=candidate)


def _failed(name: str, reason: str) -> Priced:
    facts: dict[str, Any] = {
        "message": "advisor failed on it, which is a bug",
        "cause": reason,
        "hints": [],
        "bug": True,
    }
    return Priced(method=name, refusal=facts)
