"""Which of many like cases the everyday tests take; the rest are `exhaustive`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def one_in(every: int, cases: Sequence[Any]) -> list[Any]:
    """All cases as parameters, of which each `every`-th, from the first on, is not marked exhaustive."""
    made: list[Any] = []
    for at, case in enumerate(cases):
        if at % every == 0:
            made.append(case)
        elif hasattr(case, "marks"):
            made.append(pytest.param(*case.values, marks=[*case.marks, pytest.mark.exhaustive], id=case.id))
        elif isinstance(case, tuple):
            made.append(pytest.param(*case, marks=pytest.mark.exhaustive))
        else:
            made.append(pytest.param(case, marks=pytest.mark.exhaustive))
    return made
