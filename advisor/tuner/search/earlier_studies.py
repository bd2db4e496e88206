"""The user's own finished studies, as far as they tell of the one that begins: by what was searched, never by name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.catalog.findings.study_files import load_studies
from advisor.domain.findings import Study
from advisor.domain.recipe import Recipe
from advisor.domain.tuning import Dimension, Level, TunedStudy, TunedTrial
from advisor.domain.workload import Workload
from advisor.errors import BadFile
from advisor.tuner.search.space import METHOD, plain
from advisor.tuner.tune_request import REQUEST_FILE, EarlierStudy, EarlierTrial, TuneRequest

LEAST_TRIALS: Final = 6
"""Scored trials of the methods searched: of fewer the middle and the best are much the same."""
FARTHEST: Final = 10.0
"""Factor by which the numbers of rows may differ: rates and lengths of trainings move with them."""
WIDEST: Final = 3.0
"""Factor by which the models' widths may differ, ten times the parameters or a tenth: rates move with the width."""
MOST: Final = 16
"""Studies that are learned from, those of the most alike sizes."""
FILE: Final = "study.json"


def earlier_studies(request: TuneRequest) -> tuple[tuple[EarlierStudy, ...], str]:
    """What own finished studies came to, and a sentence that says so; both empty where none bears on the request.

    A study bears on it when it searched the same task by the same metric with one of the methods, on a model of the
    same architecture, and neither models nor data are of quite other sizes.
    """
    try:
        own = [study for study in load_studies() if study.own]
    except BadFile as error:
        return (), f"nothing is learned from earlier studies: {error.message}"
    found = [(far, one) for study in own for far, one in _read(study, request)]
    if not found:
        return (), ""
    kept = tuple(one for _, one in sorted(found, key=lambda pair: (pair[0], pair[1].folder))[:MOST])
    said = ", ".join(f"{one.name} ({len(one.trials)} trials, {one.samples:,} rows)" for one in kept[:3])
    more = f" and {len(kept) - 3} more" if len(kept) > 3 else ""
    return kept, f"steps after the first moves learn from your finished studies {said}{more}; --no-earlier-studies: not"


def _read(study: Study, request: TuneRequest) -> list[tuple[float, EarlierStudy]]:
    """(how far its sizes are off, the study), or nothing."""
    folder = Path(study.url.removeprefix("file:"))
    if not (folder / FILE).is_file() or not (folder / REQUEST_FILE).is_file():
        return []
    try:
        asked, whole = store.read(TuneRequest, folder / REQUEST_FILE), store.read(TunedStudy, folder / FILE)
    except BadFile:
        return []  # a folder of the user's, changed since: nobody asked for that study
    far = _far(asked, request)
    same = (asked.workload.task, asked.metric, asked.spec.architecture)
    if far is None or same != (request.workload.task, request.metric, request.spec.architecture):
        return []
    methods = {start.recipe.method for start in request.starts}
    index = whole.objectives.index("quality")
    sign = 1.0 if whole.higher_is_better else -1.0
    trials = tuple(
        EarlierTrial(levels=levels_of(trial, request.dimensions), score=sign * trial.values[index])
        for trial in whole.trials
        if trial.state == "complete" and trial.values and trial.method in methods
    )
    if len(trials) < LEAST_TRIALS:
        return []
    rows = asked.splits.rows["train"]
    return [(far, EarlierStudy(name=whole.name, folder=str(folder), samples=rows, trials=trials))]


def _far(asked: TuneRequest, request: TuneRequest) -> float | None:
    """The larger difference of sizes, as a share of what is allowed; None beyond that, or where a width is unknown."""
    if not asked.spec.hidden or not request.spec.hidden:
        return None
    width = abs(math.log(asked.spec.hidden / request.spec.hidden)) / math.log(WIDEST)
    rows = abs(math.log(asked.splits.rows["train"] / request.splits.rows["train"])) / math.log(FARTHEST)
    return far if (far := max(width, rows)) <= 1 else None


def levels_of(trial: TunedTrial, dimensions: Sequence[Dimension]) -> dict[str, Level]:
    """What a trial trained with, by the names of the settings searched now; what it does not tell is left out."""
    if trial.recipe is None or trial.workload is None:
        return {}
    found = {d.name: _level(d.name, trial.recipe, trial.workload) for d in dimensions}
    return {name: level for name, level in found.items() if level is not None}


def _level(name: str, recipe: Recipe, workload: Workload) -> Any:
    if name == METHOD:
        return recipe.method
    if name == "alpha_over_rank":
        rank, alpha = recipe.options.get("rank"), recipe.options.get("alpha")
        known = isinstance(rank, (int, float)) and isinstance(alpha, (int, float)) and rank > 0
        return float(alpha) / float(rank) if known else None  # type: ignore[arg-type]
    if name in ("epochs", "effective_batch_size"):
        return getattr(workload, name)
    return plain(getattr(recipe, name) if name in Recipe.model_fields else recipe.options.get(name))
