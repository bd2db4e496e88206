"""One worker process of a comparison: reads what all methods share, then names; answers each with a Priced.

Run as `python -m advisor.recommender.workers.compare_worker`; one JSON value a line, as in `method_worker`.
"""

from __future__ import annotations

import json
import sys

from advisor import processes
from advisor.recommender.compare import price_or_say


def main() -> None:
    """Serve until stdin ends; libraries that print must not reach stdout."""
    processes.leave_with_parent()
    answers, sys.stdout = sys.stdout, sys.stderr
    shared = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        print(price_or_say(shared, json.loads(line)).model_dump_json(), file=answers, flush=True)


if __name__ == "__main__":
    main()
