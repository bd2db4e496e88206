"""The runs that others published: readable, each with a figure, each question one that `estimate` understands."""

import pytest

from advisor.catalog.public_runs import public_runs, spec_for
from advisor.errors import AdvisorError
from advisor.estimator.public_audit import request_of

RUNS = [(source, run) for source in public_runs() for run in source.runs]
ASKED = [(source, run) for source, run in RUNS if run.asked is not None]


def test_the_catalogue_holds_public_runs_of_many_cards_and_sources():
    assert len(RUNS) > 100
    assert len({run.asked["gpu"] for _, run in ASKED}) >= 8
    assert all(source.address.startswith(("https://", "http://")) for source in public_runs())


@pytest.mark.parametrize(("source", "run"), ASKED, ids=[run.id for _, run in ASKED])
def test_a_public_run_is_a_question_that_can_be_asked(source, run):
    try:
        refused = ""
        request_of(run)
    except AdvisorError as error:
        refused = error.message  # a recipe that cannot train may be refused, a key that nobody knows may not
    assert "unknown key" not in refused
    assert spec_for(source, run).config


def test_a_run_that_is_comparable_in_part_says_what_differs():
    partly = [run for _, run in RUNS if "partly" in (run.comparable_memory, run.comparable_time)]
    assert partly
    assert not [run.id for run in partly if not run.why]
