"""A trial once more from its record: the same seed, rows, threads and settings, compared with what came of it then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from advisor import store
from advisor.domain.tuning import RepeatedTrial
from advisor.errors import BadRequest
from advisor.training.monitor import OUT_OF_TIME
from advisor.training.train import versions
from advisor.training.training_process import JOB
from advisor.training.training_spec import TrainingResult, TrainingSpec
from advisor.training.training_worker import RESULT
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.execution.single_run import train_watched
from advisor.tuner.study_preparation import read_request

FOLDER = "repeats"


def repeat_trial(folder: str, number: int) -> RepeatedTrial:
    """Train a trial of a study again, in `repeats/` of its folder, and say what differs.

    On a CPU nothing does, to the last bit of the weights, while the libraries are those of the record. A trial that
    was pruned or ran out of hours is trained whole, and compared as far as it came.

    Args:
        folder: of the study.
        number: of the trial; with several seeds each of its trainings is repeated.

    Raises:
        BadRequest: no such trial was trained here, or the study's rows were changed.
    """
    study = Path(folder).resolve()
    request = read_request(study)
    place = study / "trials" / f"{number:04d}"
    found = sorted(path.parent for path in place.rglob(JOB) if (path.parent / RESULT).is_file())
    if not found:
        there = sorted(int(path.name) for path in study.glob("trials/*") if any(path.rglob(RESULT)))
        raise BadRequest(
            f"trial {number} left no record in {study}",
            hints=[f"trained here: {', '.join(map(str, there)) or 'none'}"],
            number=number,
        )
    differs: list[str] = []
    notes: list[str] = []
    last = None
    for one in found:
        job, then = store.read(TrainingSpec, one / JOB), store.read(TrainingResult, one / RESULT)
        again = study / FOLDER / one.relative_to(study / "trials")
        # the folder may have been moved, and no clock ends a repetition
        moved = {"folder": str(again), "data": str(study / "data"), "deadline": None, "report_to": ()}
        last = train_watched(request, job.model_copy(update=moved), ResourceSlot())
        differs += differences(then, last)
        notes += _since(then, last.device)
    assert last is not None
    return RepeatedTrial(
        number=number,
        same=not differs,
        differs=tuple(differs),
        score=last.score,
        weights_sha256=last.weights_sha256,
        notes=tuple(dict.fromkeys(notes)),
    )


def differences(then: TrainingResult, now: TrainingResult) -> list[str]:
    """What of a training differs from its record, as far as the record goes."""
    whole = then.status == "complete" and then.reason != OUT_OF_TIME and now.status == "complete"
    found: list[str] = []
    if whole and now.weights_sha256 != then.weights_sha256:
        found.append(f"weights: SHA-256 {then.weights_sha256} then, {now.weights_sha256} now")
    if whole:
        found += _unequal(then.metrics, now.metrics)
    curve = dict(now.curve)
    found += [f"score at {p} %: {s!r} then, {curve.get(p)!r} now" for p, s in then.curve if curve.get(p) != s]
    if not whole and not then.curve:
        found.append(f"nothing to compare: it {now.status} now, and then {then.status}: {then.reason}")
    return found


def _unequal(then: Mapping[str, float], now: Mapping[str, float]) -> Iterator[str]:
    for name, value in then.items():
        if now.get(name) != value:
            yield f"{name}: {value!r} then, {now.get(name)!r} now"


def _since(then: TrainingResult, device: str) -> Iterator[str]:
    """What changed around the training, which may change its last bits."""
    now = versions()
    for name, before in then.versions.items():
        if now.get(name) != before:
            yield f"{name} {before} then, {now.get(name, 'absent')} now"
    if device != then.device:
        yield f"on {then.device} then, on {device} now"
    if then.resumed_from:
        yield f"it was interrupted then, and went on from step {then.resumed_from}"
