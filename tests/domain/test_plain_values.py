"""What a value without a type is, at run time: the guards say exactly what `isinstance` says."""

from __future__ import annotations

from collections import OrderedDict, UserDict

import pytest

from advisor.domain import plain_values as is_it

VALUES = {
    "object": {"a": 1},
    "ordered": OrderedDict(a=1),
    "mapping": UserDict(a=1),
    "list": [1],
    "tuple": (1,),
    "set": {1},
    "frozenset": frozenset({1}),
    "text": "a",
    "nothing": None,
    "number": 1,
}


@pytest.mark.parametrize(
    ("guard", "are"),
    [
        (is_it.is_object, {"object", "ordered"}),
        (is_it.is_mapping, {"object", "ordered", "mapping"}),
        (is_it.is_list, {"list"}),
        (is_it.is_tuple, {"tuple"}),
        (is_it.is_sequence, {"list", "tuple"}),
        (is_it.is_set, {"set", "frozenset"}),
        (is_it.is_collection, {"list", "tuple", "set"}),
    ],
)
def test_a_guard_holds_for_its_values_and_no_others(guard, are):
    assert {name for name, value in VALUES.items() if guard(value)} == are
