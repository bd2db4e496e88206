"""The space around a recommendation: which settings move, how far, where the search starts, and the way back.

Ranges come from the recommendation's settings (evidence) where it has them, else from the method's own file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Option
from advisor.catalog.optimizer_names import updates_in_backward
from advisor.domain.plain_values import is_list, is_tuple
from advisor.domain.recipe import Recipe
from advisor.domain.recommendation import Setting
from advisor.domain.tuning import Dimension, Level
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.literature.hyperparameters.training_length import SMALLEST_BATCH
from advisor.tuner.tune_request import Start

if TYPE_CHECKING:
    from optuna.trial import Trial

SHARED: Final = ("effective_batch_size", "epochs", "warmup_ratio", "weight_decay")
"""Settings every method has; the learning rate and a method's options are its own."""
SEARCHED: Final = (
    *("learning_rate", "head_learning_rate", "rank", "alpha_over_rank", "dropout", "target_modules"),
    *SHARED[:3],
)
"""What is searched unless said otherwise; any other setting is searched on request."""
RATIOS: Final = (0.5, 1.0, 2.0, 4.0)
"""alpha / rank: the convention alpha = 2 rank, alpha = rank, and half and twice of these."""
RATE_SPAN: Final = 10**0.75
"""The learning rate is searched at least this factor to both sides: published rates differ by data and model."""
RANK_SPAN: Final = 4
"""The rank is searched at least this factor to both sides: published ranks are of longer trainings."""
HEAD_HINTS: Final = {
    "head_learning_rate": ("none is published for it: --head-learning-rate RATE says where it starts",)
}
METHOD: Final = "method"
JOIN: Final = ","


def make_dimensions(
    starts: Sequence[Start],
    workload: Workload,
    searched: Sequence[str] | None = None,
    *,
    widest: int | None = None,
) -> tuple[Dimension, ...]:
    """The searched settings of one or several methods; no rank above `widest`, the model's hidden size.

    Raises:
        BadRequest: two starts with one method, or nothing to search.
    """
    names = [start.recipe.method for start in starts]
    if len(set(names)) < len(names):
        raise BadRequest(f"a method is given twice: {', '.join(names)}")
    wanted = tuple(searched or SEARCHED)
    found: list[Dimension] = []
    if len(starts) > 1:
        found.append(Dimension(name=METHOD, kind="choice", start=names[0], choices=tuple(names), why="asked for"))
    for start in starts:
        owner = start.recipe.method if len(starts) > 1 else None
        found.extend(d for name in _own(start, wanted) if (d := _own_dimension(start, name, owner, widest)))
    found.extend(d for name in wanted if name in SHARED and (d := _shared_dimension(starts[0], workload, name)))
    missing = [name for name in searched or () if not any(d.name == name for d in found)]
    if missing:
        known = sorted({*SHARED, "learning_rate", *(o for s in starts for o in find_method(s.recipe.method).options)})
        raise BadRequest(
            f"cannot search {missing[0]!r}: {names[0]} has no such setting, or it has one value only",
            hints=[f"one of: {', '.join(known)}", *HEAD_HINTS.get(missing[0], ())],
        )
    if not found:
        raise BadRequest(f"{names[0]} has no setting to search")
    return tuple(found)


def suggest(trial: Trial, dimensions: Sequence[Dimension]) -> dict[str, Level]:
    """Ask the sampler for every dimension that the chosen method has; key -> value."""
    params: dict[str, Level] = {}
    for d in dimensions:
        if d.method is not None and params.get(METHOD, d.method) != d.method:
            continue
        if d.kind == "choice":
            params[d.key] = trial.suggest_categorical(d.key, [plain(c) for c in d.choices])
        elif d.kind == "int":
            assert d.low is not None
            assert d.high is not None
            params[d.key] = trial.suggest_int(d.key, int(d.low), int(d.high), log=d.log)
        else:
            assert d.low is not None
            assert d.high is not None
            params[d.key] = trial.suggest_float(d.key, d.low, d.high, log=d.log)
    return params


def apply(
    params: Mapping[str, Any], dimensions: Sequence[Dimension], starts: Sequence[Start], workload: Workload
) -> tuple[Recipe, Workload]:
    """The recipe and workload that the parameters of one trial stand for."""
    method = params.get(METHOD, starts[0].recipe.method)
    recipe = next(start.recipe for start in starts if start.recipe.method == method)
    options = dict(recipe.options)
    fields: dict[str, Any] = {}
    work: dict[str, Any] = {}
    for d in dimensions:
        if d.name == METHOD or (d.method is not None and d.method != method) or d.key not in params:
            continue
        value = params[d.key]
        if d.name in ("epochs", "effective_batch_size"):
            work[d.name] = value
        elif d.name in Recipe.model_fields:
            fields[d.name] = value
        elif d.name != "alpha_over_rank":
            options[d.name] = value.split(JOIN) if isinstance(value, str) and JOIN in value else value
    ratio = next((params[d.key] for d in dimensions if d.name == "alpha_over_rank" and d.key in params), None)
    if ratio is not None and "rank" in find_method(method).options:
        rank = options.get("rank", find_method(method).options["rank"].default)
        options["alpha"] = max(1, round(ratio * rank))
    workload = workload.model_copy(update=work)
    fields |= _batch(recipe, workload.effective_batch_size)
    return recipe.model_copy(update={**fields, "options": options}), workload


def start_params(dimensions: Sequence[Dimension], method: str | None = None) -> dict[str, Level]:
    """The parameters of the recommendation itself, or of another method's start."""
    chosen = method or next((d.start for d in dimensions if d.name == METHOD), None)
    params: dict[str, Level] = {}
    for d in dimensions:
        if d.name == METHOD:
            params[d.key] = chosen
        elif d.method is None or d.method == chosen:
            params[d.key] = plain(d.start)
    return params


def plain(level: Level) -> Any:
    """A level as Optuna stores it: a list of module names becomes one string."""
    return JOIN.join(level) if isinstance(level, (tuple, list)) else level


def _own(start: Start, wanted: Sequence[str]) -> list[str]:
    """The wanted settings that belong to the method itself."""
    options = find_method(start.recipe.method).options
    names = [n for n in wanted if n == "learning_rate" or n in options]
    if "head_learning_rate" in wanted and start.recipe.head_learning_rate is not None:
        names.append("head_learning_rate")
    if "alpha_over_rank" in wanted and {"rank", "alpha"} <= options.keys() and "alpha" not in wanted:
        names.append("alpha_over_rank")
    return names


def _setting(start: Start, name: str) -> Setting | None:
    return next((s for s in start.settings if s.name == name), None)


def _own_dimension(start: Start, name: str, owner: str | None, widest: int | None) -> Dimension | None:
    method, recipe, said = find_method(start.recipe.method), start.recipe, _setting(start, name)
    if name == "alpha_over_rank":
        rank = recipe.options.get("rank") or method.options["rank"].default
        alpha = recipe.options.get("alpha") or method.options["alpha"].default
        ratio = (
            float(alpha) / float(rank) if isinstance(alpha, (int, float)) and isinstance(rank, (int, float)) else 2.0
        )
        choices = tuple(sorted({*RATIOS, ratio}))
        return Dimension(name=name, kind="choice", start=ratio, choices=choices, method=owner, why="usual scalings")
    rates = {"learning_rate": recipe.learning_rate, "head_learning_rate": recipe.head_learning_rate}
    option = method.learning_rate if name in rates else method.options[name]
    value = rates[name] if name in rates else recipe.options.get(name)
    if name == "head_learning_rate" and said is None:
        said = Setting(name=name, value=value, low=value, high=value, why="around the one asked for")
    if value is None:
        value = said.value if said is not None and said.value is not None else option.default
    if is_list(value):
        value = tuple(value)
    return _dimension(name, value, option, said, owner, widest)


def _dimension(
    name: str, value: Any, option: Option, said: Setting | None, owner: str | None, widest: int | None
) -> Dimension | None:
    """A range or choice around `value`, or None where there is nothing to choose."""
    why, sources = (said.why, said.sources) if said else (option.says, (option.source.address,))
    # targets that others printed name their own models' modules; the method's groups fit every model
    choices: tuple[Any, ...] = (said.choices if said and name != "target_modules" else ()) or option.choices
    if choices or isinstance(value, (str, bool)) or is_tuple(value):
        choices = tuple(dict.fromkeys((value, *(tuple(c) if is_list(c) else c for c in choices))))
        if len(choices) < 2:
            return None
        return Dimension(name=name, kind="choice", start=value, choices=choices, method=owner, why=why, sources=sources)
    low = said.low if said and said.low is not None else option.low
    high = said.high if said and said.high is not None else option.high
    if not isinstance(value, (int, float)) or low is None or high is None:
        return None
    low, high = min(low, value), max(high, value)
    if name in ("learning_rate", "head_learning_rate"):
        low, high = min(low, value / RATE_SPAN), max(high, value * RATE_SPAN)
    whole = isinstance(option.default, int) and not isinstance(option.default, bool) and float(value).is_integer()
    if whole and name in ("rank", "initial_rank", "final_rank"):
        least, most = max(low, value / 8), min(high, value * 8)
        most = min(max(most, value * RANK_SPAN), option.high or most, widest or most)
        powers = tuple(2**k for k in range(12) if min(least, value / RANK_SPAN) <= 2**k <= most)
        levels = tuple(sorted({*powers, int(value)}))
        if len(levels) < 2:
            return None
        return Dimension(
            name=name, kind="choice", start=int(value), choices=levels, method=owner, why=why, sources=sources
        )
    if not low < high:
        return None
    return Dimension(
        name=name,
        kind="int" if whole else "float",
        start=int(value) if whole else float(value),
        low=low,
        high=high,
        log=option.log and low > 0,
        method=owner,
        why=why,
        sources=sources,
    )


def _shared_dimension(start: Start, workload: Workload, name: str) -> Dimension | None:
    said = _setting(start, name)
    why, sources = (said.why, said.sources) if said else ("half to twice the recommended value", ())
    if name == "effective_batch_size":
        at = workload.effective_batch_size
        most = max(at, (workload.samples or at * 4) // 4)
        levels = tuple(sorted({at, *(b for b in (at // 4, at // 2, at * 2, at * 4) if SMALLEST_BATCH <= b <= most)}))
        if len(levels) < 2:
            return None
        return Dimension(name=name, kind="choice", start=at, choices=levels, why=why, sources=sources)
    if name == "epochs":
        low, high = workload.epochs / 2, workload.epochs * 2.5
        if said and said.low is not None and said.high is not None and said.low <= workload.epochs <= said.high:
            low, high = max(said.low, low), min(said.high, high)
        return _range(name, workload.epochs, low, high, True, why, sources)
    value = float(getattr(start.recipe, name))
    low, high = (0.0, 0.2) if name == "warmup_ratio" else (0.0, 0.1)
    if said and said.low is not None and said.high is not None:
        low, high = said.low, said.high
    return _range(name, value, low, high, False, why, sources)


def _range(
    name: str, at: float, low: float, high: float, log: bool, why: str, sources: tuple[str, ...]
) -> Dimension | None:
    low, high = min(low, at), max(high, at)
    if not low < high:
        return None
    return Dimension(name=name, kind="float", start=at, low=low, high=high, log=log, why=why, sources=sources)


def _batch(recipe: Recipe, effective: int) -> dict[str, int]:
    """The micro-batch the recipe was priced with, or less, times the accumulation that makes the effective batch."""
    micro = effective if updates_in_backward(recipe.optimizer) else min(recipe.micro_batch_size, effective)
    while effective % micro:
        micro -= 1
    return {"micro_batch_size": micro, "gradient_accumulation": effective // micro}
