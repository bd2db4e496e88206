"""The largest batch that fits, by trying: doubled until memory runs out, then halved in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from advisor.domain.profile import Profile
from advisor.domain.stored import Value
from advisor.profiler.profile_job import ProfileJob

MOST: Final = 4096
"""Nobody trains with more samples in one forward pass; a run that small teaches nothing beyond."""


class LargestBatch(Value):
    """`fits` is the largest batch that ran (0: not even one sample), `fails` the smallest that did not, if known.

    `reason` is set where the search ended otherwise than by memory.
    """

    model: str
    method: str
    seq_len: int
    fits: int
    fails: int | None
    probes: int
    reason: str = ""


def probe(job: ProfileJob, batch: int) -> ProfileJob:
    """The same run at another batch size, only as long as it takes to know whether it fits."""
    recipe = job.recipe.model_copy(update={"micro_batch_size": batch})
    whole = batch * recipe.gradient_accumulation
    workload = job.workload.model_copy(update={"effective_batch_size": whole})
    shorter = {"steps": 1, "warmup": 2, "evaluation_batch_size": 0, "saving": False}
    return job.model_copy(update={"recipe": recipe, "workload": workload, **shorter})


def largest_batch(job: ProfileJob, run: Callable[[ProfileJob], Profile | None], most: int = MOST) -> LargestBatch:
    """Search from the job's own batch size. `run` measures a probe, None where it may not be started any more."""
    fits, fails, probes, reason = 0, None, 0, ""
    batch = min(job.recipe.micro_batch_size, most)
    while True:
        profile = run(probe(job, batch))
        probes += profile is not None
        if profile is None:
            reason = "time ran out"
            break
        if profile.status == "failed":
            reason = f"batch {batch}: {profile.reason}"
            break
        if profile.status == "complete":
            fits = max(fits, batch)
        else:
            fails = batch if fails is None else min(fails, batch)
        if fails is None:
            if fits >= most:
                reason = f"{most} fit, more were not tried"
                break
            batch = min(2 * batch, most)
        elif fails - fits <= 1:
            break
        else:
            batch = (fits + fails) // 2
    return LargestBatch(
        model=job.spec.name,
        method=job.recipe.method,
        seq_len=job.workload.seq_len,
        fits=fits,
        fails=fails,
        probes=probes,
        reason=reason,
    )
