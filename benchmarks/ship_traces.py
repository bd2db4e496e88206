"""Makes the traces that travel with the package, so that a first answer about a common model is immediate.

    python benchmarks/ship_traces.py [--minutes 60]
    python benchmarks/ship_traces.py --anew

Asks `advisor.recommend` about each model on large and small cards, and packs the traces it made, a file a model.
Models whose file is there are passed over, so it goes on where it was stopped. A trace whose key no longer matches is
never used: after a change of the tracer or of a pinned library run it with `--anew`. `--pack FOLDER` packs the traces
of a cache folder as they are.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from advisor import store
from advisor.domain.trace.trace_schema import Trace
from advisor.tracer.shipped_traces import FOLDER, INDEX, Place, shipped_keys

MODELS = (
    "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-1B", "meta-llama/Llama-3.2-3B", "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-8B", "mistralai/Mistral-7B-v0.1", "google-bert/bert-base-uncased", "FacebookAI/roberta-base",
    "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-1.5B", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B", "meta-llama/Llama-2-7b-hf",
    "distilbert/distilbert-base-uncased", "openai-community/gpt2", "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "mistralai/Mistral-7B-v0.3", "google/gemma-2-2b", "microsoft/deberta-v3-base",
    "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-14B", "Qwen/Qwen3-1.7B", "google/flan-t5-base", "openai/whisper-small",
    "google/vit-base-patch16-224", "microsoft/phi-4", "google/gemma-2-9b", "meta-llama/Llama-3.1-70B",
    "Qwen/Qwen3-14B", "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b", "answerdotai/ModernBERT-base",
    "microsoft/Phi-4-mini-instruct", "Qwen/Qwen2.5-3B", "HuggingFaceTB/SmolLM2-1.7B",
    "FacebookAI/roberta-large", "Qwen/Qwen2.5-32B", "sentence-transformers/all-MiniLM-L6-v2", "Qwen/Qwen3.5-4B",
    "google/gemma-7b", "meta-llama/Llama-2-13b-hf", "Qwen/Qwen3-32B", "openai/whisper-large-v3",
)  # fmt: skip
"""Of the catalogue, those most asked for first; copies under other names with the same config have the same traces.
Gemma 3 is left out: its steps differ between the releases of transformers that one file would have to stand for."""
NOT_ALIKE = ("prefix-tuning", "mam", "unipelt")
"""Methods whose prefix peft refuses to hand to a classifier of transformers 5.24: there no trace may be found."""
GPUS = ("A100", "H100", "L40S", "RTX-4090")


def pack_of(model: str) -> Path:
    return FOLDER / (model.replace("/", "--") + ".jsonl.xz")


def packed(model: str, traces: Iterable[Trace]) -> None:
    """Write a model's file in place of the one there was, and the index of all."""
    FOLDER.mkdir(exist_ok=True)
    path = pack_of(model)
    index = {key: place for key, place in shipped_keys().items() if place.file != path.name}
    content = bytearray()
    for trace in sorted(traces, key=lambda one: (one.method, one.key)):
        line = json.dumps(trace.to_document(), ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        if trace.key not in index:
            index[trace.key] = Place(path.name, len(content), len(line))
            content += line + b"\n"
    payload = lzma.compress(bytes(content), preset=9 | lzma.PRESET_EXTREME)
    store.durable(path, lambda temporary: store.write_bytes(temporary, payload))
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(place)}" for key, place in sorted(index.items()))
    store.durable(FOLDER / INDEX, lambda temporary: store.write_bytes(temporary, f"{{\n{lines}\n}}\n".encode()))
    shipped_keys.cache_clear()


def traces_in(folder: Path) -> list[Trace]:
    found = [store.read(Trace, path) for path in sorted(folder.rglob("traces/*/*.json.gz"))]
    return [one for one in found if one.method not in NOT_ALIKE or one.settings["task"] in ("causal-lm", "seq2seq")]


def asked(model: str) -> list[Trace]:
    """The traces that `recommend` makes of a model, with an empty cache."""
    import advisor
    from advisor.errors import DoesNotFit

    with tempfile.TemporaryDirectory() as home:
        os.environ["ADVISOR_HOME"] = home
        for gpu in GPUS:
            try:
                advisor.recommend(model, gpu, samples=2000)
            except DoesNotFit as error:
                print(f"{model} on {gpu}: {error.message}", file=sys.stderr)
        return traces_in(Path(home))


def main() -> None:
    """Make the files that are missing and say what the folder holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anew", action="store_true", help="make every file anew")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no model after so long")
    parser.add_argument("--pack", type=Path, metavar="FOLDER", help="pack the traces of a cache folder, ask nothing")
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if given.anew:
        for path in FOLDER.glob("*.jsonl.xz"):
            path.unlink()
        (FOLDER / INDEX).unlink(missing_ok=True)
        shipped_keys.cache_clear()
    if given.pack is not None:
        found = traces_in(given.pack)
        for model in sorted({trace.model for trace in found}):
            packed(model, [trace for trace in found if trace.model == model])
    ends = time.monotonic() + 60 * given.minutes
    for model in () if given.pack is not None else MODELS:
        if pack_of(model).exists() or time.monotonic() > ends:
            continue
        began = time.monotonic()
        made = asked(model)
        packed(model, made)
        size = pack_of(model).stat().st_size >> 10
        print(f"{model}: {len(made)} traces, {size} KiB, {time.monotonic() - began:.0f} s", flush=True)
    files = list(FOLDER.glob("*.jsonl.xz"))
    size = sum(path.stat().st_size for path in FOLDER.iterdir()) / 2**20
    print(f"{len(files)} models, {len(shipped_keys())} traces, {size:.1f} MiB")


if __name__ == "__main__":
    main()
