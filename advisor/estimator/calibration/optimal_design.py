"""Which runs to measure first: those that pin the constants down most, by optimal design from the traces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from advisor.domain.trace.timeline import Floats
from advisor.estimator.calibration.fit import NOISE, TimeFit, prior_deviations, prior_precision, sensitivity
from advisor.estimator.calibration.measured_runs import TracedCase
from advisor.estimator.step_time.step_simulator import TIME_NAMES, default_time

WOULD_PIN = {
    "matmul_half": "full fine-tuning or LoRA at a large batch",
    "matmul_single": "a method with wide float32 products, such as RandLoRA or LoRA of a high rank",
    "attention": "LoRA on long sequences",
    "bandwidth": "full fine-tuning, whose optimizer streams every parameter",
    "cache_gain": "LoRA on short sequences, whose tensors the cache holds",
    "cache_bytes": "one method at several batch sizes",
    "kernel_s": "a method of many small kernels, such as AdaMSS",
    "forward_op_s": "a micro-batch of one short sequence",
    "backward_op_s": "a micro-batch of one short sequence",
    "view_s": "a method that reshapes much, such as OFT, on short sequences",
    "backward_view_s": "a method that reshapes much, such as GraLoRA, on short sequences",
    "module_s": "adapters on every linear layer, on short sequences",
    "launch_s": "full fine-tuning of a small model",
    "transfer_bytes_s": "a method with buffers on the host, such as BOFT",
    "sync_s": "a method that reads values back each step, such as AdaLoRA",
    "step_s": "a small model with a small batch",
}
"""What kind of run shows a constant."""


def choose_runs(
    questions: Sequence[TracedCase], k: int, *, constants: Floats | None = None, measured: Sequence[TracedCase] = ()
) -> list[int]:
    """The k questions whose step times would tell most about the constants, most telling first.

    Greedy: each next one adds most to the log-determinant of what is known, the catalogue's ranges and the
    runs already `measured` included.

    Returns:
        positions in `questions`; fewer than k where there are fewer.
    """
    theta = default_time() if constants is None else constants
    known = prior_precision()
    for question in measured:
        row = sensitivity(question, theta) / NOISE
        known += np.outer(row, row)
    rows = [sensitivity(question, theta) / NOISE for question in questions]
    chosen: list[int] = []
    while len(chosen) < min(k, len(questions)):
        covariance = np.linalg.inv(known)
        gains = [-1.0 if i in chosen else float(row @ covariance @ row) for i, row in enumerate(rows)]
        best = int(np.argmax(gains))
        chosen.append(best)
        known += np.outer(rows[best], rows[best])
    return chosen


def would_narrow(fit: TimeFit, asked: Sequence[TracedCase], most: int = 3) -> tuple[str, ...]:
    """The measurements that would narrow predictions most: by how much each constant's doubt moves step times."""
    rows = np.abs(np.array([sensitivity(question, fit.constants) for question in asked]))
    if not rows.size:
        return ()
    doubt = np.sqrt(np.clip(np.diag(fit.covariance), 0, None))
    before = prior_deviations()
    moves = rows.mean(axis=0) * doubt
    order = np.argsort(-moves)
    return tuple(
        f"{WOULD_PIN[TIME_NAMES[i]]}: {TIME_NAMES[i]} is known to {doubt[i]:.0%}, was to {before[i]:.0%}"
        for i in order[:most]
        if moves[i] > 0.002
    )
