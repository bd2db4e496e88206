"""The page of `advisor audit`: predictions against runs that no fit had seen."""

from __future__ import annotations

from advisor.estimator.audit import Audit
from advisor.interfaces.report import accuracy_figures
from advisor.interfaces.report.page import Page, Section, figures

TARGETS = ("step_time", "peak_reserved", "peak_allocated", "allocated_after_step")


def page_of_audit(found: Audit) -> Page:
    """A sentence of the errors, each target's picture, and the table of all."""
    said = "; ".join(
        f"{one.target.replace('_', ' ')} within {one.median:.2%} in the median (worst {one.worst:.2%})"
        for one in found.summary
    )
    runs = len({row.profile for row in found.rows})
    rows = tuple(
        (
            one.target.replace("_", " "),
            str(one.runs),
            f"{one.median:.2%}",
            f"{one.p90:.2%}",
            f"{one.worst:.2%}",
            "" if one.coverage is None else f"{one.coverage:.0%}",
        )
        for one in found.summary
    )
    heads = ("figure", "runs", "median", "9 in 10 below", "worst", "inside the interval")
    sources = tuple(dict.fromkeys((row.source, row.device) for row in found.rows if row.source))
    return Page(
        f"{runs} measured runs, each predicted unseen: {said}.",
        (("scheme", found.scheme),),
        (
            Section("Errors", heads=heads, rows=rows),
            *figures(accuracy_figures.audited(found.rows, target) for target in TARGETS),
            *([Section("Sources", links=sources)] if sources else []),
        ),
        found.notes,
    )
