"""The command line's one place where errors become text, facts and exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import rich_click as click

from advisor import errors
from advisor.domain.request.unknown_keys import TRAINERS_KEYS, option_meant
from advisor.interfaces.cli import main as face
from advisor.interfaces.cli.main import VERBS, main, run


@pytest.fixture
def verb(monkeypatch):
    """Put a command in the place of `recommend` that does what is given."""

    def put(action):
        @click.command("recommend")
        @click.option("--json", "as_json", is_flag=True)
        def command(as_json):
            return action()

        monkeypatch.setattr(face, "load", lambda name: command)

    return put


def throws(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.BadRequest("no", cause="because", hints=["do this"], size=0), 2),
        (errors.UnknownName.of("gpu", "h10", ["h100"], list_with="advisor gpus"), 2),
        (errors.DoesNotFit("no", need_bytes=5), 3),
        (errors.BadFile("no", path="x"), 4),
        (errors.StoreUnavailable("no"), 4),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_stays_off_stdout(verb, capsys, error, code):
    verb(throws(error))
    assert run(["recommend"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == f"Error: {error}\n"


def test_with_json_an_errors_facts_are_on_stdout(verb, capsys):
    error = errors.DoesNotFit("no", cause="large", hints=["to fit: less"], need_bytes=5)
    verb(throws(error))
    assert run(["recommend", "--json"]) == 3
    shown = capsys.readouterr()
    assert json.loads(shown.out) == error.facts()
    assert shown.err == ""


def test_an_error_is_told_in_three_parts(verb, capsys):
    verb(throws(errors.BadRequest("what", cause="why", hints=["do this", "or that"])))
    run(["recommend"])
    assert capsys.readouterr().err.splitlines() == ["Error: what", "  why", "  do this", "  or that"]


def test_a_bug_keeps_its_traceback(verb):
    verb(throws(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(["recommend"])


def test_a_bug_is_one_line_and_its_traceback_lies_in_the_file_named(verb, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    verb(throws(ZeroDivisionError("a bug")))
    with pytest.raises(SystemExit) as ending:
        main(["recommend"])
    assert ending.value.code == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "Error: advisor failed on this, which is a bug: ZeroDivisionError: a bug"
    log = Path(second.partition("its traceback: ")[2])
    assert log.is_relative_to(tmp_path)
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_a_bug_is_shown_whole_where_no_file_can_be_written(verb, capsys, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    verb(throws(ZeroDivisionError("a bug")))
    with pytest.raises(SystemExit):
        main(["recommend"])
    assert "Traceback" in capsys.readouterr().err


def test_an_interruption_is_130_and_a_kind_line(verb, capsys):
    verb(throws(KeyboardInterrupt()))
    assert run(["recommend"]) == 130
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.strip().startswith("Interrupted")
    assert "Traceback" not in shown.err


def test_a_commands_return_value_is_the_exit_code(verb):
    verb(lambda: 3)
    assert run(["recommend"]) == 3
    verb(lambda: None)
    assert run(["recommend"]) == 0


@pytest.mark.parametrize("arguments", [["--nonsense"], ["estimate", "--nonsense"], ["estimate", "--rank", "many"]])
def test_a_wrong_option_is_a_wrong_request(capsys, arguments):
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "--help" in shown.err
    assert run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["exit_code"] == 2


def test_a_misspelt_verb_is_told_the_near_one(capsys):
    assert run(["recomend", "--json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["error"] == "UnknownName"
    assert "recommend" in facts["near"]


def test_no_arguments_print_the_help(capsys):
    assert run([]) == 0
    assert "recommend" in capsys.readouterr().out


def test_the_version_is_the_packages(capsys):
    import advisor

    assert run(["--version"]) == 0
    assert advisor.__version__ in capsys.readouterr().out


def test_listing_the_verbs_imports_none_of_them():
    program = (
        "import sys\nfrom advisor.interfaces.cli.main import run\nrun(['--help'])\n"
        "print([m for m in sys.modules if m.startswith('advisor.interfaces.cli.') and not m.endswith('main')])\n"
        "print('pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["['advisor.interfaces.cli.output']", "False"]
    assert all(name in done.stdout for name in VERBS)


def test_the_help_of_no_verb_loads_the_types_of_answers():
    """Those are pydantic's, half of a second on a slow machine: they load when there is something to answer."""
    program = (
        "import sys\nfrom advisor.interfaces.cli.main import VERBS, run\n"
        "for verb in VERBS:\n    run([verb, '--help'])\n    print(verb, 'pydantic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.endswith(" True")] == []
    assert all(f"{verb} False" in done.stdout for verb in VERBS)


def test_help_is_there_at_once():
    """The promise is 0.2 s on an idle machine (benchmarks/start_up.py); other work here may slow a process twofold."""
    best = min(_cpu_seconds([sys.executable, "-m", "advisor.interfaces.cli.main", "--help"]) for _ in range(3))
    assert best < 0.4


def _cpu_seconds(command: list[str]) -> float:
    """Of the command alone, whatever else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_reader_that_leaves_early_is_no_error():
    command = f"set -o pipefail; {sys.executable} -m advisor.interfaces.cli.main gpus --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("verb", [["evidence", "--predict"], ["estimate", "--from"]])
def test_a_name_that_no_file_can_have_is_a_bad_file(verb, capsys):
    assert run([*verb, "a\0b.jsonl"]) == 4
    assert "cannot read" in capsys.readouterr().err


def test_an_end_of_its_own_keeps_its_code(monkeypatch):
    """A server that cannot start leaves by SystemExit too."""

    def leaves(**_):
        raise SystemExit(3)

    monkeypatch.setattr(face.cli, "main", leaves)
    with pytest.raises(SystemExit) as caught:
        run(["gpus"])
    assert caught.value.code == 3


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("recommend --count 2", "here it is called --max-gpus"),
        ("recommend --per-device-train-batch-size 4", "here it is called --effective-batch-size"),
        ("recommend --lora_r 8", "advisor estimate takes it: --rank"),
        ("recommend --learning-rate 1e-4", "advisor estimate takes it: --learning-rate"),
        ("estimate --load-in-4bit", "here it is called --base"),
        ("estimate --max-seq-length 512", "here it is called --seq-len"),
    ],
)
def test_an_option_of_another_verb_or_tool_is_answered_with_what_to_type(typed, told, capsys):
    assert run(typed.split()) == 2
    assert told in capsys.readouterr().err
    words = typed.replace("_", "-").split()
    named = told.rpartition(" ")[2]
    verb = "estimate" if "advisor estimate" in told else words[0]
    assert any(named in option.opts for option in face.load(verb).params)


def test_every_trainers_option_leads_to_one_that_exists():
    ours = face._options(face.load("estimate"))
    assert {
        key: option_meant(f"--{key}", ours, ours) for key in TRAINERS_KEYS if not option_meant(key, ours, ours)
    } == {}
