"""A result's report as one HTML text."""

from __future__ import annotations

from advisor.domain.candidate import Candidate
from advisor.domain.fleet.fleet_plan import FleetPlan
from advisor.domain.recommendation import Recommendation
from advisor.domain.tuning import TunedStudy
from advisor.estimator.audit import Audit
from advisor.interfaces.report.page import rendered

Reported = Recommendation | Candidate | Audit | TunedStudy | FleetPlan


def html_of(found: Reported) -> str:
    """The page of a recommendation, a candidate, an audit or a plan; of a study the one that lies in its folder too."""
    if isinstance(found, TunedStudy):
        from advisor.tuner.results.html_report import page

        return page(found)
    if isinstance(found, Audit):
        from advisor.interfaces.report.audits import page_of_audit

        return rendered(page_of_audit(found))
    if isinstance(found, FleetPlan):
        from advisor.interfaces.report.fleet_plans import page_of_plan

        return rendered(page_of_plan(found))
    from advisor.interfaces.report import answers

    if isinstance(found, Recommendation):
        return rendered(answers.page_of_recommendation(found))
    return rendered(answers.page_of_candidate(found))
