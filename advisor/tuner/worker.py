"""One worker of a study: asks for a trial, refuses what cannot fit, runs the rest, tells what came of it.

`python -m advisor.tuner.worker FOLDER --storage URL --index 0`. It ends when the budget is spent, when the
process that started it is gone, or on SIGTERM; a trial it was running then leaves a checkpoint and goes back
into the study.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from advisor import store
from advisor.errors import AdvisorError, StoreUnavailable
from advisor.tuner import ledger
from advisor.tuner.alive import OWNER, Pulse, me
from advisor.tuner.job import TrialJob, TrialResult, TuneRequest
from advisor.tuner.predict import Past, Prediction, predict
from advisor.tuner.process import Child
from advisor.tuner.space import apply, suggest
from advisor.tuner.storage import PATIENCE_SECONDS, id_of, patiently, quiet, storage_of, storage_url, transient

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

T = TypeVar("T")
log = logging.getLogger(__name__)

REQUEST_FILE: Final = "request.json"
REFUSED_IN_A_ROW: Final = 50
"""Trials refused one after another before the search gives up: nothing in its space fits."""
FULL_DISK_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 1.0


class Worker:
    """Runs trials of one study in one folder until there is nothing left to do.

    `share` says how many workers share this machine, `index` which one this is: it picks the GPU or the
    share of the cores, and the sampler's seed.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        index: int = 0,
        share: int = 1,
        salt: int = 0,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self.folder = folder
        self.url = url
        self.index = index
        self.share = share
        self.drawer = f"{index}/{salt}"
        self.patience = patience
        self.request = store.read(TuneRequest, folder / REQUEST_FILE)
        self.stop = threading.Event()
        self.study, _ = patiently(url, lambda: ledger.load(self.request.name, url), seconds=patience)
        self.study.sampler = ledger.sampler_of(self.request, index, salt)
        self.pulse = Pulse(storage_of(self.study))
        self.refused = 0

    def run(self) -> str:
        """Trials until the end; says why it ended."""
        while True:
            if not self.stop.is_set():
                self._patiently(lambda: ledger.recover(self.study, self.folder, self.pulse, self.request))
            reason = self._patiently(self._end)
            if reason:
                return reason
            trial = self._patiently(self._ask)
            if trial is None:
                # what others run now may come back to be run again, so we stay until it has ended
                self.stop.wait(IDLE_SECONDS)
            elif self._signed(trial):
                self._one(trial)

    def _end(self) -> str | None:
        """Why no further trial should be begun, or None."""
        if self.stop.is_set():
            return "asked to stop"
        stopped = self.study.user_attrs.get(ledger.STOPPED)
        if stopped:
            return str(stopped)
        reason = self._spent()
        if reason:
            self.study.set_user_attr(ledger.STOPPED, reason)
        return reason

    def _spent(self) -> str | None:
        from advisor.tuner.budget import spent, worth

        trials = self.study.get_trials(deepcopy=False)
        if self.refused >= REFUSED_IN_A_ROW:
            return f"the last {self.refused} settings proposed do not fit memory, time or budget"
        return spent(self.request, trials) or worth(self.request, trials)

    def _ask(self) -> Trial | None:
        """A trial that no other worker has; None where the last place of the budget is taken."""
        with store.locked(self.folder):
            trials = self.study.get_trials(deepcopy=False)
            trial = ledger.claim(self.study, trials)
            if trial is None:
                most = self.request.budget.trials
                if most is not None and len(ledger.counted(trials)) + len(ledger.owed(trials)) >= most:
                    return None
                ledger.propose(self.study, self.request, self.drawer)
                trial = self.study.ask()
            return trial

    def _signed(self, trial: Trial) -> bool:
        """Say that the trial is ours; False where we were away so long that another has taken it for lost."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._patiently(lambda: trial.set_user_attr(OWNER, me() | {"index": self.index}))
        except UpdateFinishedTrialError:
            return False
        self._patiently(lambda: self.pulse.begin(id_of(trial)))
        return True

    def _one(self, trial: Trial) -> None:
        """From settings to a told result, or to nothing where another worker has given the trial up meanwhile."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            self._run(trial)
        except UpdateFinishedTrialError:
            log.warning("trial %s was given up by another worker", trial.number)

    def _run(self, trial: Trial) -> None:
        params = self._patiently(lambda: suggest(trial, self.request.dimensions))
        recipe, workload = apply(params, self.request.dimensions, self.request.starts, self.request.workload)
        past = self._patiently(self._past)
        prediction = predict(self.request, recipe, workload, past)
        frozen = self._patiently(lambda: self._noted(trial, prediction))
        refusal = self._refusal(prediction)
        if refusal:
            self.refused += 1
            self._patiently(
                lambda: ledger.tell(self.study, frozen, TrialResult(status="failed", reason=refusal), self.request)
            )
            return
        self.refused = 0
        job = TrialJob(
            study=self.request.name,
            number=trial.number,
            folder=str(ledger.trial_folder(self.folder, frozen)),
            data=str(self.folder / "data"),
            splits=self.request.splits,
            spec=self.request.spec,
            workload=workload,
            recipe=recipe,
            metric=self.request.metric,
            higher_is_better=self.request.higher_is_better,
            seed=self.request.seed,
            evaluations=self.request.evaluations,
            evaluation_rows=self.request.evaluation_rows,
            early_stopping=self.request.early_stopping,
            checkpoint_seconds=self.request.checkpoint_seconds,
            threads=self._threads(),
            report_to=self.request.report_to,
        )
        self._told(trial, frozen, self._seeded(trial, job, prediction))

    def _told(self, trial: Trial, frozen: FrozenTrial, result: TrialResult) -> None:
        if result.status == "interrupted":
            self._patiently(lambda: ledger.give_up(self.study, frozen, result, retry=True))
            return
        self._patiently(lambda: ledger.tell(self.study, self._frozen(trial), result, self.request))
        self._patiently(lambda: ledger.tidy(self.study, self.folder, self.request))
        if result.reason == "the disk is full":
            # each further trial would end the same way at once; the budget is not for that
            self.stop.wait(FULL_DISK_SECONDS)
            raise StoreUnavailable(
                f"the disk of {self.folder} is full",
                hints=["free some space, then: advisor tune --resume"],
                path=str(self.folder),
                reason="the disk is full",
            )

    def _seeded(self, trial: Trial, job: TrialJob, prediction: Prediction) -> TrialResult:
        """One training, or one a seed with the mean score; the pruner sees each seed's score then."""
        if self.request.seeds == 1:
            return self._train(trial, job, prediction, reports=len(self.request.objectives) == 1)
        results: list[TrialResult] = []
        for i in range(self.request.seeds):
            one = job.model_copy(update={"seed": job.seed + i, "folder": f"{job.folder}/seed-{i}"})
            done = ledger.finished_result(Path(one.folder))
            result = done or self._train(trial, one, prediction, reports=False)
            if result.status != "complete" or result.score is None:
                return result
            results.append(result)
            if self._prunes(trial, i, result.score):
                return result.model_copy(update={"status": "pruned", "reason": f"pruned after seed {i}"})
        return _mean(results)

    def _train(self, trial: Trial, job: TrialJob, prediction: Prediction, *, reports: bool) -> TrialResult:
        def heard(line: Mapping[str, Any]) -> str | None:
            if reports and "percent" in line and self._prunes(trial, int(line["percent"]), float(line["score"])):
                return "pruned"
            return None

        child = Child(
            job=job,
            on_progress=heard,
            wanted=lambda: self._interruption(trial),
            environment=self._environment(),
            memory_bytes=prediction.limit_bytes if self.request.hardware is None else None,
            seconds=self.request.trial_seconds,
        )
        return child.run()

    def _prunes(self, trial: Trial, step: int, score: float) -> bool:
        """Report a score; whether the pruner ends the trial. A storage that is away prunes nothing."""
        try:
            trial.report(score, step)
            return step < 100 and trial.should_prune() if self.request.seeds == 1 else trial.should_prune()
        except Exception as error:
            self._missed(error)
            log.warning("a score could not be reported: %s", type(error).__name__)
            return False

    def _interruption(self, trial: Trial) -> str | None:
        """Why a running trial must end: we were told to, our parent is gone, or another has taken it for lost."""
        if self.stop.is_set():
            return "interrupted"
        try:
            if self.pulse.beat(id_of(trial)) and self._frozen(trial).state.is_finished():
                return "taken for lost by another worker"
        except Exception as error:
            self._missed(error)
        return None

    def _missed(self, error: Exception) -> None:
        """The storage is away, which a training need not wait for; any other error is raised again."""
        if not transient(error):
            raise error
        self.pulse.away()

    def _noted(self, trial: Trial, prediction: Prediction) -> FrozenTrial:
        """Write the prediction and the constraints it means; the trial as the storage has it."""
        said: dict[str, Any] = {
            name: quantity.model_dump(mode="json")
            for name, quantity in (
                ("bytes", prediction.bytes),
                ("model_bytes", prediction.model_bytes),
                ("seconds", prediction.seconds),
                ("usd", prediction.usd),
            )
            if quantity is not None
        }
        trial.set_user_attr(ledger.PREDICTED, said)
        for name, value in self._constraints(prediction).items():
            if name not in trial.storage.get_trial_system_attrs(id_of(trial)):
                trial.storage.set_trial_system_attr(id_of(trial), f"constraints:{name}", value)
        return self._frozen(trial)

    def _constraints(self, prediction: Prediction) -> dict[str, float]:
        """Shares above the limits; 0 or less is feasible."""
        from advisor.tuner.budget import left

        found: dict[str, float] = {"legal": 1.0 if prediction.illegal else 0.0}
        if prediction.bytes is not None:
            found["memory"] = prediction.bytes.mid / prediction.limit_bytes - 1
        seconds, usd = left(self.request, self.study.get_trials(deepcopy=False))
        if prediction.seconds is not None and seconds is not None:
            found["time"] = prediction.seconds.low / max(seconds, 1e-9) - 1
        if prediction.usd is not None and usd is not None:
            found["cost"] = prediction.usd.low / max(usd, 1e-9) - 1
        return found

    def _refusal(self, prediction: Prediction) -> str | None:
        if prediction.illegal:
            return f"not launched: {prediction.illegal}"
        over = {
            name: value for name, value in self._patiently(lambda: self._constraints(prediction)).items() if value > 0
        }
        if not over:
            return None
        worst = max(over, key=lambda name: over[name])
        return f"not launched: predicted {worst} is {over[worst]:.0%} above what is left"

    def _past(self) -> list[Past]:
        from advisor.tuner.budget import past_of

        return past_of(self.request, self.study.get_trials(deepcopy=False))

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return trial.storage.get_trial(id_of(trial))

    def _threads(self) -> int | None:
        if self.request.threads is not None or self.request.hardware is not None:
            return self.request.threads
        return max(1, (os.cpu_count() or 1) // self.share)

    def _environment(self) -> dict[str, str]:
        """The GPU or the cores that are this worker's own."""
        if self.request.hardware is None:
            # threads that wait give their core up: on a busy machine a spinning one stalls the others
            return {"OMP_NUM_THREADS": str(self._threads()), "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
        seen = [d for d in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if d]
        device = seen[self.index % len(seen)] if seen else str(self.index)
        return {"CUDA_VISIBLE_DEVICES": device} if self.share > 1 else {}

    def _patiently(self, call: Callable[[], T]) -> T:
        return patiently(
            self.url, call, seconds=self.patience, alive=lambda: not self.stop.is_set(), missed=self.pulse.away
        )


def _mean(results: list[TrialResult]) -> TrialResult:
    """The trial of several seeds: mean scores, summed times, largest peaks, the best seed's weights."""
    scores = [r.score for r in results if r.score is not None]
    first = results[0]
    return first.model_copy(
        update={
            "score": sum(scores) / len(scores),
            "metrics": {k: sum(r.metrics[k] for r in results) / len(results) for k in first.metrics},
            "curve": tuple((i, s) for i, s in enumerate(scores)),
            "seconds": {k: sum(r.seconds[k] for r in results) for k in first.seconds},
            "peak_process_bytes": max((r.peak_process_bytes or 0 for r in results), default=0) or None,
            "notes": (*first.notes, f"mean of {len(scores)} seeds: {', '.join(f'{s:.4g}' for s in scores)}"),
        }
    )


def watch_parent(stop: threading.Event, seconds: float = 0.5) -> None:
    """Set `stop` once the process that started us is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def main(arguments: list[str]) -> int:
    """Run one worker; errors go to stderr as lines a parent can show."""
    parser = argparse.ArgumentParser(prog="python -m advisor.tuner.worker")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--storage")
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--share", type=int, default=1)
    parser.add_argument("--salt", type=int, default=0)
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS)
    given = parser.parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    try:
        quiet()
        url = storage_url(given.storage, given.folder)
        worker = Worker(
            given.folder, url, index=given.index, share=given.share, salt=given.salt, patience=given.patience
        )
        signal.signal(signal.SIGTERM, lambda number, frame: worker.stop.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        watch_parent(worker.stop)
        print(worker.run(), flush=True)
    except AdvisorError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
