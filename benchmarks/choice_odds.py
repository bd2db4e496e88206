"""Whether the odds of choosing a method come true on studies that were left out: loss, chance to be near the best.

    python -m benchmarks.choice_odds          # a minute: variances as they ship, every study left out in turn

Every setting of a left-out study with full fine-tuning and two methods or more is a question: what may each method
lose against the best of them. Printed are the mean predicted and the mean realised loss and the predicted and realised
share within a point of the best, a study counting once, for always taking LoRA, for taking the best expected effect
and for every method, at several shares of the intervals that a method is drawn from; then the log score of the chance
that was given to the method that was best. The correlation is that of the fit that ships, which saw the study.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from advisor.catalog.findings.study_files import load_studies
from advisor.domain.quantity import Quantity
from advisor.literature.quality.choice_odds import choice_odds
from advisor.literature.quality.features import StudySetting
from advisor.literature.quality.hierarchical_fit import (
    HeldOutStudy,
    cells_for_fit,
    fit_spread,
    leave_studies_out,
)
from advisor.literature.quality.leave_study_out import blind, settings
from advisor.literature.quality.posterior import posterior
from advisor.literature.quality.study_blocks import design

SHARES = (0.25, 0.35, 0.5, 0.7, 1.0)
TOLERANCE = 1.0


def held_out() -> list[HeldOutStudy]:
    data = design(cells_for_fit(load_studies()))
    groups = list(dict.fromkeys(name[0] for name in data.names))
    named = [*groups, "study", "study x kind", "study x method", "study x setting", "noise"]
    stored = posterior().fit.variances
    return leave_studies_out(data, np.log(np.array([stored[name] for name in named])), refit=0)


def intervals(left_out: Sequence[HeldOutStudy]) -> dict[int, Quantity]:
    """id of a held-out cell -> its blind effect with 90 %, the spread fitted without its study."""
    found: dict[int, Quantity] = {}
    for study in settings(left_out):
        spread = fit_spread([one for one in left_out if one.cell.study != study])
        mine = [one for one in left_out if one.cell.study == study and one.cell.referenced]
        means = np.array([one.mean for one in mine])
        scales = spread.scale([one.blind for one in mine], means, np.array([one.variance for one in mine]))
        for one, scale in zip(mine, scales, strict=True):
            low, high = (blind(one) + float(scale) * float(spread.quantiles[i]) for i in (2, -3))
            mid = min(max(blind(one), low), high)
            found[id(one)] = Quantity(low=low, mid=mid, high=high, unit="score", basis="modelled", why="left out")
    return found


FULL = Quantity.exact(0.0, "score", "measured", "the reference")


def main() -> None:
    left_out = held_out()
    effects = intervals(left_out)
    by_setting = settings(left_out)
    print("share  pick          predicted loss  realised  predicted near  realised  log score of being best")
    for share in SHARES:
        told: dict[str, dict[str, list[tuple[float, float, float, float]]]] = defaultdict(lambda: defaultdict(list))
        surprise: dict[str, list[float]] = defaultdict(list)
        for study, found in by_setting.items():
            for cells in found.values():
                methods: dict[str, HeldOutStudy] = {one.cell.question.method: one for one in cells}
                if len(methods) < 2:
                    continue
                names = [*methods, "full"]
                first = next(iter(methods.values())).blind
                full = StudySetting("full", first.architecture, first.task_type, first.samples, first.parameters)
                asked = [*(one.blind for one in methods.values()), full]
                likely = [*(effects[id(one)] for one in methods.values()), FULL]
                truth = [*(one.cell.effect for one in methods.values()), 0.0]
                said = choice_odds(asked, likely, TOLERANCE, share=share)
                best = max(truth)
                surprise[study].append(-math.log(max(1e-3, said[truth.index(best)].best)))
                picks = {"any": range(len(names)), "expected": [int(np.argmax([q.mid for q in likely]))]}
                if "lora" in names:
                    picks["lora"] = [names.index("lora")]
                for pick, taken in picks.items():
                    told[pick][study] += [
                        (said[i].loss, best - truth[i], said[i].near, float(best - truth[i] <= TOLERANCE))
                        for i in taken
                    ]
        for pick, studies in told.items():
            means = [fmean(fmean(row[k] for row in rows) for rows in studies.values()) for k in range(4)]
            score = fmean(fmean(values) for values in surprise.values())
            loss, near = f"{means[0]:10.2f} {means[1]:12.2f}", f"{means[2]:12.0%} {means[3]:12.0%}"
            print(f"{share:4.2f}   {pick:12s} {loss} {near} {score:12.2f}")


if __name__ == "__main__":
    main()
