"""`advisor fit`: the largest batch, length or model on a GPU, or the GPUs that a recipe fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

import advisor
from advisor.domain.request.command_options import FitCommand
from advisor.interfaces.amounts import show
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.estimate import asked_of
from advisor.interfaces.cli.output import emit, fitted, progress
from advisor.interfaces.verdict import of_candidate

if TYPE_CHECKING:
    from advisor.domain.questions.fitting import Fitted, Fitting

MOST_ROWS: Final = 30
"""Rows of the table; all are in the JSON."""


@click.command("fit")
@options_of(FitCommand)
def command(as_json: bool, **arguments: Any) -> None:
    """What fits: the largest batch, length or model on a GPU, or the smallest and cheapest GPU for a recipe.

    All else is as asked, as advisor estimate takes it. To choose the recipe too: advisor recommend.

    \b
    Examples:
      advisor fit --model Qwen/Qwen2.5-7B --gpu RTX-4090 --method qlora --gradient-checkpointing
      advisor fit --vary batch --model meta-llama/Llama-3.2-3B --gpu L40S --method lora --seq-len 1024
      advisor fit --vary gpu --model meta-llama/Llama-3.2-3B --method lora --seq-len 1024 --samples 5000
      advisor fit --vary model --model Qwen/Qwen2.5-7B,meta-llama/Llama-3.2-1B --gpu L4 --method qlora --seq-len 512
    """
    with progress("tracing") as advance:
        found = advisor.fit(**asked_of(given(arguments)), on_progress=advance)
    emit(found, as_json, fitting_table)


def fitting_table(found: Fitting) -> Iterator[Any]:
    """The sentence, the verdict on what was found, and what was tried."""
    yield found.says
    yield of_candidate(found.found)
    yield ""
    columns = (found.vary, "fits", "needs", "takes", "USD/h", "cost")
    rows = [_row(row) for row in found.tried]
    leaving = ("cost", "USD/h", "takes")
    yield from fitted(columns, rows[:MOST_ROWS], first_out=leaving, right="USD/h", wraps={"needs": 26})
    if len(rows) > MOST_ROWS:
        yield f"... and {len(rows) - MOST_ROWS} more: --json"
    yield from (f"note     {note}" for note in found.notes)


def _row(row: Fitted) -> tuple[str, ...]:
    if row.need is None:
        return (row.name, "no", row.refusal, "", "", "")
    hourly = "" if row.usd_per_hour is None else f"{row.usd_per_hour:.2f}"
    cost = "" if row.usd is None else show(row.usd, basis=False)
    takes = "" if row.seconds is None else show(row.seconds, basis=False)
    return (row.name, "yes" if row.fits else "no", show(row.need, basis=False), takes, hourly, cost)
