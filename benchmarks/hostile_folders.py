"""Model folders and files with code of their own, one to three kinds at once: whatever loads from them runs none of it.

Each folder is loaded from in this process by all that loads, with every question answered "y". In one of three, one
also stands, as after a download, and runs a verb there whose children are processes of their own.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError
from benchmarks.random_questions import ask, faults
from tests.tiny_models import chats, make_tokenizer, put_rows
from tests.trust.hostile import HOSTILE, copy_of

ROOT = Path(__file__).parents[1]
STOOD_IN = 3
"""One in so many folders is stood in."""
SECONDS = 900


def whole_model(place: Path) -> Path:
    """A two-layer Llama with its tokenizer, of random weights; made once."""
    folder = place / "whole-model"
    if not (folder / "config.json").is_file():
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        LlamaForCausalLM(LlamaConfig(vocab_size=80, **sizes)).save_pretrained(folder)
        make_tokenizer(folder, encoder=False)
    return folder


def case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One folder, and whether any of its code ran."""
    draw = random.Random(f"{seed}/hostile/{number}")
    folder, mark = place / f"hostile-{number}", place / f"mark-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    mark.unlink(missing_ok=True)
    copy_of(whole_model(place), folder)
    kinds = list(HOSTILE)
    first = kinds[number % len(kinds)]
    names = dict.fromkeys([first, *draw.sample(kinds, min(2, number // len(kinds)))])
    for name in names:
        with contextlib.suppress(FileExistsError):
            HOSTILE[name](folder, mark)
    rows = put_rows(place / "hostile-rows.jsonl", chats(24))
    found, outcomes = list[str](), list[str]()
    with answering(found):
        for attempt in attempts(folder, rows):
            try:
                attempt()
                outcomes.append("answered")
            except AdvisorError:
                outcomes.append("refused")
            except Exception as error:
                found.append(f"traceback: {type(error).__name__}: {error}"[:300])
        found += [f for said in asked(folder, rows) for f in faults("damaged", said)]
    if number % STOOD_IN == 0:
        found += standing_in(folder, rows, draw)
    if mark.exists():
        found.append(f"foreign code: {', '.join(names)}")
    shutil.rmtree(folder, ignore_errors=True)
    return {"kind": first, "faults": found, "outcomes": outcomes}


@contextlib.contextmanager
def answering(found: list[str]) -> Iterator[None]:
    """Every question gets a yes, and is a fault."""
    before = builtins.input
    builtins.input = lambda text="": found.append(f"question: {text}"[:200]) or "y"
    try:
        yield
    finally:
        builtins.input = before


def attempts(folder: Path, rows: Path) -> Iterator[Callable[[], Any]]:
    """Everything that loads from a folder."""
    from advisor import loading
    from advisor.catalog.models import resolve_model
    from advisor.dataset.lengths import measure_lengths
    from advisor.dataset.rows import read_rows

    yield lambda: measure_lengths(read_rows(rows), resolve_model(str(folder)))
    yield partial(loading.load_tokenizer, folder)
    yield partial(loading.load_model, loading.auto_model("CausalLM"), folder)
    yield partial(loading.load_auto_peft, "AutoPeftModelForCausalLM", folder)
    yield partial(read_rows, folder)
    yield from (partial(read_rows, file) for file in sorted(folder.glob("train.*")))
    yield from (partial(loading.load_state, file, "cpu") for file in sorted(folder.glob("*.pt")))


def asked(folder: Path, rows: Path) -> Iterator[dict[str, Any]]:
    """What the command line says of the folder's files."""
    there = ["--model", str(folder), "--gpu", "A100", "--seq-len", "32"]
    yield ask(["estimate", *there, "--method", "lora"])
    for name, option in (("adapter_config.json", "--adapter-config"), ("axolotl.yaml", "--from-config")):
        if (folder / name).is_file():
            yield ask(["estimate", *there, option, str(folder / name)])


def standing_in(folder: Path, rows: Path, draw: random.Random) -> Iterator[str]:
    """What is wrong with a verb run in the folder, as the installed command runs it."""
    some = ["--model", ".", "--data", str(rows)]
    verb, *words = draw.choice(
        [
            ["recommend", *some, "--gpu", "A100", "--method", "lora,ia3"],
            ["methods", "lora,ia3", "--model", ".", "--gpu", "A100"],
            ["profile", "--model", ".", "--method", "lora", "--device", "cpu", "--seq-len", "16", "--batch-size", "1"],
            [
                "tune",
                *some,
                "--gpu",
                "cpu",
                "--trials",
                "1",
                "--epochs",
                "0.2",
                "--finalists",
                "1",
                "--final-seeds",
                "1",
            ],
            ["study", *some, "--method", "lora,ia3", "--size", "12", "--device", "cpu", "--dry-run"],
        ]
    )
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "advisor", verb, *words],
            cwd=folder, env=own, input="y\n" * 99, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        yield f"hang: {verb}"
        return
    yield from (f"{fault} of {verb}: {done.stderr[-300:]}" for fault in faults("damaged", told(done)))


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """A process's end as `ask` tells it."""
    return {"code": done.returncode, "out": done.stdout, "err": done.stderr}
