"""Thousands of random questions to the command line: tracebacks, wrong exit codes, hangs, inputs ignored in silence.

    python -m benchmarks.random_questions --well-formed 2000 --malformed 300 --seed 0

Each question is drawn from its number and the seed alone, and asked in this process by the command line's own
function. What was asked is noted line by line in the file of --state, so a run that is stopped goes on with the same
command. The counts go to benchmarks/results/random_questions.json.

A well-formed question is answered (0), refused with its reason (2) or fits nothing (3). One of its options is then
left out: where no figure changes, the answer must name the option. A malformed question is refused (2, 3 or 4).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import malformed_questions, well_formed_questions

RESULTS = Path(__file__).parent / "results" / "random_questions.json"
LIMIT_SECONDS = 60
"""Of the processor's time: this machine may have other work to do."""
CODES = {"well-formed": {0, 2, 3}, "malformed": {2, 3, 4}, "damaged": {0, 2, 3, 4}, "environment": {0, 2, 3, 4}}
"""Exit codes that are right: what is damaged, or a bad environment, may be answered all the same."""


class TooLong(BaseException):
    """No answer within the time limit."""


def ask(arguments: list[str], limit: float = LIMIT_SECONDS, stdin: str = "") -> dict[str, Any]:
    """What the command line says: exit code, output, seconds. -1 is a hang, 1 a bug."""
    from advisor.interfaces.cli.main import main

    def ring(number: int, frame: Any) -> None:
        raise TooLong

    out, err, code = io.StringIO(), io.StringIO(), 0
    began, before = time.process_time(), signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _typed(stdin):
            main(arguments)
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except TooLong:
        code = -1
    except BaseException as error:
        code, _ = 1, err.write(f"{type(error).__name__}: {error}")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue(), "seconds": time.process_time() - began}


@contextlib.contextmanager
def _typed(text: str) -> Iterator[None]:
    import sys

    before, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        yield
    finally:
        sys.stdin = before


def faults(kind: str, said: dict[str, Any]) -> Iterator[str]:
    """What is wrong with one answer, whatever the question was."""
    if said["code"] == -1:
        yield "hang"
    elif said["code"] == 1 or "Traceback" in said["out"] + said["err"] or "which is a bug" in said["out"]:
        yield "traceback"
    elif said["code"] not in CODES[kind]:
        yield f"exit code {said['code']}"
    if any(ord(c) < 32 and c not in "\n\t" for c in said["out"] + said["err"]):
        yield "control characters printed"


def well_formed(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One question, its answer's faults, and whether one of its options was ignored."""
    draw = random.Random(f"{seed}/well-formed/{number}")
    question = well_formed_questions.drawn(draw, place)
    said = ask(question.arguments())
    found = list(faults("well-formed", said))
    if not found and question.as_json:
        try:
            document = json.loads(said["out"])
        except ValueError:
            found.append("no JSON document")
        else:
            dropped = question.droppable(draw)
            if said["code"] == 0 and dropped is not None:
                less = ask(question.arguments(without=dropped))
                found.extend(faults("well-formed", less))
                if less["code"] == 0 and well_formed_questions.ignored(dropped, document, json.loads(less["out"])):
                    found.append(f"ignored {dropped}")
    return {"asked": question.arguments(), **_told(said), "faults": found}


def malformed(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One question that makes no sense, and its answer's faults."""
    draw = random.Random(f"{seed}/malformed/{number}")
    kind, arguments, stdin = malformed_questions.drawn(draw, place)
    said = ask(arguments, stdin=stdin)
    return {"asked": arguments, "kind": kind, **_told(said), "faults": list(faults("malformed", said))}


def _told(said: dict[str, Any]) -> dict[str, Any]:
    return {"code": said["code"], "seconds": round(said["seconds"], 2), "said": (said["err"] or said["out"])[:500]}


def main() -> None:
    """Ask what is not asked yet, then count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--well-formed", type=int, default=2000)
    parser.add_argument("--malformed", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long; go on another time")
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "random-questions")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    os.environ |= {"ADVISOR_HOME": str(given.state / "home"), "HF_HUB_OFFLINE": "1", "COLUMNS": "140"}
    notes = given.state / f"asked-{given.seed}.jsonl"
    known = {(line["form"], line["number"]): line for line in _lines(notes)}
    ends = time.monotonic() + 60 * given.minutes
    with open(notes, "a", encoding="utf-8") as stream:
        for form, count, answer in (
            ("malformed", given.malformed, malformed),
            ("well-formed", given.well_formed, well_formed),
        ):
            for number in range(count):
                if (form, number) in known or time.monotonic() > ends:
                    continue
                line = {"form": form, "number": number, **answer(number, given.seed, given.state)}
                known[form, number] = line
                stream.write(json.dumps(line) + "\n")
                stream.flush()
                if line["faults"]:
                    print(json.dumps(line)[:600], flush=True)
    given.out.write_text(json.dumps(counted(list(known.values()), given.seed), indent=1) + "\n")
    print(given.out.read_text())


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def counted(lines: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The counts of each form of question."""
    answer: dict[str, Any] = {"seed": seed}
    for form in ("well-formed", "malformed"):
        mine = [line for line in lines if line["form"] == form]
        answer[form] = {
            "asked": len(mine),
            "exit_codes": dict(sorted(Counter(str(line["code"]) for line in mine).items())),
            "tracebacks": sum("traceback" in line["faults"] for line in mine),
            "hangs": sum("hang" in line["faults"] for line in mine),
            "wrong_exit_codes": sum(any(f.startswith("exit code") for f in line["faults"]) for line in mine),
            "inputs_ignored": sum(any(f.startswith("ignored") for f in line["faults"]) for line in mine),
            "other_faults": sum(
                any(f in ("control characters printed", "no JSON document") for f in line["faults"]) for line in mine
            ),
            "longest_seconds": max((line["seconds"] for line in mine), default=0.0),
        }
    return answer


if __name__ == "__main__":
    main()
