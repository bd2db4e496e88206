"""How long a recommendation takes and how much memory: `python benchmarks/recommend.py [MODEL] [GPU]`.

Cold (no cache, traces made), warm traces with another question, and the same question repeated; peak
resident memory of the process and its workers together. Promised on 2 idle cores for an 8B model over all core
methods: 30 s, 3 s, 1 s, 2.5 GiB. Exits with 1 when a promise is broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time

import psutil

GIB = 2**30


def run(arguments: list[str], home: str) -> tuple[float, float]:
    """Seconds and peak resident bytes of one command with its children, sampled ten times a second."""
    environment = {**os.environ, "ADVISOR_HOME": home, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "advisor.interfaces.cli.main", "recommend", *arguments, "--json"]
    started, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}: {' '.join(command)}")
    return time.perf_counter() - started, peak


def resident(pid: int) -> float:
    """Bytes of a process and its descendants that no two of them share, as far as the system tells."""
    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> int:
    model = sys.argv[1] if len(sys.argv) > 1 else "meta-llama/Llama-3.1-8B"
    gpu = sys.argv[2] if len(sys.argv) > 2 else "H100"
    asked = ["--model", model, "--gpu", gpu, "--samples", "2000"]
    broken = 0
    with tempfile.TemporaryDirectory() as home:
        runs = (
            ("cold", asked, 30.0),
            ("traces at hand", [*asked, "--seq-len", "900"], 3.0),
            ("repeated", asked, 1.0),
        )
        print(f"{model} on {gpu}")
        for name, arguments, promise in runs:
            took, peak = run(arguments, home)
            kept = took < promise and peak < 2.5 * GIB
            broken += not kept
            said = "kept" if kept else "BROKEN"
            print(f"{name:16}{took:7.2f} s of {promise:.0f}   peak {peak / GIB:.2f} GiB of 2.5   {said}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
