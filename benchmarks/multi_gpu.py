"""Public runs on several GPUs against what is predicted: `python -m benchmarks.multi_gpu`.

The runs lie in `results/multi_gpu_runs.jsonl`, each with its source: those of Hugging Face's trainers under FSDP1
and of torchtitan under FSDP2 whose configuration is complete and expressible. Nothing is fitted to them. Printed are,
by framework and method: runs, median and worst error of the peak allocated on a rank and of the step's seconds, how
many lie in their range, and how many of those that ran out of memory are refused.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import advisor
from advisor.domain.quantity import Quantity
from advisor.errors import AdvisorError

RUNS = Path(__file__).parent / "results" / "multi_gpu_runs.jsonl"


class Errors:
    """Relative errors of one quantity, and how many measured values lie in the predicted range."""

    def __init__(self) -> None:
        self.errors: list[float] = []
        self.held = 0

    def add(self, predicted: Quantity, measured: float) -> None:
        self.errors.append(predicted.mid / measured - 1)
        self.held += predicted.low <= measured <= predicted.high

    def __str__(self) -> str:
        if not self.errors:
            return "-"
        sizes = [abs(error) for error in self.errors]
        bias = statistics.median(self.errors)
        return (
            f"n {len(sizes)}, median {statistics.median(sizes):.1%} ({bias:+.1%}), worst {max(sizes):.1%}, "
            f"in range {self.held / len(sizes):.0%}"
        )


def main() -> int:
    memory: dict[str, Errors] = defaultdict(Errors)
    seconds: dict[str, Errors] = defaultdict(Errors)
    refused = starved = 0
    for line in RUNS.read_text(encoding="utf-8").splitlines():
        run: dict[str, Any] = json.loads(line)
        case = run["case"]
        try:
            found = advisor.estimate(**case)
        except AdvisorError as error:
            print(f"{run['id']}: {error.message}", file=sys.stderr)
            continue
        for kind in (f"{run['framework']}, {case['method']}, {case['parallelism']}", "all"):
            if "peak_allocated_bytes" in run:
                memory[kind].add(found.memory.peak_allocated, run["peak_allocated_bytes"])
            if "step_s" in run:
                seconds[kind].add(found.time.step, run["step_s"])
        if run.get("out_of_memory"):
            starved += 1
            refused += not found.fits
    for kind in sorted({*memory, *seconds}):
        print(f"{kind}\n  peak allocated: {memory[kind]}\n  step: {seconds[kind]}")
    print(f"out of memory: {refused} of {starved} refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
