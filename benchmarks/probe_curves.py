"""Published learning curves: what a probe's score model begins with, and how well it extrapolates beside others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean

import numpy as np

from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.hyperparameters.rate_sweeps import load_sweeps
from advisor.domain.findings import Finding
from advisor.errors import AdvisorError
from advisor.experiments.probe_points import LACK_OF_FIT
from advisor.experiments.score_model import CORRELATION_AT_8, GAIN, OTHER_RATE, Arm, Effects, Observation, ScoreModel
from advisor.literature.quality.quality_prediction import predict_quality
from benchmarks.learning_rates import law

Curve = dict[int, float]
NOISE = math.hypot(1.5, LACK_OF_FIT)
"""Standard deviation of one published score about its curve, points: seeds and test rows, and what the law misses."""
DURING_TRAINING = {"hf-metamath"}
"""Studies whose sizes are moments of one training."""


def _results() -> Iterator[tuple[str, tuple[str, ...], Finding]]:
    for study in load_studies():
        for f in study.findings:
            usable = f.aspect == "quality" and f.unit == "points" and f.higher_is_better and f.samples
            if usable and not f.suspect and study.id not in DURING_TRAINING:
                yield study.id, (study.id, f.model, f.task, f.method, f.settings, f.metric), f


def published_curves() -> dict[tuple[str, ...], Curve]:
    """Scores by rows of one method in one setting, where several sizes were published."""
    found: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, key, f in _results():
        found[key][f.samples or 0].append(f.value)
    return {key: {n: fmean(v) for n, v in sizes.items()} for key, sizes in found.items() if len(sizes) > 1}


def priors() -> int:
    """Print the published figures behind the constants of the score model."""
    gains: dict[str, list[float]] = defaultdict(list)
    for key, curve in published_curves().items():
        most = max(curve)
        for n in curve:
            if 4 <= most / n <= 16:
                gains[key[0]].append((curve[most] - curve[n]) * math.log(8) / math.log(most / n))
    for study, values in gains.items():
        print(f"gain from N/8 to N   {study:28s} {fmean(values):5.1f} +- {np.std(values):.1f} ({len(values)})")
    means = [fmean(v) for v in gains.values()]
    within = math.sqrt(fmean([float(np.var(v)) for v in gains.values()]))
    total = math.hypot(float(np.std(means)), within)
    print(
        f"   over studies {fmean(means):.1f}, between {np.std(means):.1f}, within {within:.1f}, both {total:.1f}; "
        f"taken: {GAIN}"
    )
    _spread_of_seeds()
    _kept_from_size_to_size()
    for sweep in load_sweeps():
        if sweep.curve and sweep.objective == "sft":
            rates, scores = np.log([r for r, _ in sweep.curve]), [s for _, s in sweep.curve]
            third, own, thrice = (float(np.interp(math.log(law(sweep) * f), rates, scores)) for f in (1 / 3, 1, 3))
            print(
                f"another rate   {sweep.study} {sweep.method}: a third {third - own:+.1f}, "
                f"three times {thrice - own:+.1f}"
            )
    print(f"   taken: {OTHER_RATE}")
    return 0


def _spread_of_seeds() -> None:
    spreads: dict[float, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for study, _, f in _results():
        if f.spread:
            spreads[round(2 * math.log10(f.samples or 1)) / 2][study].append(f.spread)
    for decade, by_study in sorted(spreads.items()):
        middle = np.median([np.median(v) for v in by_study.values()])
        print(f"spread of seeds at 10^{decade:g} rows: {middle:.2f} points, median over {len(by_study)} studies")


def _kept_from_size_to_size() -> None:
    """How far a method's distance from its prediction at one size is that at another."""
    off: dict[tuple[str, ...], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _, key, f in _results():
        if f.full_value is None or f.method == "full":
            continue
        try:
            effect = predict_quality(
                f.method,
                architecture=f.architecture,
                model_parameters=f.model_parameters,
                task_type=f.task_type,
                samples=f.samples,
            ).effect
        except AdvisorError:
            continue
        off[key][f.samples or 0].append((f.value - f.full_value - effect.mid) / max(effect.high - effect.low, 1e-9))
    pairs: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for key, sizes in off.items():
        ordered = sorted(sizes)
        for i, n in enumerate(ordered):
            for more in ordered[i + 1 :]:
                pairs[key[0], round(math.log(more / n, 8))].append((fmean(sizes[n]), fmean(sizes[more])))
    for (study, apart), both in sorted(pairs.items()):
        if len(both) >= 5:
            kept = np.corrcoef(np.array(both).T)[0, 1]
            print(f"correlation over 8^{apart} times the rows   {study:24s} {kept:.2f} ({len(both)} pairs)")
    print(f"   taken over 8 times: {CORRELATION_AT_8}")


Prediction = tuple[float, float, float]
"""(low, mid, high), 90 %."""


def power_laws(seen: Curve, whole: int) -> Prediction:
    """The product's: power laws averaged over their decays, beginning where published curves do."""
    sizes = (*sorted(seen), whole)
    zero = np.zeros((1, len(sizes)))
    model = ScoreModel([Arm("full")], Effects(("full",), sizes, zero, zero, np.eye(1)))
    mean, sd = model.given([Observation(0, n, v, NOISE**2) for n, v in seen.items()]).whole()
    half = 1.645 * math.hypot(float(sd[0]), NOISE)
    mid = min(100.0, float(mean[0]))
    return mid - half, mid, min(100.0, mid + half)


def gaussian_process(seen: Curve, whole: int) -> Prediction:
    """scikit-learn's, over the logarithm of the rows, with a line as its mean."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct

    x = np.log(np.array(sorted(seen), dtype=float))
    y = np.array([seen[n] for n in sorted(seen)])
    kernel = ConstantKernel(100.0, "fixed") * RBF(2.0, "fixed") + ConstantKernel(4.0, "fixed") * DotProduct(
        1.0, "fixed"
    )
    fitted = GaussianProcessRegressor(kernel, alpha=NOISE**2).fit(x[:, None] - x[0], y - y[-1])
    mean, sd = fitted.predict(np.array([[math.log(whole) - x[0]]]), return_std=True)
    half = 1.645 * math.hypot(float(sd[0]), NOISE)
    mid = float(mean[0]) + float(y[-1])
    return mid - half, min(100.0, mid), min(100.0, mid + half)


def straight_line(seen: Curve, whole: int) -> Prediction:
    """Least squares in the logarithm of the rows."""
    slope, start = np.polyfit(np.log(list(seen)), list(seen.values()), 1)
    mid = min(100.0, float(start + slope * math.log(whole)))
    return mid, mid, mid


def last_value(seen: Curve, whole: int) -> Prediction:
    last = seen[max(seen)]
    return last, last, last


RIVALS: Mapping[str, Callable[[Curve, int], Prediction]] = {
    "the last size's score": last_value,
    "a line in log rows": straight_line,
    "Gaussian process": gaussian_process,
    "power laws (the product)": power_laws,
}


def curves() -> int:
    """Print how far each misses the largest size, from sizes of at most a quarter of it; a study counts once."""
    asked = []
    for key, curve in published_curves().items():
        whole = max(curve)
        seen = {n: v for n, v in curve.items() if n <= whole / 4}
        if len(seen) >= 2:
            asked.append((key[0], seen, whole, curve[whole]))
    for name, rival in RIVALS.items():
        errors: dict[str, list[float]] = defaultdict(list)
        inside: dict[str, list[bool]] = defaultdict(list)
        for study, seen, whole, true in asked:
            low, mid, high = rival(seen, whole)
            errors[study].append(mid - true)
            inside[study].append(low <= true <= high)
        each = {study: math.sqrt(fmean([e * e for e in v])) for study, v in errors.items()}
        bias = fmean(fmean(v) for v in errors.values())
        held = fmean(fmean(v) for v in inside.values())
        said = ", ".join(f"{study} {rmse:.1f} ({len(errors[study])})" for study, rmse in each.items())
        print(
            f"{name:26s} RMSE {fmean(each.values()):5.2f}  bias {bias:+.2f}  inside 90 % {held:.0%}   {said}",
            flush=True,
        )
    return 0
