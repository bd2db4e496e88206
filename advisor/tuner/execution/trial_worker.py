"""One worker of a study: asks for a trial, refuses what cannot fit, runs the rest, tells what came of it.

`python -m advisor.tuner.execution.trial_worker FOLDER --storage URL --index 0`. It ends when the budget is spent, when
the process that started it is gone, or on SIGTERM; a trial it was running then leaves a checkpoint and goes back
into the study.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from advisor import processes, store
from advisor.errors import DISK_FULL, OF_FILES, AdvisorError
from advisor.training.training_process import Child
from advisor.training.training_spec import TrainingResult, TrainingSpec, mean_of
from advisor.tuner.execution.propose import deduplicate_proposal, propose
from advisor.tuner.execution.resources import ResourceSlot
from advisor.tuner.search.early_best import early_best, scorings_to_wait
from advisor.tuner.search.space import apply, suggest
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import (
    PATIENCE_SECONDS,
    id_of,
    quiet,
    retry_while_down,
    storage_of,
    storage_url,
    transient,
)
from advisor.tuner.storage.heartbeat import OWNER, Heartbeat, me
from advisor.tuner.trial_cost import FinishedTrials, Prediction, limit_bytes, predict
from advisor.tuner.tune_request import REQUEST_FILE, TuneRequest

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial, Trial

T = TypeVar("T")
log = logging.getLogger(__name__)

REFUSED_IN_A_ROW: Final = 50
"""Trials refused one after another before the search gives up: nothing in its space fits."""
FULL_DISK_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Launch:
    """One trial's training and what was predicted of it."""

    job: TrainingSpec
    prediction: Prediction


class Worker:
    """Runs trials of one study in one folder until there is nothing left to do.

    `share` says how many workers share this machine, `index` which one this is: it picks the GPU or the
    share of the cores, and the sampler's seed. `room` is the memory a trial may use where that is not this
    machine's.
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
        self.slot = ResourceSlot(index, share)
        self.room: int | None = None
        self.proposal_seed = f"{index}/{salt}"
        self.patience = patience
        self.request = store.read(TuneRequest, folder / REQUEST_FILE)
        self.stop = threading.Event()
        self.study, _ = retry_while_down(
            url, lambda: ledger.load(self.request.name, url, index, salt), seconds=patience
        )
        self.heartbeat = Heartbeat(storage_of(self.study))
        self.refused = 0

    def run(self) -> str:
        """Trials until the end; says why it ended."""
        while True:
            reason = self.look()
            if reason:
                return reason
            trial = self.ask()
            if trial is None:
                # what others run now may come back to be run again, so we stay until it has ended
                self.stop.wait(IDLE_SECONDS)
                continue
            launch = self.launch(trial)
            if launch is not None:
                self.perform(trial, launch)

    def look(self) -> str | None:
        """Adopt what dead workers left; why no further trial should be begun, or None."""
        if not self.stop.is_set():
            self.retry(lambda: ledger.recover(self.study, self.folder, self.heartbeat, self.request))
        return self.retry(self._end)

    def ask(self) -> Trial | None:
        """A trial that is ours; None where there is none to be had now."""
        trial = self.retry(self._claim)
        return trial if trial is not None and self.sign(trial) else None

    def launch(self, trial: Trial) -> Launch | None:
        """What to run and what it should need; None where that cannot be, which is told then."""
        return self._unless_taken(trial, lambda: self._launch(trial))

    def perform(self, trial: Trial, launch: Launch) -> None:
        """Train, and tell what came of it."""
        self._unless_taken(trial, lambda: self._told(trial, self._seeded(trial, launch.job, launch.prediction)))

    def refuse(self, trial: Trial, reason: str) -> None:
        """Tell that a trial is not to be launched."""
        self.refused += 1
        refused = TrainingResult(status="failed", reason=f"{ledger.NOT_LAUNCHED}: {reason}")
        self.retry(lambda: ledger.tell(self.study, self.frozen(trial), refused, self.request))

    def give_back(self, trial: Trial, reason: str) -> None:
        """Put a trial that was lost on its way back into the study, unless it was told already."""
        lost = TrainingResult(status="interrupted", reason=reason)
        self.retry(lambda: ledger.give_up(self.study, self.frozen(trial), lost, retry=True))

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
        from advisor.tuner.budget import all_failed_reason, budget_spent_reason, plateau_reason

        trials = self.study.get_trials(deepcopy=False)
        if self.refused >= REFUSED_IN_A_ROW:
            return f"the last {self.refused} settings proposed do not fit memory, time or budget"
        return (
            budget_spent_reason(self.request, trials)
            or plateau_reason(self.request, trials)
            or all_failed_reason(trials)
        )

    def _claim(self) -> Trial | None:
        """A trial that no other worker has; None where the last place of the budget is taken."""
        with store.locked(self.folder):
            trials = self.study.get_trials(deepcopy=False)
            trial = ledger.claim(self.study, trials)
            if trial is None:
                most = self.request.budget.trials
                if (
                    most is not None
                    and len(ledger.billable_trials(trials)) + len(ledger.waiting_retries(trials)) >= most
                ):
                    return None
                propose(self.study, self.request, self.proposal_seed)
                trial = deduplicate_proposal(self.study, self.request, self.study.ask(), self.proposal_seed)
            return trial

    def sign(self, trial: Trial) -> bool:
        """Say that the trial is ours; False where we were away so long that another has taken it for lost."""
        signed = self._unless_taken(trial, lambda: self._sign(trial))
        return bool(signed)

    def _sign(self, trial: Trial) -> bool:
        self.retry(lambda: trial.set_user_attr(OWNER, me() | {"index": self.index}))
        self.retry(lambda: self.heartbeat.begin(id_of(trial)))
        return True

    def _unless_taken(self, trial: Trial, work: Callable[[], T]) -> T | None:
        """The work's result, or None where another worker has meanwhile given the trial up."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            return work()
        except UpdateFinishedTrialError:
            log.warning("trial %s was given up by another worker", trial.number)
            return None

    def _launch(self, trial: Trial) -> Launch | None:
        params = self.retry(lambda: suggest(trial, self.request.dimensions))
        recipe, workload = apply(params, self.request.dimensions, self.request.starts, self.request.workload)
        past = self.retry(self._past)
        limit = self.room or limit_bytes(self.request, self.slot.of)
        prediction = predict(self.request, recipe, workload, past, limit=limit)
        frozen = self.retry(lambda: self._noted(trial, prediction))
        refusal = self._refusal(prediction)
        if refusal:
            self.refuse(trial, refusal)
            return None
        self.refused = 0
        place = ledger.trial_folder(self.folder, frozen)
        job = self.request.job(
            trial.number, place, self.folder, recipe, workload, threads=self.slot.threads(self.request)
        )
        job = job.model_copy(update={"report_to": self.request.report_to, "early_stopping": self._patience()})
        return Launch(job, prediction)

    def _patience(self) -> int:
        """Scorings without a gain that end a training: as asked, or few once the best trial had its best early."""
        request = self.request
        if request.early_stopping or request.seeds > 1:
            return request.early_stopping
        best = ledger.best_first(request, self.retry(lambda: self.study.get_trials(deepcopy=False)))
        result = ledger.outcome_of(best[0]) if best else None
        early = result is not None and early_best(result.curve, higher=request.higher_is_better) is not None
        return scorings_to_wait(request.evaluations) if early else 0

    def _told(self, trial: Trial, result: TrainingResult) -> None:
        if result.status == "interrupted":
            self.retry(lambda: ledger.give_up(self.study, self.frozen(trial), result, retry=True))
            return
        self.retry(lambda: ledger.tell(self.study, self.frozen(trial), result, self.request))
        self.retry(lambda: ledger.delete_old_files(self.study, self.folder, self.request))
        if result.reason == DISK_FULL:
            # each further trial would end the same way at once; the budget is not for that
            self.stop.wait(FULL_DISK_SECONDS)
            raise store.full_disk(self.folder, f"advisor tune --resume {self.folder}")

    def _seeded(self, trial: Trial, job: TrainingSpec, prediction: Prediction) -> TrainingResult:
        """One training, or one a seed with the mean score; the pruner sees each seed's score then."""
        if self.request.seeds == 1:
            return self._train(trial, job, prediction, reports=len(self.request.objectives) == 1)
        results: list[TrainingResult] = []
        for i in range(self.request.seeds):
            one = job.model_copy(update={"seed": job.seed + i, "folder": f"{job.folder}/seed-{i}"})
            done = ledger.finished_result(Path(one.folder))
            result = done or self._train(trial, one, prediction, reports=False)
            if result.status != "complete" or result.score is None:
                return result
            results.append(result)
            if self._prunes(trial, i, result.score):
                return result.model_copy(update={"status": "pruned", "reason": f"pruned after seed {i}"})
        return mean_of(results)

    def _train(self, trial: Trial, job: TrainingSpec, prediction: Prediction, *, reports: bool) -> TrainingResult:
        def heard(line: Mapping[str, Any]) -> str | None:
            if reports and "percent" in line and self._prunes(trial, int(line["percent"]), float(line["score"])):
                return "pruned"
            return None

        child = Child(
            job=job,
            on_progress=heard,
            wanted=lambda: self._interruption(trial),
            environment=self.slot.environment(self.request, job.threads),
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
            if self.heartbeat.beat(id_of(trial)) and self.frozen(trial).state.is_finished():
                return "taken for lost by another worker"
        except Exception as error:
            self._missed(error)
        return None

    def _missed(self, error: Exception) -> None:
        """The storage is away, which a training need not wait for; any other error is raised again."""
        if not transient(error):
            raise error
        self.heartbeat.away()

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
        return self.frozen(trial)

    def _constraints(self, prediction: Prediction) -> dict[str, float]:
        """Shares above the limits; 0 or less is feasible."""
        from advisor.tuner.budget import budget_left

        found: dict[str, float] = {"legal": 1.0 if prediction.illegal else 0.0}
        if prediction.bytes is not None:
            found["memory"] = prediction.bytes.mid / prediction.limit_bytes - 1
        seconds, usd = budget_left(self.request, self.study.get_trials(deepcopy=False))
        if prediction.seconds is not None and seconds is not None:
            found["time"] = prediction.seconds.low / max(seconds, 1e-9) - 1
        if prediction.usd is not None and usd is not None:
            found["cost"] = prediction.usd.low / max(usd, 1e-9) - 1
        return found

    def _refusal(self, prediction: Prediction) -> str | None:
        if prediction.illegal:
            return prediction.illegal
        over = {name: value for name, value in self.retry(lambda: self._constraints(prediction)).items() if value > 0}
        if not over:
            return None
        worst = max(over, key=lambda name: over[name])
        return f"predicted {worst} is {over[worst]:.0%} above what is left"

    def _past(self) -> list[FinishedTrials]:
        from advisor.tuner.budget import past_of

        return past_of(self.request, self.study.get_trials(deepcopy=False))

    def place(self, trial: Trial) -> Path:
        """The trial's folder."""
        return ledger.trial_folder(self.folder, self.frozen(trial))

    def frozen(self, trial: Trial) -> FrozenTrial:
        """The trial as the storage has it."""
        return trial.storage.get_trial(id_of(trial))

    def retry(self, call: Callable[[], T]) -> T:
        """The call's result, waited for while the storage is away and nobody asked us to stop."""
        return retry_while_down(
            self.url, call, seconds=self.patience, alive=lambda: not self.stop.is_set(), missed=self.heartbeat.away
        )


def main(arguments: list[str]) -> int:
    """Run one worker; errors go to stderr as lines a parent can show."""
    parser = argparse.ArgumentParser(prog="python -m advisor.tuner.execution.trial_worker")
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
        processes.when_orphaned(worker.stop.set)
        print(worker.run(), flush=True)
    except AdvisorError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    except OSError as error:
        if error.errno not in OF_FILES:
            raise
        told = store.unwritable(
            Path(error.filename or given.folder), error, hint=f"once it can: advisor tune --resume {given.folder}"
        )
        print(f"Error: {told}", file=sys.stderr, flush=True)
        return told.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
