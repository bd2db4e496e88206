"""What scripts go by: the exit code of each kind of error."""

from __future__ import annotations

from advisor import errors

CODES = {"AdvisorError": 1, "BadRequest": 2, "DoesNotFit": 3, "BadFile": 4}


def test_each_kind_of_error_ends_with_its_code():
    """0 is an answer, 1 a run that broke off, 2 a wrong request, 3 nothing fits, 4 a bad file."""
    assert {name: getattr(errors, name).exit_code for name in CODES} == CODES
