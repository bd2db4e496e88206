"""`advisor audit --public`: errors, coverage and verdicts, from candidates as they are priced."""

import pytest

from advisor.catalog.public_runs import public_runs
from advisor.errors import UnknownName
from advisor.estimator import public_audit
from advisor.estimator.estimate import estimate


@pytest.fixture(scope="module")
def candidate():
    return estimate("EleutherAI/pythia-14m", "A100", method="full", seq_len=128, headroom=0.0)


@pytest.fixture
def instant(monkeypatch, candidate):
    """Every run priced as one small candidate: the arithmetic of the audit is what is tested here."""
    monkeypatch.setattr(public_audit, "priced", lambda source, run: candidate)


def test_errors_and_coverage_are_those_of_the_figures(instant):
    result = public_audit.audit_public()
    for held in result.summary:
        own = [f for f in result.figures if f.target == held.target]
        if held.by:
            own = [f for f in own if getattr(f, held.by) == held.group]
        assert held.runs == len(own) > 0
        assert held.worst == max(abs(f.error) for f in own)
        assert held.coverage == sum(f.low <= f.measured <= f.high for f in own) / len(own)


def test_runs_that_are_not_comparable_are_left_out_unless_asked_for(instant):
    kinds = {
        least: {f.comparable for f in public_audit.audit_public(least=least).figures} for least in ("yes", "partly")
    }
    assert kinds == {"yes": {"yes"}, "partly": {"yes", "partly"}}
    assert len(public_audit.audit_public(least="no").figures) > len(public_audit.audit_public().figures)


def test_a_verdict_is_wrong_where_a_run_ended_that_we_said_would_not_fit(monkeypatch, candidate):
    monkeypatch.setattr(public_audit, "priced", lambda source, run: candidate.model_copy(update={"fits": False}))
    verdicts = public_audit.audit_public().verdicts
    assert verdicts
    assert all(v.wrong == v.ran for v in verdicts)


def test_the_context_a_source_measured_stands_in_the_place_of_ours(candidate):
    source = next(s for s in public_runs() if s.context_bytes is not None)
    own = public_audit._with_context(candidate.memory.peak_device, source, candidate)
    assert own.mid == candidate.memory.peak_reserved.mid + source.context_bytes


def test_an_unknown_source_is_refused_with_the_known_ones():
    with pytest.raises(UnknownName):
        public_audit.audit_public(source="nobody")
