"""From a real model and file to an adapter, a card, a report and the user's own store; and the command around it."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner

from advisor import store
from advisor.catalog.findings.study_files import broken_laws
from advisor.domain.findings import Study
from advisor.domain.profile import Profile
from advisor.domain.tuning import TunedStudy
from advisor.errors import AdvisorError, BadRequest, UnsupportedModel
from advisor.interfaces.cli.tune import command, plan_lines
from advisor.tuner.results.html_report import charts, importances, page
from advisor.tuner.results.model_card import card
from advisor.tuner.tune import tune
from tests.tiny_models import labelled, put_rows


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, tiny_bert):
    """One small real study: three trials, two seeds for the finalists."""
    place = tmp_path_factory.mktemp("tuned")
    patch = pytest.MonkeyPatch()
    patch.setenv("ADVISOR_HOME", str(place / "home"))
    patch.delenv("OPTUNA_STORAGE", raising=False)
    plans = []
    data = put_rows(place / "rows.jsonl", [*labelled(160), {"text": "", "label": "good"}])
    study = tune(
        tiny_bert.weights,
        str(data),
        gpu="cpu",
        method="lora",
        trials=3,
        epochs=2,
        seq_len=9,
        learning_rate=1e-2,
        trainer="loop",
        finalists=2,
        final_seeds=2,
        threads=1,
        name="<script>alert(1)</script>",
        out=str(place / "out"),
        on_plan=lambda plan, notes: plans.append((plan, notes)),
    )
    yield study, place, plans
    patch.undo()


@pytest.mark.exhaustive
def test_the_adapter_is_pefts_and_gives_what_was_measured(tuned, tiny_bert):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    study, place, _ = tuned
    folder = place / "out" / "best"
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert.weights, num_labels=2)
    model = PeftModel.from_pretrained(base, str(folder)).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [json.loads(line) for line in (place / "out" / "data" / "test.jsonl").read_text().splitlines()]
    right = sum(
        int(model(**tokenizer(r["text"], truncation=True, max_length=9, return_tensors="pt")).logits.argmax())
        == ("bad", "good").index(r["label"])
        for r in rows
    )
    assert right / len(rows) == pytest.approx(study.test["accuracy"])
    assert study.test_rows == len(rows)


@pytest.mark.exhaustive
def test_the_plan_comes_first_and_doubts_about_the_data_with_it(tuned):
    _, _, [(plan, notes)] = tuned
    assert plan.trials == 3
    assert plan.first[0] == "the recommendation"
    assert any("1 row dropped" in note for note in notes)
    assert "at most 3 trials" in next(iter(plan_lines(plan, notes)))


@pytest.mark.exhaustive
def test_rows_that_were_cut_are_told_once_in_the_end_too(tuned):
    study, _, [(_, notes)] = tuned
    told = [note for note in study.notes if " cut" in note and "cut from" not in note]
    assert told == [note for note in notes if note.startswith("rows longer than 9 tokens are cut")]
    assert len(told) == 1


@pytest.mark.exhaustive
def test_the_study_reads_back_and_says_what_every_trial_took(tuned):
    study, place, _ = tuned
    again = store.read(TunedStudy, place / "out" / "study.json")
    assert again == study
    done = [t for t in study.trials if t.state == "complete"]
    assert len(done) >= 2
    for trial in done:
        assert trial.measured_bytes > 0
        assert trial.measured_seconds > trial.seconds["train"] > 0
        assert trial.predicted_bytes is not None
    assert done[-1].predicted_seconds is not None
    assert study.trials[0].origin == "recommendation"


@pytest.mark.exhaustive
def test_the_finalists_were_trained_with_other_seeds(tuned):
    study, _, _ = tuned
    assert len(study.finalists) == 2
    assert all(len(f.scores) == 2 for f in study.finalists)
    assert study.best == study.finalists[0].number


@pytest.mark.exhaustive
def test_the_users_store_learns_from_it(tuned):
    study, place, _ = tuned
    profiles = [store.read(Profile, p) for p in (place / "home" / "data" / "profiles").rglob("*.json")]
    assert {p.workload.model for p in profiles} == {study.workload.model}
    assert all(p.step_seconds and p.versions["torch"] for p in profiles)
    [path] = (place / "home" / "data" / "findings").glob("*.json")
    found = store.read(Study, path)
    assert broken_laws(found) == []
    assert found.own
    assert found.findings[0].method == "lora"
    best = next(f for f in study.finalists if f.number == study.best)
    assert found.findings[0].value == pytest.approx(100 * best.mean)


@pytest.mark.exhaustive
def test_the_report_needs_no_other_file_and_runs_nobodys_script(tuned):
    study, place, _ = tuned
    text = (place / "out" / "report.html").read_text()
    tags = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", tags)
    assert "<script>alert" not in page(study.model_copy(update={"name": "<script>alert(1)</script>"}))
    for heading in ("Optimisation history", "Learning curves", "Parallel coordinates", "Predicted against measured"):
        assert heading in text


@pytest.mark.exhaustive
def test_a_hostile_setting_cannot_leave_the_charts_data(tuned):
    study, _, _ = tuned
    trial = study.trials[0].model_copy(update={"origin": "</script><script>alert(2)</script>"})
    text = page(study.model_copy(update={"trials": (trial, *study.trials[1:])}))
    assert "</script><script>alert(2)" not in text


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.exhaustive
def test_no_figure_of_the_last_table_is_cut_on_a_narrow_terminal(tuned, monkeypatch, capsys, width):
    from advisor.interfaces.cli.output import emit
    from advisor.interfaces.cli.tune import study_table

    study, _, _ = tuned
    base = next(t for t in study.trials if t.state == "complete")
    rates = (0.00123456, 0.000987654)
    trials = tuple(
        base.model_copy(update={"number": i, "params": {**base.params, "learning_rate": rate}})
        for i, rate in enumerate(rates)
    )
    monkeypatch.setenv("COLUMNS", str(width))
    emit(study.model_copy(update={"trials": trials, "best": 0, "finalists": ()}), False, study_table)
    text = capsys.readouterr().out
    table = [line for line in text.splitlines() if line.strip().startswith(("0 ", "1 "))]
    assert len(table) == 2
    assert [f"{rate:.3g}" in line for rate, line in zip(rates, table, strict=True)] == [True, True]
    assert all(len(line) <= width for line in table)
    assert "rank" in next(line for line in text.splitlines() if line.startswith("same"))
    # where a trial came from is the least telling
    assert ("narrow  from: left out" in text) == (width == 80)
    assert ("narrow " in text) == (width < 200)


@pytest.mark.parametrize(("higher", "order"), [(True, ["2", "1", "3", "0"]), (False, ["2", "0", "3", "1"])])
@pytest.mark.exhaustive
def test_the_last_table_has_the_chosen_trial_first_and_the_others_by_quality(tuned, capsys, higher, order):
    from advisor.interfaces.cli.output import emit
    from advisor.interfaces.cli.tune import study_table

    study, _, _ = tuned
    base = next(t for t in study.trials if t.state == "complete")
    trials = tuple(
        base.model_copy(update={"number": i, "values": (value,)}) for i, value in enumerate((0.1, 0.4, 0.2, 0.3))
    )
    changed = {"trials": trials, "best": 2, "finalists": (), "higher_is_better": higher, "objectives": ("quality",)}
    emit(study.model_copy(update=changed), False, study_table)
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()[:1] and line[1].isdigit()]
    assert rows == order


@pytest.mark.exhaustive
def test_scores_of_the_finals_are_told_as_they_come_and_once(tuned, capsys):
    from advisor.domain.tuning import Finalist
    from advisor.interfaces.cli.tune import TuneDisplay, progress_table

    study, _, _ = tuned
    one = Finalist(number=3, scores=(0.9, 0.8), mean=0.85)
    live = TuneDisplay()
    live(study)
    capsys.readouterr()
    live(study.model_copy(update={"finalists": (one,)}))
    live(study.model_copy(update={"finalists": (one,)}))
    live(study.model_copy(update={"finalists": (one.model_copy(update={"scores": (0.9, 0.8, 0.7)}),)}))
    said = capsys.readouterr().err.splitlines()
    assert said == ["trial 3 with another seed: accuracy 0.8000", "trial 3 with another seed: accuracy 0.7000"]
    assert "finals  trial 3: 0.9000, 0.8000" in progress_table(study.model_copy(update={"finalists": (one,)})).title


@pytest.mark.parametrize("count", [1, 3, 40, 1000])
@pytest.mark.exhaustive
def test_the_history_counts_trials_in_whole_numbers_that_have_room(tuned, count):
    study, _, _ = tuned
    base = next(t for t in study.trials if t.state == "complete")
    many = tuple(base.model_copy(update={"number": i}) for i in range(count))
    told = next(c for c in charts(study.model_copy(update={"trials": many})) if c.title == "Optimisation history")
    (axis,) = {json.dumps(layer["encoding"]["x"]["axis"]) for layer in told.spec["layer"]}
    assert json.loads(axis)["format"] == "d"
    assert 1 <= len(json.loads(axis)["values"]) <= 25


@pytest.mark.exhaustive
def test_importances_are_shares(tuned):
    study, _, _ = tuned
    base = next(t for t in study.trials if t.state == "complete")
    many = tuple(
        base.model_copy(
            update={"number": i, "values": (i / 8,), "params": {**base.params, "learning_rate": 10 ** (-2 - i / 8)}}
        )
        for i in range(8)
    )
    found = importances(study.model_copy(update={"trials": many}))
    assert sum(found.values()) == pytest.approx(1)
    assert max(found, key=found.get) == "learning_rate"
    assert importances(study.model_copy(update={"trials": many[:3]})) == {}


@pytest.mark.exhaustive
def test_the_card_has_the_hubs_header_and_both_scores(tuned):
    study, place, _ = tuned
    text = (place / "out" / "best" / "README.md").read_text()
    assert text == card(study)
    header = text.split("---")[1]
    assert json.loads(re.search(r"base_model: (.*)", header)[1]) == study.workload.model
    assert f"{study.test['accuracy']:.4f}" in text
    assert "that no trial saw" in text
    assert "base weights" not in text
    in_four_bits = study.best_recipe.model_copy(update={"base": "nf4"})
    trials = [t.model_copy(update={"recipe": in_four_bits}) for t in study.trials]
    assert 'library_name: "peft"' in header
    for library in ("transformers", "advisor"):
        assert f'library_name: "{library}"' in card(study.model_copy(update={"library": library}))
    low, high = study.intervals["accuracy"]
    assert f"{study.test['accuracy']:.4f} ({low:.4f} to {high:.4f})" in text
    assert "base weights in nf4" in card(study.model_copy(update={"trials": tuple(trials)}))


@pytest.mark.exhaustive
def test_every_score_has_its_interval(tuned):
    study, _, _ = tuned
    scores = [(study.test, study.intervals), (study.untrained, study.untrained_intervals)]
    scores += [(t.metrics, t.intervals) for t in study.trials if t.state == "complete"]
    for values, spans in scores:
        assert set(spans) == set(values) >= {"accuracy", "f1", "loss"}
        assert all(low <= values[name] <= high for name, (low, high) in spans.items())
    for finalist in study.finalists:
        assert finalist.interval[0] <= finalist.mean <= finalist.interval[1]


@pytest.mark.exhaustive
def test_a_trial_repeats_to_the_bit_from_its_record(tuned):
    from advisor.tuner.execution.repeat_trial import repeat_trial

    study, place, _ = tuned
    there = next(t for t in study.trials if t.state == "complete")
    assert (there.seed, set(study.rows_sha256)) == (0, {"train", "evaluation", "test"})
    assert {"torch", "transformers", "peft"} <= set(there.versions)
    found = repeat_trial(str(place / "out"), there.number)
    assert (found.same, found.differs, found.notes) == (True, (), ())
    assert found.weights_sha256 == there.weights_sha256 != ""
    with pytest.raises(BadRequest, match="trial 77 left no record"):
        repeat_trial(str(place / "out"), 77)


@pytest.mark.exhaustive
def test_a_resume_of_a_finished_study_trains_nothing(tuned):
    from advisor.tuner.tune import resume

    study, place, _ = tuned
    patch = pytest.MonkeyPatch()
    patch.setenv("ADVISOR_HOME", str(place / "home"))
    again = resume(str(place / "out"))
    patch.undo()
    assert [(t.number, t.values) for t in again.trials] == [(t.number, t.values) for t in study.trials]
    assert again.test == study.test


def test_every_path_is_absolute_so_that_a_resume_works_from_anywhere(tmp_path, tiny_bert, monkeypatch):
    from pathlib import Path

    from advisor.tuner.study_preparation import make_request

    monkeypatch.chdir(tmp_path)
    put_rows(tmp_path / "d.jsonl", labelled(40))
    (tmp_path / "model").symlink_to(tiny_bert.weights)
    request = make_request("./model", "d.jsonl", method="lora").request
    assert Path(request.spec.weights).is_absolute()
    assert all(Path(path).is_absolute() for path in request.splits.sources.values())


def run(*arguments: str):
    return CliRunner().invoke(command, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--model is missing"),
        (("--model", "m"), "--data is missing"),
        (("--join", "x"), "--join needs the --storage"),
        (("--resume", "x", "--model", "m"), "--model cannot be changed with --resume"),
        (("--resume", "/no/such/folder"), "no study lies in"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(arguments, says):
    result = run(*arguments)
    assert isinstance(result.exception, BadRequest)
    assert says in str(result.exception)


def test_a_model_folder_without_weights_is_refused_before_anything_is_written(tmp_path, tiny_bert):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(tiny_bert.weights, bare)
    (bare / "model.safetensors").unlink()
    data = put_rows(tmp_path / "d.jsonl", labelled(30))
    result = run("--model", str(bare), "--data", str(data), "--out", str(tmp_path / "out"))
    assert isinstance(result.exception, UnsupportedModel)
    assert "weights" in str(result.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "extra",
    [
        ("--metric", "rougeL"),
        ("--trials", "0"),
        ("--usd", "5"),
        ("--seq-len", "1000"),
        ("--method", "nosuch"),
        ("--objective", "time"),
        ("--pruner", "nosuch"),
        ("--search", "nosuch"),
        ("--workers", "0"),
    ],
    ids=lambda e: " ".join(e),
)
def test_each_bad_option_is_refused_by_name(tmp_path, tiny_bert, extra):
    data = put_rows(tmp_path / "d.jsonl", labelled(30))
    result = run("--model", str(tiny_bert.weights), "--data", str(data), "--out", str(tmp_path / "out"), *extra)
    assert isinstance(result.exception, AdvisorError), result.exception
    assert result.exception.exit_code == 2
