"""`advisor evidence --fit`: fits the quality model to every study, checks it out of study, and stores it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from advisor import store
from advisor.catalog.findings.study_files import FOLDER, load_studies
from advisor.domain.findings import Study
from advisor.literature.quality.hierarchical_fit import (
    LEVELS,
    MOST_DOUBT,
    HeldOutStudy,
    Location,
    Spread,
    attention_penalty,
    cells_for_fit,
    fit_location,
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
    pairwise_order,
    pu_table,
    regret_by_study,
    told_score,
)
from advisor.literature.quality.observations import QualityObservation, usual
from advisor.literature.quality.posterior import FILE, QualityFit, StudyShare
from advisor.literature.quality.study_blocks import design


def hash_of(study_id: str) -> str:
    """SHA-256 of a shipped study's file, or of the document of a study that is not shipped."""
    path = FOLDER / f"{study_id}.json"
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    study = next(one for one in load_studies() if one.id == study_id)
    return hashlib.sha256(json.dumps(study.to_document(), sort_keys=True).encode()).hexdigest()


def fit_quality(studies: Sequence[Study] | None = None) -> QualityFit:
    """The whole fit: variances, coefficients, spread, held-out figures. A minute or two of CPU."""
    studies = load_studies() if studies is None else studies
    data = design(cells_for_fit(studies))
    variances = fit_variances(data)
    left_out = leave_studies_out(data, variances)
    location = fit_location(data, variances)
    spread = fit_spread(left_out)
    return _stored(studies, location, spread, left_out, data.cells)


def _stored(
    studies: Sequence[Study],
    location: Location,
    spread: Spread,
    left_out: Sequence[HeldOutStudy],
    cells: Sequence[QualityObservation],
) -> QualityFit:
    groups = list(dict.fromkeys(name[0] for name in location.names))
    named = [*groups, "study", "study x kind", "study x method", "study x setting", "noise"]
    at, per_decade, said = attention_penalty(cells)
    titles = {study.id: study for study in studies}
    typical = usual(cells)
    intervals = intervals_by_study(left_out)
    over_studies, over_rows = coverage_of(intervals, left_out)
    return QualityFit(
        names=tuple("|".join(name) for name in location.names),
        mean=_round(location.mean),
        covariance=tuple(_round(row[: i + 1]) for i, row in enumerate(location.covariance)),
        variances=dict(zip(named, _round(np.exp(location.log_variances)), strict=True)),
        spread_names=spread.names,
        spread=_round(spread.coefficients),
        levels=LEVELS,
        quantiles=_round(spread.quantiles),
        most_doubt=MOST_DOUBT,
        attention=(float(f"{at:.6g}"), float(f"{per_decade:.6g}")),
        attention_studies=said,
        own_share=round(typical.own_share, 4),
        untuned_share=round(typical.untuned_share, 4),
        proposed=tuple(sorted(typical.proposed)),
        studies=tuple(_share(titles[key], moves, left_out) for key, moves in location.by_study.items()),
        held_out={
            "studies": float(len({one.cell.study for one in left_out if one.cell.referenced})),
            "coverage_over_studies": round(over_studies, 4),
            "coverage_over_rows": round(over_rows, 4),
            "pairs_told": round(pairwise_order(left_out, told=True), 4),
            "pairs_blind": round(pairwise_order(left_out, told=False), 4),
            "pairs_blind_without_full": round(pairwise_order(left_out, told=False, with_full=False), 4),
            "interval_score": round(fmean(one.score for one in intervals.values()), 4),
            "interval_width": round(fmean(one.width for one in intervals.values()), 4),
            "regret_told": round(fmean(regret_by_study(left_out, model_pick(told_score)).values()), 4),
            "regret_blind": round(fmean(regret_by_study(left_out, model_pick(blind)).values()), 4),
            "regret_always_lora": round(fmean(regret_by_study(left_out, always_lora).values()), 4),
            "regret_pu_table": round(fmean(regret_by_study(left_out, pu_table).values()), 4),
        },
    )


def _share(study: Study, moves: np.ndarray, left_out: Sequence[HeldOutStudy]) -> StudyShare:
    mine = [one.cell for one in left_out if one.cell.study == study.id]
    return StudyShare(
        id=study.id,
        title=study.title,
        url=study.url,
        sha256=hash_of(study.id),
        cells=len(mine),
        kinds=tuple(sorted({cell.question.kind for cell in mine})),
        methods=tuple(sorted({cell.question.method for cell in mine})),
        moves=_round(moves),
    )


def _round(values: np.ndarray) -> tuple[float, ...]:
    """Six significant digits: the fit is not surer than that, and files of two machines then agree."""
    return tuple(float(f"{value:.6g}") for value in np.asarray(values, dtype=float))


def write_fit(fit: QualityFit) -> Path:
    """Into `calibration/` of a checkout, else into the user's own data folder."""
    shipped = store.shipped("calibration")
    beside = store.PACKAGE.parent / "calibration"
    folder = beside if shipped == beside else store.home("data") / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    return store.write(fit, folder / FILE)
