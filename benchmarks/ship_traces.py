"""Makes the traces that travel with the package, so that a first answer about a common model is immediate.

    python benchmarks/ship_traces.py
    python benchmarks/ship_traces.py --add

Asks `advisor.recommend` about each model on a large and a small card with an empty cache, and copies the traces
it made into the package. Run it again after any change of the tracer or of a pinned library: a trace whose key no
longer matches is never used, so old files are deleted first. `--add` keeps them and makes what is missing: right where
only what `recommend` asks has changed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

MODELS = (
    "meta-llama/Llama-3.1-8B",
    "meta-llama/Llama-3.2-1B",
    "meta-llama/Llama-3.2-3B",
    "Qwen/Qwen2.5-7B",
    "Qwen/Qwen3-8B",
    "mistralai/Mistral-7B-v0.1",
)
GPUS = ("A100", "H100", "RTX-4090")
SHIPPED = Path(__file__).resolve().parent.parent / "advisor" / "tracer" / "shipped"


def main() -> None:
    """Rebuild the folder of shipped traces and say what it holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", action="store_true", help="keep what is shipped, make what is missing")
    os.environ["HF_HUB_OFFLINE"] = "1"
    if not parser.parse_args().add:
        shutil.rmtree(SHIPPED, ignore_errors=True)
    SHIPPED.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["ADVISOR_HOME"] = home
        import advisor
        from advisor.errors import DoesNotFit

        for model in MODELS:
            for gpu in GPUS:
                started = time.monotonic()
                try:
                    advisor.recommend(model, gpu, samples=2000)
                except DoesNotFit as error:
                    print(f"{model} on {gpu}: {error.message}", file=sys.stderr)
                print(f"{model} on {gpu}: {time.monotonic() - started:.0f} s", flush=True)
        made = sorted(Path(home).rglob("traces/*/*.json.gz"))
        for path in made:
            shutil.copy(path, SHIPPED / path.name)
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    print(f"{len(made)} traces made, {len(list(SHIPPED.iterdir()))} shipped, {size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
