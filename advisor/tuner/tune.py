"""The tuner's door: from data and a recommendation to the best adapter, through an Optuna study that survives."""

from __future__ import annotations

import os
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Unpack

from advisor import store
from advisor.dataset.splits import OTHER_FOLDER, check_folder
from advisor.domain.recommendation import Recommendation
from advisor.domain.request.tune_options import SearchOptions
from advisor.domain.request.vocabulary import Launcher
from advisor.domain.tuning import Finalist, Plan, TunedStudy
from advisor.errors import BadRequest, StoreUnavailable, UnknownName
from advisor.training.tracking import check_trackers
from advisor.tuner.budget import make_plan, past_of
from advisor.tuner.execution.local_runner import LocalRunner, Runner
from advisor.tuner.execution.measure_steps import fit_hours, measure
from advisor.tuner.local_device import CPU, gpu_here
from advisor.tuner.results.finalists import choose, finish
from advisor.tuner.results.summary import tuned_study
from advisor.tuner.search.local_moves import starts
from advisor.tuner.storage import trials as ledger
from advisor.tuner.storage.connect import (
    PATIENCE_SECONDS,
    check_storage,
    nothing_begun,
    retry_while_down,
    silence_optuna,
    storage_url,
    url_to_resume,
    url_to_store,
)
from advisor.tuner.study_preparation import (
    PreparedStudy,
    make_request,
    more_budget,
    read_request,
    rebuild,
    write_request,
)
from advisor.tuner.tune_query import checked_query
from advisor.tuner.tune_request import REQUEST_FILE, TuneRequest

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STUDY_FILE: Final = "study.json"
FOLDER: Final = "advisor-tune"
MOST_A_CORE: Final = 4

OnPlan = Callable[[Plan, Sequence[str]], None]
OnView = Callable[[TunedStudy], None]


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """Who runs the trials: workers of this machine, or a Ray cluster."""

    workers: int | None
    launcher: Launcher
    address: str | None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise BadRequest(f"--workers must be 1 or more, not {self.workers}")
        if self.launcher not in ("local", "ray"):
            raise UnknownName.of("launcher", self.launcher, ["local", "ray"], list_with="advisor tune --help")
        if self.address is not None and self.launcher != "ray":
            raise BadRequest("--ray names a cluster, which only the Ray launcher uses", hints=["add: --launcher ray"])

    def count(self, request: TuneRequest) -> int:
        """Trials at a time.

        Raises:
            BadRequest: more than this machine has GPUs, or can have of use on its cores.
        """
        if self.launcher == "local":
            return _at_most(self.workers or 1, on_gpu=request.hardware is not None)
        from advisor.tuner.execution.ray_cluster import connect, room

        ray, _ = connect(self.address)
        return self.workers or room(ray.nodes(), request)

    def check(self, *, on_gpu: bool) -> None:
        """Refuse what is wrong whatever the study, before its data are read.

        Raises:
            BadRequest: as `count`, of workers on this machine.
        """
        if self.launcher == "local" and self.workers is not None:
            _at_most(self.workers, on_gpu=on_gpu)

    def made(self, folder: Path, url: str, workers: int, watch: Callable[[], None], patience_seconds: float) -> Runner:
        """What runs the search and the finals."""
        if self.launcher == "local":
            return LocalRunner(folder, url, workers, watch, patience_seconds)
        from advisor.tuner.execution.ray_runner import RayRunner

        return RayRunner(folder, url, workers, watch, patience_seconds, address=self.address)


def _at_most(workers: int, *, on_gpu: bool) -> int:
    cores = os.cpu_count() or 1
    most, have = MOST_A_CORE * cores, f"{cores} cores, and more than {MOST_A_CORE} workers a core only wait"
    if on_gpu:
        import torch

        most = torch.cuda.device_count()
        have = f"{most} GPUs, and each trial has one of its own"
    if workers > most:
        raise BadRequest(
            f"--workers {workers} is more than this machine can use: it has {have}",
            hints=[f"at most: --workers {most}", "further machines join with: advisor tune --join STUDY --storage URL"],
            workers=workers,
            most=most,
        )
    return workers


def tune(
    model: str,
    data: str,
    *,
    recommendation: Recommendation | Callable[[], Recommendation] | None = None,
    on_plan: OnPlan = lambda plan, notes: None,
    on_view: OnView | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
    **options: Unpack[SearchOptions],
) -> TunedStudy:
    """Search the settings around a recommendation on the user's own data; returns the best adapter and its study.

    Args:
        data: JSON lines, CSV or Parquet with text and label; text; prompt and completion; or messages. Evaluation
            and test rows are cut from it where no files are given.
        recommendation: from `advisor.recommend`: its recipe is the first trial, its settings the space, its GPU the
            device; or what makes one, called once nothing else can be wrong. Without one the method's own defaults are,
            on a machine's CPU.
        on_plan: told the plan and the doubts about the data before anything starts.
        on_view: told the study as it stands, about twice a second.
        patience_seconds: how long a storage may be away before the search ends.
        options: see `advisor.domain.request.verb_options.SearchOptions`; most are the command line's options, and
            None counts as left out. `gpu="cpu"` trains without a recommendation beside a GPU, which is refused
            otherwise. `method` "auto" takes the recommended one; several names let the search choose. Of `trials`,
            `hours` and `budget_usd` any ends the search, and of the last two enough is kept for the finalists.

    Raises:
        BadRequest: data, model, metric or budget make no sense; nothing was written.
        BadFile: a data file cannot be read; StoreUnavailable: storage away or disk full, nothing is lost.
        DoesNotFit: no trial could be completed.
        KeyboardInterrupt: after the workers have left cleanly; `resume()` goes on.
    """
    began = time.time()
    query = checked_query(options)
    launch = LaunchOptions(query.workers, query.launcher, query.ray)
    launch.check(on_gpu=recommendation is not None)
    check_trackers(query.report_to or ())
    check_storage(query.storage)
    if query.out:
        check_folder(Path(query.out).resolve())
    if recommendation is None:
        _no_gpu_idle(model, options.get("gpu"))
    made = recommendation() if callable(recommendation) else recommendation
    prepared = make_request(model, data, recommendation=made, **options)
    running = launch.count(prepared.request)
    folder = (Path(query.out) if query.out else Path(FOLDER) / prepared.request.name).resolve()
    if (folder / STUDY_FILE).exists():
        raise BadRequest(
            f"{folder} holds a finished study",
            hints=["to begin another: --name OTHER", f"to go on with it: advisor tune --resume {folder} --trials MORE"],
            folder=str(folder),
        )
    url = storage_url(query.storage, folder)
    prepared = _measured(prepared, launch, began)
    if query.dry_run:
        plan = make_plan(prepared.request, running)
        on_plan(plan, prepared.notes)
        return tuned_study(
            prepared.request, folder, url, (), plan, notes=prepared.notes, stopped="--dry-run: nothing was begun"
        )
    prepared = replace(prepared, request=prepared.request.model_copy(update={"storage": url_to_store(url, folder)}))
    study = _begin(prepared, folder, url)
    return _go(
        folder, prepared.request, study, url, launch, running, prepared.notes, on_plan, on_view, patience_seconds
    )


def _measured(prepared: PreparedStudy, launch: LaunchOptions, began: float) -> PreparedStudy:
    """The study with times by a few steps measured here, and trainings that its hours pay for.

    On a cluster the nodes' steps are not this machine's; their first trials tell.

    Raises:
        BadRequest: the hours do not pay for a training; nothing was begun.
    """
    request, notes = prepared.request, list(prepared.notes)
    if launch.launcher != "local":
        return prepared
    if request.hardware is None or request.budget.seconds is not None or request.budget.trials is None:
        measured, why = measure(request, prepared.rows)
        request = request.model_copy(update={"measured": measured})
        notes += [f"no step could be measured beforehand: {why}"] if why else []
    spent = time.time() - began
    request, shortened = fit_hours(request, spent)
    if request.budget.seconds is not None:
        request = request.model_copy(update={"ends_at": began + request.budget.seconds})
    return replace(prepared, request=request, notes=(*notes, *shortened))


def _no_gpu_idle(model: str, gpu: str | None) -> None:
    found = gpu_here(gpu)
    if found is not None:
        raise BadRequest(
            f"without a recommendation the search is on the CPU, and this machine has a GPU, {found}",
            hints=[
                f"recommendation=advisor.recommend({model!r}, {found!r}, data=...)",
                f"to train on the CPU: gpu={CPU!r}",
            ],
            gpu=found,
        )


def _begin(prepared: PreparedStudy, folder: Path, url: str) -> Study:
    """The study in its folder and its storage; where either cannot be had, nothing new is left of the other."""
    ours = not folder.exists()
    before = set(folder.iterdir()) if folder.is_dir() else set[Path]()
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store.unwritable(folder, error, hint=OTHER_FOLDER) from error
        write_request(prepared.request, prepared.rows, folder)
        study = retry_while_down(url, lambda: ledger.create(prepared.request, url), seconds=0)
        retry_while_down(url, lambda: enqueue(study, prepared.request), seconds=0)
        return study
    except BaseException as error:
        new = set(folder.iterdir()) - before if folder.is_dir() else set[Path]()
        for path in new:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        if ours and folder.is_dir():
            folder.rmdir()
        if isinstance(error, StoreUnavailable) and "storage" in error.fields:
            raise nothing_begun(error) from error
        raise


def resume(
    folder: str,
    *,
    storage: str | None = None,
    workers: int | None = None,
    launcher: Launcher = "local",
    ray: str | None = None,
    trials: int | None = None,
    hours: float | None = None,
    budget_usd: float | None = None,
    on_plan: OnPlan = lambda plan, notes: None,
    on_view: OnView | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> TunedStudy:
    """Go on with a study where it stopped; finished trials stay, interrupted ones continue from their checkpoint.

    Args:
        trials, hours, budget_usd: a new whole budget in place of the old one.

    Raises:
        As `tune`.
    """
    launch = LaunchOptions(workers, launcher, ray)
    place = Path(folder).resolve()
    request = read_request(place)
    changed = request.model_copy(update={"budget": more_budget(request.budget, trials, hours, budget_usd)})
    running = launch.count(changed)
    url = url_to_resume(request.storage, storage, place)
    study, known = ledger.load(request.name, url)
    ledger.same_question(request, known)
    if changed.budget.seconds is not None:
        busy, _ = ledger.busy_seconds(trials_of(study, url, patience_seconds))
        changed = changed.model_copy(update={"ends_at": time.time() + changed.budget.seconds - busy})
    if changed != request:
        request = changed
        store.write(request, place / REQUEST_FILE)
        # a machine that joins reads the request from the storage
        study.set_user_attr(ledger.REQUEST, request.to_document())
    study.set_user_attr(ledger.STOPPED, None)
    enqueue(study, request)
    return _go(place, request, study, url, launch, running, request.splits.notes, on_plan, on_view, patience_seconds)


def join(
    name: str,
    storage: str,
    *,
    out: str | None = None,
    workers: int = 1,
    data: dict[str, str] | None = None,
    on_view: OnView | None = None,
) -> TunedStudy:
    """Help with a study that another machine began: run its trials here until its budget is spent.

    Args:
        name: of the study in the storage.
        data: split -> file, where this machine has them elsewhere; their rows must be the study's.

    Raises:
        BadRequest: no such study there, or this machine has not its data or model.
    """
    launch = LaunchOptions(workers, "local", None)
    study, request = ledger.load(name, storage)
    launch.count(request)
    folder = (Path(out) if out else Path(FOLDER) / name).resolve()
    rebuild(request, folder, data or {})
    plan = make_plan(request, workers)
    url = storage_url(storage, folder)

    def watch() -> None:
        if on_view is not None:
            on_view(tuned_study(request, folder, url, trials_of(study, url, PATIENCE_SECONDS), plan))

    stopped = LocalRunner(folder, url, workers, watch, salt=_salt(folder)).run()
    return tuned_study(request, folder, url, trials_of(study, url, PATIENCE_SECONDS), plan, stopped=stopped)


def trials_of(study: Study, url: str, patience_seconds: float) -> list[FrozenTrial]:
    """The study's trials, waited for while the storage is away."""
    return retry_while_down(url, lambda: study.get_trials(deepcopy=False), seconds=patience_seconds)


def _salt(folder: Path) -> int:
    """A number for this machine and folder: its workers must not draw what another machine's draw."""
    return zlib.crc32(f"{socket.gethostname()}:{folder.resolve()}".encode())


def enqueue(study: Study, request: TuneRequest) -> None:
    """Ask for the recommendation first, and each other method's start; nothing is asked for twice."""
    there = [t.system_attrs.get("fixed_params") for t in study.get_trials(deepcopy=False)]
    for origin, params in starts(request.dimensions):
        if params not in there:
            study.enqueue_trial(params, user_attrs={ledger.ORIGIN: origin}, skip_if_exists=False)


@silence_optuna()
def _go(
    folder: Path,
    request: TuneRequest,
    study: Study,
    url: str,
    launch: LaunchOptions,
    workers: int,
    notes: Sequence[str],
    on_plan: OnPlan,
    on_view: OnView | None,
    patience_seconds: float,
) -> TunedStudy:
    """Search, re-rank, finish, write everything down."""
    from advisor.tuner.results.records import write_records

    trials = study.get_trials(deepcopy=False)
    plan = make_plan(request, workers, past_of(request, trials))
    on_plan(plan, tuple(notes))
    finalists: tuple[Finalist, ...] = ()

    def now(**more: Any) -> TunedStudy:
        found = trials_of(study, url, patience_seconds)
        return tuned_study(request, folder, url, found, plan, notes=notes, finalists=finalists, **more)

    def watch() -> None:
        if on_view is not None:
            on_view(now())

    def said(standing: tuple[Finalist, ...]) -> None:
        nonlocal finalists
        finalists = standing
        watch()

    runner = launch.made(folder, url, workers, watch, patience_seconds)
    stopped = runner.run()
    found = trials_of(study, url, patience_seconds)
    chosen = choose(request, folder, found, train=runner.train, said=said)
    finished = finish(request, folder, chosen, runner.view)
    result = now(stopped=stopped, chosen=chosen, finish=finished, report=folder / "report.html")
    write_records(request, folder, result, found)
    store.write(result, folder / STUDY_FILE)
    return result
