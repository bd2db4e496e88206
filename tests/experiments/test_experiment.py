"""A study of one's own: rows drawn fairly, rates tuned once, nothing trained twice, findings that keep the laws."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import advisor
from advisor import store
from advisor.catalog.findings.study_files import broken_laws, read_study
from advisor.domain.model import ModelSpec
from advisor.errors import BadFile, BadRequest, DoesNotFit, UnknownName
from advisor.experiments.plan import ExperimentPlan, checked, described, draw, find_plan
from advisor.interfaces.cli.study import command
from tests.tiny_models import labelled, put_rows
from tests.tuner.studies import TOY, environment, until

pytestmark = pytest.mark.slow

RATES = {"lora": (1e-4, 2e-3, 1e-2), "full": (1e-5, 1e-4)}


@pytest.fixture
def asked(tmp_path: Path, tiny_bert: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A plan of two methods on a toy's training, as the door takes it."""
    monkeypatch.setenv("PYTHONPATH", str(TOY))
    plan = ExperimentPlan(
        id="toy",
        model=str(tiny_bert.weights),
        data=str(put_rows(tmp_path / "rows.jsonl", labelled(200))),
        methods=("full", "lora"),
        sizes=(20,),
        seeds=2,
        rates=RATES,
        steps=10,
    )
    return {"plan": plan, "out": str(tmp_path / "study"), "threads": 1}


def started(asked: dict[str, Any]) -> Counter[float]:
    """Learning rate -> trainings begun, as the toy wrote them down."""
    lines = (Path(asked["out"]) / "cells" / "started.txt").read_text().splitlines()
    return Counter(float(line.split()[1]) for line in lines)


@pytest.mark.exhaustive
def test_each_rate_is_tried_with_the_first_seed_and_the_best_one_only_with_the_others(asked: dict[str, Any]):
    run = advisor.study(**asked)
    assert run.stopped == "complete"
    assert started(asked) == {1e-5: 1, 1e-4: 3, 2e-3: 2, 1e-2: 1}  # 1e-4: full's twice and once of lora's
    assert run.findings is not None
    by_method = {f.method: f for f in run.findings.findings}
    assert by_method["lora"].learning_rate == 2e-3
    assert by_method["full"].learning_rate == 1e-4
    # the toy scores 1 - 0.1 (log10 rate + 3)^2 and 0.001 more with seed 1
    assert by_method["lora"].value == pytest.approx(99.1438, abs=1e-4)
    assert by_method["full"].value == pytest.approx(90.05)
    assert by_method["lora"].full_value == by_method["full"].value
    assert by_method["lora"].spread == pytest.approx(0.0707, abs=1e-4)
    assert {f.seeds for f in run.findings.findings} == {2}
    # so short a training takes a wider update than published, and the finding says so
    assert json.loads(by_method["lora"].settings)["alpha"] == 2 * json.loads(by_method["lora"].settings)["rank"] == 64
    assert by_method["lora"].targets == "all"


def test_a_second_run_trains_nothing_and_says_the_same(asked: dict[str, Any]):
    first = advisor.study(**asked)
    before = started(asked)
    again = advisor.study(**asked)
    assert started(asked) == before
    assert again.findings == first.findings
    assert not list((Path(asked["out"]) / "cells").rglob("*.safetensors"))


@pytest.mark.exhaustive
def test_more_methods_and_seeds_are_added_to_what_is_there(asked: dict[str, Any]):
    advisor.study(**asked, methods=("lora",), seeds=1)
    assert started(asked) == {1e-4: 1, 2e-3: 1, 1e-2: 1}
    run = advisor.study(**asked)
    assert started(asked) == {1e-5: 1, 1e-4: 3, 2e-3: 2, 1e-2: 1}
    assert run.trainings_left == 0


KILLED = """
import sys
from advisor import store
from advisor.experiments.plan import ExperimentPlan
import advisor
advisor.study(store.read(ExperimentPlan, sys.argv[1]), out=sys.argv[2], threads=1)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_a_killed_study_goes_on_without_repeating_a_finished_training(
    asked: dict[str, Any], tmp_path: Path, signal_number: int
):
    path = store.write(asked["plan"], tmp_path / "plan" / "toy.json")
    out = Path(asked["out"])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(out)],
        env=environment(tmp_path / "home", steps="12", seconds="0.1"),
        stderr=subprocess.PIPE,
    )
    log = out / "cells" / "started.txt"
    until(lambda: log.is_file() and len(log.read_text().splitlines()) == 3, what="the third training began")
    finished = {p.parent.name for p in (out / "cells").glob("*/result.json")}
    os.kill(process.pid, signal_number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(finished) == 2
    times = {name: (out / "cells" / name / "result.json").stat().st_mtime_ns for name in finished}
    run = advisor.study(**asked)
    assert run.stopped == "complete"
    assert {name: (out / "cells" / name / "result.json").stat().st_mtime_ns for name in finished} == times
    assert sum(started(asked).values()) == run.trainings + 1


@pytest.mark.exhaustive
def test_a_spent_time_budget_stops_and_says_how_to_go_on(asked: dict[str, Any]):
    run = advisor.study(**asked, hours=1e-9)
    assert run.stopped == "time budget"
    assert run.trainings_left == run.trainings == 7
    assert run.resume == f"advisor study --resume {asked['out']}"
    assert advisor.study(**asked).stopped == "complete"


def test_a_dry_run_lists_every_training_and_writes_nothing(asked: dict[str, Any]):
    run = advisor.study(**asked, dry_run=True)
    assert run.stopped == "planned"
    assert len(run.cells) == run.trainings == 7
    assert not Path(asked["out"]).exists()


def test_findings_keep_the_laws_and_reach_the_users_own_evidence(asked: dict[str, Any]):
    run = advisor.study(**asked)
    path = store.home("data") / "findings" / "own-toy.json"
    assert run.findings_file == str(path)
    kept = read_study(path)
    assert kept.own
    assert broken_laws(kept) == []
    assert all(f.learning_rate_tuned and f.equal_steps for f in kept.findings)


def test_findings_that_break_a_law_are_said_to_and_kept_out_of_the_users_own_evidence(asked: dict[str, Any]):
    # the toy scores 100.1 points at its best rate with seed 1, which no accuracy can be
    run = advisor.study(**asked, methods=("lora",), rates={"lora": (1e-3,)})
    assert any("kept out of your store" in note for note in run.notes)
    assert not (store.home("data") / "findings").exists()


@pytest.mark.exhaustive
def test_a_study_whose_every_training_fails_says_why(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TOY_FAULT", "bug")
    with pytest.raises(DoesNotFit, match="no training") as refused:
        advisor.study(**asked)
    assert "a bug in a training" in str(refused.value)
    monkeypatch.delenv("TOY_FAULT")
    assert advisor.study(**asked).trainings_left == 0


def test_a_folder_with_another_question_is_refused(asked: dict[str, Any]):
    advisor.study(**asked, methods=("lora",), rates={"lora": (1e-3,)}, seeds=1)
    with pytest.raises(BadRequest, match="steps"):
        advisor.study(**asked, steps=20)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sizes": (500,)}, "500 rows"),
        ({"sizes": (0,)}, "2 rows or more"),
        ({"sizes": (20, 20)}, "twice"),
        ({"seeds": 0}, "seeds"),
        ({"methods": ("lorra",)}, "lorra"),
        ({"methods": ()}, "methods"),
        ({"rates": {"lora": (-1.0,)}}, "above 0"),
        ({"rates": {"dora": (1e-3,)}}, "outside the grid"),
        ({"rates": {"lora": ()}}, "rates"),
        ({"metric": "rougeL"}, "rougeL"),
        ({"data": "nowhere.jsonl"}, "nowhere.jsonl"),
        ({"model": "nobody/nothing"}, "nobody/nothing"),
        ({"hours": 0}, "hours"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused_before_anything_is_written(
    asked: dict[str, Any], changes: dict[str, Any], says: str
):
    with pytest.raises(BadRequest) as refused:
        advisor.study(**{**asked, **changes})
    assert says in str(refused.value)
    assert not Path(asked["out"]).exists()


def test_weights_of_another_model_are_refused(asked: dict[str, Any], tiny_bert: ModelSpec):
    plan = asked["plan"].model_copy(update={"model": "sentence-transformers/all-MiniLM-L6-v2"})
    with pytest.raises(BadRequest, match="not those of"):
        advisor.study(**{**asked, "plan": plan}, weights=str(tiny_bert.weights))


def test_a_truncated_data_file_is_refused(asked: dict[str, Any], tmp_path: Path):
    broken = tmp_path / "rows.jsonl.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00broken")
    with pytest.raises(BadFile):
        advisor.study(**asked, data=str(broken))


@pytest.mark.exhaustive
def test_a_real_training_is_scored_on_rows_nothing_was_chosen_by(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PYTHONPATH")
    run = advisor.study(
        **asked, methods=("linear-probe",), rates={"linear-probe": (1e-2,)}, seeds=1, steps=4, device="cpu"
    )
    assert run.findings is not None
    (finding,) = run.findings.findings
    assert finding.full_value is None
    assert finding.learning_rate_tuned is False
    assert finding.trainable_parameters is not None
    assert 0 < finding.trainable_parameters < 5_000
    assert finding.training.startswith("4 steps")
    assert 0 <= finding.value <= 100


@given(st.integers(4, 120), st.integers(0, 5), st.data())
def test_a_smaller_size_lies_within_a_larger_one_and_classes_keep_their_share(count: int, seed: int, data: Any):
    rows = [{"text": str(i), "label": "a" if i % 4 else "b"} for i in range(count)]
    large = data.draw(st.integers(4, count))
    small = data.draw(st.integers(4, large))
    many, few = draw(rows, large, seed, labelled=True), draw(rows, small, seed, labelled=True)
    assert many[:small] == few
    share = sum(row["label"] == "b" for row in rows) / count
    assert abs(sum(row["label"] == "b" for row in many) - share * large) <= 1


def test_a_size_that_holds_no_row_of_a_class_is_refused():
    rows = [{"text": str(i), "label": "a"} for i in range(99)] + [{"text": "x", "label": "b"}]
    with pytest.raises(BadRequest, match="no row of 1 of 2 classes"):
        draw(rows, 4, 0, labelled=True)


@given(st.integers(1, 500), st.integers(2, 5000), st.integers(1, 64))
def test_steps_are_the_same_at_every_size(steps: int, size: int, batch: int):
    plan = ExperimentPlan(
        id="s", model="m", data="d", methods=("lora",), sizes=(size,), steps=steps, effective_batch_size=batch
    )
    a_epoch = -(-size // plan.batch_of(size))
    assert round(a_epoch * plan.epochs_of(size)) == steps


def test_every_described_study_names_methods_we_have_and_rows_that_ship_or_how_to_build_them():
    assert {"minilm-spam", "minilm-debian-section", "smollm2-debian-synopsis"} <= set(described())
    for name in described():
        plan = checked(find_plan(name))
        assert plan.id == name
        assert "full" in plan.methods
        assert len(plan.data_note) > 100


def test_the_rows_that_ship_are_a_study_that_can_be_planned(tiny_bert: ModelSpec, tmp_path: Path):
    plan = find_plan("minilm-spam")
    run = advisor.study(plan, model=str(tiny_bert.weights), out=str(tmp_path / "s"), dry_run=True)
    assert run.trainings == 8 * 3 * 5
    assert not any("leak" in note for note in run.notes)


def test_other_rows_are_not_scored_on_the_rows_of_the_plan(tiny_bert: ModelSpec, tmp_path: Path):
    rows = str(put_rows(tmp_path / "rows.jsonl", labelled(60)))
    run = advisor.study("minilm-spam", model=str(tiny_bert.weights), data=rows, sizes=(20,), dry_run=True)
    assert run.plan.eval_data is run.plan.test_data is None
    assert any("evaluation: 6 rows cut from the training file" in note for note in run.notes)


def test_an_unknown_study_names_the_near_ones():
    with pytest.raises(UnknownName) as refused:
        find_plan("minilm-spm")
    assert "minilm-spam" in refused.value.fields["near"]


def test_the_command_plans_resumes_and_prints_one_document(asked: dict[str, Any], tmp_path: Path):
    plan = asked["plan"]
    rates = ["--rates", "lora=1e-3"]
    shared = ["--model", plan.model, "--data", plan.data, "--method", "lora", "--size", "20", "--seeds", "1", *rates]
    ran = CliRunner().invoke(command, [*shared, "--name", "mine", "--out", str(tmp_path / "m"), "--json"])
    assert ran.exception is None
    assert json.loads(ran.stdout)["stopped"] == "complete"
    assert "1 trainings, 1 left" in ran.stderr
    again = CliRunner().invoke(command, ["--resume", str(tmp_path / "m"), "--json"])
    assert again.exception is None
    assert json.loads(again.stdout)["findings"] == json.loads(ran.stdout)["findings"]


@pytest.mark.parametrize(
    "arguments",
    [[], ["--model", "x"], ["--resume", "nowhere"], ["no-such-study"], ["minilm-spam", "--size", "many"]],
)
def test_the_command_refuses_what_makes_no_study(arguments: list[str]):
    assert isinstance(CliRunner().invoke(command, arguments).exception, BadRequest)


def test_a_plan_that_said_autocast_asks_the_question_it_asked():
    from advisor.experiments.plan import ExperimentPlan, question

    fields = {"id": "x", "model": "m", "data": "d", "methods": ["lora"], "sizes": [10]}
    old = {"schema": "study-plan/1", **fields, "dtype": "bfloat16", "autocast": True}
    plan = ExperimentPlan.from_document(old)
    assert (plan.dtype, plan.mixed_precision) == ("float32", "bf16")
    asked = question(plan, {})
    assert (asked["dtype"], asked["autocast"]) == ("bfloat16", True)
    plain = question(ExperimentPlan.from_document({"schema": "study-plan/1", **fields}), {})
    assert (plain["dtype"], plain["autocast"]) == ("float32", False)
