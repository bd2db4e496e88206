"""Reserved memory under varying lengths: do records stand for all batches, and how far does their order move it?

    python benchmarks/varying_lengths.py     table, and benchmarks/results/varying_lengths.json

For each recipe: the typical order that an estimate plays, beside random orders of 1,000 batches (their 5th, 50th and
95th hundredth), and once every batch of an order of 200 beside its records alone. Fails (exit 1) where records miss
what all batches reserve by more than 2 %, or where fewer than 85 % of all orders lie in the ranges that are told.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from advisor.catalog.constants import load_constants
from advisor.catalog.models import resolve_model
from advisor.domain.trace.timeline import Floats
from advisor.estimator.batch_lengths import batches_of, lengths_of
from advisor.estimator.estimate_request import from_case, hardware_of, recipe_of, workload_of
from advisor.estimator.length_laws import gamma_law
from advisor.estimator.memory.long_replay import replay_long
from advisor.estimator.memory.replay import replay
from advisor.estimator.memory.step_program import StepProgram
from advisor.tracer.timelines import timeline_of, trace_of

OUT = Path(__file__).parent / "results" / "varying_lengths.json"
ORDERS, BATCHES, WHOLE = 30, 1000, 200
LLAMA, MISTRAL = "meta-llama/Llama-3.2-3B", "mistralai/Mistral-7B-v0.1"
CHECKPOINTED = {"gradient_checkpointing": True, "attn_implementation": "flash_attention_2"}
RECIPES: list[dict[str, Any]] = [
    {"model": LLAMA, "method": "lora", "batch_size": 4, "seq_len": 768, "mean_seq_len": 225},
    {"model": LLAMA, "method": "lora", "batch_size": 4, "seq_len": 768, "mean_seq_len": 500},
    {"model": LLAMA, "method": "full", "batch_size": 2, "seq_len": 2048, "mean_seq_len": 500, "trainer": "trl"},
    {"model": LLAMA, "method": "full", "batch_size": 2, "seq_len": 2048, "mean_seq_len": 500, **CHECKPOINTED},
    {"model": MISTRAL, "method": "qlora", "batch_size": 4, "seq_len": 1200, "mean_seq_len": 442, **CHECKPOINTED},
    {"model": "Qwen/Qwen2.5-1.5B", "method": "lora", "batch_size": 8, "seq_len": 1024, "mean_seq_len": 400},
]


def records(drawn: Floats) -> Floats:
    """Those longer than all before them."""
    return drawn[drawn > np.append(0, np.maximum.accumulate(drawn)[:-1])]


def measured(case: dict[str, Any]) -> dict[str, Any]:
    """One recipe's figures, in GiB."""
    request = from_case({"gpu": "A100-80GB-SXM", **case})
    spec, recipe = resolve_model(request.model), recipe_of(request)
    workload, _ = workload_of(request, spec, recipe)
    line = timeline_of(trace_of(workload, recipe, hardware_of(request), spec))
    lengths, program = lengths_of(workload, recipe), StepProgram(line)
    law = gamma_law(workload.mean_length, workload.seq_len, load_constants("time")["length_shape"].value)
    draw = np.random.default_rng(0)

    def peak(chosen: Floats) -> float:
        return replay_long(program, [lengths.shape(float(length)) for length in chosen]).peak / 2**30

    orders = [records(np.append(np.ceil(law(draw.random(BATCHES - 1))), workload.seq_len)) for _ in range(ORDERS)]
    found = np.array([peak(order) for order in orders])
    whole = np.ceil(law(draw.random(WHOLE)))
    allocated = replay(line, batches_of(lengths, recipe)).peak_allocated / 2**30
    typical = peak(lengths.rising)
    slack = load_constants("memory")["varying_slack"]
    low, high = (allocated + end * (typical - allocated) for end in (slack.low, slack.high))
    # an estimate's range is wider by the usual error of a replay
    usual = load_constants("memory")["reserved_error"]
    inside = float(((found >= low * usual.low) & (found <= high * usual.high)).mean())
    return {
        **case,
        "allocated": allocated,
        "one_length": peak(np.array([workload.seq_len, workload.seq_len], dtype=np.float64)),
        "typical": typical,
        "orders": [float(q) for q in np.quantile(found, (0.05, 0.5, 0.95))],
        "inside": inside,
        "every_batch": peak(whole),
        "records_alone": peak(records(whole)),
    }


def main() -> int:
    rows = [measured(case) for case in RECIPES]
    inside = float(np.mean([row["inside"] for row in rows]))
    missed = inside < 0.85
    for row in rows:
        off = row["records_alone"] / row["every_batch"] - 1
        missed |= abs(off) > 0.02
        low, middle, high = row["orders"]
        print(
            f"{row['model']:26s} {row['method']:6s} {row['batch_size']} x {row['mean_seq_len']} of {row['seq_len']}: "
            f"allocated {row['allocated']:.1f}, one length {row['one_length']:.1f}, typical {row['typical']:.1f}, "
            f"orders {low:.1f} {middle:.1f} {high:.1f} GiB, inside {row['inside']:.0%}; records alone {off:+.2%}"
        )
    print(f"inside the range: {inside:.0%} of all orders")
    OUT.write_text(json.dumps(rows, indent=1) + "\n")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
