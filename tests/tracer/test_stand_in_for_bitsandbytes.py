"""Without bitsandbytes a step is traced to the byte as with it: the library is hidden from a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = '''
import json, sys

class Hidden:
    """Finds no bitsandbytes, as on a machine that has none."""
    def find_spec(self, name, path=None, target=None):
        if name == "bitsandbytes" or name.startswith("bitsandbytes."):
            raise ModuleNotFoundError(name)
        return None

if sys.argv[1] == "hidden":
    import importlib.util
    found = importlib.util.find_spec
    importlib.util.find_spec = lambda name, package=None: (
        None if name == "bitsandbytes" and name not in sys.modules else found(name, package)
    )
    sys.meta_path.insert(0, Hidden())
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.trace import make_trace
from tests.tracer.models import DECODER, TASKS
told = []
for fields in json.loads(sys.argv[2]):
    recipe = Recipe.model_validate({"micro_batch_size": 2, **fields})
    try:
        made = make_trace(DECODER, Workload(model="m", task=TASKS["decoder"]), recipe, key="k")
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
        continue
    told.append(made.model_dump_json(exclude={"versions"}))
print(json.dumps(told))
print("bitsandbytes" in sys.modules and hasattr(sys.modules["bitsandbytes"], "stands_in"))
'''

LAYERS = [
    {"method": "lora"},
    {"method": "qlora", "base": "nf4"},
    {"method": "qlora", "base": "nf4", "gradient_checkpointing": True, "mixed_precision": "bf16"},
    {"method": "qlora", "base": "nf4", "prepare_kbit_training": True, "mixed_precision": "bf16", "trainer": "trl"},
    {"method": "lora", "base": "int8"},
    {"method": "lora", "base": "int8", "prepare_kbit_training": True, "mixed_precision": "fp16"},
    {"method": "dora", "base": "nf4"},
    {"method": "ia3", "base": "nf4"},
    {"method": "adalora", "base": "int8"},
    {"method": "prompt-tuning", "base": "nf4"},
]
OPTIMIZERS = [
    {"method": "full", "optimizer": name}
    for name in (
        "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "ademamix", "ademamix_8bit", "paged_ademamix_8bit",
        "lion_8bit", "lion_32bit", "paged_lion_8bit", "rmsprop_bnb", "rmsprop_bnb_8bit",
    )
]  # fmt: skip


def traced(cases: list[dict[str, object]], how: str) -> list[str]:
    """The traces of the cases from a process of its own; `hidden`: it cannot import bitsandbytes."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-W", "ignore", "-c", CHILD, how, json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    answers, left = done.stdout.strip().splitlines()[-2:]
    assert left == "False", "the stand-in outlived the trace"
    return json.loads(answers)


@pytest.mark.exhaustive
@pytest.mark.parametrize("cases", [LAYERS, OPTIMIZERS], ids=["layers", "optimizers"])
def test_without_the_library_a_step_is_traced_to_the_byte_as_with_it(cases: list[dict[str, object]]):
    pytest.importorskip("bitsandbytes")
    for case, ours, theirs in zip(cases, traced(cases, "hidden"), traced(cases, "installed"), strict=True):
        assert theirs.startswith("{"), theirs
        assert ours == theirs, (case, _first_difference(ours, theirs))


@pytest.mark.exhaustive
def test_one_quantised_step_is_traced_without_the_library():
    (ours,) = traced([LAYERS[1]], "hidden")
    assert json.loads(ours)["settings"]["base"] == "nf4"


def _first_difference(ours: str, theirs: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
    return f"{ours[max(0, at - 150) : at + 150]}\n--- with the library:\n{theirs[max(0, at - 150) : at + 150]}"
