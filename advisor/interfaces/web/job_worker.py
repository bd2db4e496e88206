"""One worker process of the page: reads a job a line from stdin, answers with lines of progress, then with the result.

Run as `python -m advisor.interfaces.web.job_worker`; one JSON value a line. A process of its own, because tracing is
Python work beside which a page would stand still, and because a library that dies must not take the page along.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import advisor
from advisor import processes
from advisor.bug_log import bug_line
from advisor.domain.candidate import Candidate
from advisor.domain.recommendation import GpuOption, Recommendation
from advisor.errors import AdvisorError
from advisor.interfaces.cli.output import plain
from advisor.interfaces.priced_row import row_of

if TYPE_CHECKING:
    from advisor.recommender.sizing import MethodOutcome

Say = Callable[[Mapping[str, Any]], None]


def main() -> None:
    """Serve until stdin ends; libraries that print must not reach stdout."""
    processes.leave_with_parent()
    answers, sys.stdout = sys.stdout, sys.stderr
    one_line = threading.Lock()

    def say(message: Mapping[str, Any]) -> None:
        with one_line:
            print(json.dumps(message, default=str), file=answers, flush=True)

    for line in sys.stdin:
        job = json.loads(line)
        say(done(job["verb"], job["arguments"], say))


def done(verb: str, arguments: dict[str, Any], say: Say) -> dict[str, Any]:
    """`{"answer": ...}`, or `{"error": facts}`; what is no error of ours is a bug, and ends no other job."""
    try:
        return {"answer": VERBS[verb](arguments, say)}
    except AdvisorError as error:
        return {"error": error.facts()}
    except Exception as error:
        told = f"advisor failed on this, which is a bug: {bug_line(error)}"
        return {"error": {"error": type(error).__name__, "message": told, "exit_code": 1}}


def _recommend(arguments: dict[str, Any], say: Say) -> Any:
    def tell(count: int, total: int, what: str) -> None:
        say({"progress": [count, total, what]})

    def show(outcome: MethodOutcome | GpuOption) -> None:
        say({"row": row_of(outcome), "of": type(outcome).__name__})

    return plain(advisor.recommend(**arguments, on_progress=tell, on_priced=show))


def _estimate(arguments: dict[str, Any], say: Say) -> Any:
    return plain(advisor.estimate(**arguments))


def _recipe(arguments: dict[str, Any], say: Say) -> Any:
    """An estimate, and what fits of other batches and lengths."""
    from advisor.estimator.memory.feasibility import feasibility
    from advisor.interfaces.asked import machine_of, model_of

    candidate = advisor.estimate(**arguments)
    machine, model = machine_of(candidate), model_of(candidate)
    cells = () if machine is None or model is None else feasibility(candidate, machine, model)
    wall = [[cell.batch, cell.length, cell.verdict, cell.mid] for cell in cells]
    return {"candidate": plain(candidate), "wall": wall}


def _quick(arguments: dict[str, Any], say: Say) -> Any:
    """The quick figures, from a trace that is known; None where there is none."""
    from advisor.estimator.estimate import quick_estimate

    return plain(quick_estimate(**arguments))


def _export(arguments: dict[str, Any], say: Say) -> Any:
    from advisor.interfaces.mcp.tools import recipe_in

    options = dict(arguments)
    return plain(advisor.export(recipe_in(options.pop("source")), **options))


def _report(arguments: dict[str, Any], say: Say) -> Any:
    from advisor.interfaces.report.documents import html_of

    document: dict[str, Any] = arguments["answer"]
    ranked = "ranked" in document
    return html_of(Recommendation.from_document(document) if ranked else Candidate.model_validate(document))


def _ready(arguments: dict[str, Any], say: Say) -> Any:
    """Nothing but what the first quick question needs, loaded."""
    from advisor.catalog.prices import offers
    from advisor.estimator.estimate import quick_estimate
    from advisor.tracer import trace

    offers("L40S", 1)
    return [quick_estimate.__name__, trace.__name__]


VERBS: Final[dict[str, Callable[[dict[str, Any], Say], Any]]] = {
    "recommend": _recommend,
    "estimate": _estimate,
    "recipe": _recipe,
    "quick": _quick,
    "ready": _ready,
    "export": _export,
    "report": _report,
}


if __name__ == "__main__":
    main()
