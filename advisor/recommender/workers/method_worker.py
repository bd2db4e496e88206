"""One worker process: reads a question and then method names from stdin, answers each with a MethodOutcome on stdout.

Run as `python -m advisor.recommender.workers.method_worker`; one JSON value a line. A process of its own, because
tracing is Python work that threads cannot share, and because memory that libraries keep goes back when it ends.
"""

from __future__ import annotations

import json
import sys

from advisor import processes
from advisor.bug_log import bug_line
from advisor.domain.recommendation import Refusal
from advisor.errors import AdvisorError
from advisor.recommender.recommend_request import ResolvedRequest
from advisor.recommender.sizing import Costs, Estimator, MethodOutcome, fit


def fit_or_say(question: ResolvedRequest, name: str, costs: Costs) -> MethodOutcome:
    """As `fit`, but what goes wrong with one method is its refusal and not the end of the others."""
    try:
        return fit(question, name, costs)
    except AdvisorError as error:
        return MethodOutcome(method=name, refusal=Refusal(method=name, reason=error.message, kind="cannot-run"))
    except Exception as error:
        reason = f"advisor failed on it, which is a bug: {bug_line(error)}"
        return MethodOutcome(method=name, refusal=Refusal(method=name, reason=reason, kind="error"))


def asked_of_us(line: str) -> ResolvedRequest:
    """The question that the parent wrote, with the lengths of the rows, which stand beside it."""
    text, quantiles = json.loads(line)
    asked = ResolvedRequest.model_validate_json(text)
    workload = asked.workload.model_copy(update={"length_quantiles": tuple(quantiles)})
    return asked.model_copy(update={"workload": workload})


def main() -> None:
    """Serve until stdin ends; libraries that print must not reach stdout."""
    processes.leave_with_parent()
    answers, sys.stdout = sys.stdout, sys.stderr
    question = asked_of_us(sys.stdin.readline())
    for line in sys.stdin:
        found = fit_or_say(question, json.loads(line), Estimator())
        print(found.model_dump_json(), file=answers, flush=True)


if __name__ == "__main__":
    main()
