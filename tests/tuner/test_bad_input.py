"""Bad input as a person gives it, through the command line: the exit code, what is said, and nothing left behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advisor.domain.model import ModelSpec
from advisor.errors import BadRequest, StoreUnavailable
from advisor.interfaces.cli.main import run
from tests.tiny_models import answered, chats, labelled, put_rows

ROWS = labelled(60)


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.fixture
def ask(tmp_path: Path, tiny_bert: ModelSpec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """`advisor tune` on a tiny model and usable rows, but for what a test gives; (exit code, stderr)."""
    monkeypatch.chdir(tmp_path)
    put_rows(tmp_path / "rows.jsonl", ROWS)
    out = tmp_path / "out"

    def asked(*more: str, model: Any = tiny_bert.weights, data: Any = "rows.jsonl") -> tuple[int, str]:
        left = {p.name for p in tmp_path.iterdir()}
        code = run(["tune", "--model", str(model), "--data", str(data), "--out", str(out), *more])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        assert {p.name for p in tmp_path.iterdir()} - {"home"} == left - {"home"}, "something was left behind"
        return code, said

    return asked


def written(folder: Path, name: str, content: bytes | list[Any]) -> str:
    (folder / name).write_bytes(content if isinstance(content, bytes) else lines(content))
    return name


FILES: dict[str, tuple[str, bytes | list[Any], int, str]] = {
    "one class only": ("a.jsonl", [{**r, "label": "x"} for r in ROWS], 2, "one class only: 'x'"),
    "3 rows": ("a.jsonl", ROWS[:3], 2, "3 usable rows: too few"),
    "only empty strings": ("a.jsonl", [{"text": " ", "label": "ab"[i % 2]} for i in range(40)], 4, "all are empty"),
    "an empty file": ("a.jsonl", b"", 4, "a.jsonl is empty"),
    "a malformed line": ("a.jsonl", lines(ROWS[:5]) + b'{"text": "x"\n' + lines(ROWS), 4, "line 6, is not JSON"),
    "a label that is NaN": ("a.jsonl", lines(ROWS) + b'{"text": "x", "label": NaN}\n', 4, "line 61, has no label"),
    "a label that is null": ("a.jsonl", [*ROWS, {"text": "x", "label": None}], 4, "line 61, has no label"),
    "a label that is a fraction": ("a.jsonl", [*ROWS, {"text": "x", "label": 0.5}], 4, "line 61, has float in 'label'"),
    "several labels a row": ("a.jsonl", [*ROWS, {"text": "x", "label": ["a"]}], 4, "line 61, has list in 'label'"),
    "misspelt columns": (
        "a.jsonl",
        [{"txet": r["text"], "lable": r["label"]} for r in ROWS],
        4,
        "--columns text=txet,label=lable",
    ),
    "a misspelt label column": (
        "a.jsonl",
        [{"text": r["text"], "lable": r["label"]} for r in ROWS],
        2,
        "--columns text=text,label=lable",
    ),
    "a table without a header": (
        "a.csv",
        "\n".join(f"{r['text']},{r['label']}" for r in ROWS).encode(),
        4,
        "the first line of the table must name its columns",
    ),
    "a table with a ragged row": ("a.csv", b"text,label\n" + b"w1,good\n" * 30 + b"a,b,c\n", 4, "line 32, has 3 cells"),
    "other characters than UTF-8": ("a.jsonl", lines(ROWS) + b'{"text": "caf\x81"}\n', 4, "line 61, is not UTF-8"),
    "half a character": (
        "a.jsonl",
        lines(ROWS) + b'{"text": "w1 \\ud800", "label": "good"}\n',
        4,
        "line 61, has half a character",
    ),
    "a Parquet file cut off": ("a.parquet", b"PAR1" + b"\0" * 200, 4, "is not a whole Parquet file"),
    "a label for each row": (
        "a.jsonl",
        [{"text": r["text"], "label": f"l{i}"} for i, r in enumerate(ROWS)],
        2,
        "no rows can be set aside",
    ),
    "texts of another language": (
        "a.jsonl",
        [{"text": f"x{i} y{i}", "label": "ab"[i % 2]} for i in range(40)],
        2,
        "knows no word of the rows",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_bad_data_file_is_refused_with_the_place_and_the_cause(ask: Any, tmp_path: Path, what: str):
    name, content, code, says = FILES[what]
    got, said = ask(data=written(tmp_path, name, content))
    assert (got, says in said) == (code, True), said


def test_columns_of_other_types_are_refused(ask: Any, tmp_path: Path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    days = [datetime.date(2020, 1, 1 + i % 2) for i in range(40)]
    pq.write_table(pa.table({"text": list(range(40)), "label": ["a", "b"] * 20}), tmp_path / "numbers.parquet")
    pq.write_table(pa.table({"text": ["w1"] * 40, "label": days}), tmp_path / "dates.parquet")
    code, said = ask(data="numbers.parquet")
    assert code == 4
    assert "has int in 'text' where text is expected" in said
    code, said = ask(data="dates.parquet")
    assert code == 4
    assert "has date in 'label' where a class is expected" in said


def test_a_folder_or_nothing_is_no_data_file(ask: Any, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    assert ask(data="folder")[0] == 4
    code, said = ask(data="absent.jsonl")
    assert code == 4
    assert "does not exist" in said


EVALUATION: dict[str, tuple[list[Any], str]] = {
    "no labels": ([{"text": "w1"}] * 5, "sequence-classification needs text and label"),
    "labels that training lacks": ([*ROWS[:5], {"text": "w1", "label": "new"}], "no training row has: new"),
    "rows of another kind": (answered(9), "sequence-classification needs text and label"),
}


@pytest.mark.parametrize("split", ["--eval", "--test"])
@pytest.mark.parametrize("what", EVALUATION)
def test_other_splits_that_do_not_go_with_the_training_rows_are_refused(
    ask: Any, tmp_path: Path, split: str, what: str
):
    rows, says = EVALUATION[what]
    code, said = ask(split, written(tmp_path, "other.jsonl", rows))
    assert code == 2
    assert says in said


OPTIONS: dict[str, str] = {
    "--trials 0": "--trials must be at least 1",
    "--trials 1000000000": "and at most 1,000,000",
    "--hours nan": "--hours nan cannot be",
    "--hours inf": "--hours inf cannot be",
    "--usd 5": "a budget in USD needs a price",
    "--usd 5 --usd-per-hour -1": "--usd-per-hour must be more than 0",
    "--epochs 0": "--epochs must be more than 0",
    "--epochs 1e9": "at most 1,000,000",
    "--epochs nan": "--epochs nan cannot be",
    "--seq-len 0": "--seq-len must be at least 1",
    "--seq-len 10000000": "tokens\n  longest possible: --seq-len 64",
    "--effective-batch-size 0": "--effective-batch-size must be at least 1",
    "--effective-batch-size 1000": "is more than the 48 training rows",
    "--learning-rate -1": "--learning-rate must be more than 0",
    "--head-learning-rate 0": "--head-learning-rate must be more than 0",
    "--trainer trl": "TRL's SFTTrainer trains causal language models only: --trainer hf",
    "--seeds 0": "--seeds must be at least 1",
    "--finalists 101": "--finalists must be at most 100",
    "--seed -1": "--seed must be at least 0",
    "--seed 99999999999999999999": "--seed must be less than",
    "--workers 0": "--workers must be 1 or more",
    "--workers 100000": "is more than this machine can use",
    "--metric rougeL": "rougeL does not score sequence-classification\n  one of: accuracy, f1, loss",
    "--metric acuracy": "near names: accuracy",
    "--method lroa": "near names: ",
    "--trainer foo": "near names: loop",
    "--dtype int4": "unknown dtype: 'int4'",
    "--base nf5": "near names: nf4",
    "--task foo": "one of causal-lm",
    "--task causal-lm": "cannot be trained for causal-lm",
    "--search lerning_rate": "one of: ",
    "--sampler tpee": "near names: tpe",
    "--pruner medain": "near names: median",
    "--report-to nosuch": "unknown tracker: 'nosuch'",
    "--objective time": "quality must be among the objectives",
    "--objective quality --objective time --pruner median": "--pruner none",
    "--launcher slurm": "unknown launcher: 'slurm'",
    "--ray host:1": "only the Ray launcher uses",
    "--gpu h10": "near names: ",
    "--storage nonsense": "not a storage URL: 'nonsense'",
    "--storage sqlite://": "one process's memory",
    "--resume x": "cannot be changed with --resume",
    "--resume x --join y": "give one of them",
}


@pytest.mark.parametrize("options", OPTIONS)
def test_an_option_that_makes_no_sense_is_refused_by_its_name(ask: Any, options: str):
    code, said = ask(*options.split())
    assert (code, OPTIONS[options] in said) == (2, True), said


@pytest.mark.parametrize("url", ["postgresql+psycopg://me:secret@127.0.0.1:1/db", "sqlite:////no/such/folder/x.db"])
def test_a_storage_that_cannot_be_reached_begins_nothing(ask: Any, url: str):
    if url.startswith("postgresql"):
        pytest.importorskip("psycopg")
    code, said = ask("--storage", url)
    assert code == 4
    assert "cannot be reached" in said
    assert "nothing was begun" in said
    assert "secret" not in said


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def weights_cut_off(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def shard_missing(folder: Path) -> None:
    index = {"weight_map": {"x": "model.safetensors", "y": "model-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def without_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*"):
        path.unlink()


def config_cut_off(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": ')


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without_weights, "holds a definition but no weights"),
        (weights_cut_off, "model.safetensors is not whole"),
        (shard_missing, "model-00002.safetensors is missing"),
        (without_tokenizer, "the tokenizer in"),
        (config_cut_off, "is not JSON, or was cut off"),
        (shutil.rmtree, "there is no model folder"),
    ],
)
def test_a_model_folder_that_is_not_whole_is_refused(
    ask: Any, tmp_path: Path, tiny_bert: ModelSpec, spoil: Callable[[Path], None], says: str
):
    folder = tmp_path / "model"
    shutil.copytree(str(tiny_bert.weights), folder)
    spoil(folder)
    code, said = ask(model=folder)
    assert code == 2
    assert says in said


def test_chats_need_a_model_for_text(ask: Any, tmp_path: Path, tiny_llama: ModelSpec):
    name = written(tmp_path, "chats.jsonl", chats(40))
    code, said = ask(data=name)
    assert code == 2
    assert "cannot be trained for causal-lm" in said
    code, said = ask("--metric", "accuracy", data=name, model=tiny_llama.weights)
    assert code == 2
    assert "accuracy does not score causal-lm" in said


def test_an_out_that_is_no_folder_or_closed_is_refused_and_kept(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def late(*_: Any, **__: Any) -> None:
        pytest.fail("read and measured first")

    monkeypatch.setattr("advisor.tuner.tune.make_request", late)
    (tmp_path / "file").write_text("mine")
    for out in ("file", "file/below", "/proc/closed"):
        code, said = ask("--out", out)
        assert code == 4
        assert "give another: --out FOLDER" in said
    assert (tmp_path / "file").read_text() == "mine"


def test_a_disk_full_at_the_beginning_leaves_nothing(ask: Any, monkeypatch: pytest.MonkeyPatch):
    import errno

    def full(path: Path, write: Any) -> None:
        write(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("advisor.dataset.splits.durable", full)
    code, said = ask()
    assert code == 4
    assert "the disk is full" in said


def test_a_begin_that_fails_leaves_a_folder_of_the_users_as_it_was(
    tmp_path: Path, tiny_bert: ModelSpec, monkeypatch: pytest.MonkeyPatch
):
    from advisor.tuner.tune import tune

    put_rows(tmp_path / "rows.jsonl", ROWS)
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(StoreUnavailable):
        tune(
            str(tiny_bert.weights),
            str(tmp_path / "rows.jsonl"),
            gpu="cpu",
            out=str(out),
            storage="sqlite:////no/such/folder/x.db",
        )
    assert [p.name for p in out.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [
        ('{"schema": "tune-request/1"', "is not JSON, or was cut off"),
        ('{"schema": "other/1"}', "is not a tune-request"),
    ],
)
def test_a_spoilt_request_is_told_at_resume_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoilt: str, says: str
):
    path = tmp_path / "request.json"
    path.write_text(spoilt)
    assert run(["tune", "--resume", str(tmp_path)]) == 4
    assert says in capsys.readouterr().err
    assert path.read_text() == spoilt


def test_a_resume_whose_study_is_gone_says_so_and_does_not_begin_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    from tests.tuner.studies import begin

    begin(tmp_path)
    (tmp_path / "study.db").unlink()
    assert run(["tune", "--resume", str(tmp_path)]) == 2
    assert "has no study 'toy'" in capsys.readouterr().err


@pytest.mark.parametrize("options", ["--trials 0", "--hours nan", "--usd 3", "--trials 99999999", "--workers 99999"])
def test_a_resume_with_a_budget_that_makes_no_sense_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str
):
    from tests.tuner.studies import begin

    begin(tmp_path)
    before = (tmp_path / "request.json").read_bytes()
    assert run(["tune", "--resume", str(tmp_path), *options.split()]) == 2
    assert options.split()[0] in capsys.readouterr().err or options == "--usd 3"
    assert (tmp_path / "request.json").read_bytes() == before


def test_joining_a_study_nobody_began_names_the_near_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    from tests.tuner.studies import begin

    url = f"sqlite:///{tmp_path / 'x.db'}"
    begin(tmp_path / "one", url)
    assert run(["tune", "--join", "tyo", "--storage", url, "--out", str(tmp_path / "two")]) == 2
    assert "near names: toy" in capsys.readouterr().err
    assert run(["tune", "--join", "toy", "--storage", url, "--out", str(tmp_path / "two"), "--workers", "0"]) == 2
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("url", "said", "then"),
    [
        ("mysql://jo:geheim@127.0.0.1/o", "needs a MySQL driver: pip install pymysql", "mysql+pymysql://jo:***@127.0"),
        ("mariadb://jo:geheim@h/o", "needs a MariaDB driver: pip install pymysql", "mariadb+pymysql://jo:***@h/o"),
        ("mysql+aiomysql://h/o", "needs a MySQL driver: pip install pymysql", "mysql+pymysql://h/o"),
        ("oracle://jo:geheim@h/o", "needs an Oracle driver: pip install oracledb", "oracle+oracledb://jo:***@h/o"),
    ],
)
def test_a_database_without_its_driver_says_what_to_install(url, said, then):
    from advisor.tuner.storage.connect import open_storage

    with pytest.raises(BadRequest) as error:
        open_storage(url)
    assert said in error.value.message
    assert any(then in hint for hint in error.value.hints)
    assert "geheim" not in str(error.value)
    assert error.value.exit_code == 2
