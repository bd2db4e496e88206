"""Nothing in the package is only there for its own tests."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import vulture

import advisor

ROOT = Path(advisor.__file__).parent
BENCHMARKS = ROOT.parent / "benchmarks"

CALLED_BY_OTHERS = {
    "__dir__": "Python",
    "list_commands": "click",
    "get_command": "click",
    "coalesce": "torch, of a sparse tensor",
    "_nnz": "torch, of a sparse tensor",
    "on_optimizer_step": "transformers' Trainer",
    "on_step_end": "transformers' Trainer",
    "on_save": "transformers' Trainer",
    "should_save": "transformers' Trainer",
    "is_loaded_in_4bit": "peft and transformers, of a quantised model",
    "is_loaded_in_8bit": "peft and transformers, of a quantised model",
    "idx": "bitsandbytes' state of an int8 layer",
    "is_training": "bitsandbytes' state of an int8 layer",
    "__spec__": "Python's import system",
    "__path__": "Python's import system",
    "_should_skip_dynamo": "torch's dispatch modes",
    "model_max_length": "transformers' tokenizers",
    "pad_token": "transformers' tokenizers",
    "problem_type": "transformers' classification heads",
    "readable": "io.BufferedReader",
    "readinto": "io.BufferedReader",
    "round_size": "the allocator's invariants, which its tests read",
    "cached_blocks": "the allocator's invariants, which its tests read",
}
"""What no file of ours calls -> who does."""

DECORATED = ["@field_validator*", "@model_validator*", "@field_serializer*", "@click.*"]


@cache
def unused() -> dict[str, str]:
    finder = vulture.Vulture(ignore_decorators=DECORATED)
    finder.scavenge([str(ROOT), str(BENCHMARKS)])
    by_address = " ".join(path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py"))
    return {
        item.name: f"{item.filename}:{item.first_lineno}"
        for item in finder.get_unused_code()
        # fields of data types count as unused variables: files and users speak them
        if item.typ not in ("variable", "import")
        and ROOT in Path(item.filename).parents
        and not re.search(rf'[:."]{item.name}"', by_address)
    }


def test_every_function_class_and_attribute_is_used_by_the_product():
    assert {name: place for name, place in unused().items() if name not in CALLED_BY_OTHERS} == {}


def test_the_list_of_exceptions_holds_no_more_than_is_needed():
    assert set(CALLED_BY_OTHERS) <= set(unused())
