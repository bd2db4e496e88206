"""`advisor recommend`: the method, batch, precision and settings to use, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

import advisor
from advisor.domain.request.command_options import RecommendCommand
from advisor.domain.units import gib, plural, weakest
from advisor.errors import BadRequest
from advisor.interfaces.amounts import amount, stacked
from advisor.interfaces.cli.click_options import given, options_of, required
from advisor.interfaces.cli.export import deliver
from advisor.interfaces.cli.output import emit, fitted, grid, progress
from advisor.interfaces.report.report_writer import report_writer
from advisor.interfaces.terminal.answer import recommended
from advisor.interfaces.terminal.live_rows import rows_as_priced

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate
    from advisor.domain.recipe import Recipe
    from advisor.domain.recommendation import AbilityLost, GpuOption, Recommendation, Setting


SAID_ONCE = ("ckpt", "base", "merges", "basis")
FIRST_OUT = ("basis", "merges", "ckpt", "≥ full-1", "base", "step", "batch")
SHORT = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@click.command("recommend")
@options_of(RecommendCommand)
def command(
    explain: bool,
    target: str | None,
    out: str | None,
    report: str | None,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> None:
    """The method, batch, precision and settings to use, with reasons and what would change them.

    Without --samples or --data there is no training time and no cost, and quality is an average over sizes.

    \b
    Examples:
      advisor recommend --model meta-llama/Llama-3.1-8B --gpu H100 --samples 2000
      advisor recommend --model Qwen/Qwen2.5-7B --gpu L4 --samples 5000 --budget-usd 20 --must-merge
      advisor recommend --model google-bert/bert-base-uncased --gpu T4 --samples 500 --task-type NLU --explain
      advisor recommend --model Qwen/Qwen2.5-7B --gpu L4 --data train.jsonl --export trl -o trl.yaml
      advisor recommend --model meta-llama/Llama-3.1-8B --gpu H100 --samples 2000 --report report.html
      advisor recommend --model Qwen/Qwen2.5-7B --gpu any --samples 5000 --gpu-memory-max 48GB --deadline-hours 8
    """
    asked = given(arguments)
    required(asked, "model", *(() if asked.keys() & {"gpu_memory_max", "max_usd_per_hour"} else ("gpu",)))
    if (out is not None and target is None) or (force and target is None and report is None):
        raise BadRequest("--out and --force go with --export", hints=["for example: --export trl -o trl.yaml"])
    write_report = report_writer(report, force=force)
    if as_json:
        with progress("pricing") as advance:
            found = advisor.recommend(**asked, on_progress=advance)
    else:
        with rows_as_priced("pricing") as (advance, priced):
            found = advisor.recommend(**asked, on_progress=advance, on_priced=priced)
    write_report(found)
    if target is not None:
        deliver(
            advisor.export(found, to=target, data=asked.get("data"), model=asked["model"]),
            out,
            force=force,
            as_json=as_json,
        )
        return
    emit(found, as_json, explained if explain else recommended)


def recommendation_table(found: Recommendation) -> Iterator[Any]:
    """The choice in a sentence, the ranking, its settings, why, and what would change it."""
    choice, recipe = found.choice, found.choice.recipe
    base = "" if recipe.base == "dtype" else f" on a {recipe.base} base"
    mixed = f" in {recipe.precision}" if recipe.mixed and not base else ""
    optimizer = "" if recipe.optimizer == "adamw_torch" else f" with {recipe.optimizer}"
    checkpointing = "with" if recipe.gradient_checkpointing else "without"
    yield (
        f"Use {recipe.method}{base}{mixed}{optimizer} for {found.workload.model} on {choice.gpu}: "
        f"{recipe.micro_batch_size} x {recipe.gradient_accumulation} samples a step, {checkpointing} checkpointing."
    )
    yield from _cards(found)
    yield from _ranking(found)
    paid = choice.money.at(spot=found.spot)
    if paid is not None:
        yield f"price   {choice.recipe.method}: {paid.why}"
        yield ""
    yield from _section("settings", tuple(_in_brief(found)))
    yield from _section("why", found.why)
    yield from _section("would change it", found.would_change)
    from advisor.recommender.prices.point_prices import in_words

    yield from _section("a point of quality", tuple(in_words(found.point_prices)))
    if found.refused:
        refusals = [(r.method, r.kind, r.reason) for r in found.refused]
        yield grid(("not offered", "because", ""), refusals)
    yield f"policy  {found.policy}"
    yield from (f"note    {note}" for note in found.notes if not note.startswith("assumed: "))


def _ranking(found: Recommendation) -> Iterator[Any]:
    """One row a candidate. What is the same for all is said once, what is unknown for all not at all."""
    rows = [{"": str(number), **_cells(c, spot=found.spot)} for number, c in enumerate(found.ranked, 1)]
    known = [name for name in rows[0] if any(row[name] not in ("unknown", "") for row in rows)]
    same = [name for name in SAID_ONCE if name in known and len(rows) > 1 and len({row[name] for row in rows}) == 1]
    columns = [name for name in known if name not in same]
    cells = [[row[name] for name in columns] for row in rows]
    yield from fitted(columns, cells, first_out=FIRST_OUT, right="step,≥ full-1")
    if same:
        yield f"all     {', '.join(f'{name}: {rows[0][name]}' for name in same)}"
    yield ""


def _cards(found: Recommendation) -> Iterator[Any]:
    """One row a card of a search, those on the front of time and money marked; then those refused."""
    if not found.gpus:
        return
    able = [(option, option.candidate) for option in found.gpus if option.candidate is not None]
    rows = [
        (
            f"{_times(option)}{option.gpu}{f', {option.sharding}' if option.sharding else ''}",
            candidate.recipe.method,
            f"{candidate.recipe.micro_batch_size} x {candidate.recipe.gradient_accumulation}",
            stacked(candidate.memory.peak_device),
            stacked(candidate.time.training or candidate.time.step),
            "unknown" if option.usd_per_hour is None else f"{option.usd_per_hour:.2f}",
            stacked(candidate.money.at(spot=found.spot)),
            "*" if option.on_front else "",
        )
        for option, candidate in able
    ]
    timed = "training" if found.workload.samples is not None else "step"
    headings = ("GPU", "method", "batch", "peak memory", timed, "USD/h", "cost", "front")
    yield from fitted(headings, rows, first_out=("batch", "peak memory", "method"), right="USD/h")
    yield "front   *: no other card is both faster and cheaper"
    refused = [option for option in found.gpus if option.candidate is None]
    yield from (f"not     {_times(option)}{option.gpu}: {option.refusal}" for option in refused)
    yield ""


def _times(option: GpuOption) -> str:
    return "" if option.gpu_count == 1 else f"{option.gpu_count} x "


def _cells(candidate: Candidate, *, spot: bool) -> dict[str, str]:
    recipe, quality = candidate.recipe, candidate.quality
    basis = weakest(candidate.memory.peak_device.basis, candidate.time.step.basis)
    return {
        "method": recipe.method,
        "batch": f"{recipe.micro_batch_size} x {recipe.gradient_accumulation}",
        "ckpt": "yes" if recipe.gradient_checkpointing else "no",
        "base": _stored(recipe),
        "peak memory": stacked(candidate.memory.peak_device),
        "step": amount(candidate.time.step.mid, "s"),
        "training": stacked(candidate.time.training),
        "spot cost" if spot else "cost": stacked(candidate.money.at(spot=spot)),
        "vs full": "unknown" if quality is None else stacked(quality.effect),
        "≥ full-1": "" if quality is None else f"{quality.within_one_point:.0%}",
        "merges": _merges(candidate),
        "basis": basis,
    }


def _stored(recipe: Recipe) -> str:
    """What the base's weights are loaded in; `fp32, bf16 math` under autocast."""
    if recipe.base != "dtype":
        return recipe.base
    stored, math = SHORT[recipe.dtype], SHORT[recipe.compute_dtype]
    return stored if not recipe.mixed else f"{stored}, {math} {'math' if stored != math else 'autocast'}"


def _merges(candidate: Candidate) -> str:
    if candidate.recipe.method == "full":
        return "is whole"
    return "yes" if candidate.facts.get("mergeable") else "no"


def _in_brief(found: Recommendation) -> Iterator[str]:
    """The settings with their ranges, a few a line."""
    said: list[str] = []
    for setting in found.settings:
        name, value, span, _ = _setting(setting)
        ranged = setting.low is not None and setting.low != setting.high
        said.append(f"{name} {value}{f' ({span})' if ranged else ''}")
    for start in range(0, len(said), 5):
        yield ", ".join(said[start : start + 5])


def _setting(setting: Setting) -> tuple[str, str, str, str]:
    if setting.low is not None and setting.high is not None:
        span = f"{setting.low:g}–{setting.high:g}"
    else:
        span = ", ".join(setting.choices)
    value = f"{setting.value:g}" if isinstance(setting.value, float) else str(setting.value)
    return setting.name, value, span, setting.why + (f" [conflict: {setting.conflict}]" if setting.conflict else "")


def _section(title: str, lines: tuple[str, ...]) -> Iterator[str]:
    if lines:
        yield title
        yield from (f"  - {line}" for line in lines)
        yield ""


def explained(found: Recommendation) -> Iterator[Any]:
    """The table, then the studies behind each candidate, the sources of the settings, and all assumptions."""
    yield from recommendation_table(found)
    yield ""
    for candidate in found.ranked:
        quality = candidate.quality
        if quality is None:
            continue
        yield f"evidence for {candidate.recipe.method}: {quality.evidence}"
        yield from (f"  ! {warning}" for warning in quality.warnings)
        if quality.citations:
            rows = [(c.study, f"{c.weight:.0%}", c.says, c.url) for c in quality.citations]
            yield grid(("study", "weight", "says", "address"), rows, right="weight")
    yield from _side_effects(found)
    if found.settings:
        yield grid(("setting", "value", "range", "why"), [_setting(s) for s in found.settings])
    sources = [(s.name, source) for s in found.settings for source in s.sources]
    if sources:
        yield grid(("setting", "source"), sources)
    yield from _section("assumed", tuple(n.removeprefix("assumed: ") for n in found.notes if n.startswith("assumed: ")))


def _side_effects(found: Recommendation) -> Iterator[Any]:
    """What each method takes to serve, and what studies measured it to forget."""
    for one in found.side_effects:
        beside = "" if one.beside_base is None else f", {one.beside_base:,} of them beside the base (no cache counted)"
        yield f"side effects of {one.method}: {gib(one.adapter_bytes)} a task{beside}; latency {one.latency}"
        yield f"  serving: {one.serving}; throughput {one.throughput}"
        if not one.lost:
            yield "  general ability lost: unknown, no study measured it"
        yield from (f"  general ability: {_ability(lost)}" for lost in one.lost)


def _ability(one: AbilityLost) -> str:
    said: list[str] = []
    if one.kept is not None:
        said.append(f"{one.kept:+.3g}{_interval(one.kept_low, one.kept_high)} against full fine-tuning")
    if one.lost is not None:
        said.append(f"{-one.lost:+.3g}{_interval_below(one)} against the untouched model")
    told = ", ".join(said)
    return f"{told}, {one.unit}; {one.measure}, {plural(one.settings, 'setting')} of {one.study} <{one.url}>"


def _interval_below(one: AbilityLost) -> str:
    return "" if one.lost_low is None or one.lost_high is None else _interval(-one.lost_high, -one.lost_low)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:+.3g} to {high:+.3g})"
