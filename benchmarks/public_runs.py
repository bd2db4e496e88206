"""Predictions against runs that others published, nothing fitted to any of them: errors, coverage, verdicts on fit.

python benchmarks/public_runs.py                 all figures and their summary, and benchmarks/results/public_runs.json
python benchmarks/public_runs.py --source ID     one source alone; --least yes: without those comparable in part
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from advisor.estimator.public_audit import PublicFigure, audit_public

OUT = Path(__file__).parent / "results" / "public_runs.json"


def line(figure: PublicFigure) -> str:
    """One figure, in GiB or seconds."""
    scale = 1.0 if figure.target == "step_time" else 2.0**30
    held = "in" if figure.inside else "OUT"
    return (
        f"  {figure.run:36s} {figure.target:15s} {figure.comparable:7s} {figure.measured / scale:9.3f}"
        f" {figure.predicted / scale:9.3f} ({figure.low / scale:.3f}-{figure.high / scale:.3f})"
        f" {figure.error:+7.1%} {held}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source")
    parser.add_argument("--gpu")
    parser.add_argument("--least", choices=("yes", "partly", "no"), default="partly")
    arguments = parser.parse_args()
    start = time.perf_counter()
    result = audit_public(arguments.gpu, source=arguments.source, least=arguments.least)
    print("\n".join(line(figure) for figure in result.figures))
    for held in result.summary:
        print(
            f"  {held.target:15s} {held.by or 'all':10s} {held.group[:40]:40s} n {held.runs:3d}"
            f"  median {held.median:6.1%}  p90 {held.p90:6.1%}  worst {held.worst:6.1%}  in 90 % {held.coverage:.0%}"
        )
    wrong = [v for v in result.verdicts if v.wrong]
    print(f"verdicts on fit: {len(result.verdicts)}, wrong {len(wrong)}")
    for v in wrong:
        print(f"  {v.run} ({v.comparable}): {v.predicted / 2**30:.1f} of {v.limit / 2**30:.1f} GiB, ran: {v.ran}")
    print(*(f"  refused {text}" for text in result.refused), sep="\n")
    if arguments.source is None and arguments.gpu is None:
        OUT.parent.mkdir(exist_ok=True)
        OUT.write_text(result.model_dump_json(indent=1) + "\n")
    print(f"{time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
