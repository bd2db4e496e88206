"""The door: what it takes, what it says, what it writes; launch lines; no torch on the way."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import advisor
from advisor.errors import BadFile, BadRequest, IllegalRecipe, UnknownName
from advisor.exporters.export import exported
from advisor.exporters.formats import EXPORTERS, find_exporter
from advisor.exporters.write_files import placed_at, write_export
from advisor.interfaces.cli.main import run
from tests.exporters.jobs import published

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "exports"
CASE = {
    "model": "meta-llama/Llama-3.2-1B-Instruct",
    "gpu": "H100",
    "method": "lora",
    "batch_size": 4,
    "gradient_accumulation": 2,
    "seq_len": 1024,
    "samples": 2000,
    "learning_rate": 2e-4,
}


def golden_job(name: str):
    if name == "sentence-transformers":
        return published("lora", "google-bert/bert-base-uncased", seq_len=128)
    return published("lora", trainer="trl" if name in ("trl", "script") else "hf")


@pytest.mark.parametrize("name", [e.name for e in EXPORTERS])
def test_the_files_are_as_written_down(name):
    """With ADVISOR_WRITE_GOLDEN=1 they are written anew: read the difference before it is kept."""
    for file in exported(golden_job(name), find_exporter(name)).files:
        path = GOLDEN / name / f"{file.name}.txt"
        if os.environ.get("ADVISOR_WRITE_GOLDEN"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(file.text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == file.text


def test_a_case_a_line_and_a_value_are_the_same_source(tmp_path):
    (tmp_path / "case.json").write_text(json.dumps(CASE, indent=1))
    (tmp_path / "case.jsonl").write_text(json.dumps(CASE) + "\n\n")
    direct = advisor.export(CASE, to="trl")
    assert advisor.export(tmp_path / "case.json", to="trl") == direct
    assert advisor.export(str(tmp_path / "case.jsonl"), to="trl") == direct
    assert pickle.loads(pickle.dumps(direct)) == direct


def test_several_cases_are_not_one_recipe(tmp_path):
    (tmp_path / "cases.jsonl").write_text(2 * (json.dumps(CASE) + "\n"))
    with pytest.raises(BadRequest, match="2 cases"):
        advisor.export(tmp_path / "cases.jsonl", to="trl")


@pytest.mark.parametrize("text", ["", "[]", "not json", '{"schema": "profile/1"}', 100_000 * "["], ids=range(5))
def test_a_file_without_a_recipe_is_a_bad_file(text, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises((BadFile, BadRequest)):
        advisor.export(tmp_path / "file.json", to="trl")


def test_what_no_exporter_is_called_is_refused_with_near_names():
    with pytest.raises(UnknownName) as refused:
        advisor.export(CASE, to="axolotol")
    assert "axolotl" in refused.value.fields["near"]
    with pytest.raises(IllegalRecipe, match="diffusion"):
        advisor.export(CASE, to="diffusers")


def test_a_refusal_names_the_tools_that_can():
    with pytest.raises(IllegalRecipe) as refused:
        advisor.export({**CASE, "method": "ia3"}, to="trl")
    assert "--to hf" in refused.value.hints[0]


def test_hostile_names_stay_text(tmp_path):
    """Quotes and line ends in names get into scripts through repr, into YAML through its own quoting."""
    nasty = "rows'\"\n#\x1b[31m.jsonl"
    for exporter in EXPORTERS:
        job = golden_job(exporter.name)
        for file in exported(replace(job, data=nasty, output="o'\n\"ut"), exporter).files:
            if file.name.endswith(".py"):
                compile(file.text, file.name, "exec")
            elif file.name.endswith(".yaml"):
                assert yaml.safe_load(file.text)


@pytest.mark.parametrize("launcher", ["slurm", "skypilot", "dstack"])
def test_launchers_install_and_run(launcher):
    found = advisor.export(CASE, to="axolotl", launch=launcher)
    text = found.files[-1].text
    assert "axolotl train axolotl.yaml" in text
    assert "axolotl==0.21.0" in text
    if launcher != "slurm":
        document = yaml.safe_load(text)
        assert "H100" in json.dumps(document["resources"])


def test_hugging_face_jobs_carry_one_script():
    found = advisor.export({**CASE, "gpu": "L40S"}, to="script", launch="hf-jobs")
    assert found.launch == "hf jobs uv run --flavor l40sx1 --secrets HF_TOKEN train.py"
    for to, gpu in (("axolotl", "L40S"), ("hf", "L40S"), ("script", "RTX-3060-12GB")):
        with pytest.raises(IllegalRecipe):
            advisor.export({**CASE, "gpu": gpu}, to=to, launch="hf-jobs")


def test_files_that_are_there_are_not_overwritten_unasked(tmp_path):
    found = advisor.export(CASE, to="hf")
    first = write_export(found, tmp_path / "run")
    assert [path.name for path in first] == ["train.py", "training_args.json"]
    with pytest.raises(BadRequest, match="already"):
        write_export(found, tmp_path / "run")
    assert write_export(found, tmp_path / "run", force=True) == first
    single = write_export(advisor.export(CASE, to="trl"), tmp_path / "mine.yaml")
    assert single == (tmp_path / "mine.yaml",)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_command_prints_the_file_and_tells_the_rest_on_stderr(tmp_path, capsys):
    (tmp_path / "case.json").write_text(json.dumps(CASE))
    assert run(["export", str(tmp_path / "case.json"), "--to", "trl"]) == 0
    out, err = capsys.readouterr()
    assert yaml.safe_load(out)["lora_r"] == 16
    assert "trl sft --config trl.yaml" in err
    assert run(["export", str(tmp_path / "case.json"), "--to", "trl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["to"] == "trl"
    assert run(["export", str(tmp_path / "none.json"), "--to", "trl"]) == 4
    assert run(["export", str(tmp_path / "case.json")]) == 2


def test_it_imports_no_torch(tmp_path):
    (tmp_path / "case.json").write_text(json.dumps(CASE))
    program = (
        "import sys, advisor\n"
        "for to in ('trl', 'hf', 'peft', 'axolotl', 'script'): advisor.export(sys.argv[1], to=to)\n"
        "print(sorted({'torch', 'transformers', 'peft', 'trl', 'datasets'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "case.json")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_commands_name_the_file_as_it_was_written(tmp_path):
    found = advisor.export(CASE, to="trl")
    mine = placed_at(found, tmp_path / "mine.yaml")
    assert mine.command == f"trl sft --config {tmp_path / 'mine.yaml'}"
    assert "trl.yaml" not in mine.files[0].text + mine.command
    assert placed_at(found, tmp_path) == found, "into a folder under its own name"


FULL = {"model": "meta-llama/Llama-3.2-1B", "method": "full", "seq_len": 64}


@pytest.mark.parametrize(
    ("optimizer", "dtype", "package"), [("stable_adamw", "bfloat16", "torch-optimi"), ("lomo", "float32", "lomo-optim")]
)
def test_an_optimizer_of_another_package_is_named_with_what_installs_it(optimizer, dtype, package):
    made = advisor.export({**FULL, "gpu": "A100", "optimizer": optimizer}, to="hf")
    assert made.recipe.dtype == dtype
    assert any(f"pip install {package}" in note for note in made.notes)
    assert any(optimizer in file.text for file in made.files)


@pytest.mark.parametrize(
    ("field", "value", "reason"), [("gradient_accumulation", 2, "accumulate"), ("weight_decay", 0.1, "no weight decay")]
)
def test_what_lomo_cannot_be_told_is_written_for_no_tool(field, value, reason):
    with pytest.raises(IllegalRecipe, match=reason):
        advisor.export({**FULL, "optimizer": "lomo", field: value}, to="hf")


@pytest.mark.parametrize(("trainer", "library"), [("hf", "transformers"), ("trl", "trl")])
def test_a_script_names_the_version_of_the_trainer_it_is_written_for(trainer, library):
    made = exported(published("lora", trainer=trainer), find_exporter("script"))
    assert made.version.lower().startswith(library)


def test_settings_that_cannot_be_written_are_a_reason_that_names_other_tools(monkeypatch):
    def raises(job):
        raise IllegalRecipe("a setting without a word for it")

    monkeypatch.setattr(find_exporter("hf"), "against", raises)
    with pytest.raises(IllegalRecipe, match=r"hf cannot run this recipe .*: a setting without a word") as caught:
        advisor.export(CASE, to="hf")
    assert "--to trl" in caught.value.hints[0]
