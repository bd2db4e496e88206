"""How good the quality model is on studies it has not seen, beside what is simpler.

    python benchmarks/quality_loso.py            # the shipped model and every simpler one: some 6 minutes of CPU
    python benchmarks/quality_loso.py --quick    # variances not fitted anew without each study: about 1

Prints a table, writes benchmarks/results/quality_loso.json, and fails (exit 1) when a law of the model does not
hold. Every figure is a mean over studies, each study counting once, with a 95 % bootstrap interval over studies.

`told`: the study's own method and whether rates were tuned are known. `blind`: they are not, as in a line of
`advisor evidence --predict`; both then stand at their averages over the other studies.
Pairs: the share of pairs of methods in one setting whose order was predicted, pairs within a point being equal;
with full fine-tuning among the methods, without it, or without it in every setting (also where it was not run).
Regret: points lost against the best method of the setting, by choosing the best expected effect.
Interval score: width and 20 times what lies outside (Winkler); less is better.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from advisor.catalog.findings.method_names import KIND_OF
from advisor.catalog.findings.study_files import load_studies
from advisor.literature.quality.features import GROUPS, SPREAD_FEATURES, SPREAD_OF_OLD, StudyDefaults, StudySetting
from advisor.literature.quality.hierarchical_fit import (
    HeldOutStudy,
    cells_for_fit,
    fit_spread,
    fit_variances,
    leave_studies_out,
)
from advisor.literature.quality.leave_study_out import (
    always_lora,
    blind,
    coverage_of,
    intervals_by_study,
    model_pick,
    order_by_study,
    pu_table,
    regret_by_study,
    told_score,
)
from advisor.literature.quality.observations import QualityObservation, usual
from advisor.literature.quality.study_blocks import design

RESULT = Path(__file__).parent / "results" / "quality_loso.json"

MODELS = {
    "kind": ("all", "kind"),
    "kind, method": ("all", "kind", "method"),
    "+ own method": ("all", "kind", "method", "own"),
    "+ untuned rates": ("all", "kind", "method", "own", "untuned", "kind untuned"),
    "+ small n of soft prompts": ("all", "kind", "method", "own", "untuned", "kind untuned", "soft small n"),
    "+ small encoders, large n": tuple(name for name in GROUPS if name not in ("little capacity", "skill")),
    "shipped: + little capacity, skills": GROUPS,
}
SHIPPED = "shipped: + little capacity, skills"
SIMPLE = "mean of each method"


def nobody(cells: Sequence[QualityObservation]) -> StudyDefaults:
    """What was assumed before of a study that says nothing: nobody's own method, rates tuned."""
    return StudyDefaults(0.0, 0.0, frozenset())


def likely_own(cells: Sequence[QualityObservation]) -> StudyDefaults:
    """A method is its study's own with one chance in (studies that tell of it + 1), as if each were as likely to be."""
    tells: dict[str, set[str]] = defaultdict(set)
    for cell in cells:
        tells[cell.question.method].add(cell.study)
    return OneIn(0.0, usual(cells).untuned_share, usual(cells).proposed, {m: len(s) for m, s in tells.items()})


class OneIn(StudyDefaults):
    """`own_share` falls with the studies that tell of the method."""

    def __init__(self, own: float, untuned: float, proposed: frozenset[str], tells: dict[str, int]) -> None:
        super().__init__(own, untuned, proposed)
        object.__setattr__(self, "tells", tells)

    __slots__ = ("tells",)

    def own(self, method: str) -> float:
        return 0.0 if method in self.proposed else 1 / (1 + self.tells.get(method, 0))


def method_means(cells: Sequence[QualityObservation]) -> list[HeldOutStudy]:
    """Each study predicted by the means of its methods over the others, a study counting once; the simplest there is.

    A mean of k studies is pulled to its kind's as if by one study more, a kind's to that of all methods.
    """
    out: list[HeldOutStudy] = []
    for study in sorted({cell.study for cell in cells}):
        said: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for cell in cells:
            if cell.referenced and cell.study != study:
                said[cell.question.method][cell.study].append(math.asinh(cell.effect))
        means = {method: [fmean(values) for values in by_study.values()] for method, by_study in said.items()}
        kinds: dict[str, list[float]] = defaultdict(list)
        for method, values in means.items():
            kinds[KIND_OF[method]].append(fmean(values))
        over = fmean(fmean(values) for values in means.values())

        def guess(question: StudySetting, means=means, kinds=kinds, over=over) -> float:
            like = kinds.get(question.kind, [])
            mine = means.get(question.method, [])
            return (sum(mine) + (sum(like) + over) / (len(like) + 1)) / (len(mine) + 1)

        for cell in cells:
            if cell.study == study:
                mean = guess(cell.question)
                out.append(HeldOutStudy(cell, cell.question, mean, 0.0, mean, 0.0))
    return out


def interval(by_study: Mapping[str, float]) -> dict[str, float]:
    """Mean over studies with a 95 % bootstrap interval over studies."""
    values = np.array([by_study[study] for study in sorted(by_study)])
    draws = np.random.default_rng(0).integers(0, len(values), (4000, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), (0.025, 0.975))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def less(mine: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """`interval` of the differences, study by study."""
    return interval({study: mine[study] - other[study] for study in mine})


def error_by_study(left_out: list[HeldOutStudy], predict=told_score) -> dict[str, float]:
    """Mean absolute error of cells, in points."""
    errors: dict[str, list[float]] = {}
    for one in left_out:
        if one.cell.referenced:
            errors.setdefault(one.cell.study, []).append(abs(predict(one) - one.cell.effect))
    return {study: fmean(values) for study, values in errors.items()}


def measure(left_out: list[HeldOutStudy], spread: tuple[str, ...] = SPREAD_FEATURES) -> dict[str, object]:
    intervals = intervals_by_study(left_out, names=spread)
    over_studies, over_rows = coverage_of(intervals, left_out)
    lora = regret_by_study(left_out, always_lora)
    found: dict[str, object] = {}
    for name, predict in (("told", told_score), ("blind", blind)):
        found |= {
            f"pairs {name}, with full": interval(order_by_study(left_out, predict)),
            f"pairs {name}, without full": interval(order_by_study(left_out, predict, with_full=False)),
            f"pairs {name}, every setting": interval(
                order_by_study(left_out, predict, with_full=False, every_setting=True)
            ),
            f"pairs {name}, no ties": interval(order_by_study(left_out, predict, 0.0)),
            f"error {name}": interval(error_by_study(left_out, predict)),
        }
    regrets = {
        name: regret_by_study(left_out, model_pick(how)) for name, how in (("told", told_score), ("blind", blind))
    }
    return found | {
        "coverage over studies": round(over_studies, 4),
        "coverage over rows": round(over_rows, 4),
        "interval width": interval({study: one.width for study, one in intervals.items()}),
        "interval score": interval({study: one.score for study, one in intervals.items()}),
        **{f"regret {name}": interval(regret) for name, regret in regrets.items()},
        "regret always lora": interval(lora),
        "regret Pu et al.": interval(regret_by_study(left_out, pu_table)),
        "regret blind less lora's": less(regrets["blind"], lora),
        "by study": {
            study: {
                "pairs told": round(share, 3),
                "pairs blind": round(order_by_study(left_out, blind)[study], 3),
                "inside": round(intervals[study].inside, 3),
                "width": round(intervals[study].width, 1),
            }
            for study, share in order_by_study(left_out, told_score).items()
        },
    }


def conditional(left_out: list[HeldOutStudy]) -> dict[str, dict[str, float]]:
    """Coverage and width of rows by number of samples, kind and architecture; intervals fitted study by study."""
    groups: dict[str, list[tuple[str, bool, float]]] = defaultdict(list)
    for study in sorted({one.cell.study for one in left_out if one.cell.referenced}):
        spread = fit_spread([one for one in left_out if one.cell.study != study])
        mine = [one for one in left_out if one.cell.study == study and one.cell.referenced]
        means, variances = (np.array([getattr(one, name) for one in mine]) for name in ("mean", "variance"))
        for one, scale in zip(mine, spread.scale([o.blind for o in mine], means, variances), strict=True):
            low, high = (blind(one) + scale * spread.quantiles[i] for i in (2, -3))
            question = one.cell.question
            n = question.samples
            size = "n unknown" if n is None else next(name for top, name in SIZES if n <= top)
            for key in (size, f"kind: {question.kind}", f"architecture: {question.architecture}"):
                groups[key] += [(study, low <= effect <= high, high - low) for effect in one.cell.effects]
    return {
        key: {
            "rows": len(rows),
            "studies": len({study for study, _, _ in rows}),
            "coverage": round(fmean(inside for _, inside, _ in rows), 3),
            "median width": round(float(np.median([width for _, _, width in rows])), 1),
        }
        for key, rows in sorted(groups.items())
    }


SIZES = ((100, "n up to 100"), (1_000, "n up to 1,000"), (10_000, "n up to 10,000"), (math.inf, "n above 10,000"))


def broken_laws(results: Mapping[str, dict]) -> list[str]:
    """The laws of the shipped model; empty when all hold."""
    shipped = results[SHIPPED]
    broken = [
        f"{key} below 0.80"
        for key in ("pairs told, with full", "pairs told, without full", "pairs blind, without full")
        if shipped[key]["mean"] < 0.80
    ]
    broken += [
        f"{key} outside 85-95 %"
        for key in ("coverage over studies", "coverage over rows")
        if not 0.85 <= shipped[key] <= 0.95
    ]
    for kind in ("told", "blind"):
        for rule in ("always lora", "Pu et al."):
            if shipped[f"regret {kind}"]["mean"] > shipped[f"regret {rule}"]["mean"]:
                broken.append(f"regret {kind} is worse than {rule}")
    for key in ("pairs told, with full", "pairs blind, with full", "pairs blind, without full"):
        if shipped[key]["mean"] < results[SIMPLE][key]["mean"]:
            broken.append(f"{key}: a mean for each method orders better than the shipped model")
    if shipped["interval score"]["mean"] > results["shipped, spread as before"]["interval score"]["mean"]:
        broken.append("the spread before had the better intervals")
    return broken


def main() -> int:
    cells = cells_for_fit(load_studies())
    refit = 0 if "--quick" in sys.argv else 12
    simple = method_means(cells)
    equal = [HeldOutStudy(one.cell, one.blind, 0.0, 0.0, 0.0, 0.0) for one in simple]
    results: dict[str, dict] = {"equal to full": measure(equal), SIMPLE: measure(simple)}
    for name, groups in MODELS.items():
        data = design(cells, groups)
        variances = fit_variances(data)
        left_out = leave_studies_out(data, variances, refit)
        results[name] = measure(left_out)
        print(f"fitted {name}", file=sys.stderr)
        if groups == GROUPS:
            by_group = conditional(left_out)
            results["shipped, spread as before"] = measure(left_out, SPREAD_OF_OLD)
            for title, assume in (("own method never", nobody), ("own method 1 in k + 1", likely_own)):
                results[f"shipped, {title}"] = measure(leave_studies_out(data, variances, refit, assume))
    show(results)
    broken = broken_laws(results)
    RESULT.parent.mkdir(exist_ok=True)
    document = {
        "command": " ".join(["python benchmarks/quality_loso.py", *sys.argv[1:]]),
        "broken laws": broken,
        "models": results,
        "intervals by group": by_group,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print("\n".join(f"BROKEN: {law}" for law in broken) or "every law holds")
    return 1 if broken else 0


def show(results: Mapping[str, dict]) -> None:
    """One line a model and figure, so that no column is cut."""
    for key in (key for key in results[SHIPPED] if key != "by study"):
        print(key)
        for name, result in results.items():
            v = result[key]
            text = f"{v['mean']:7.3f}  ({v['low']:.2f} to {v['high']:.2f})" if isinstance(v, dict) else f"{v:7.3f}"
            print(f"    {name:36s}{text}")


if __name__ == "__main__":
    sys.exit(main())
