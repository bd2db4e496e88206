"""How long all methods take to price on one model: `python benchmarks/methods.py [MODEL] [GPU]`.

Cold (an empty cache and a model without shipped traces), the same question again, and the traces at hand with another
length. Promised on 2 idle cores for an 8B model: 60 s cold, 2 s again; and the whole catalogue without torch in 0.1 s.
Exits with 1 when a promise is broken. The load is printed along: on a busy machine the wall clock says little, and the
CPU time of all processes more.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

CATALOGUE = """
import sys, time
import pydantic
started = time.perf_counter()
from advisor.catalog.methods import methods
found = methods()
assert "torch" not in sys.modules and "peft" not in sys.modules
print(time.perf_counter() - started)
"""


def run(arguments: list[str], home: str) -> tuple[float, float, int, int]:
    """Seconds on the wall and of CPU, and how many methods were priced and refused."""
    environment = {**os.environ, "ADVISOR_HOME": home, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "advisor.interfaces.cli.main", "methods", *arguments, "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
    took = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    rows = json.loads(done.stdout)
    failed = [row["method"] for row in rows if row.get("bug")]
    if failed:
        raise SystemExit(f"failed: {failed}")
    return took, cpu, sum("candidate" in row for row in rows), sum("candidate" not in row for row in rows)


def catalogue_seconds() -> float:
    """Median seconds in which a process reads every method's file, torch untouched."""
    command = [sys.executable, "-c", CATALOGUE]
    return statistics.median(float(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(7))


def main() -> int:
    model = sys.argv[1] if len(sys.argv) > 1 else "mistralai/Ministral-8B-Instruct-2410"
    gpu = sys.argv[2] if len(sys.argv) > 2 else "H100"
    asked = ["--model", model, "--gpu", gpu]
    broken = 0
    print(f"{model} on {gpu}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as home:
        for name, arguments, promise in (
            ("cold", asked, 60.0),
            ("again", asked, 2.0),
            ("another length", [*asked, "--seq-len", "900"], None),
        ):
            took, cpu, priced, refused = run(arguments, home)
            kept = promise is None or took < promise
            broken += not kept
            said = "" if promise is None else f"of {promise:.0f}   {'kept' if kept else 'BROKEN'}"
            print(f"{name:16}{took:7.2f} s (CPU {cpu:6.1f} s)   {priced} priced, {refused} refused   {said}")
    took = catalogue_seconds()
    broken += took >= 0.1
    print(f"{'catalogue':16}{took:7.3f} s of 0.1   {'kept' if took < 0.1 else 'BROKEN'}")
    print(f"load {os.getloadavg()[0]:.1f} at the end")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
