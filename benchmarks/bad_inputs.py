"""Bad inputs to the command line: questions that make no sense, and environments that a machine should not have."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import malformed_questions
from benchmarks.hostile_folders import ROOT, told
from benchmarks.random_questions import ask, faults
from benchmarks.well_formed_questions import SHIPPED, models_in

EVERY = 10
"""One in so many is a bad environment."""
SECONDS = 600
NOWHERE = ("~no-such-user/x", "~/below/home", "x" * 5000, "/dev/null/x", "/proc/x", "relative/to here", "", " ", "~")
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "ADVISOR_HOME": NOWHERE,
    "HF_HOME": NOWHERE,
    "HF_HUB_CACHE": NOWHERE,
    "XDG_CACHE_HOME": NOWHERE,
    "HOME": ("/no/such/home", "", "relative"),
    "HF_ENDPOINT": ("no url", "http://[::1", "ftp://x", "", "http://", "://", "http://127.0.0.1:9"),
    "ADVISOR_PRICES": ("/no/such/file", "", "x" * 5000, "/dev/null", "/"),
    "OPTUNA_STORAGE": ("nonsense", "", "nosuch://x"),
    "PYTHONIOENCODING": ("ascii", "latin-1", "utf-16"),
    "LC_ALL": ("C", "POSIX", "no_SUCH.locale"),
    "COLUMNS": ("0", "-1", "abc", "1", "99999", ""),
    "TERM": ("dumb", "", "no-such-terminal"),
    "TMPDIR": ("/no/such/folder", "relative", "x" * 5000),
    "FORCE_COLOR": ("1", "abc"),
    "CUDA_VISIBLE_DEVICES": ("-1", "abc", "99"),
    "OMP_NUM_THREADS": ("0", "-1", "abc"),
}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
STREAMS = ("stdin closed", "stdout closed", "stderr closed", "stdout full", "reader gone", "few files", "small files",
           "no folder")  # fmt: skip


def case(number: int, seed: int, place: Path) -> dict[str, Any]:
    """One bad input, and what was wrong with the answer."""
    draw = random.Random(f"{seed}/inputs/{number}")
    if number % EVERY == EVERY - 1:
        return bad_environment(draw, place)
    kind, arguments, stdin = malformed_questions.drawn(draw, place)
    said = ask(arguments, stdin=stdin)
    return {"kind": kind, "faults": list(faults("malformed", said)), "asked": [a[:80] for a in arguments],
            "outcomes": [f"exit {said['code']}"]}  # fmt: skip


def bad_environment(draw: random.Random, place: Path) -> dict[str, Any]:
    """A question that makes sense, where the environment does not, in a process of its own."""
    folder = models_in(place)["llama"]
    words = draw.choice(
        [
            ["gpus"],
            ["models"],
            ["methods", "lora"],
            ["evidence", "--method", "lora", "--limit", "3"],
            ["prices"],
            ["estimate", "--model", SHIPPED[1], "--gpu", "A100", "--method", "lora", "--seq-len", "64"],
            ["estimate", "--model", "nobody/nothing", "--gpu", "A100", "--method", "lora"],
            ["estimate", "--model", folder, "--gpu", "A100", "--method", "lora", "--seq-len", "64"],
            ["estimate", "--from", "-"],
            ["evidence", "--predict", "-"],
        ]
    )
    own = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    if draw.random() < 0.6:
        name = draw.choice(list(ENVIRONMENTS))
        value = draw.choice(ENVIRONMENTS[name])
        stream = ""
        own[name] = value
        if name == "HF_ENDPOINT":
            own.pop("HF_HUB_OFFLINE", None)
    else:
        name = stream = draw.choice(STREAMS)
        value = ""
    here = place / "bad-environment"
    here.mkdir(exist_ok=True)
    try:
        done = run(words, own, stream, here)
    except subprocess.TimeoutExpired:
        return {"kind": "environment", "faults": [f"hang: {name}={value} {words}"], "asked": words}
    said = told(done)
    if name == "FORCE_COLOR":
        # who asks for colours gets them; any other control character stays a fault
        said |= {stream: COLOURS.sub("", said[stream]) for stream in ("out", "err")}
    found = list(faults("environment", said))
    more = f": {name}={value[:60]}, {' '.join(words)}: {said['err'][-200:]}"
    return {"kind": "environment", "faults": [f + more for f in found], "asked": [name, value[:60], *words],
            "outcomes": [f"exit {done.returncode}"]}  # fmt: skip


def run(words: list[str], own: Mapping[str, str], stream: str, here: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, whose streams, limits or folder are as `stream` says."""
    inside = here / "gone"
    inside.mkdir(exist_ok=True)
    full = os.open("/dev/full", os.O_WRONLY) if stream == "stdout full" else subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "advisor", *words],
        cwd=inside, env=own, text=True, stdin=subprocess.PIPE, stdout=full, stderr=subprocess.PIPE,
        preexec_fn=partial(BEFORE.get(stream, lambda _: None), inside),
    )  # fmt: skip
    if full != subprocess.PIPE:
        os.close(full)
    if stream == "reader gone" and process.stdout is not None:
        process.stdout.close()
        process.stdout = None
    try:
        out, err = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(words, process.returncode, out or "", err or "")


BEFORE: dict[str, Callable[[Path], None]] = {
    "stdin closed": lambda _: os.close(0),
    "stdout closed": lambda _: os.close(1),
    "stderr closed": lambda _: os.close(2),
    "few files": lambda _: resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24)),
    "small files": lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
    "no folder": shutil.rmtree,
}
"""What is done to the process before it begins."""
