"""The project's own study of MiniLM: run it, and write what it found into the catalogue of findings.

    python benchmarks/own_study.py --weights FOLDER --out STUDY [--hours 1] [--threads 1] [--study minilm-spam-evening]

FOLDER holds sentence-transformers/all-MiniLM-L6-v2. The study named trains on rows that ship with advisor; a run that
is stopped goes on with the same command. What is in the catalogue is what `minilm-spam-evening` found in 1.8 hours on
one core of a busy 2-core CPU: 42 of its 60 trainings, so of 1,000 rows only full fine-tuning and LoRA. `minilm-spam`
is the same question for a night, with eight methods, three sizes and 300 steps.
"""

from __future__ import annotations

import argparse
import json

import advisor
from advisor import store
from advisor.catalog.findings.study_files import FOLDER, broken_laws
from advisor.domain.findings import Study

COMMAND = "python benchmarks/own_study.py"


def published(found: Study, study: str, hardware: str) -> Study:
    """The findings as the catalogue keeps them: the command that reproduces them in place of this machine's paths."""
    return found.model_copy(
        update={
            "id": f"advisor-{study.removesuffix('-short')}",
            "url": COMMAND,
            "year": 2026,
            "confidence": "own measurement",
            "findings": tuple(
                finding.model_copy(
                    update={"address": f"{COMMAND} --study {study}", "note": f"{finding.note} ({hardware})"}
                )
                for finding in found.findings
            ),
        }
    )


def document(study: Study) -> dict[str, object]:
    """With what all findings have in common said once, and nothing said that is a default."""
    whole = json.loads(study.model_dump_json(exclude_defaults=True))
    findings = whole.pop("findings")
    shared = {key: value for key, value in findings[0].items() if all(f.get(key) == value for f in findings)}
    rest = [{key: value for key, value in one.items() if key not in shared} for one in findings]
    return {"schema": Study.schema_tag(), **whole, "shared": shared, "findings": rest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--study", default="minilm-spam-evening")
    parser.add_argument("--hours", type=float)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hardware", default="one thread of a 2-core CPU")
    given = parser.parse_args()
    run = advisor.study(
        given.study,
        weights=given.weights,
        out=given.out,
        hours=given.hours,
        threads=given.threads,
        device="cpu",
        keep=False,
        on_progress=lambda p: print(f"{p.done} of {p.total}: {p.what}", flush=True),
    )
    if run.findings is None:
        raise SystemExit(f"nothing is whole yet; to go on: {run.resume}")
    found = published(run.findings, given.study, given.hardware)
    broken = broken_laws(found)
    if broken:
        raise SystemExit("\n".join(broken))
    path = store.write_document(document(found), FOLDER / f"{found.id}.json")
    print(f"{len(found.findings)} findings in {path}; {run.trainings_left} trainings left ({run.stopped})")


if __name__ == "__main__":
    main()
