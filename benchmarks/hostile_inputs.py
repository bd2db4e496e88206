"""Hostile model folders and damaged files: how many were tried, and how often foreign code ran or a traceback came.

Reproduce: python -m benchmarks.hostile_inputs [folders] [damaged] > benchmarks/results/hostile_inputs.json
Everything runs in this process, so that a file's mark means that its code ran here.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from advisor import loading
from advisor.catalog.models import resolve_model
from advisor.dataset.lengths import measure_lengths
from advisor.dataset.rows import read_rows
from advisor.errors import AdvisorError
from tests.tiny_models import make_tokenizer
from tests.trust.hostile import HOSTILE, copy_of


def make_model(folder: Path) -> Path:
    """A two-layer Llama with its tokenizer, of random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=80, **sizes)).save_pretrained(folder)
    make_tokenizer(folder, encoder=False)
    return folder


def tried(folder: Path, rows: Path) -> Counter[str]:
    """Everything that loads from a model folder, and what came of it."""
    found: Counter[str] = Counter()
    for attempt in (
        lambda: measure_lengths(read_rows(str(rows)), resolve_model(str(folder))),
        lambda: loading.load_tokenizer(folder),
        lambda: loading.load_model(loading.auto_model("CausalLM"), folder),
    ):
        try:
            attempt()
            found["answered"] += 1
        except AdvisorError:
            found["refused"] += 1
        except Exception as error:
            found[f"traceback {type(error).__name__}"] += 1
    return found


def damage(content: bytes, draw: random.Random) -> bytes:
    """Cut, emptied, overwritten, nested, or with a number of thousands of digits."""
    kind = draw.randrange(6)
    at = draw.randrange(max(1, len(content)))
    return [
        content[:at],
        b"",
        content[:at] + draw.randbytes(8) + content[at + 8 :],
        b'{"a":' * 10**5,
        b'{"hidden_size": ' + b"9" * 5000 + b"}",
        content.decode("utf-8", "replace").encode("utf-16"),
    ][kind]


def main(folders: int = 33, damaged: int = 40) -> None:
    """Print the counts as JSON."""
    began, draw = time.monotonic(), random.Random(0)
    asked: list[str] = []
    builtins.input = lambda text="": asked.append(str(text)) or "y"
    ran, came, broke = 0, Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        os.environ["ADVISOR_HOME"] = str(root / "home")
        whole = make_model(root / "model")
        chat = {"messages": [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]}
        rows = root / "chats.jsonl"
        rows.write_text("\n".join([json.dumps(chat)] * 5))
        for i in range(folders):
            folder, mark = copy_of(whole, root / f"hostile-{i}"), root / f"mark-{i}"
            # two kinds a folder from the second round on
            kinds = list(HOSTILE.values())
            for maker in dict.fromkeys([kinds[i % len(kinds)], *draw.sample(kinds, min(3, i // len(kinds)))]):
                with contextlib.suppress(FileExistsError):
                    maker(folder, mark)
            came += tried(folder, rows)
            ran += mark.exists()
        for i in range(damaged):
            folder = copy_of(whole, root / f"damaged-{i}")
            victim = draw.choice(sorted(p for p in folder.iterdir() if p.is_file()))
            victim.write_bytes(damage(victim.read_bytes(), draw))
            broke += tried(folder, rows)
    answer = {
        "hostile_folders": folders,
        "foreign_code_ran": ran,
        "questions_reached": len(asked),
        "hostile_loads": dict(came),
        "damaged_folders": damaged,
        "damaged_loads": dict(broke),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(answer, indent=1))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
