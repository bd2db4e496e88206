"""Which of many like cases the everyday tests take; the rest are `slow`, which `.ci/run` runs in a second step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def one_in(every: int, cases: Sequence[Any]) -> list[Any]:
    """All cases as parameters, of which each `every`-th, from the first on, is not marked slow."""
    made: list[Any] = []
    for at, case in enumerate(cases):
        if at % every == 0:
            made.append(case)
        elif hasattr(case, "marks"):
            made.append(pytest.param(*case.values, marks=[*case.marks, pytest.mark.slow], id=case.id))
        elif isinstance(case, tuple):
            made.append(pytest.param(*case, marks=pytest.mark.slow))
        else:
            made.append(pytest.param(case, marks=pytest.mark.slow))
    return made
