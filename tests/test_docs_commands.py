"""Each command of README.md and of every page under docs/ is run as it stands, in the order of its page.

What a command names lies in the folder where it is run: files that the same page shows, or rows made here. Tracing the
models that the pages name takes minutes, so that only pages that read the catalogue alone are run before `exhaustive`.
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from advisor.interfaces.cli.main import run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
QUICK = {"evidence.md"}
NOT_RUN = {
    r"^advisor profile\b": "measures a GPU",
    r"^advisor (tune|probe|study)\b": "trains a model, whose weights are fetched",
    r"^advisor (web|mcp)\b": "serves until it is stopped",
}
"""Commands that are not run -> why; that they parse is asked in test_docs_site.py and test_readme.py."""


def lines_of(page: Path) -> list[str]:
    """What is typed on a page: the lines of its blocks, and the commands whose answers it prints."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```bash\n(.*?)^```|^<!-- printed: (advisor .+?) -->$", text, re.MULTILINE | re.DOTALL)
    lines = [line for block, printed in found for line in (block or printed).replace("\\\n", " ").splitlines()]
    return list(dict.fromkeys(line for line in lines if line.startswith(("advisor ", "echo "))))


def why_not(line: str) -> str:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), "")


RUN = {page: [line for line in lines_of(page) if not why_not(line)] for page in PAGES}
MARKED = [
    pytest.param(page, id=page.name, marks=pytest.mark.slow if page.name in QUICK else pytest.mark.exhaustive)
    for page, lines in RUN.items()
    if any(line.startswith("advisor ") for line in lines)
]


@pytest.fixture
def here(tmp_path, monkeypatch, tmp_path_factory):
    """A folder with what the commands name; traces are kept from one page to the next."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path_factory.getbasetemp() / "docs-home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    jobs, fleet = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "docs" / "plan.md").read_text(), re.MULTILINE | re.DOTALL)
    rows = [{"prompt": f"How many are {n} and {n}?", "completion": f"They are {2 * n}."} for n in range(200)]
    case = {"model": "meta-llama/Llama-3.2-3B", "gpu": "L40S", "method": "lora", "batch_size": 4, "seq_len": 683}
    config = (
        "base_model: meta-llama/Llama-3.2-3B\nadapter: lora\nlora_r: 16\nlora_alpha: 32\nlora_target_linear: true\n"
        "sequence_len: 1024\nmicro_batch_size: 4\ngradient_accumulation_steps: 4\nbf16: true\noptimizer: adamw_torch\n"
        "datasets: [{path: train.jsonl, type: alpaca}]\n"
    )
    for name, text in {
        "jobs.yaml": jobs,
        "fleet.yaml": fleet,
        "train.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        "cases.jsonl": f"{json.dumps(case)}\n",
        "axolotl.yaml": config,
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("page", MARKED)
def test_each_command_of_a_page_runs(page, here, capsys):
    failed = []
    for line in RUN[page]:
        if line.startswith("echo "):
            _, text, _, name = shlex.split(line)
            (here / name).write_text(text)
            continue
        code = run([*shlex.split(line)[1:], *(["--force"] if "-o " in line else [])])
        said = capsys.readouterr()
        if code != 0 or "Traceback" in said.out + said.err or not said.out + said.err:
            failed.append((line, code, said.err[-500:]))
    assert not failed


def test_what_is_not_run_is_said_and_is_little():
    every = {line for page in PAGES for line in lines_of(page) if line.startswith("advisor ")}
    left_out = {line for line in every if why_not(line)}
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in left_out), pattern
    assert len(left_out) < len(every) / 4
