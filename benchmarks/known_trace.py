"""How long a price takes once its step was traced: `python -m benchmarks.known_trace`.

Printed are milliseconds of this process's own time (not of the clock on the wall) a price: of the quick one, which
planners and searches ask, and of the full one; the same question again, and at lengths that were not asked before.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from advisor.catalog.models import resolve_model
from advisor.estimator.estimate import price
from advisor.estimator.estimate_request import from_case, hardware_of, workload_of
from advisor.estimator.precision_request import recipe_asked

CASE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora", "dtype": "bfloat16", "batch_size": 4}
TIMES = 200
BLOCK = 20


def _told(what: str, asked: Sequence[Callable[[], object]]) -> None:
    """The mean over all, and over the quickest block of twenty: what other processes of the machine leave alone."""
    asked[0]()
    taken: list[float] = []
    for start in range(0, len(asked), BLOCK):
        began = time.process_time()
        for ask in asked[start : start + BLOCK]:
            ask()
        taken.append((time.process_time() - began) / len(asked[start : start + BLOCK]) * 1e3)
    print(f"{what}: {sum(taken) / len(taken):.2f} ms, {min(taken):.2f} ms in the quickest {BLOCK}")


def main() -> int:
    request = from_case({**CASE, "seq_len": 1024, "samples": 2000})
    hardware, spec = hardware_of(request), resolve_model(request.model)
    recipe = recipe_asked(request, spec, hardware.gpu)[0]
    workload = workload_of(request, spec, recipe)[0]
    for thorough in (False, True):
        kind = "in full" if thorough else "quick"
        _told(
            f"{kind}, asked again", [lambda how=thorough: price(workload, recipe, hardware, spec, thorough=how)] * TIMES
        )
    others = [workload.model_copy(update={"seq_len": 1025 + number}) for number in range(TIMES)]
    _told(
        "quick, another length",
        [lambda asked=other: price(asked, recipe, hardware, spec, thorough=False) for other in others],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
