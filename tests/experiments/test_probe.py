"""A probe of one's own data: trainings chosen and kept, nothing trained twice, bad input told with what is enough."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import advisor
from advisor.domain.model import ModelSpec
from advisor.domain.questions.probing import ProbeProgress
from advisor.errors import BadRequest, DoesNotFit
from advisor.experiments.probe import ANSWER_FILE, resume_probe
from advisor.interfaces.cli.probe import ProbeDisplay, command
from tests.tiny_models import labelled, put_rows
from tests.tuner.studies import TOY, environment, until

FOUR = 4 * 6.5 / 3600
"""Hours that pay for about four trainings of the toy, which takes itself for 6.3 s."""


@pytest.fixture
def asked(tmp_path: Path, tiny_bert: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A probe of two methods on a toy's training, as the door takes it."""
    monkeypatch.setenv("PYTHONPATH", str(TOY))
    return {
        "model": str(tiny_bert.weights),
        "data": str(put_rows(tmp_path / "rows.jsonl", labelled(400))),
        "method": "lora,bitfit",
        "epochs": 1,
        "device": "cpu",
        "threads": 1,
        "out": str(tmp_path / "probe"),
    }


def started(folder: Path) -> int:
    log = folder / "cells" / "started.txt"
    return len(log.read_text().splitlines()) if log.is_file() else 0


@pytest.mark.exhaustive
def test_a_share_of_the_cost_is_of_all_sessions_together(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """Nobody said how long: what the first session spent is not given to the second one again."""
    monkeypatch.setattr("advisor.experiments.probe_session.ENOUGH", -1.0)  # time alone ends it
    advisor.probe(**asked)
    out = Path(asked["out"])
    before = started(out)
    again = resume_probe(str(out))
    assert started(out) == before
    assert len(again.trainings) == before


@pytest.mark.slow
def test_a_probe_answers_within_its_hours_and_a_second_call_trains_nothing_twice(asked: dict[str, Any]):
    told: list[str] = []
    found = advisor.probe(**asked, hours=FOUR, on_progress=lambda progress: told.append(progress.what))
    out = Path(asked["out"])
    assert set(told) == {f"{t.method}, {t.size:,} rows, rate {t.rate:.3g}, seed {t.seed}" for t in found.trainings}
    assert len(told) <= 60 * len(found.trainings)  # begun, and once a second of it
    assert found.trainings
    assert started(out) == len(found.trainings)
    assert found.choice is not None
    assert found.choice.trainings
    assert found.choice.score.low <= found.choice.score.mid <= found.choice.score.high
    assert sum(m.best for m in found.methods) == pytest.approx(1.0)
    assert (out / ANSWER_FILE).is_file()
    assert not list(out.rglob("*.safetensors"))
    kept = {(t.method, t.size, t.seed, t.rate) for t in found.trainings}
    again = resume_probe(str(out), hours=FOUR)
    assert kept <= {(t.method, t.size, t.seed, t.rate) for t in again.trainings}
    assert started(out) == len(again.trainings)


KILLED = """
import json, sys
import advisor
advisor.probe(**json.loads(sys.argv[1]))
"""


@pytest.mark.exhaustive
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_a_killed_probe_goes_on_without_repeating_a_finished_training(
    asked: dict[str, Any], tmp_path: Path, signal_number: int
):
    out = Path(asked["out"])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(asked | {"hours": 1.0})],
        env=environment(tmp_path / "home", steps="12", seconds="0.1"),
        stderr=subprocess.PIPE,
    )
    until(lambda: started(out) == 3, what="the third training began")
    finished = {p.parent.name for p in (out / "cells").glob("*/result.json")}
    os.kill(process.pid, signal_number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(finished) == 2
    times = {name: (out / "cells" / name / "result.json").stat().st_mtime_ns for name in finished}
    found = resume_probe(str(out), hours=FOUR)
    assert {name: (out / "cells" / name / "result.json").stat().st_mtime_ns for name in finished} == times
    assert len(found.trainings) > 2


@pytest.mark.slow
def test_a_dry_run_lists_trainings_and_writes_nothing(asked: dict[str, Any]):
    done = CliRunner().invoke(
        command,
        [
            "--model",
            asked["model"],
            "--data",
            asked["data"],
            "--method",
            "lora,bitfit",
            "--epochs",
            "1",
            "--device",
            "cpu",
            "--out",
            asked["out"],
            "--hours",
            "0.01",
            "--dry-run",
            "--json",
        ],
    )
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "planned"
    assert answer["planned"]
    assert answer["choice"] is None
    assert not Path(asked["out"]).exists()


@pytest.mark.slow
def test_a_budget_that_trains_nothing_says_what_would(asked: dict[str, Any]):
    with pytest.raises(BadRequest, match="trains nothing") as refused:
        advisor.probe(**asked, hours=1e-4)
    assert any("--hours" in hint for hint in refused.value.hints)
    assert not Path(asked["out"]).exists()


@pytest.mark.slow
def test_a_probe_whose_every_training_fails_says_why(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOY_FAULT", "bug")
    with pytest.raises(DoesNotFit, match="no training") as refused:
        advisor.probe(**asked, hours=FOUR)
    assert "a bug in a training" in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rows": 10}, "give 200 rows or more"),
        ({"rows": 100}, "--eval-data with 20"),
        ({"rows": 400, "classes": 1}, "one class only"),
        ({"hours": 0}, "--hours must be above 0"),
        ({"method": "lorra"}, "lorra"),
        ({"metric": "rougeL"}, "rougeL"),
        ({"device": "mps"}, "mps"),
        ({"more_points": 0}, "--more-points"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_probe_that_makes_no_sense_is_refused_with_what_would_be_enough(
    asked: dict[str, Any], tmp_path: Path, changes: dict[str, Any], says: str
):
    changes = dict(changes)
    if "rows" in changes:
        rows = labelled(changes.pop("rows"))
        if changes.pop("classes", 2) == 1:
            rows = [row | {"label": "one"} for row in rows]
        changes["data"] = str(put_rows(tmp_path / "other.jsonl", rows))
    with pytest.raises(BadRequest) as refused:
        advisor.probe(**{**asked, **changes})
    assert says in str(refused.value)
    assert not Path(asked["out"]).exists()


def test_a_folder_without_a_probe_is_refused(tmp_path: Path):
    with pytest.raises(BadRequest, match="no probe lies in"):
        resume_probe(str(tmp_path))


def test_without_a_terminal_a_training_is_told_once_and_again_after_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    now = [1000.0]
    monkeypatch.setattr("advisor.interfaces.cli.probe.time.monotonic", lambda: now[0])
    view = ProbeDisplay()
    for what, later in (("a", 0), ("a", 1), ("b", 1), ("b", 30), ("b", 31)):
        now[0] += later
        view(ProbeProgress(done=1, what=what, seconds_spent=10, seconds_budget=70))
    assert [line.split(";")[0] for line in capsys.readouterr().err.splitlines()] == [
        "1 done: a",
        "1 done: b",
        "1 done: b",
    ]
