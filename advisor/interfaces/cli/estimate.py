"""`advisor estimate`: one recipe on one machine, or many from a file of cases, one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

import advisor
from advisor.domain.request.command_options import EstimateCommand
from advisor.errors import AdvisorError, BadFile, BadRequest
from advisor.interfaces.amounts import amount, show
from advisor.interfaces.cli.click_options import given, options_of, pair, required
from advisor.interfaces.cli.output import emit, grid, plain, waiting
from advisor.interfaces.report.report_writer import report_writer
from advisor.interfaces.terminal.answer import estimated
from advisor.interfaces.verdict import of_candidate

if TYPE_CHECKING:
    from advisor.domain.candidate import Candidate


@click.command("estimate")
@options_of(EstimateCommand)
def command(
    cases: str | None,
    config: str | None,
    explain: bool,
    report: str | None,
    force: bool,
    as_json: bool,
    **arguments: Any,
) -> int:
    """Memory, time, money and quality of one recipe on one machine, or of many from a file.

    With --from, each line of the file is a JSON object with these options as keys (model, gpu, method or
    adapter_config, batch_size, seq_len ...; options given here are defaults for all lines), and one JSON
    object a line is printed in the same order. A bad line becomes an error object and the others go on; the
    exit code is 0 when at least one line was answered, else that of the first error.

    With --from-config, the recipe is read from what a trainer is given; options given here win over it, and what it
    says that was not used is named.

    \b
    Examples:
      advisor estimate --model meta-llama/Llama-3.2-3B --gpu L40S --method lora --rank 32 --batch-size 4 --seq-len 683
      advisor estimate --model meta-llama/Llama-3.1-8B --gpu H100 --method qlora --seq-len 2048 --samples 2000 --json
      advisor estimate --from cases.jsonl --gpu L40S
      advisor estimate --model Qwen/Qwen2.5-7B --gpu L4 --method qlora --seq-len 1024 --report report.html
      advisor estimate --from-config axolotl.yaml --gpu L40S --samples 2000
    """
    asked = asked_of(given(arguments))
    if cases is not None and config is not None:
        raise BadRequest("--from and --from-config are two sources", hints=["leave one of them out"])
    if cases is not None:
        if report is not None:
            raise BadRequest("--report is of one recipe, and --from holds many", hints=["leave one of them out"])
        return _many(cases, asked)
    write_report = report_writer(report, force=force)
    if config is None:
        required(asked, "model", "gpu")
    with waiting("executing the training step on no device, which is kept for the next question"):
        found = _found(config, asked)
    write_report(found)
    emit(found, as_json, explained if explain else estimated)
    return 0


def _found(config: str | None, asked: dict[str, Any]) -> Candidate:
    if config is None:
        return advisor.estimate(**asked)
    from advisor.exporters.from_config import estimate_config

    return estimate_config(config, **asked)


def asked_of(asked: dict[str, Any]) -> dict[str, Any]:
    """What was typed, as keywords of `advisor.estimate`."""
    if "target_modules" in asked:
        modules = asked["target_modules"]
        asked["target_modules"] = modules[0] if len(modules) == 1 else list(modules)
    if "options" in asked:
        asked["options"] = dict(pair(text) for text in asked["options"])
    return asked


def _many(path: str, defaults: dict[str, Any]) -> int:
    """Answer each line as it is read; the exit code."""
    answered, first_error = 0, 0
    for number, line in _lines(path):
        result, code = _one(line, defaults)
        if code:
            result["line"] = number
            first_error = first_error or code
        else:
            answered += 1
        click.echo(json.dumps(result, ensure_ascii=False, allow_nan=False, default=str))
        sys.stdout.flush()
    if not answered and not first_error:
        example = '{"model": "meta-llama/Llama-3.2-3B", "gpu": "L40S", "method": "lora", "seq_len": 683}'
        raise BadFile(f"{path} holds no case", hints=[f"each line is a JSON object, for example: {example}"], path=path)
    return 0 if answered else first_error


def _one(line: str, defaults: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The answer to one line and 0, or the facts of its error and its exit code."""
    from advisor.estimator.estimate import answer, from_case

    try:
        return plain(answer(from_case(_case(line, defaults)))), 0
    except AdvisorError as error:
        return error.facts(), error.exit_code
    except Exception as error:
        # a bug in one line must not cost the others their answer
        from advisor.bug_log import keep_traceback

        path = keep_traceback(error)
        kept = {"traceback": str(path)} if path is not None else {}
        return {"error": type(error).__name__, "message": str(error), "exit_code": 1, **kept}, 1


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers, read as they come."""
    from advisor import store
    from advisor.config_reader import lines_of

    store.refuse_pipe(Path(path))
    try:
        with click.open_file(path, encoding="utf-8", errors="replace") as file:
            for number, line in enumerate(lines_of(file, path), 1):
                if line.strip():
                    yield number, line
    except (OSError, ValueError) as error:
        # a name with a NUL in it is a ValueError
        raise BadFile(f"cannot read {path}", cause=getattr(error, "strerror", None) or str(error), path=path) from error


def _case(line: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """One line as a case of the estimator, over the defaults."""
    try:
        case = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest("this line is not JSON", cause=str(error)) from error
    if not isinstance(case, dict):
        raise BadRequest(f"this line is not a JSON object but a {type(case).__name__}")
    return {**defaults, **case}


def explained(candidate: Candidate) -> Iterator[Any]:
    """The verdict, the four answers with their basis, where the memory goes, and the wall."""
    from advisor.estimator.memory.feasibility import feasibility
    from advisor.interfaces.asked import machine_of, model_of
    from advisor.interfaces.terminal.wall import wall

    yield of_candidate(candidate)
    yield ""
    yield from candidate_table(candidate)
    machine, model = machine_of(candidate), model_of(candidate)
    cells = () if machine is None or model is None else feasibility(candidate, machine, model)
    if cells:
        yield ""
        yield from wall(cells, candidate)


def candidate_table(candidate: Candidate) -> Iterator[Any]:
    """The four answers, each with its interval and basis, then where the memory goes."""
    memory, time, money = candidate.memory, candidate.time, candidate.money
    recipe, workload = candidate.recipe, candidate.workload
    share = candidate.trainable_parameters / max(1, candidate.total_parameters)
    yield (
        f"{workload.model} · {recipe.method} in {recipe.precision} · "
        f"{recipe.micro_batch_size} x {workload.size_in_words}"
        f"{f' x {recipe.gradient_accumulation} accumulated' if recipe.gradient_accumulation > 1 else ''} · "
        f"{candidate.gpu} · trains {candidate.trainable_parameters:,} parameters ({share:.3%})"
    )
    verdict = "fits" if candidate.fits else "does not fit"
    rows = [
        ("peak memory", show(memory.peak_device), f"{verdict} in {amount(candidate.limit_bytes, 'B')}"),
        ("  reserved", show(memory.peak_reserved), memory.peak_reserved.why),
        ("  allocated", show(memory.peak_allocated), f"peaks in {memory.peak_phase}"),
        ("one step", show(time.step), time.step.why),
        ("throughput", show(time.tokens_per_second), ""),
        ("training", show(time.training), time.training.why if time.training else "give --samples"),
        ("price", show(money.on_demand), money.on_demand.why if money.on_demand else money.note),
    ]
    if time.on_spot is not None:
        rows.append(("  on spot", show(time.on_spot), time.on_spot.why))
    if money.spot is not None:
        rows.append(("  spot", show(money.spot), money.spot.why))
    if candidate.search is not None:
        rows.append(("search", show(candidate.search.seconds), candidate.search.seconds.why))
        rows.append(("  price", show(candidate.search.usd), f"{candidate.search.finals} of these trainings are finals"))
    if candidate.quality is not None:
        quality = candidate.quality
        rows.append(("quality vs full", f"{show(quality.effect)}", quality.evidence))
        rows.append(("  within 1 point", f"{quality.within_one_point:.0%}", "probability"))
    yield grid(("", "expected (9 in 10)", "basis"), rows)
    parts = sorted(memory.breakdown.items(), key=lambda item: -item[1])
    total = max(1, sum(memory.breakdown.values()))
    yield grid(
        ("at the peak", "", "share"),
        [(name, amount(size, "B"), f"{size / total:.0%}") for name, size in parts if size],
        right=",share",
    )
    for text in (*candidate.assumptions, *time.advice):
        yield f"- {text}"
