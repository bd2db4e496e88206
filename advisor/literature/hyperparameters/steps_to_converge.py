"""How many optimizer steps a method needs before it has learned: few-shot recipes and measured learning curves.

Parameter-efficient methods converge in more steps than full fine-tuning where data are few, so epochs alone
mislead: three epochs of 100 samples are 20 steps.
"""

from __future__ import annotations

from functools import cache

from advisor.catalog.findings.method_names import KIND_OF
from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.hyperparameters.published_settings import load_settings
from advisor.domain.findings import Finding
from advisor.domain.recommendation import Setting

CURVE_BATCH = 4
"""Samples a step in the HF MetaMathQA runs; other batch sizes are taken to need as many samples."""
CONVERGED = 0.9
"""Share of its own best score at which a run counts as having learned."""


def fewest_steps(method: str, task: str | None = None, batch: int = CURVE_BATCH) -> Setting | None:
    """About how many steps a method needs, with sources; None where nobody measured it or its kind.

    To understand (`task` as `PublishedSetting.task` has it): the steps that the few-shot recipes of T-Few gave the
    method at 20-70 samples, else those they gave methods of its kind. To generate, or where the task is not known:
    the step at which the method's HF MetaMathQA run reached CONVERGED of its best. Each stands in for the other.
    """
    measured = steps_to_converge().get(method)
    if measured and task != "understanding":
        return _of_curve(*measured, batch)
    published = load_settings()
    asked = [one for one in published.settings if one.setting == "steps" and one.samples and one.samples < 1000]
    for near in (
        [one for one in asked if one.method == method],
        [one for one in asked if KIND_OF[one.method] == KIND_OF[method]],
    ):
        values = sorted(one.value for one in near if isinstance(one.value, float))
        if values:
            middle = round(values[len(values) // 2])
            who = "it" if near[0].method == method else f"methods of its kind ({KIND_OF[method]})"
            return Setting(
                name="steps",
                value=middle,
                low=round(values[0]),
                high=round(values[-1]) * 2,
                why=f"{who} got {middle:,} steps at 20-70 samples when every method was tuned",
                sources=tuple(dict.fromkeys(published.addresses[i] for one in near for i in one.sources))[:4],
            )
    return _of_curve(*measured, batch) if measured else None


def _of_curve(steps: int, address: str, batch: int) -> Setting:
    seen = steps * CURVE_BATCH
    value = max(1, -(-seen // batch))
    return Setting(
        name="steps",
        value=value,
        low=value,
        high=max(value, steps * 4),
        why=f"its learning curve reached {CONVERGED:.0%} of its best after {seen:,} samples (MetaMathQA, 3B, batch 4)",
        sources=(address,),
    )


@cache
def steps_to_converge() -> dict[str, tuple[int, str]]:
    """method -> (steps of its quickest curve to CONVERGED of its best, address); curves that never rise are out."""
    runs: dict[tuple[str, str], list[Finding]] = {}
    for study in load_studies():
        for finding in study.findings:
            if finding.aspect == "curve" and finding.samples:
                runs.setdefault((finding.method, finding.settings), []).append(finding)
    found: dict[str, tuple[int, str]] = {}
    for (method, _), points in runs.items():
        points.sort(key=lambda point: point.samples or 0)
        best = max(point.value for point in points)
        if best < 10:
            continue
        reached = next(point for point in points if point.value >= CONVERGED * best)
        steps = int(reached.training.split()[0])
        if method not in found or steps < found[method][0]:
            found[method] = (steps, reached.address)
    return found
