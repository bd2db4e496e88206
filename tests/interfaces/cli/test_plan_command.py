"""`advisor plan` as it is typed: the examples of its help and of docs/plan.md run, exit codes, what is printed."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from advisor.domain.candidate import Candidate
from advisor.domain.fleet.fleet_plan import FleetPlan
from advisor.interfaces.cli.main import load, run
from advisor.planner.job_prices import PricedTraining
from tests.interfaces.cli.test_help import examples_of

DOCS = (Path(__file__).parents[3] / "docs" / "plan.md").read_text(encoding="utf-8")
JOBS, FLEET = re.findall(r"^```yaml\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
TYPED = [
    line for block in re.findall(r"^```bash\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with the files that the documentation shows; prices are made up, since tracing takes its time."""
    from advisor.domain.quantity import Quantity

    def priced(question, gpu):
        hours = {"L4": 9.0}.get(gpu, 2.0)
        return PricedTraining(Quantity.around(hours * 3600, 0.3, 0.5, "s", "modelled", "made up"))

    monkeypatch.setattr("advisor.planner.plan.price_training", priced)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.yaml").write_text(JOBS)
    (tmp_path / "fleet.yaml").write_text(FLEET)
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    return tmp_path


def typed(line: str, *more: str) -> int:
    return run([*shlex.split(line)[1:], "--start", "2026-12-01 08:00", "--time-limit", "5", "--draws", "100", *more])


@pytest.mark.parametrize("line", [*TYPED, *examples_of("plan")])
def test_every_example_runs(line, here, capsys):
    assert typed(line) == 0, capsys.readouterr().err
    said = capsys.readouterr()
    assert said.out.strip()
    for picture in re.findall(r"--gantt (\S+)", line):
        assert (here / picture).stat().st_size > 1000


def test_the_table_fits_eighty_columns(here, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml") == 0
    table = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(("note", "search", " "))]
    assert any("classifier" in line for line in table) or table
    assert max(len(line.rstrip()) for line in table) <= 80


def test_json_is_one_document_that_is_read_back(here, capsys):
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml", "--json") == 0
    found = FleetPlan.from_document(json.loads(capsys.readouterr().out))
    assert {one.job for one in found.placements if one.running} == {"search"}


def test_a_plan_that_leaves_jobs_out_is_labelled_and_has_its_exit_code(here, capsys):
    (here / "jobs.yaml").write_text("jobs: [{name: a, hours: 1}, {name: b, hours: 90, deadline: 9 h}]\n")
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml") == 3
    said = capsys.readouterr().out
    assert "PARTIAL" in said
    assert "would do" in said


@pytest.mark.parametrize(
    ("jobs", "code"), [("jobs: [{name: a}]", 4), ("jobs: [{name: a, hours: 1, after: a}]", 2), ("a: &b 1", 4)]
)
def test_a_wrong_file_has_its_exit_code_and_no_traceback(jobs, code, here, capsys):
    (here / "jobs.yaml").write_text(jobs)
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml") == code
    said = capsys.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err


HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


def test_a_report_says_who_runs_where_who_pays_and_what_is_left_out(here, capsys):
    jobs = [
        {"name": HOSTILE, "hours": 1, "team": "red", "deadline": "9 h"},
        {"name": "b", "hours": 90, "deadline": "9 h", "team": "blue"},
        {"name": "c", "hours": 2, "team": "blue"},
    ]
    (here / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml --report out.html") == 3
    assert "wrote" in capsys.readouterr().err
    text = (here / "out.html").read_text(encoding="utf-8")
    for words in ("What runs where", "Cost by team", "Left out", "what would let it in", "Machines", "1 left out"):
        assert words in text
    assert text.count('role="img"') == 2
    assert "<script" not in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml --report out.html") == 2
    assert "--force" in capsys.readouterr().err
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml --report out.html --force") == 3


def test_an_interrupted_search_prints_its_best_plan(here, capsys, monkeypatch):
    from dataclasses import replace

    from advisor.planner import plan as door

    real = door.solve
    monkeypatch.setattr(door, "solve", lambda problem, seconds: replace(real(problem, seconds), interrupted=True))
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml") == 130
    said = capsys.readouterr()
    assert "interrupted" in said.out
    assert said.err.strip().startswith("Interrupted.")


@pytest.mark.slow
def test_recipes_are_written_with_the_launchers_file(here, capsys, monkeypatch):
    """With a candidate of the estimator's, of a model whose trace ships."""
    import advisor

    candidate = advisor.estimate("HuggingFaceTB/SmolLM2-135M", "L4", method="lora", batch_size=4, samples=500)
    assert isinstance(candidate, Candidate)
    monkeypatch.setattr(
        "advisor.planner.plan.price_training",
        lambda question, gpu: PricedTraining(candidate.time.training, candidate.model_copy(update={"gpu": gpu})),
    )
    (here / "jobs.yaml").write_text("jobs: [{name: a, model: HuggingFaceTB/SmolLM2-135M, samples: 500}]\n")
    (here / "fleet.yaml").write_text("gpus: [{gpu: L4, usd_per_hour: 0.7}]\n")
    assert typed("advisor plan jobs.yaml --fleet fleet.yaml --export trl --launch skypilot -o run") == 0
    written = {path.name for path in (here / "run").rglob("*") if path.is_file()}
    assert "sky.yaml" in written
    assert load("plan").name == "plan"
