"""Public runs on several GPUs against what is predicted: `python -m benchmarks.multi_gpu`.

The runs lie in `results/multi_gpu_runs.jsonl`, each with its source: those of Hugging Face's trainers under FSDP1
and of torchtitan under FSDP2 whose configuration is complete and expressible. Nothing is fitted to them, but the range
of `rank_error` (catalogue, constants of memory), which was set by hand beside six of them.

Each prediction is kept in `results/multi_gpu.json` as it is made, so that an interrupted run goes on where it was:
`--anew` forgets them, `--seconds N` stops after N. The first run of each model, method and source comes first.
Printed are, by framework and method: runs, median and worst error, how many are within 12 % and how many lie in their
range, of the peak allocated on a rank and of the step's seconds; how many of those that ran out of memory are refused;
and beside full fine-tuning what DeepSpeed's estimator of ZeRO-3 states says, which counts no activations.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import advisor
from advisor.errors import AdvisorError

RESULTS = Path(__file__).parent / "results"
RUNS = RESULTS / "multi_gpu_runs.jsonl"
KEPT = RESULTS / "multi_gpu.json"
WITHIN = 0.12
"""The contract's: 95 % of peaks are to be within it."""


def predicted(case: dict[str, Any]) -> dict[str, Any]:
    """What is said of one case, JSON-ready."""
    try:
        found = advisor.estimate(**case)
    except AdvisorError as error:
        return {"error": error.message}
    peak, step = found.memory.peak_allocated, found.time.step
    return {
        "peak": [peak.low, peak.mid, peak.high],
        "step": [step.low, step.mid, step.high],
        "fits": found.fits,
        "deepspeed": deepspeed_states(found.total_parameters, case) if case["method"] == "full" else None,
    }


def deepspeed_states(parameters: int, case: dict[str, Any]) -> float:
    """Bytes on a GPU by DeepSpeed's estimate_zero3_model_states_mem_needs, nothing offloaded.

    4 x the largest module's own parameters + 18 P / N, the largest module taken to be the embedding.
    Source: deepspeedai/DeepSpeed, deepspeed/runtime/zero/stage3.py, as of edaa722126.
    """
    from advisor.catalog.models import resolve_model

    spec = resolve_model(case["model"])
    embedding = int(spec.config.get("vocab_size", 0)) * (spec.hidden or 0)
    return 4 * embedding + 18 * parameters / case["gpus"]


class Errors:
    """Relative errors of one quantity, how many are within 12 %, and how many values lie in the predicted range."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.held = 0

    def add(self, ends: list[float], measured: float) -> None:
        self.errors.append(ends[1] / measured - 1)
        self.held += ends[0] <= measured <= ends[2]

    def __str__(self) -> str:
        if not self.errors:
            return "-"
        sizes = [abs(error) for error in self.errors]
        within = sum(size <= WITHIN for size in sizes)
        return (
            f"n {len(sizes)}, median {statistics.median(sizes):.1%} ({statistics.median(self.errors):+.1%}), "
            f"worst {max(sizes):.1%}, within 12 % {within / len(sizes):.0%}, in range {self.held / len(sizes):.0%}"
        )


def in_turn(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of each kind, then the second of each ... so that a run cut short has seen all kinds."""
    seen: dict[tuple[object, ...], int] = defaultdict(int)
    order: list[tuple[int, int]] = []
    for number, run in enumerate(runs):
        kind = run["source"], run["case"]["model"], run["case"]["method"]
        order.append((seen[kind], number))
        seen[kind] += 1
    return [runs[number] for _, number in sorted(order)]


def make(runs: list[dict[str, Any]], known: dict[str, Any], seconds: float) -> None:
    """Predict what is not known yet, and keep each at once."""
    ends = time.monotonic() + seconds
    for run in in_turn(runs):
        if run["id"] in known:
            continue
        if time.monotonic() > ends:
            print("stopped: run it again to go on", file=sys.stderr)
            return
        known[run["id"]] = predicted(run["case"])
        KEPT.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"{run['id']} {run['case']['model']} {run['case']['method']}", file=sys.stderr, flush=True)


def report(runs: list[dict[str, Any]], known: dict[str, Any]) -> None:
    memory: dict[str, Errors] = defaultdict(Errors)
    step: dict[str, Errors] = defaultdict(Errors)
    others = Errors()
    starved = refused = 0
    for run in runs:
        said = known.get(run["id"])
        if said is None or "error" in said:
            continue
        case, peak = run["case"], run.get("peak_allocated_bytes")
        for kind in (f"{run['framework']}, {case['method']}, {case['parallelism']}", "all"):
            if peak:
                memory[kind].add(said["peak"], peak)
            if "step_s" in run:
                step[kind].add(said["step"], run["step_s"])
        if peak and said["deepspeed"]:
            others.add([said["deepspeed"]] * 3, peak)
        if run.get("out_of_memory"):
            starved += 1
            refused += not said["fits"]
    for kind in sorted({*memory, *step}):
        print(f"{kind}\n  peak allocated: {memory[kind]}\n  step: {step[kind]}")
    print(f"out of memory: {refused} of {starved} refused")
    print(f"DeepSpeed's estimate of ZeRO-3 states, full fine-tuning: {others}")
    asked = [run["id"] for run in runs if run["id"] in known]
    failed = {name: known[name]["error"] for name in asked if "error" in known[name]}
    print(f"predicted: {len(asked) - len(failed)} of {len(runs)}; refused: {failed or 'none'}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anew", action="store_true", help="forget what was predicted before")
    parser.add_argument("--seconds", type=float, default=240.0, help="begin no prediction after so many seconds")
    asked = parser.parse_args()
    runs = [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()]
    known: dict[str, Any] = {}
    if KEPT.exists() and not asked.anew:
        known = json.loads(KEPT.read_text(encoding="utf-8"))
    make(runs, known, asked.seconds)
    report(runs, known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
