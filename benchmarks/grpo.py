"""Public runs of GRPO against what is predicted: `python -m benchmarks.grpo [--fresh]`.

The runs lie in `results/grpo_runs.jsonl`: Qwen2.5 on GSM8K on two A40s under FSDP, by a fork of torchtune. They are of
another trainer than the one that is priced, TRL's: theirs builds whole float32 logits of each sequence, TRL's none, and
keeps gathered weights until the backward pass (`fsdp_reshard_after_forward` is False by default in its recipe). So two
figures are compared with the measured peak: TRL's as priced, which must lie below; and as theirs, the same step's
weights, state and saved activations with the gathered weights and the logits of their recipe, fitted to nothing
(recipes/lora_grpo_distributed.py, configs/qwen2_5): when its backward pass begins, gradients of the completions'
log-softmax, chunk by chunk and joined, and of all positions. The prompts' length is not published: 256 tokens are
assumed. Seconds are theirs beside TRL's range, no comparison: generation is their own. What was priced is kept in
`results/grpo.json` run by run, and an interrupted benchmark goes on from there.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import advisor
from advisor.errors import AdvisorError

RESULTS = Path(__file__).parent / "results"
RUNS, PRICED = RESULTS / "grpo_runs.jsonl", RESULTS / "grpo.json"
COMPLETIONS, COMPLETION, PROMPT, VOCABULARY = 8, 512, 256, 151_936
"""Of the runs: two prompts a GPU, four completions each, of 512 tokens; Qwen2.5's vocabulary; the prompt is assumed."""
LOGITS = 4 * VOCABULARY * COMPLETIONS * (2 * COMPLETION + COMPLETION + PROMPT)
"""Bytes of the float32 gradients described above."""


def asked(run: dict[str, Any]) -> dict[str, Any]:
    """The run as advisor is asked for it."""
    options: dict[str, Any] = {
        "objective": "grpo", "num_generations": 4, "completion_length": COMPLETION, "seq_len": PROMPT + COMPLETION,
        "beta": 0.01, "batch_size": COMPLETIONS, "gradient_accumulation": 1, "gradient_checkpointing": True,
        "method": run["method"], "base": run["base"], "dtype": "bfloat16", "gpus": 2, "parallelism": "fsdp2",
    }  # fmt: skip
    return options | ({} if run["method"] == "full" else {"rank": 1, "alpha": 2})


def price(run: dict[str, Any]) -> dict[str, Any]:
    """Bytes and seconds predicted, or why there are none."""
    try:
        found = advisor.estimate(run["model"], "A40", **asked(run))
    except AdvisorError as error:
        return {"refused": error.message}
    memory, time = found.memory, found.time
    between = memory.allocated_after_step.mid
    # between two steps an adapter's rank holds its half of the weights and little else
    whole = 2 * found.total_parameters if run["method"] == "full" else 2 * between
    assert time.generation is not None
    return {
        "allocated": memory.peak_allocated.mid,
        "as_theirs": between + whole + memory.breakdown["saved activations"] + LOGITS,
        "generation": [time.generation.low, time.generation.mid, time.generation.high],
        "step": [time.step.low, time.step.mid, time.step.high],
    }


def main() -> int:
    runs = [json.loads(line) for line in RUNS.read_text(encoding="utf-8").splitlines()]
    fresh = "--fresh" in sys.argv or not PRICED.exists()
    priced: dict[str, Any] = {} if fresh else json.loads(PRICED.read_text(encoding="utf-8"))
    errors: list[float] = []
    for run in runs:
        name = f"{run['model']} {run['method']} {run['base']}"
        if name not in priced:
            priced[name] = price(run)
            PRICED.write_text(json.dumps(priced, indent=1) + "\n", encoding="utf-8")
        found = priced[name]
        if "refused" in found:
            print(f"{name}: refused: {found['refused']}")
            continue
        error = found["as_theirs"] / 1e9 / run["peak_gb"] - 1
        errors.append(error)
        print(
            f"{name}: measured {run['peak_gb']:.1f} GB; TRL's step {found['allocated'] / 1e9:.1f} GB, as theirs "
            f"{found['as_theirs'] / 1e9:.1f} GB ({error:+.0%}); step {run['step_seconds']:.0f} s, by TRL "
            f"{found['step'][0]:.0f} to {found['step'][2]:.0f} s"
        )
    sizes = [abs(error) for error in errors]
    print(f"as theirs: n {len(sizes)}, median {statistics.median(sizes):.1%}, worst {max(sizes):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
