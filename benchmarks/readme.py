"""Print the documents' commands for real: `python benchmarks/readme.py` puts each `<!-- printed: COMMAND -->` anew.

The block below such a line, in README.md and in docs/gallery, is replaced by what the command prints now, so that no
answer is ever invented. Names of files print those alone: `python benchmarks/readme.py docs/gallery/evidence.md`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs" / "gallery").glob("*.md")))
MARK = re.compile(r"(<!-- printed: (?P<command>advisor .+?) -->\n)(```text\n.*?```\n)?", re.DOTALL)
WIDTH = "138"


def printed(command: str) -> str:
    """What a command prints on stdout, without blanks at line ends."""
    environment = {**os.environ, "COLUMNS": WIDTH, "HF_HUB_OFFLINE": "1", "NO_COLOR": "1"}
    module = [sys.executable, "-m", "advisor.interfaces.cli.main", *shlex.split(command)[1:]]
    done = subprocess.run(module, capture_output=True, text=True, check=True, env=environment, cwd=ROOT)
    lines = [line.rstrip() for line in done.stdout.strip().splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def main() -> None:
    def renewed(found: re.Match[str]) -> str:
        return f"{found[1]}```text\n{printed(found['command'])}\n```\n"

    for path in [Path(name) for name in sys.argv[1:]] or DOCUMENTS:
        path.write_text(MARK.sub(renewed, path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
