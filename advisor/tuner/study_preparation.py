"""From a user's question to a request: rows split, model found, starts chosen, space drawn, folder made."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, ParamSpec, Unpack

from pydantic import ValidationError

from advisor import store
from advisor.catalog.library_support import check_support
from advisor.catalog.methods import check_recipe, find_method
from advisor.dataset.splits import SPLITS, Row, Splits, load_splits, write_splits
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Recommendation
from advisor.domain.request.tune_options import SearchOptions
from advisor.domain.request.validation import refusal_of
from advisor.domain.request.vocabulary import PRECISION, Task
from advisor.domain.tuning import Budget
from advisor.domain.units import HOUR
from advisor.domain.workload import Workload
from advisor.errors import BadRequest, UnknownName
from advisor.literature.hyperparameters.suggest import settings_published_for
from advisor.literature.hyperparameters.training_length import USUAL_BATCH
from advisor.training.metrics import find_metric
from advisor.training.prepare import weights_folder
from advisor.training.token_lengths import lengths_of
from advisor.training.trainers import check_trainer
from advisor.tuner.local_device import check_device
from advisor.tuner.search.earlier_studies import earlier_studies
from advisor.tuner.search.samplers_and_pruners import PRUNERS, SAMPLERS
from advisor.tuner.search.space import make_dimensions
from advisor.tuner.starting_recipe import converging, in_precision, plain_recipe
from advisor.tuner.tune_query import TuneQuery, checked_query
from advisor.tuner.tune_request import REQUEST_FILE, Start, TuneRequest

P = ParamSpec("P")

DEFAULT_TRIALS: Final = 16
HYPERBAND_FROM: Final = 30
"""Trials from which successive halving has enough to halve; below, the median rule."""
UNSURE_METHOD: Final = "lora"
"""Where no recommendation is given (a machine without a GPU): the method most studied, legal nearly everywhere."""


@dataclass(frozen=True, slots=True)
class PreparedStudy:
    """A study's request, its rows and what was asked, before anything is written."""

    request: TuneRequest
    rows: dict[str, list[Row]]
    notes: tuple[str, ...]
    query: TuneQuery


def _by_option(make: Callable[P, PreparedStudy]) -> Callable[P, PreparedStudy]:
    """Let what pydantic refuses of a given option be a refusal of the request, by the option's name."""

    @functools.wraps(make)
    def made(*args: P.args, **given: P.kwargs) -> PreparedStudy:
        try:
            return make(*args, **given)
        except ValidationError as error:
            where = error.errors()[0]["loc"]
            if where and where[0] in given:
                raise refusal_of(error, given) from error
            raise  # a value of our own making is wrong, which is a bug

    return made


@_by_option
def make_request(
    model: str, data: str, *, recommendation: Recommendation | None = None, **options: Unpack[SearchOptions]
) -> PreparedStudy:
    """Everything checked before anything is written.

    Raises:
        AdvisorError: whatever of the question makes no sense; nothing was written then.
    """
    from advisor.catalog.models import resolve_model

    query = checked_query(options)
    spec = resolve_model(model)
    # absolute, so that a resume from another folder finds it
    spec = spec.model_copy(update={"weights": str(weights_folder(spec).resolve())})
    if recommendation is not None and recommendation.workload.objective != "sft":
        raise BadRequest(
            f"trainings by {recommendation.workload.objective} are priced here, and tuned not yet",
            hints=["to tune supervised training: a recommendation without --objective"],
            objective=recommendation.workload.objective,
        )
    budget = _budget(query, recommendation)
    rows, splits, task = load_splits(
        data,
        query.eval_data,
        query.test_data,
        query.task,
        seed=query.seed,
        columns=query.columns,
        usual_task="seq2seq" if spec.architecture == "encoder-decoder" else None,
    )
    _suits(spec, task, None if query.task is not None else data)
    chosen = find_metric(query.metric, task)
    workload, notes = _workload(spec, task, splits, rows, query, recommendation)
    names = _names(query.method, recommendation)
    if recommendation is None:
        workload, note = converging(names[0], spec, workload, query.epochs, query.effective_batch_size)
        notes += [note] if note else []
    starts, more = _starts(spec, workload, recommendation, names, _recipe_fields(query, task))
    if query.merge:
        _check_merge([start.recipe for start in starts])
    request = TuneRequest(
        name=_name(query.name or f"{Path(spec.name).name}-{Path(data).name.partition('.')[0]}"),
        spec=spec,
        workload=workload,
        starts=starts,
        hardware=_hardware(recommendation),
        splits=splits,
        dimensions=make_dimensions(starts, workload, query.search, widest=spec.hidden),
        metric=chosen.name,
        higher_is_better=chosen.higher_is_better,
        objectives=query.objectives,
        budget=budget,
        sampler=_sampler(query.sampler),
        pruner=_pruner(query, budget),
        seed=query.seed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        **query.settings,
    )
    if query.earlier_studies and request.sampler == "tpe":
        earlier, said = earlier_studies(request)
        request, more = request.model_copy(update={"earlier": earlier}), [*more, *([said] if said else [])]
    return PreparedStudy(request, rows, (*splits.notes, *notes, *more), query)


def write_request(request: TuneRequest, rows: dict[str, list[Row]], folder: Path) -> None:
    """The study's folder: its request and its rows.

    Raises:
        BadRequest: the folder holds a study with another question.
        StoreUnavailable: it cannot be written.
    """
    path = folder / REQUEST_FILE
    if path.exists():
        before = store.read(TuneRequest, path)
        differ = [k for k, v in request.question().items() if before.question().get(k) != v]
        if differ:
            raise BadRequest(
                f"{folder} holds a study already, with another {' and '.join(differ)}",
                hints=["to begin another: --name OTHER or --out FOLDER", f"to go on: advisor tune --resume {folder}"],
                folder=str(folder),
                differ=differ,
            )
    with store.locked(folder):
        write_splits(rows, folder / "data")
    store.write(request, path)


def read_request(folder: Path) -> TuneRequest:
    """The request of a study's folder.

    Raises:
        BadRequest: no study lies there.
        BadFile: its request cannot be read.
    """
    path = folder / REQUEST_FILE
    if not path.is_file():
        raise BadRequest(f"no study lies in {folder}", hints=["give the folder that --out named"], folder=str(folder))
    return store.read(TuneRequest, path)


def rebuild(request: TuneRequest, folder: Path, data: dict[str, str]) -> None:
    """Make a study's folder on another machine from the same files; they must hold the same rows.

    Raises:
        BadRequest: a file is missing here, or its rows are others.
    """
    sources = {**request.splits.sources, **data}
    absent = [path for path in sources.values() if not Path(path).exists()]
    if absent:
        raise BadRequest(
            f"this machine has no {absent[0]}",
            hints=["give the study's files as they lie here: --data, --eval-data, --test-data"],
            missing=absent,
        )
    rows, splits, _ = load_splits(
        sources["train"],
        sources.get("evaluation"),
        sources.get("test"),
        request.workload.task,
        seed=request.seed,
        columns=request.splits.columns,
    )
    other = [name for name in SPLITS if splits.sha256[name] != request.splits.sha256[name]]
    if other:
        raise BadRequest(f"the {other[0]} rows here are not the study's", hints=["copy its files to this machine"])
    local = request.model_copy(update={"spec": local_weights(request.spec)})
    write_request(local, rows, folder)


def local_weights(spec: ModelSpec) -> ModelSpec:
    """The model as this machine has it."""
    from advisor.catalog.models import resolve_model

    here = spec if spec.weights and Path(spec.weights).is_dir() else resolve_model(spec.asked)
    weights_folder(here)
    return here


def check_amounts(**given: float | None) -> None:
    """Refuse an amount that is no number above 0, by the name of its option."""
    for name, value in given.items():
        if value is not None and not 0 < value < math.inf:
            option = "--" + name.replace("_", "-")
            raise BadRequest(f"{option} must be a number above 0, not {value}", option=option)


def more_budget(budget: Budget, trials: int | None, hours: float | None, budget_usd: float | None) -> Budget:
    """The budget with other bounds in place of its own, where they are given.

    Raises:
        BadRequest: a bound that is no number above 0, or one in USD where no price is known.
    """
    check_amounts(trials=trials, hours=hours, budget_usd=budget_usd)
    _priced(budget_usd, budget.usd_per_hour)
    given = {"trials": trials, "seconds": hours * HOUR if hours else None, "usd": budget_usd}
    changed = {name: value for name, value in given.items() if value is not None}
    try:
        return Budget.model_validate(budget.model_dump() | changed)
    except ValidationError as error:
        raise refusal_of(error, given) from error


def _priced(usd: float | None, per_hour: float | None) -> None:
    if usd is not None and per_hour is None:
        raise BadRequest("a budget in USD needs a price", hints=["--usd-per-hour PRICE, or a --gpu with known prices"])


def _budget(query: TuneQuery, told: Recommendation | None) -> Budget:
    trials, hours, usd, per_hour = query.trials, query.hours, query.budget_usd, query.usd_per_hour
    if trials is None and hours is None and usd is None:
        trials = DEFAULT_TRIALS
    check_amounts(trials=trials, hours=hours, budget_usd=usd, usd_per_hour=per_hour)
    if per_hour is None and told is not None:
        offers = [o.usd_per_hour for o in told.choice.money.offers if o.spot == told.spot]
        # the first is the one whose cost was quoted: a cheaper one may be long out of date
        per_hour = told.hardware.usd_per_hour or (offers[0] if offers else None)
    _priced(usd, per_hour)
    return Budget(trials=trials, seconds=hours * HOUR if hours else None, usd=usd, usd_per_hour=per_hour)


def _workload(
    spec: ModelSpec,
    task: Task,
    splits: Splits,
    rows: dict[str, list[Row]],
    query: TuneQuery,
    told: Recommendation | None,
) -> tuple[Workload, list[str]]:
    """What to learn, with the lengths the rows really have."""
    batch, epochs, seq_len = query.effective_batch_size, query.epochs, query.seq_len
    if batch is not None and batch > splits.rows["train"]:
        raise BadRequest(
            f"--effective-batch-size {batch} is more than the {splits.rows['train']} training rows",
            hints=[f"at most: --effective-batch-size {splits.rows['train']}"],
            effective_batch_size=batch,
            rows=splits.rows["train"],
        )
    base = told.workload if told else None
    usual = base.effective_batch_size if base else min(USUAL_BATCH, splits.rows["train"])
    fields: dict[str, Any] = {
        "model": spec.name,
        "task": task,
        "task_type": base.task_type if base else ("classification" if task == "sequence-classification" else None),
        "samples": splits.rows["train"],
        "num_labels": max(2, len(splits.labels)),
        "epochs": epochs if epochs is not None else (base.epochs if base else 3.0),
        "effective_batch_size": batch if batch is not None else usual,
    }
    # sizes that make no sense are refused before the rows are measured
    Workload.model_validate(fields | ({"seq_len": seq_len} if seq_len is not None else {}))
    lengths, notes = lengths_of(spec, task, splits, rows, seq_len)
    return Workload.model_validate(fields | lengths), notes


def _suits(spec: ModelSpec, task: Task, data: str | None) -> None:
    """Refuse a task the model is not for; where the rows in `data` made it the task, labels may be misspelt there."""
    from advisor.assembly.base_model import auto_class
    from advisor.dataset import near_columns

    try:
        auto_class(spec, task)
    except BadRequest as error:
        hints = list(error.hints)
        if data is not None and task == "causal-lm":
            hints = [f"the rows of {data} have no label, which makes them rows for {task}", *near_columns(data), *hints]
        raise BadRequest(error.message, hints=hints, **error.fields) from error


def _names(method: Sequence[str], told: Recommendation | None) -> tuple[str, ...]:
    """The methods to search, `auto` being the recommended one, or the most studied where none is recommended."""
    auto = told.choice.recipe.method if told else UNSURE_METHOD
    return tuple(dict.fromkeys(find_method(auto if name == "auto" else name).name for name in method))


def _starts(
    spec: ModelSpec,
    workload: Workload,
    told: Recommendation | None,
    names: Sequence[str],
    fields: dict[str, Any],
) -> tuple[tuple[Start, ...], list[str]]:
    """The recipes to begin from: the recommendation's, or as published for methods named."""
    notes: list[str] = []
    if told is None and tuple(names) == (UNSURE_METHOD,):
        notes.append(f"method: {UNSURE_METHOD}, on this machine's CPU; --method A --method B searches several")
    starts: list[Start] = []
    for name in names:
        found = next((c for c in told.ranked if c.recipe.method == name), None) if told else None
        published = settings_published_for(name, spec, workload)
        settings = told.settings if told and found is told.choice else published
        recipe = found.recipe if found else plain_recipe(name, spec, workload, told, published)
        recipe = Recipe.model_validate(recipe.model_dump() | fields)
        recipe = in_precision(recipe, workload.task, fields)
        check_recipe(spec, recipe, workload)
        check_support(told.hardware.gpu if told else None, recipe, find_method(name), workload.task)
        check_trainer(spec, workload, recipe)
        starts.append(Start(recipe=recipe, settings=settings, predicted=found))
    return tuple(starts), notes


def _check_merge(recipes: Sequence[Recipe]) -> None:
    """Refuse to promise a merged model of what cannot be merged.

    Raises:
        BadRequest: with the first such method, or the base.
    """
    for recipe in recipes:
        if not find_method(recipe.method).mergeable:
            raise BadRequest(
                f"--merge: {recipe.method} is not a change of the weights", hints=["leave out --merge", "--method lora"]
            )
        if recipe.base != "dtype":
            hints = ["leave out --merge", "--base dtype"]
            raise BadRequest(f"--merge: nothing merges into a {recipe.base} base", hints=hints)


def _hardware(told: Recommendation | None) -> Hardware | None:
    """The GPU recommended for, where this machine has one; without any, its CPU."""
    if told is None:
        return None
    check_device(told.hardware.gpu.name)
    return told.hardware


def _recipe_fields(query: TuneQuery, task: Task) -> dict[str, Any]:
    """What the user sets of every recipe."""
    if query.head_learning_rate is not None and task != "sequence-classification":
        raise BadRequest(
            f"--head-learning-rate is of a new classification head, and {task} has none", hints=["--learning-rate RATE"]
        )
    names = ("learning_rate", "head_learning_rate", "trainer", *PRECISION, "base")
    return {name: value for name in names if (value := getattr(query, name)) is not None}


def _sampler(name: str) -> str:
    if name not in SAMPLERS:
        raise UnknownName.of("sampler", name, SAMPLERS, list_with="advisor tune --help")
    return name


def _pruner(query: TuneQuery, budget: Budget) -> str:
    """The pruner asked for, or the one that suits objectives, seeds and budget."""
    pruner = query.pruner
    if pruner == "auto":
        pruner = _fitting_pruner(budget, query.objectives, query.seeds or 1)
    if pruner not in PRUNERS:
        raise UnknownName.of("pruner", pruner, (*PRUNERS, "auto"), list_with="advisor tune --help")
    if len(query.objectives) > 1 and pruner != "none":
        raise BadRequest("several objectives cannot be pruned by one score", hints=["--pruner none"])
    if "quality" not in query.objectives:
        raise BadRequest("quality must be among the objectives", hints=["--objectives quality,time"])
    return pruner


def _fitting_pruner(budget: Budget, objectives: Sequence[str], seeds: int) -> str:
    if len(objectives) > 1:
        return "none"
    if seeds > 2:
        return "wilcoxon"
    return "hyperband" if budget.trials is None or budget.trials >= HYPERBAND_FROM else "median"


def _name(text: str) -> str:
    """A study's name as a folder may be called."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "study"
