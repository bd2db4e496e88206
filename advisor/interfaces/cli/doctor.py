"""`advisor doctor`: what is installed, which GPU there is, what is out of date, what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

import advisor
from advisor.domain.request.command_options import JsonAnswer
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit, fitted, progress, quiet

if TYPE_CHECKING:
    from advisor.estimator.doctor import Checkup, Library


@click.command("doctor")
@options_of(JsonAnswer)
def command(as_json: bool) -> None:
    """What is installed, which GPU and driver there are, what is out of date, and what to measure next.

    \b
    Examples:
      advisor doctor
      advisor doctor --json
    """
    with progress("asking torch for its devices"):
        found = advisor.doctor()
    emit(found, as_json, checkup_table)


def checkup_table(found: Checkup) -> Iterator[Any]:
    """A sentence, the machine, the libraries, what to do."""
    said = "; ".join(found.problems) if found.problems else "nothing is wrong"
    yield f"advisor {found.advisor} on Python {found.python}, {found.system}: {said}."
    yield ""
    driver = f", driver {found.driver}" if found.driver else ""
    yield f"GPU      {f'{found.gpu}: {found.gpu_note}' if found.gpu else f'none: {found.gpu_note}'}{driver}"
    if found.gpu:
        yield f"fit      {f'{found.calibrated_on} measured runs of it' if found.calibrated_on else 'no run of it'}"
    yield f"yours    {found.own_profiles} profiles, in {found.data_folder}"
    read = f", read from {found.prices_read[0]} to {found.prices_read[1]}" if found.prices_read else ""
    yield f"prices   {found.prices}, {found.prices_old} of them old{read}"
    yield f"Hub      {'not asked: HF_HUB_OFFLINE is set' if found.offline else 'asked for models that are not known'}"
    if not quiet():
        cells = [
            (one.name, one.installed or "-", one.needed, one.traces, _remark(one))
            for one in found.libraries
            if one.extra or one.traces or one.too_old or one.installed is None
        ]
        yield from fitted(("library", "installed", "at least", "traces", ""), cells, first_out=("at least",))
    for number, step in enumerate(found.to_do):
        yield f"{'to do' if number == 0 else '':9}{step}"


def _remark(library: Library) -> str:
    if library.too_old:
        return "too old"
    if library.installed is not None:
        return ""
    return f"for it: pip install 'advisor[{library.extra}]'" if library.extra else "missing"
