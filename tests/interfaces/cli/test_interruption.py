"""Ctrl-C, SIGTERM and SIGHUP in every verb: exit code 130, one sentence, and no child that goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from advisor.domain.model import ModelSpec
from advisor.interfaces.cli.main import VERBS
from tests.tiny_models import labelled, put_rows, tiny_bert, tiny_llama

__all__ = ["tiny_bert", "tiny_llama"]
ROOT = Path(__file__).parents[3]
WAITS = "(waits for a line of standard input)"
CONNECTED = "(waits for a server's answer)"
BEGINS_SECONDS, ENDS_SECONDS = 600, 100
"""For a verb to load what it needs, on a machine that may have other work to do, and to end."""
ANSWERS_BY_LINE = {"estimate", "evidence"}
"""Verbs that print an answer to each line they have read; the others print theirs once, when all is known."""
AT_ONCE = {"gpus", "models", "doctor", "completion", "schema", "mcp"}
"""Verbs that read the catalogue and print: over before anybody could interrupt them. `mcp` ends with its client."""


def commands(llama: ModelSpec, bert: ModelSpec, place: Path) -> dict[str, tuple[list[str], str]]:
    """A command line of each verb that takes a while, and what tells that it is at work.

    The sign is a child's module, WAITS, CONNECTED, or "" for a verb that computes by itself.
    """
    rows = str(put_rows(place / "rows.jsonl", labelled(80)))
    more = str(put_rows(place / "more.jsonl", labelled(400)))
    model, encoder = str(llama.weights), str(bert.weights)
    many = "lora,dora,ia3,vera,full,bitfit,oft,boft"
    train = ["--model", encoder, "--data", rows]
    jobs, fleet = place / "jobs.yaml", place / "fleet.yaml"
    jobs.write_text(f"jobs: [{{name: a, model: {json.dumps(model)}, samples: 100}}]")
    fleet.write_text("gpus: [{gpu: A100, usd_per_hour: 1}, {gpu: L40S, usd_per_hour: 1}]")
    return {
        "recommend": (["--model", model, "--gpu", "A100", "--method", many], "method_worker"),
        "methods": ([*many.split(","), "--model", model, "--gpu", "A100"], "compare_worker"),
        "estimate": (["--from", "-"], WAITS),
        "evidence": (["--predict", "-"], WAITS),
        "plan": ([str(jobs), "--fleet", str(fleet)], "method_worker"),
        "export": (["/dev/stdin", "--to", "trl"], WAITS),
        "prices": (["--refresh"], CONNECTED),
        "profile": (
            ["--model", model, "--method", "lora,ia3", "--device", "cpu", "--seq-len", "64"],
            "profiling_worker",
        ),
        "tune": ([*train, "--gpu", "cpu", "--trials", "9", "--out", str(place / "tune")], "training_worker"),
        "study": (
            [*train, "--method", "lora,ia3", "--size", "40", "--device", "cpu", "--out", str(place / "study")],
            "training_worker",
        ),
        "probe": (
            ["--model", encoder, "--data", more, "--device", "cpu", "--out", str(place / "probe")],
            "training_worker",
        ),
        "web": (["--port", "0"], "job_worker"),
        "calibrate": (["--gpu", "L40S", "--dry-run"], ""),
        "audit": (["--gpu", "L40S"], ""),
        "fit": (["--vary", "gpu", "--model", model, "--method", "lora", "--seq-len", "512"], ""),
    }


def test_every_verb_is_interrupted_or_over_at_once(tmp_path: Path, tiny_llama: ModelSpec, tiny_bert: ModelSpec):
    assert set(commands(tiny_llama, tiny_bert, tmp_path)) | AT_ONCE == set(VERBS)


def below(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def at_work(process: Any, sign: str) -> bool:
    """Whether the verb has begun what is to be interrupted."""
    if sign == WAITS:
        # a second in which it computes nothing: it has come to its line
        found = psutil.Process(process.pid)
        before = sum(found.cpu_times()[:2])
        time.sleep(1.0)
        return before > 0.2 and sum(found.cpu_times()[:2]) == before
    if sign == CONNECTED:
        return any(_connected(one) for one in (psutil.Process(process.pid), *below(psutil.Process(process.pid))))
    if sign == "":
        # every library is loaded, and the verb computes
        return Path(f"/proc/{process.pid}/maps").read_text().count("pydantic_core") > 0
    return any(sign in " ".join(_words(child)) for child in below(psutil.Process(process.pid)))


def _connected(process: psutil.Process) -> bool:
    try:
        return bool(process.net_connections("tcp"))
    except psutil.Error:
        return False


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("verb", sorted(set(VERBS) - AT_ONCE))
def test_a_signal_ends_a_verb_in_order(
    verb: str, number: str, tmp_path: Path, tiny_llama: ModelSpec, tiny_bert: ModelSpec, silent_server: str
):
    arguments, sign = commands(tiny_llama, tiny_bert, tmp_path)[verb]
    own = os.environ | {"PYTHONPATH": str(ROOT), "ADVISOR_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    own |= {"GPUHUNT_CATALOG_URL": silent_server, "NO_PROXY": "127.0.0.1"}
    own.pop("GPUHUNT_CATALOG_DIR", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "advisor", verb, *arguments],
        env=own,
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + BEGINS_SECONDS
    while not at_work(process, sign):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "it never began"
        time.sleep(0.05)
    time.sleep(1.0)
    family = below(psutil.Process(process.pid))
    process.send_signal(getattr(signal, number))
    out, err = process.communicate(timeout=ENDS_SECONDS)
    assert process.returncode == 130, err
    last = [line for line in err.splitlines() if line.strip()][-1]
    assert last.startswith("Interrupted")
    assert err.count("Interrupted") == 1
    assert "Traceback" not in err + out
    psutil.wait_procs(family, timeout=10)
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    # what is printed before the end is whole: nothing, or one answer a line
    for line in out.splitlines():
        assert verb in ANSWERS_BY_LINE, out
        json.loads(line)
