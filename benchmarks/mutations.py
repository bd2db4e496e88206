"""How many of N small faults, put into the code one at a time, do the nearest tests notice?

    python benchmarks/mutations.py --count 60 --seed 1
    python benchmarks/mutations.py --show 17 --seed 1
    python benchmarks/mutations.py --chosen benchmarks/data/chosen_faults.json

A fault is one operator, number, condition or `min`/`max` turned into its neighbour, drawn evenly over the lines of each
wing. The everyday tests are run once under coverage (`pip install pytest-cov`; kept in `--coverage`), which says which
of them run the line: those are asked first, the quickest before the others. Where they pass, the tests named after the
file and those that import it are, slow ones too, then those of the wing, since what one test has cached no other runs
again. Facts of the catalogue (rates, figures of cards) are left out: their test is their source. It works in a copy of
the tree, a fault at a time, and goes on where it was stopped. What survived is to be read: some faults change nothing.
In `results/mutations.json`, `at_first` is what the tests of that day said; those that survived then were tried again
with the tests they led to, and `verdict` is of these.

Chance draws many faults that nobody would notice. `--chosen` tries those of a file instead, which a person chose by
reading the code alone: a list of `{"path", "before", "after", "what"}`, where `before` is source text that occurs once
and `what` says what a user would suffer. Their verdicts are kept in `results/chosen_faults.json`, where
`asked_at_first` says which tests were asked of one that survived, if not all.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "mutations.json"
CHOSEN_RESULTS = ROOT / "benchmarks" / "results" / "chosen_faults.json"
COMPARE = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==",
    ast.In: "not in", ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is",
}  # fmt: skip
ARITHMETIC = {ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*", ast.FloorDiv: "*", ast.Mod: "+"}
ASKED_S = 150.0
"""Of the tests that run a line, the quickest are asked, as many as take this long together."""
COVERAGE = """[run]
source = advisor
parallel = true
patch = subprocess
sigterm = true
context = ${PYTEST_CURRENT_TEST-start}
"""
"""A process that a test starts has that test's name in its environment: its lines are that test's too."""
TIERS = ("-m", "not gpu and not exhaustive")
"""What `.ci/run` runs: the everyday tests and the slow ones."""
SKIPPED = re.compile(r"catalog/(gpus|models/families|findings|prices|methods|constants|public_runs)/|cli/|__init__")


@dataclass(frozen=True)
class Fault:
    path: str
    line: int
    before: str
    after: str
    start: int
    end: int
    what: str = ""
    """What a user would suffer; of a chosen fault only."""


def faults_in(path: Path) -> list[Fault]:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found: list[Fault] = []

    def place(line: int, column: int) -> int:
        row = text[starts[line - 1] :].split("\n", 1)[0].encode()
        return starts[line - 1] + len(row[:column].decode())

    def add(node: ast.expr, after: str) -> None:
        start, end = place(node.lineno, node.col_offset), place(node.end_lineno or 0, node.end_col_offset or 0)
        found.append(Fault(str(path.relative_to(ROOT)), node.lineno, text[start:end], after, start, end))

    def visit(node: ast.AST) -> None:
        source = ast.unparse
        match node:
            case ast.AnnAssign():
                return visit(node.value) if node.value else None
            case ast.arg() | ast.Raise() | ast.Assert() | ast.JoinedStr():
                return None
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                for child in (*node.args.defaults, *node.body):
                    visit(child)
                return None
            case ast.Compare(ops=[op], comparators=[right]) if type(op) in COMPARE:
                add(node, f"({source(node.left)} {COMPARE[type(op)]} {source(right)})")
            case ast.BinOp() if type(node.op) in ARITHMETIC and not _is_text(node.left) and not _is_text(node.right):
                add(node, f"(({source(node.left)}) {ARITHMETIC[type(node.op)]} ({source(node.right)}))")
            case ast.BoolOp():
                joint = " or " if isinstance(node.op, ast.And) else " and "
                add(node, f"({joint.join(source(value) for value in node.values)})")
            case ast.UnaryOp(op=ast.Not()):
                add(node, f"bool({source(node.operand)})")
            case ast.IfExp():
                add(node, f"({source(node.orelse)} if {source(node.test)} else {source(node.body)})")
            case ast.Constant(value=value) if type(value) in (int, float):
                add(node, repr(value + 1))
            case ast.Call(func=ast.Name(id="min" | "max" as name)):
                other = "max" if name == "min" else "min"
                add(node, other + source(node)[len(name) :])
            case _:
                pass
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def _is_text(node: ast.expr) -> bool:
    """Texts and paths are joined with + and /: another operator there is no fault that could go unseen."""
    return any(
        isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        for part in ast.walk(node)
    )


def drawn(count: int, seed: int) -> list[Fault]:
    wings: dict[str, list[Fault]] = {}
    for path in sorted((ROOT / "advisor").rglob("*.py")):
        name = path.relative_to(ROOT / "advisor").as_posix()
        if not SKIPPED.search(name):
            wings.setdefault(name.split("/")[0] if "/" in name else "root", []).extend(faults_in(path))
    chance = random.Random(seed)
    names = [wing for wing in wings if wings[wing]]
    order = {wing: chance.sample(wings[wing], len(wings[wing])) for wing in names}
    return [order[names[at % len(names)]][at // len(names)] for at in range(count)]


def chosen(listed: Path) -> list[Fault]:
    """The faults of a file, each where its text stands; refused where that text is not there exactly once."""
    found: list[Fault] = []
    for entry in json.loads(listed.read_text(encoding="utf-8")):
        text = (ROOT / entry["path"]).read_text(encoding="utf-8")
        if (times := text.count(entry["before"])) != 1:
            sys.exit(f"{entry['path']} has {times} times what should be there once: {entry['before']!r}")
        start = text.index(entry["before"])
        # the line of the change itself: text before it may stand there to be found once only
        pairs = zip(entry["before"], entry["after"] + "\0", strict=False)
        same = next((i for i, (one, other) in enumerate(pairs) if one != other), 0)
        line = text.count("\n", 0, start + same) + 1
        end = start + len(entry["before"])
        found.append(Fault(entry["path"], line, entry["before"], entry["after"], start, end, entry["what"]))
    return found


def covered(kept: Path) -> None:
    """Run the everyday tests once under coverage; `kept` then says which of them run a line, and how long they take."""
    kept.mkdir(parents=True, exist_ok=True)
    (kept / "coveragerc").write_text(COVERAGE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment["COVERAGE_FILE"] = str(kept / "data")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider",
         "--cov", f"--cov-config={kept / 'coveragerc'}", "--cov-context=test", "--cov-report=",
         f"--junitxml={kept / 'seconds.xml'}", "-o", "junit_family=xunit1"],
        cwd=ROOT, env=environment, check=False,
    )  # fmt: skip


class Touching:
    """Which tests run a line, the quickest first."""

    def __init__(self, kept: Path, asked_s: float = ASKED_S) -> None:
        from coverage import CoverageData  # the map alone needs it

        self._data = CoverageData(str(kept / "data"))
        self._data.read()
        self._asked_s = asked_s
        # by path inside the tree: the map may have been made in another copy of it
        self._files = {name[name.rindex("/advisor/") + 1 :]: name for name in self._data.measured_files()}
        cases = ElementTree.parse(kept / "seconds.xml").iter("testcase")
        self._seconds = {
            f"{case.get('file')}::{case.get('name')}": float(case.get("time") or 1)
            for case in cases
            if case.find("skipped") is None and case.find("failure") is None
        }

    def tests(self, fault: Fault) -> list[str]:
        found = self._data.contexts_by_lineno(self._files.get(fault.path, fault.path))
        names = {re.sub(r"^start\||\|(setup|run|teardown)$| \((setup|call|teardown)\)$", "", name)
                 for name in found.get(fault.line, ())}  # fmt: skip
        asked: list[str] = []
        spent = 0.0
        for name in sorted(names & set(self._seconds), key=lambda name: self._seconds[name]):
            spent += self._seconds[name]
            if spent > self._asked_s and asked:
                break
            asked.append(name)
        return asked


def nearest(fault: Fault) -> list[str]:
    module = fault.path.removesuffix(".py").replace("/", ".")
    parent, _, stem = module.rpartition(".")
    imports = re.compile(rf"\b({re.escape(module)}\b|from {re.escape(parent)} import [^\n]*\b{stem}\b)")
    tests = [
        path
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if path.stem == f"test_{stem}" or imports.search(path.read_text(encoding="utf-8"))
    ]
    return [str(path.relative_to(ROOT)) for path in tests]


def wing_tests(fault: Fault) -> list[str]:
    wing = fault.path.split("/")[1]
    return [f"tests/{wing}"] if (ROOT / "tests" / wing).is_dir() else ["tests/trust", "tests/catalog"]


def run(tree: Path, tests: list[str], timeout_s: float, skipped: set[str]) -> tuple[str, str]:
    """'killed', 'survived' or 'timeout', and the test that failed; tests in `skipped` are left out."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    left_out = [word for test in sorted(skipped) for word in ("--deselect", test)]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TIERS, *left_out]
    names = tree / ".asked"
    names.write_text("\n".join(tests), encoding="utf-8")
    command.append(f"@{names}")
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=timeout_s, text=True)
    except subprocess.TimeoutExpired:
        return "timeout", ""
    if done.returncode in (0, 5):
        return "survived", ""
    failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    return "killed", failed[1] if failed else ""


def verdict(tree: Path, fault: Fault, touching: Touching, timeout_s: float, broken: set[str]) -> tuple[str, str]:
    """What became of this fault, and the test that saw it; `broken` grows by tests that fail without a fault too."""
    path = tree / fault.path
    text = path.read_text(encoding="utf-8")
    for tests in (touching.tests(fault), nearest(fault), wing_tests(fault)):
        while tests:
            path.write_text(text[: fault.start] + fault.after + text[fault.end :], encoding="utf-8")
            try:
                found, failed = run(tree, tests, timeout_s, broken)
            finally:
                path.write_text(text, encoding="utf-8")
            if found == "survived":
                break
            # a test that fails on the sound tree has seen nothing
            if found == "timeout" or "::" not in failed or run(tree, [failed], timeout_s, set())[0] == "survived":
                return found, failed
            broken.add(failed)
    return "survived", ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--asked", type=float, default=ASKED_S, metavar="SECONDS", help="of tests that run the line")
    parser.add_argument("--jobs", type=int, default=2, help="faults tried at the same time, each in its copy")
    parser.add_argument("--coverage", type=Path, default=Path(tempfile.gettempdir()) / "advisor-mutations")
    parser.add_argument("--chosen", type=Path, help="try the faults of this file instead of drawn ones")
    parser.add_argument("--show", type=int, help="print this fault and its tests, run nothing")
    options = parser.parse_args()
    if not (options.coverage / "seconds.xml").exists():
        covered(options.coverage)
    touching = Touching(options.coverage, options.asked)
    faults = chosen(options.chosen) if options.chosen else drawn(options.count, options.seed)
    results = CHOSEN_RESULTS if options.chosen else RESULTS
    if options.show is not None:
        print(faults[options.show], *touching.tests(faults[options.show]), sep="\n")
        return
    done: list[dict[str, object]] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else []
    known = {(entry["path"], entry["line"], entry["after"]) for entry in done}
    broken: set[str] = set()
    trees: SimpleQueue[Path] = SimpleQueue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        for at in range(options.jobs):
            tree = Path(folder) / f"tree-{at}"
            shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__"))
            trees.put(tree)

        def judged(fault: Fault) -> tuple[Fault, str, str]:
            tree = trees.get()
            try:
                return fault, *verdict(tree, fault, touching, options.timeout, broken)
            finally:
                trees.put(tree)

        open_ones = [fault for fault in faults if (fault.path, fault.line, fault.after) not in known]
        for one in as_completed([pool.submit(judged, fault) for fault in open_ones]):
            fault, said, by = one.result()
            print(f"{said:9} {fault.path}:{fault.line}  {fault.before!r} -> {fault.after!r}", flush=True)
            of = {"seed": options.seed} if not options.chosen else {}
            kept = {key: value for key, value in asdict(fault).items() if key != "what" or value}
            done.append({**kept, "verdict": said, "by": by, **of})
            results.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")
    print({word: sum(entry["verdict"] == word for entry in done) for word in ("killed", "timeout", "survived")})
    if broken:
        print("failed without a fault, left out:", *sorted(broken), sep="\n  ")


if __name__ == "__main__":
    main()
