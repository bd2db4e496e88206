"""What one training takes on one GPU: asked of the estimator or the recommender, each question once.

`price_training` is the one place where the planner asks them; another way to price a job on an offer goes in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from advisor.domain.candidate import Candidate, Money
from advisor.domain.quantity import Quantity
from advisor.domain.request.verb_options import EstimateOptions, RecommendOptions
from advisor.domain.units import plural
from advisor.errors import BadRequest, DoesNotFit, UnknownName, UnsupportedModel
from advisor.planner.files.jobs_file import FOR_ESTIMATE

FOR_RECOMMEND: Final = frozenset(RecommendOptions.__annotations__) - frozenset(EstimateOptions.__annotations__)
OF_LENGTH: Final = frozenset(("samples", "epochs"))
"""Keys that change the number of steps alone, where the whole recipe is given."""


@dataclass(frozen=True, slots=True)
class PricedTraining:
    """One training on one GPU, or why there is none. `seconds` is of the whole training."""

    seconds: Quantity | None
    candidate: Candidate | None = None
    kind: str = ""
    reason: str = ""
    would: tuple[str, ...] = ()
    cards: int = 1
    """Devices that it takes at a time."""


PriceTraining = Callable[[Mapping[str, Any], str], PricedTraining]
"""From the keys of a job (model, samples, recipe, `gpus` where it is more than one) and a GPU's name."""


def price_training(question: Mapping[str, Any], gpu: str) -> PricedTraining:
    """One training on one GPU, or on so many of them: of the recipe given, or of the one that is recommended there.

    Raises:
        UnknownName, UnsupportedModel: no such model, method ...; of no use on another GPU either.
    """
    asked = {key: value for key, value in question.items() if not (key == "method" and value == "auto")}
    try:
        candidate = _candidate(asked, gpu)
    except (UnknownName, UnsupportedModel):
        raise
    except DoesNotFit as error:
        return PricedTraining(None, kind="does-not-fit", reason=error.message, would=error.hints)
    except BadRequest as error:
        reason = f"{error.message}{f' ({error.cause})' if error.cause else ''}"
        return PricedTraining(None, kind="cannot-run", reason=reason, would=error.hints)
    if candidate.time.training is None:
        return PricedTraining(None, kind="cannot-run", reason="without samples or data there is no training time")
    if not candidate.fits:
        need, limit = candidate.memory.peak_device.mid / 2**30, candidate.limit_bytes / 2**30
        reason = f"{candidate.recipe.method} as given needs {need:.1f} GiB on {candidate.gpu}, has {limit:.1f} GiB"
        would = ("leave batch_size out, and a batch that fits is chosen", "a GPU with more memory: advisor gpus")
        return PricedTraining(None, kind="does-not-fit", reason=reason, would=would)
    return PricedTraining(candidate.time.training, candidate)


def _candidate(asked: Mapping[str, Any], gpu: str) -> Candidate:
    """PricedTraining as given where a key says more than the recommender takes; else chosen by it."""
    cards = int(asked.get("gpus", 1))
    whole, open_ = (sorted(set(asked) & keys) for keys in (FOR_ESTIMATE, FOR_RECOMMEND))
    if whole and open_:
        raise BadRequest(
            f"{whole[0]} is of a recipe that is given, {open_[0]} of one that is to be chosen",
            hints=[f"leave out {', '.join(whole)}, or say samples and seq_len in the place of {', '.join(open_)}"],
        )
    model = str(asked["model"])
    rest = {key: value for key, value in asked.items() if key != "model"}
    if whole:
        from advisor.estimator.estimate import estimate

        return estimate(model, gpu, **rest)
    from advisor.recommender.recommend import recommend_on

    rest.pop("gpus", None)
    return recommend_on(model, gpu, cards, **rest).choice


class JobPrices:
    """Prices of one plan's jobs, each question asked once; recipes that differ in length alone are asked as one."""

    def __init__(
        self, price: PriceTraining = price_training, on_progress: Callable[[int, int, str], None] | None = None
    ):
        self._price = price
        self._on_progress = on_progress
        self._known: dict[tuple[str, str], PricedTraining] = {}

    def ask(self, pairs: list[tuple[Mapping[str, Any], str]]) -> list[PricedTraining]:
        """The price of each pair of question and GPU, in their order.

        Raises:
            UnknownName, UnsupportedModel: as `price_training`.
        """
        keys = [(_key(question), gpu) for question, gpu in pairs]
        missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self._known}
        for done, (key, (question, gpu)) in enumerate(missing.items()):
            if self._on_progress is not None:
                self._on_progress(done, len(missing), f"{question.get('model', '')} on {gpu}")
            self._known[key] = self._price(question, gpu)
        if missing and self._on_progress is not None:
            self._on_progress(len(missing), len(missing), "placing the jobs")
        return [_of_length(self._known[key], question) for key, (question, _) in zip(keys, pairs, strict=True)]


def _key(question: Mapping[str, Any]) -> str:
    """The question as text; without its length where the recipe is given, since a step then takes what it takes."""
    given = set(question) & FOR_ESTIMATE and "samples" in question
    kept = {key: value for key, value in question.items() if not (given and key in OF_LENGTH)}
    return json.dumps(kept, sort_keys=True, default=str)


def _of_length(priced: PricedTraining, question: Mapping[str, Any]) -> PricedTraining:
    """The same recipe trained on as many samples and epochs as this question says."""
    candidate = priced.candidate
    if candidate is None or not (set(question) & FOR_ESTIMATE and "samples" in question):
        return priced
    said = {key: question[key] for key in OF_LENGTH if key in question}
    workload = candidate.workload.model_copy(update=said)
    if workload == candidate.workload:
        return priced
    steps = workload.optimizer_steps() or 1
    seconds = candidate.time.step.times(steps, "s", plural(steps, "step"))
    time = candidate.time.model_copy(update={"training": seconds})
    money = Money(note="the plan says what it costs")
    return PricedTraining(seconds, candidate.model_copy(update={"workload": workload, "time": time, "money": money}))
