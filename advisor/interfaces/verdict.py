"""The answer in words, the same in every face: fits or not and with how much room, hours, money, quality, how sure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from advisor.domain.units import duration, gib, plural
from advisor.interfaces.amounts import amount, show, span

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate, SearchCost
    from advisor.domain.quantity import Quantity
    from advisor.domain.recipe import Recipe
    from advisor.domain.recommendation import Recommendation, Setting

Fact = tuple[str, str]
"""A name of one word and what is said under it."""

TO_FIT: Final = "to fit"
"""The name of what makes a recipe fit that does not."""
SETTINGS_TOLD: Final = ("learning_rate", "rank", "alpha", "target_modules")
"""Recommended settings that stand in a short answer; batch and epochs are said in words."""


def of_recommendation(found: Recommendation) -> str:
    """One sentence: what to use, whether it fits and with how much room, how long, for how much."""
    choice = found.choice
    return (
        f"Use {way(choice.recipe)} for {found.workload.model} on {place(choice)}: {_in_short(choice, spot=found.spot)}."
    )


def of_candidate(candidate: Candidate) -> str:
    """One sentence: whether a recipe fits and with how much room, how long, for how much."""
    return f"{way(candidate.recipe)} for {candidate.workload.model} on {place(candidate)}: {_in_short(candidate)}."


def way(recipe: Recipe) -> str:
    """The method and what is unusual of how it is trained: `lora on a nf4 base`, `full with adafactor`."""
    base = "" if recipe.base == "dtype" else f" on a {recipe.base} base"
    mixed = f" in {recipe.precision}" if recipe.mixed and not base else ""
    plain = type(recipe).model_fields["optimizer"].default
    optimizer = "" if recipe.optimizer == plain else f" with {recipe.optimizer}"
    return f"{recipe.method}{base}{mixed}{optimizer}"


def place(candidate: Candidate) -> str:
    """The card, or how many and how the job is spread over them: `8 x H100-SXM (fsdp2, 2 nodes)`."""
    if candidate.gpu_count == 1:
        return candidate.gpu
    told = [str(candidate.sharding)] if candidate.sharding else []
    told += [plural(candidate.nodes, "node")] if candidate.nodes > 1 else []
    return f"{candidate.gpu_count} x {candidate.gpu}" + (f" ({', '.join(told)})" if told else "")


def fitting(candidate: Candidate) -> str:
    """`fits, 13.6 GiB to spare`; where the interval reaches beyond the limit, that it may not."""
    peak, limit = candidate.memory.peak_device, candidate.limit_bytes
    if not candidate.fits:
        return f"does not fit, {gib(peak.mid - limit)} too much"
    spare = f"{gib(limit - peak.mid)} to spare" + (" on each" if candidate.gpu_count > 1 else "")
    if peak.high > limit:
        return f"should fit, {spare}, but may need up to {gib(peak.high)}"
    return f"fits, {spare}"


def _in_short(candidate: Candidate, *, spot: bool = False) -> str:
    parts = [fitting(candidate)]
    training, paid = candidate.time.wall(spot=spot), candidate.money.at(spot=spot)
    parts.append(f"{duration(candidate.time.step.mid)} a step" if training is None else duration(training.mid))
    parts.extend([amount(paid.mid, paid.unit)] if paid is not None else [])
    return ", ".join(parts)


def facts(candidate: Candidate, *, spot: bool = False) -> Iterator[Fact]:
    """What the sentence rests on, each with its interval: memory, time, money, quality, batch, basis."""
    yield "memory", f"{show(candidate.memory.peak_device, basis=False)} of {gib(candidate.limit_bytes)} allowed"
    yield "time", _time(candidate)
    paid = candidate.money.at(spot=spot)
    if paid is not None:
        yield "money", f"{show(paid, basis=False)}, {paid.why}"
    elif candidate.time.training is not None:
        yield "money", f"unknown: {candidate.money.note or 'no price'}"
    if candidate.time.on_spot is not None:
        yield "spot", _on_spot(candidate, candidate.time.on_spot)
    if candidate.search is not None:
        yield "search", _search(candidate.search)
    if candidate.quality is not None:
        effect, within = candidate.quality.effect, candidate.quality.within_one_point
        interval = f" ({span(effect)})" if effect.low < effect.high else ""
        yield "quality", f"{amount(effect.mid, 'score')} points against full{interval}, {within:.0%} to lose under 1"
    recipe, workload = candidate.recipe, candidate.workload
    size = workload.size_in_words if workload.task == "denoising" else f"up to {workload.seq_len} tokens"
    batch = f"{recipe.micro_batch_size} x {recipe.gradient_accumulation} samples of {size}"
    yield "train", f"{batch}, {recipe.precision}, {'' if recipe.gradient_checkpointing else 'no '}checkpointing"
    yield "sure", sureness(candidate)
    told = (*candidate.facts.get("to_fit", ()), candidate.facts.get("to_fit_note"))
    yield from ((TO_FIT, str(text)) for text in told if text)


def _time(candidate: Candidate) -> str:
    time, workload = candidate.time, candidate.workload
    steps = workload.optimizer_steps()
    if time.training is None or steps is None:
        return f"{show(time.step, basis=False)} a step; hours and money need a number of samples"
    said = f"{plural(workload.epochs, 'epoch')}, {plural(steps, 'step')} of {amount(time.step.mid, 's')}"
    return f"{show(time.training, basis=False)}, {said}"


def _on_spot(candidate: Candidate, wall: Quantity) -> str:
    """Time and money with interruptions, against those on demand."""
    money, why = candidate.money, wall.why.partition("; ")[0]
    cost = "no spot price is known" if money.spot is None else show(money.spot, basis=False)
    against = [] if money.on_demand is None else [amount(money.on_demand.mid, money.on_demand.unit)]
    against += [] if candidate.time.training is None else [duration(candidate.time.training.mid)]
    return f"{show(wall, basis=False)}, {cost}; on demand {', '.join(reversed(against))}; {why}"


def _search(cost: SearchCost) -> str:
    """Hours and money of all trials and finals, and what one trial is of them."""
    finals = f" and {plural(cost.finals, 'final')}" if cost.finals else ""
    usd = "no price is known" if cost.usd is None else show(cost.usd, basis=False)
    spot = "" if cost.on_spot is None else f"; on spot {show(cost.on_spot, basis=False)}"
    spot += "" if cost.on_spot is None or cost.spot_usd is None else f", {show(cost.spot_usd, basis=False)}"
    each = f"a trial {duration(cost.trial.mid)} with its scorings, one at a time"
    return f"{plural(cost.trials, 'trial')}{finals}: {show(cost.seconds, basis=False)}, {usd}{spot}; {each}"


def sureness(candidate: Candidate) -> str:
    """On what memory and time stand, and the last reason given for the time."""
    memory, time = candidate.memory.peak_device, candidate.time.step
    return f"memory {memory.basis}, time {time.basis} ({time.why.rpartition('; ')[2]})"


def settings(found: Recommendation) -> str:
    """The settings to start with, in one line; their ranges and sources belong to the long answer."""
    told = [setting for setting in found.settings if setting.name in SETTINGS_TOLD]
    return ", ".join(f"{setting.name} {said_value(setting)}" for setting in told)


def said_value(setting: Setting) -> str:
    """A setting's value for a reader."""
    return f"{setting.value:g}" if isinstance(setting.value, float) else str(setting.value)


def quality_of(candidate: Candidate) -> Quantity | None:
    """Expected points against full fine-tuning; None where nothing is known."""
    return None if candidate.quality is None else candidate.quality.effect


def unresolved(notes: tuple[str, ...]) -> Iterator[str]:
    """Notes that a short answer keeps: all but how the model was found and what the figures are based on.

    A card that was named as the catalogue has it stands in the first sentence already.
    """
    for note in notes:
        plain_card = note.startswith("GPU: ") and "(" not in note
        if not plain_card and not note.startswith(("assumed: ", "memory: ", "time: ", "model: ")):
            yield note
