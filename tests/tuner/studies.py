"""A toy study to try faults on: real processes and storages, a training that takes milliseconds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from advisor.dataset.splits import make_splits
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.tuning import Budget, Dimension
from advisor.domain.workload import Workload
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import storage_url
from advisor.tuner.study_preparation import write_request
from advisor.tuner.tune import enqueue
from advisor.tuner.tune_request import Start, TuneRequest
from tests.tiny_models import labelled

TOY = Path(__file__).parent / "toy"
ROOT = Path(__file__).parents[2]

RESUME = """
import sys
from advisor.tuner.tune import (resume)
folder, workers, storage, patience, launcher, ray = sys.argv[1:]
study = resume(
    folder,
    workers=int(workers) or None,
    storage=storage or None,
    patience_seconds=float(patience),
    launcher=launcher,
    ray=ray or None,
)
print("DONE", study.best, study.stopped)
"""


def toy_request(**fields: Any) -> tuple[TuneRequest, dict[str, Any]]:
    """A request over the learning rate alone, which the toy's score is a parabola in."""
    rows, splits = make_splits({"train": labelled(60)}, "text-label", seed=0)
    spec = ModelSpec(
        name="toy",
        asked="toy",
        source="folder",
        where="a test",
        config={},
        task_class="SequenceClassification",
        architecture="encoder",
        weights=str(TOY / "weights"),
    )
    start = Start(recipe=Recipe(method="lora", learning_rate=1e-2, micro_batch_size=4))
    given: dict[str, Any] = {
        "name": "toy",
        "spec": spec,
        "workload": Workload(model="toy", task="sequence-classification", samples=48, seq_len=16),
        "starts": (start,),
        "splits": splits,
        "dimensions": (Dimension(name="learning_rate", kind="float", start=1e-2, low=1e-5, high=1e-1, log=True),),
        "metric": "accuracy",
        "higher_is_better": True,
        "budget": Budget(trials=4),
        "pruner": "none",
        "neighbours": 2,
        "final_seeds": 1,
        "threads": 1,
        "created": "2026-01-01",
        **fields,
    }
    return TuneRequest(**given), rows


def begin(folder: Path, storage: str | None = None, **fields: Any) -> Any:
    """The study written and its first trials asked for; nothing runs yet."""
    request, rows = toy_request(**fields)
    folder.mkdir(parents=True, exist_ok=True)
    write_request(request, rows, folder)
    study = ledger.create(request, storage_url(storage, folder))
    enqueue(study, request)
    return study


def environment(home: Path, **toy: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(TOY), str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        ).rstrip(os.pathsep),
        "ADVISOR_HOME": str(home),
        **{f"TOY_{key.upper()}": value for key, value in toy.items()},
    }


def resuming(
    folder: Path,
    *,
    workers: int = 1,
    storage: str = "",
    patience: float = 30,
    launcher: str = "local",
    ray: str = "",
    **toy: str,
) -> Any:
    """`advisor tune --resume` in a process of its own; 0 workers are the launcher's default."""
    return subprocess.Popen(
        [sys.executable, "-c", RESUME, str(folder), str(workers), storage, str(patience), launcher, ray],
        env=environment(folder / "home", **toy),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def ends_well(process: Any, seconds: float = 90) -> str:
    """Wait for it; its output, or a failure with what it said."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 0, err[-3000:]
    return out


def until(true: Callable[[], Any], seconds: float = 40, what: str = "") -> Any:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = true()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"did not happen within {seconds} s: {what or true}")


def children(process: Any, module: str) -> list[psutil.Process]:
    """Processes below one that run a module of ours."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [p for p in family if _runs(p, module)]


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except psutil.Error:
        return False


def kill(process: psutil.Process) -> None:
    process.send_signal(signal.SIGKILL)


def states(study: Any) -> Counter[str]:
    return Counter(t.state.name for t in study.get_trials(deepcopy=False))


def completed(study: Any) -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def no_settings_twice(study: Any) -> None:
    """No completed trial was run a second time."""
    rates = [t.params["learning_rate"] for t in completed(study)]
    assert len(rates) == len(set(rates)), rates
