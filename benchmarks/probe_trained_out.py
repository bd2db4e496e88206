"""Probes against all their methods trained out: how far the choice is from the best, and what the probe cost of it.

A set's rows are drawn as in search_rows.py. The probe sees training and evaluation rows and takes its own default, a
tenth of the time of its methods on all rows; then `advisor study` trains every method on all rows at its recommended
rate, and the choice at the rate the probe found as well, and scores them on test rows. Both keep what ended in their
folders, so the same command goes on. Best and choice are of one seed each: their difference is sure to a point or two.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import advisor
from advisor import store
from advisor.domain.questions.probing import ProbeAnswer
from advisor.experiments.cell_trainings import PLAN_FILE
from advisor.experiments.plan import ExperimentPlan
from advisor.experiments.probe import ANSWER_FILE
from benchmarks.search_rows import drawn_rows, rows_given

SCORED = (400, 500)
"""Most rows to choose by, and to test on."""
HALF_A_POINT, TENTH = 0.5, 0.1


def trained_out(given: argparse.Namespace) -> int:
    """Every set and size; 1 where a choice is more than half a point below the best, or cost more than a tenth."""
    lines: list[dict[str, Any]] = []
    for size in given.size:
        for named in given.set:
            name, files = rows_given(named)
            train, evaluation, test = drawn_rows(files, given.out / "data", name, size, SCORED)
            line = _compared(given, f"{name}-{size}", str(train), str(evaluation), str(test))
            lines.append(line)
            print(json.dumps(line), flush=True)
    store.write_document({"lines": lines}, given.out / "results.json")
    whole = [line for line in lines if "lost" in line]
    missed = [line for line in whole if line["lost"] > HALF_A_POINT or line["share"] > TENTH]
    print(f"{len(whole) - len(missed)} of {len(whole)} within {HALF_A_POINT} points at {TENTH:.0%}; {len(lines)} asked")
    return 1 if missed or len(whole) < len(lines) else 0


def _compared(given: argparse.Namespace, name: str, train: str, evaluation: str, test: str) -> dict[str, Any]:
    folder = (given.out / name).resolve()
    if (folder / "probe" / ANSWER_FILE).is_file():
        probed = store.read(ProbeAnswer, folder / "probe" / ANSWER_FILE)
    else:
        probed = advisor.probe(
            given.model,
            train,
            eval_data=evaluation,
            epochs=given.epochs,
            seq_len=given.seq_len,
            device="cpu",
            threads=given.threads,
            out=str(folder / "probe"),
            on_progress=_say,
        )
    choice = probed.choice
    if choice is None:
        return {"asked": name, "state": "no choice"}
    asked = store.read(ExperimentPlan, folder / "probe" / PLAN_FILE)
    usual = {method: (sorted(asked.rates[method])[1],) for method in asked.methods}
    plan = asked.model_copy(
        update={
            "id": name.lower(),
            "test_data": test,
            "sizes": (probed.rows,),
            "seeds": 1,
            "rates": usual | {choice.method: tuple(sorted({*usual[choice.method], choice.rate}))},
        }
    )
    run = advisor.study(
        plan,
        out=str(folder / "study"),
        hours=given.hours,
        device="cpu",
        threads=given.threads,
        keep=False,
        on_progress=_say,
    )
    told: dict[str, Any] = {
        "asked": name,
        "choice": choice.method,
        "rate": choice.rate,
        "expected": [round(v, 1) for v in (choice.score.low, choice.score.mid, choice.score.high)],
        "trainings": len(probed.trainings),
        "seconds": round(probed.seconds, 1),
    }
    if run.trainings_left or run.findings is None:
        return told | {"state": f"{run.trainings_left} trainings left"}
    scores = {f.method: f.value for f in run.findings.findings}
    seconds = _seconds(folder / "study", plan)
    return told | {
        "scores": scores,
        "best": max(scores, key=lambda method: scores[method]),
        "lost": round(max(scores.values()) - scores[choice.method], 3),
        "seconds_of_all": round(seconds, 1),
        "share": round(probed.seconds / seconds, 3),
    }


def _seconds(folder: Path, plan: ExperimentPlan) -> float:
    """Of each method's training at its recommended rate, as the trainings themselves measured them."""
    found = 0.0
    for method in plan.methods:
        results = sorted((folder / "cells").glob(f"{method}-n*/result.json"))
        found += min((float(store.read_document(path)["seconds"]["total"]) for path in results), default=0.0)
    return found


SAID: set[str] = set()


def _say(progress: Any) -> None:
    text = f"{progress.done} done: {progress.what}"
    if text not in SAID:
        SAID.add(text)
        print(text, file=sys.stderr, flush=True)
