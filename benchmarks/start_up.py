"""How long the command line takes to say anything: `python benchmarks/start_up.py`.

Promised on an idle 2-core machine: `advisor --help` below 0.3 s, `import advisor` below 0.1 s.
Exits with 1 when a promise is broken.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

MODULE = [sys.executable, "-m", "advisor.interfaces.cli.main"]
PROMISES = {
    "import advisor": ([sys.executable, "-c", "import advisor"], 0.1),
    "advisor --help": ([*MODULE, "--help"], 0.3),
    "advisor recommend --help": ([*MODULE, "recommend", "--help"], 0.4),
    "advisor gpus": ([*MODULE, "gpus"], 1.0),
}
REPEATS = 7


def seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> int:
    bare = statistics.median(seconds([sys.executable, "-c", "pass"]) for _ in range(REPEATS))
    print(f"{'':28}median of {REPEATS}   promised   (an empty Python: {bare:.3f} s)")
    broken = 0
    for name, (command, promise) in PROMISES.items():
        took = statistics.median(seconds(command) for _ in range(REPEATS))
        kept = took - (bare if name.startswith("import") else 0) < promise
        broken += not kept
        print(f"{name:28}{took:6.3f} s     {promise:.1f} s    {'kept' if kept else 'BROKEN'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
