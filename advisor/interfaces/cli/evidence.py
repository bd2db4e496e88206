"""`advisor evidence`: what published studies found, what follows for a new task, and how much data a target needs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.catalogue_options import EvidenceCommand
from advisor.errors import BadFile, BadRequest
from advisor.interfaces.amounts import show
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import emit, grid

if TYPE_CHECKING:
    from advisor.domain.candidate import Quality
    from advisor.domain.recommendation import Setting
    from advisor.literature.data_scale import CurvePoint, DataNeeded
    from advisor.literature.evidence import Evidence
    from advisor.literature.forgetting import Forgetting


@click.command("evidence")
@options_of(EvidenceCommand)
def command(as_json: bool, **asked: Any) -> None:
    """What published studies found, and what it predicts.

    Effects are points (0-100) against full fine-tuning of the same model on the same data; the interval is
    90 % for a study that nobody has seen, whose authors may propose the method and may not have tuned its rate.
    Without an option the nearest findings are listed.

    \b
    Examples:
      advisor evidence --method lora --architecture decoder --model-params 8e9 --samples 2000
      advisor evidence --method dora --settings --architecture decoder --model-params 8e9
      advisor evidence --curve prompt-tuning --architecture decoder --model-params 8e9
      advisor evidence --pilot 100:0.61,400:0.68 --target 0.75
      advisor evidence --forgetting lora
      advisor evidence --studies

    \b
    --predict answers each line of its file in order, a bad one with an error. A line:
      {"architecture": "decoder", "model_params": 8e9, "task_type": "math",
       "n_train_samples": 2000, "method": "dora"}
    The sizes and trainable_parameters (a number or "0.3%") may be null or missing, as may
    own_method and learning_rate_tuned, which then stand at their averages over studies.
    """
    if asked["fit"]:
        _fit(as_json)
    elif asked["predict"]:
        _predict(asked["predict"])
    elif asked["pilot"] or asked["target"] is not None:
        _needed(asked["pilot"], asked["target"], as_json)
    elif asked["curve"]:
        _curve(asked, as_json)
    elif asked["forgetting"]:
        _forgetting(asked["forgetting"], as_json)
    elif asked["settings"]:
        _settings(asked, as_json)
    elif asked["list_studies"]:
        _studies(as_json)
    elif asked["list_task_types"]:
        from advisor.catalog.findings.task_types import TASK_TYPES

        emit(list(TASK_TYPES), as_json, table=lambda names: "\n".join(names))
    else:
        _list(asked, as_json)


def _forgetting(method: str, as_json: bool) -> None:
    from advisor.literature.forgetting import forgetting

    found = forgetting(method)
    emit(found, as_json, table=lambda studies: _forgetting_table(method, studies))


def _forgetting_table(method: str, studies: Sequence[Forgetting]) -> Any:
    if not studies:
        return f"no study of the catalogue measured what {method} forgets beside full fine-tuning"
    rows = [
        (
            one.study,
            f"{one.measure}{f', {one.trained_by}' if one.trained_by else ''}",
            "all" if one.rank is None else str(one.rank),
            _with_ends(one.kept, one.kept_low, one.kept_high, one.unit),
            f"{one.better_in} of {one.settings}",
            "" if one.lost is None else _with_ends(one.lost, one.lost_low, one.lost_high, one.unit),
            one.url,
        )
        for one in studies
    ]
    heading = ("study", "measure", "rank", "kept against full (90 %)", "better in", "lost to the untouched", "address")
    return [
        grid(heading, rows, right="kept against full (90 %),lost to the untouched,rank"),
        "intervals: of each study's own settings, not of another model's",
    ]


def _with_ends(value: float, low: float | None, high: float | None, unit: str) -> str:
    ends = "" if low is None or high is None else f" ({low:+.3g} to {high:+.3g})"
    return f"{value:+.3g}{ends} {unit}"


def _list(asked: dict[str, Any], as_json: bool) -> None:
    from advisor.literature.evidence import evidence

    names = ("method", "task_type", "architecture", "samples", "study", "aspect", "limit")
    question = {name: asked[name] for name in names} | {"model_parameters": asked["model_params"]}
    found = evidence(**given(question))
    emit(found, as_json, table=_evidence_table)


def _evidence_table(found: Evidence) -> list[Any]:
    rows = [
        (
            bearing.study,
            bearing.finding.model,
            bearing.finding.task,
            f"{bearing.finding.samples:,}" if bearing.finding.samples else bearing.finding.samples_printed or "?",
            bearing.finding.method,
            f"{bearing.finding.value:.4g} {bearing.finding.metric}",
            "" if bearing.effect is None else f"{bearing.effect:+.1f}",
            f"{bearing.finding.learning_rate:g}" if bearing.finding.learning_rate else "",
            "suspect" if bearing.finding.suspect else "copied" if bearing.finding.copied_from else "",
        )
        for bearing in found.bearing
    ]
    parts: list[Any] = [
        grid(
            ("study", "model", "task", "samples", "method", "score", "against full", "rate", ""),
            rows,
            right="samples,against full",
        ),
        f"{len(found.bearing)} of {found.total} findings from {len(found.studies)} studies",
    ]
    return parts + (_quality_lines(found.prediction) if found.prediction else [])


def _quality_lines(quality: Quality) -> list[str]:
    lines = [
        "",
        f"expected effect against full fine-tuning: {show(quality.effect)} points",
        f"no worse than full by one point: {quality.within_one_point:.0%}",
        quality.evidence,
    ]
    lines += [f"  {citation.weight:4.0%}  {citation.says}  {citation.url}" for citation in quality.citations]
    return lines + [f"warning: {warning}" for warning in quality.warnings]


def _predict(path: str) -> None:
    from advisor import store
    from advisor.config_reader import lines_of
    from advisor.literature.evidence import predict_lines

    if path == "-":
        return _print_lines(predict_lines(lines_of(sys.stdin, "stdin")))
    store.refuse_pipe(Path(path))
    try:
        file = click.open_file(path, encoding="utf-8")
    except (OSError, ValueError) as problem:
        # a name with a NUL in it is a ValueError
        raise BadFile(f"cannot read {path}", cause=str(problem), path=path) from problem
    with file as lines:
        try:
            _print_lines(predict_lines(lines_of(lines, path)))
        except UnicodeDecodeError as problem:
            raise BadFile(f"cannot read {path}", cause=str(problem), path=path) from problem


def _print_lines(answers: Iterable[dict[str, Any]]) -> None:
    for answer in answers:
        click.echo(json.dumps(answer, ensure_ascii=False))


def _needed(pilot: str | None, target: float | None, as_json: bool) -> None:
    from advisor.literature.data_scale import data_needed

    if not pilot or target is None:
        raise BadRequest("--pilot and --target belong together", hints=["e.g. --pilot 100:0.61,400:0.68 --target 0.75"])
    emit(data_needed(parse_pilot(pilot), target), as_json, table=_needed_lines)


def parse_pilot(text: str) -> dict[int, float]:
    """`100:0.61,400:0.68` as {100: 0.61, 400: 0.68}.

    Raises:
        BadRequest: a part is not SIZE:SCORE, or a size is there twice.
    """
    from advisor.domain.request.typed_numbers import size_of

    found: dict[int, float] = {}
    for part in text.split(","):
        size, _, score = part.partition(":")
        number = size_of(size.strip(), "a pilot size")
        try:
            value = float(score)
        except ValueError as problem:
            raise BadRequest(f"not SIZE:SCORE: {part!r}", hints=["e.g. --pilot 100:0.61,400:0.68"]) from problem
        if number is None:
            raise BadRequest(f"not SIZE:SCORE: {part!r}", hints=["e.g. --pilot 100:0.61,400:0.68"])
        if number in found:
            raise BadRequest(f"size {number} is given twice: give the mean of its scores")
        found[number] = value
    return found


def _needed_lines(found: DataNeeded) -> list[str]:
    lines = [f"target {found.target:g}: {found.says}"]
    lines += [f"  at {size:,} samples: {_plain(score)}" for size, score in found.at_sizes.items()]
    return [*lines, f"  ceiling: {_plain(found.ceiling)}"]


def _plain(score: Any) -> str:
    return f"{score.mid:.4g} ({score.low:.4g}-{score.high:.4g})"


def _curve(asked: dict[str, Any], as_json: bool) -> None:
    from advisor.literature.data_scale import quality_curve

    if not asked["architecture"]:
        raise BadRequest("--curve needs --architecture", hints=["e.g. --architecture decoder"])
    points = quality_curve(
        asked["curve"],
        architecture=asked["architecture"],
        model_parameters=asked["model_params"],
        task_type=asked["task_type"],
    )
    emit(points, as_json, table=_curve_table)


def _curve_table(points: tuple[CurvePoint, ...]) -> list[Any]:
    rows = [
        (
            f"{point.samples:,}",
            f"{point.quality.effect.mid:+.1f}",
            f"{point.quality.effect.low:+.1f} to {point.quality.effect.high:+.1f}",
            f"{point.quality.within_one_point:.0%}",
            "" if point.steps is None else f"{point.steps.value:,}",
            "; ".join(filter(None, (point.warning, *point.quality.warnings))),
        )
        for point in points
    ]
    heading = ("samples", "against full", "90 %", "within 1 point", "steps", "")
    return [grid(heading, rows, right="samples,against full,within 1 point,steps"), points[0].quality.evidence]


def _settings(asked: dict[str, Any], as_json: bool) -> None:
    from advisor.literature.hyperparameters.suggest import recommend_settings

    if not asked["method"] or not asked["architecture"]:
        raise BadRequest("--settings needs --method and --architecture")
    found = recommend_settings(
        asked["method"],
        architecture=asked["architecture"],
        model_parameters=asked["model_params"],
        task_type=asked["task_type"],
        samples=asked["samples"],
    )
    emit(found, as_json, table=_settings_table)


def _settings_table(settings: tuple[Setting, ...]) -> Any:
    rows = [
        (
            one.name,
            f"{one.value:g}" if isinstance(one.value, float) else one.value,
            "" if one.low is None else f"{one.low:g} to {one.high:g}",
            one.why,
            one.conflict,
            "; ".join(one.sources),
        )
        for one in settings
    ]
    return grid(("setting", "value", "search", "why", "against it", "sources"), rows)


def _studies(as_json: bool) -> None:
    from advisor.catalog.findings.study_files import load_studies

    rows = [
        {"id": one.id, "title": one.title, "year": one.year, "findings": len(one.findings), "url": one.url}
        for one in load_studies()
    ]
    emit(rows, as_json, table=lambda rows: grid(tuple(rows[0]), [one.values() for one in rows], right="findings"))


def _fit(as_json: bool) -> None:
    from advisor.literature.quality.refit import fit_quality, write_fit

    click.echo("fitting to every study, then again without each: minutes", err=True)
    fit = fit_quality()
    path = write_fit(fit)
    emit(
        {"file": str(path), "held_out": fit.held_out},
        as_json,
        table=lambda said: [f"wrote {said['file']}", *(f"  {k}: {v}" for k, v in said["held_out"].items())],
    )
