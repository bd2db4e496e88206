"""The counts of trust: foreign code, tracebacks, hangs, memory, kills and laws, over cases drawn at random.

    python -m benchmarks.trust [--part hostile --part kills ...] [--minutes 10] [--seed 0]

Every case is drawn from its number and the seed alone. What came of it is noted in the folder of --state, so a run
that is stopped goes on with the same command. The counts go to benchmarks/results/trust.json. Exit code 1 where a
case has a fault.

    hostile   150 model folders and data files with code of their own: none of it runs, no question is asked
    inputs    600 bad inputs to the command line, one in ten of them a bad environment in a process of its own
    damaged   700 damaged files: of models, data, adapters, trainers' configs, the user's store, a search's folder
    kills     100 kills: SQLite, PostgreSQL, journal, gRPC, Ray
    laws      2,000 comparisons of two answers (tests/laws); questions that are refused do not count

Each case of the first three parts has a process of its own, forked from this one once the libraries are loaded. Memory
is that process's peak, of which the libraries take some 400 MiB.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "trust.json"
PARTS = {
    "hostile": ("benchmarks.hostile_folders", 150, True),
    "inputs": ("benchmarks.bad_inputs", 600, True),
    "damaged": ("benchmarks.damaged_files", 700, True),
    "kills": ("benchmarks.kills", 100, False),
    "laws": ("benchmarks.random_laws", 2000, False),
}
"""Each part's module, whose `case(number, seed, place)` is one case; how many are wanted; whether each is forked."""
LARGEST_MIB = 1024
CPU_SECONDS = 300
"""Of one forked case; whoever takes more hangs."""
SECONDS = 1800


def load_libraries() -> None:
    """What every case would load; nothing is asked of it, so nothing is remembered."""
    for name in ("torch", "transformers", "peft", "pyarrow.parquet", "advisor.estimator.estimate",
                 "advisor.recommender.recommend", "advisor.tracer.record_step",
                 "advisor.interfaces.cli.main"):  # fmt: skip
        importlib.import_module(name)


def peak_mib() -> int:
    """Of this process since the last `forget_peak`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


def forget_peak() -> None:
    """Let the system measure the peak anew from here."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def forked(case: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A case in a process of its own: nothing that it remembers or breaks is there for the next."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            forget_peak()
            said = case() | {"peak_mib": peak_mib()}
            os.write(writing, json.dumps(said).encode()[:60000])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writing)
    ends = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > ends:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.02)
    with open(reading, "rb") as stream:
        said = stream.read()
    return json.loads(said) if said else {"kind": "", "faults": ["hang: it ended without an answer"], "peak_mib": 0}


def run(part: str, wanted: int, seed: int, state: Path, ends: float) -> list[dict[str, Any]]:
    """All cases of a part, those noted before among them."""
    notes = state / f"{part}-{seed}.jsonl"
    lines = [json.loads(line) for line in notes.read_text("utf-8").splitlines()] if notes.is_file() else []
    known = {line["number"] for line in lines}
    module, _, apart = PARTS[part]
    case = importlib.import_module(module).case
    if apart:
        load_libraries()
    number, done = 0, sum(line.get("count", 1) for line in lines)
    while done < wanted and time.monotonic() < ends:
        if number not in known:
            began, before = time.monotonic(), sum(os.times()[:4])
            one = partial(case, number, seed, state)
            line = {"number": number, **(forked(one) if apart else one())}
            line |= {
                "peak_mib": line.get("peak_mib", 0),
                "seconds": round(time.monotonic() - began, 2),
                "cpu_seconds": round(sum(os.times()[:4]) - before, 2),
            }
            if line["peak_mib"] > LARGEST_MIB:
                line["faults"] = [*line["faults"], f"memory: {line['peak_mib']} MiB"]
            with open(notes, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
            if line["faults"]:
                print(part, json.dumps(line)[:1000], flush=True)
            lines.append(line)
            done += line.get("count", 1)
        number += 1
    return lines


def counted(lines: list[dict[str, Any]], wanted: int) -> dict[str, Any]:
    """The counts of a part."""
    faults = Counter(fault.partition(":")[0] for line in lines for fault in line["faults"])
    uneven: dict[str, list[float]] = {}
    for line in lines:
        for name, fell in line.get("unevenness", {}).items():
            uneven[name] = [max(pair) for pair in zip(uneven.get(name, [0.0, 0.0]), fell, strict=True)]
    outcomes = Counter(one for line in lines for one in line.get("outcomes", ()))
    return {
        "wanted": wanted,
        "asked": sum(line.get("count", 1) for line in lines),
        "refused": sum(line.get("refused", 0) for line in lines),
        "not_struck": sum(line.get("struck") is False for line in lines),
        "kinds": dict(sorted(Counter(line["kind"] for line in lines).items())),
        "outcomes": dict(sorted(outcomes.items())),
        "faults": dict(sorted(faults.items())),
        **({"fell_by_share_and_size": uneven} if uneven else {}),
        "peak_memory_mib": max((line["peak_mib"] for line in lines), default=0),
        "cpu_seconds": round(sum(line["cpu_seconds"] for line in lines)),
    }


def main() -> int:
    """Run what is not run yet, then count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--share", type=float, default=1.0, help="of the number of cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so long; go on another time")
    parser.add_argument("--state", type=Path, default=Path(tempfile.gettempdir()) / "advisor-trust")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.state.mkdir(parents=True, exist_ok=True)
    os.environ |= {"ADVISOR_HOME": str(given.state / "home"), "HF_HUB_OFFLINE": "1", "COLUMNS": "140"}
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    ends = time.monotonic() + 60 * given.minutes
    answer = json.loads(given.out.read_text("utf-8")) if given.out.is_file() else {}
    for part in given.part or PARTS:
        wanted = round(PARTS[part][1] * given.share)
        answer[part] = counted(run(part, wanted, given.seed, given.state, ends), wanted) | {"seed": given.seed}
        given.out.write_text(json.dumps(answer, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(answer, indent=1))
    return int(any(part["faults"] for part in answer.values()))


if __name__ == "__main__":
    sys.exit(main())
