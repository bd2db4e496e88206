"""`advisor calibrate`: fit the cost model to measured runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.measuring_options import CalibrateCommand
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit, grid, progress

if TYPE_CHECKING:
    from advisor.domain.profile import Calibration


@click.command("calibrate")
@options_of(CalibrateCommand)
def command(gpu: str | None, out: str | None, dry_run: bool, as_json: bool) -> None:
    """Fit the cost model to measured runs.

    Reads every profile in the store, fits the physical constants of each device, and reports the error on
    runs that the fit did not see. The estimates of a fitted device are then of basis calibrated.

    \b
    Examples:
      advisor calibrate --dry-run
      advisor calibrate --gpu L40S --json
    """
    from advisor.estimator.calibrate import calibrate

    with progress("calibrating") as advance:
        fits = calibrate(gpu, write=not dry_run, out=out, on_progress=advance)
    emit(list(fits), as_json, table=_shown)


def _shown(fits: Sequence[Calibration]) -> list[Any]:
    parts: list[Any] = []
    for fit in fits:
        parts.append(
            grid(
                ("constant", "value", "±", "prior", "unit", "what it is"),
                [
                    (
                        c.name,
                        f"{c.value:.4g}",
                        "" if c.error is None else f"{c.error:.2g}",
                        "" if c.prior is None else f"{c.prior:.4g}",
                        c.unit,
                        c.says,
                    )
                    for c in (*fit.time, *fit.memory)
                ],
                title=f"{fit.device}: fitted on {len(fit.fitted_on)} runs",
                right="value,±,prior",
            )
        )
        parts.append(
            grid(
                ("target", "left out", "runs", "median error", "90 % below", "worst", "in the 90 % interval"),
                [
                    (
                        h.target.replace("_", " "),
                        h.scheme,
                        h.runs,
                        f"{h.median:.2%}",
                        f"{h.p90:.2%}",
                        f"{h.worst:.2%}",
                        "" if h.coverage is None else f"{h.coverage:.0%}",
                    )
                    for h in fit.held_out
                ],
                title="error on runs not seen",
                right="runs,median error,90 % below,worst,in the 90 % interval",
            )
        )
        parts.extend(f"to narrow it, measure {text}" for text in fit.would_narrow)
        if fit.notes:
            parts.append(fit.notes)
    return parts
