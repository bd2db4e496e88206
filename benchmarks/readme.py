"""Print README.md's commands for real: `python benchmarks/readme.py` puts each `<!-- printed: COMMAND -->` output anew.

The block below such a line is replaced by what the command prints now, so the first screen is never invented.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
MARK = re.compile(r"(<!-- printed: (?P<command>advisor .+?) -->\n)(```text\n.*?```\n)?", re.DOTALL)
WIDTH = "138"


def printed(command: str) -> str:
    """What a command prints on stdout, without blanks at line ends."""
    environment = {**os.environ, "COLUMNS": WIDTH, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    module = [sys.executable, "-m", "advisor.interfaces.cli.main", *shlex.split(command)[1:]]
    done = subprocess.run(module, capture_output=True, text=True, check=True, env=environment)
    lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def main() -> None:
    def renewed(found: re.Match[str]) -> str:
        return f"{found[1]}```text\n{printed(found['command'])}\n```\n"

    README.write_text(MARK.sub(renewed, README.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
