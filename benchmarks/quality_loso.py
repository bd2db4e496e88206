"""How good the quality model is on studies it has not seen, beside what is simpler.

    python benchmarks/quality_loso.py            # the shipped model and every simpler one: about 10 minutes
    python benchmarks/quality_loso.py --quick    # variances not fitted anew for each study: about 3

Prints a table, writes benchmarks/results/quality_loso.json, and fails (exit 1) when a law of issue 5 does not
hold. Every figure is a mean over studies, each study counting once, with a 95 % bootstrap interval over studies.

`told`: the study's own method and whether rates were tuned are known. `blind`: they are not, as in a user's question.
Regret: points lost against the best method of the setting, by choosing what the model is surest of.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import numpy as np

from advisor.catalog.findings.load import load_studies
from advisor.estimator.quality_features import GROUPS
from advisor.estimator.quality_fit import LeftOut, cells_for_fit, design, fit_variances, leave_studies_out
from advisor.estimator.quality_scores import (
    always_lora,
    blind,
    coverage,
    coverage_by_study,
    model_pick,
    order_by_study,
    pu_table,
    regret_by_study,
    told,
)

RESULT = Path(__file__).parent / "results" / "quality_loso.json"

MODELS = {
    "equal to full": (),
    "kind": ("all", "kind"),
    "kind, method": ("all", "kind", "method"),
    "+ own method": ("all", "kind", "method", "own"),
    "+ untuned rates": ("all", "kind", "method", "own", "untuned", "kind untuned"),
    "shipped: + small and large n": GROUPS,
}


def interval(by_study: Mapping[str, float]) -> dict[str, float]:
    """Mean over studies with a 95 % bootstrap interval over studies."""
    values = np.array([by_study[study] for study in sorted(by_study)])
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def error_by_study(left_out: list[LeftOut], predict=told) -> dict[str, float]:
    """Mean absolute error of cells, in points."""
    errors: dict[str, list[float]] = {}
    for one in left_out:
        if one.cell.referenced:
            errors.setdefault(one.cell.study, []).append(abs(predict(one) - one.cell.effect))
    return {study: fmean(values) for study, values in errors.items()}


def measure(left_out: list[LeftOut]) -> dict[str, object]:
    over_studies, over_rows = coverage(left_out)
    widths = coverage_by_study(left_out)
    return {
        "pairs told, 1 point apart": interval(order_by_study(left_out, told)),
        "pairs told, 0.5 apart": interval(order_by_study(left_out, told, 0.5)),
        "pairs told, all": interval(order_by_study(left_out, told, 0.0)),
        "pairs blind, 1 point apart": interval(order_by_study(left_out, blind)),
        "pairs blind, without full": interval(order_by_study(left_out, blind, with_full=False)),
        "error told": interval(error_by_study(left_out)),
        "error blind": interval(error_by_study(left_out, blind)),
        "coverage over studies": round(over_studies, 4),
        "coverage over rows": round(over_rows, 4),
        "median width": round(float(np.median([width for _, width in widths.values()])), 2),
        "regret told": interval(regret_by_study(left_out, model_pick(told=True))),
        "regret blind": interval(regret_by_study(left_out, model_pick(told=False))),
        "regret always lora": interval(regret_by_study(left_out, always_lora)),
        "regret Pu et al.": interval(regret_by_study(left_out, pu_table)),
        "by study": {
            study: {
                "pairs told": round(share, 3),
                "inside": round(widths[study][0], 3),
                "width": round(widths[study][1], 1),
            }
            for study, share in order_by_study(left_out, told).items()
        },
    }


def broken_laws(shipped: dict, baseline: dict) -> list[str]:
    """The laws of issue 5, item 3, on the shipped model; empty when all hold."""
    broken = []
    if shipped["pairs told, 1 point apart"]["mean"] < 0.80:
        broken.append("pairwise order below 0.80")
    broken += [
        f"{key} outside 85-95 %"
        for key in ("coverage over studies", "coverage over rows")
        if not 0.85 <= shipped[key] <= 0.95
    ]
    for kind in ("told", "blind"):
        for rule in ("always lora", "Pu et al."):
            if shipped[f"regret {kind}"]["mean"] > shipped[f"regret {rule}"]["mean"]:
                broken.append(f"regret {kind} is worse than {rule}")
    if shipped["pairs told, 1 point apart"]["mean"] < baseline["pairs told, 1 point apart"]["mean"]:
        broken.append("a mean for each method orders better than the shipped model")
    return broken


def main() -> int:
    cells = cells_for_fit(load_studies())
    refit = 0 if "--quick" in sys.argv else 12
    results: dict[str, dict] = {}
    for name, groups in MODELS.items():
        data = design(cells, groups or ("all",))
        variances = fit_variances(data)
        left_out = leave_studies_out(data, variances, refit if groups == GROUPS else 0)
        if not groups:
            left_out = [LeftOut(one.cell, one.blind, 0.0, 0.0, 0.0, 0.0) for one in left_out]
        results[name] = measure(left_out)
        print(f"fitted {name}", file=sys.stderr)
    columns = [key for key in results["kind"] if key != "by study"]
    print(f"{'':28s}" + "".join(f"{name[:22]:>24s}" for name in MODELS))
    for key in columns:
        row = [results[name][key] for name in MODELS]
        shown = [
            f"{v['mean']:.3f} ({v['low']:.2f}-{v['high']:.2f})" if isinstance(v, dict) else f"{v:.3f}" for v in row
        ]
        print(f"{key:28s}" + "".join(f"{text:>24s}" for text in shown))
    broken = broken_laws(results["shipped: + small and large n"], results["kind, method"])
    RESULT.parent.mkdir(exist_ok=True)
    document = {"command": "python benchmarks/quality_loso.py", "broken laws": broken, "models": results}
    RESULT.write_text(json.dumps(document, indent=1, default=lambda v: None if math.isnan(v) else v) + "\n")
    print("\n".join(f"BROKEN: {law}" for law in broken) or "every law holds")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
