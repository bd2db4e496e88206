"""`advisor audit`: predictions against measurements that the fit did not see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from advisor.domain.request.measuring_options import AuditCommand
from advisor.errors import BadRequest
from advisor.interfaces.amounts import amount
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import emit, grid, progress
from advisor.interfaces.report.report_writer import report_writer

if TYPE_CHECKING:
    from advisor.estimator.audit import Audit
    from advisor.estimator.public_audit import PublicAudit


@click.command("audit")
@options_of(AuditCommand)
def command(
    gpu: str | None,
    scheme: str | None,
    plot: str | None,
    public: bool,
    report: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Score predictions on measured runs that the fit did not see.

    \b
    Examples:
      advisor audit --scheme uncalibrated
      advisor audit --gpu L40S --plot audit.html
      advisor audit --gpu L40S --report audit-report.html
      advisor audit --public --gpu RTX-3080
    """
    from advisor.estimator.audit import audit, plotting
    from advisor.estimator.audit import plot as draw

    write_report = report_writer(report, force=force)
    if plot:
        # refused before the minutes that an audit takes
        plotting(plot)
    if public:
        if scheme is not None:
            raise BadRequest(
                "--scheme is for your own measured runs; --public fits nothing that could be left out",
                hints=["leave out --scheme"],
            )
        if report is not None:
            raise BadRequest("--report is of your own measured runs", hints=["of public ones: --plot FILE.html"])
        _public(gpu, plot, as_json)
        return
    with progress("auditing") as advance:
        result = audit(gpu, **given({"scheme": scheme}), on_progress=advance)
    if plot:
        draw(result, plot)
    write_report(result)
    emit(result, as_json, table=_shown)


def _public(gpu: str | None, plot_path: str | None, as_json: bool) -> None:
    from advisor.estimator.public_audit import audit_public, plot_public

    with progress("pricing public runs") as advance:
        result = audit_public(gpu, on_progress=advance)
    if plot_path:
        plot_public(result, plot_path)
    emit(result, as_json, table=_shown_public)


def _shown_public(audit: PublicAudit) -> list[Any]:
    rows = [
        (
            f.run,
            f.target.replace("_", " "),
            f.comparable,
            amount(f.measured, "s" if f.target == "step_time" else "B"),
            amount(f.predicted, "s" if f.target == "step_time" else "B"),
            f"{f.error:+.1%}",
            "yes" if f.inside else "NO",
        )
        for f in audit.figures
    ]
    runs = grid(
        ("run", "target", "comparable", "measured", "predicted", "error", "in interval"),
        rows,
        title="public runs, nothing fitted to them",
        right="measured,predicted,error",
    )
    sums = grid(
        ("target", "by", "group", "runs", "median", "90 % below", "worst", "in the 90 % interval"),
        [
            (
                s.target.replace("_", " "),
                s.by or "all",
                s.group,
                s.runs,
                f"{s.median:.1%}",
                f"{s.p90:.1%}",
                f"{s.worst:.1%}",
                f"{s.coverage:.0%}",
            )
            for s in audit.summary
        ],
        right="runs,median,90 % below,worst,in the 90 % interval",
    )
    wrong = [f"wrong verdict on fit: {v.run}, which {'ran' if v.ran else 'failed'}" for v in audit.verdicts if v.wrong]
    verdicts = f"verdicts on fit: {len(audit.verdicts)}, of which {len(wrong)} wrong"
    return [runs, sums, verdicts, *wrong, *(f"not priced: {text}" for text in audit.refused), *audit.notes]


def _shown(audit: Audit) -> list[Any]:
    rows = [
        (
            row.profile,
            row.method,
            row.target.replace("_", " "),
            amount(row.measured, "s" if row.target == "step_time" else "B"),
            amount(row.predicted, "s" if row.target == "step_time" else "B"),
            f"{row.error:+.2%}",
            {True: "yes", False: "NO", None: ""}[row.inside],
        )
        for row in audit.rows
    ]
    runs = grid(
        ("run", "method", "target", "measured", "predicted", "error", "in interval"),
        rows,
        title=f"predictions of runs not seen ({audit.scheme})",
        right="measured,predicted,error",
    )
    sums = grid(
        ("target", "runs", "median", "90 % below", "worst", "in the 90 % interval"),
        [
            (
                h.target.replace("_", " "),
                h.runs,
                f"{h.median:.2%}",
                f"{h.p90:.2%}",
                f"{h.worst:.2%}",
                "" if h.coverage is None else f"{h.coverage:.0%}",
            )
            for h in audit.summary
        ],
        right="runs,median,90 % below,worst,in the 90 % interval",
    )
    return [runs, sums, *audit.notes]
