"""How long a price takes once its step was traced: `python -m benchmarks.known_trace`.

Printed are milliseconds of this process's own time (not of the clock on the wall) a price: of the quick one, which
planners and searches ask, and of the full one; the same question again, and at lengths that were not asked before.
"""

from __future__ import annotations

import sys
import time

from advisor.catalog.models import resolve_model
from advisor.estimator.estimate import price
from advisor.estimator.estimate_request import from_case, hardware_of, workload_of
from advisor.estimator.precision_request import recipe_asked

CASE = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "method": "lora", "dtype": "bfloat16", "batch_size": 4}
TIMES = 200


def main() -> int:
    request = from_case({**CASE, "seq_len": 1024, "samples": 2000})
    hardware, spec = hardware_of(request), resolve_model(request.model)
    recipe = recipe_asked(request, spec, hardware.gpu)[0]
    workload = workload_of(request, spec, recipe)[0]
    for thorough in (False, True):
        price(workload, recipe, hardware, spec, thorough=thorough)
        began = time.process_time()
        for _ in range(TIMES):
            price(workload, recipe, hardware, spec, thorough=thorough)
        kind = "in full" if thorough else "quick"
        print(f"{kind}, asked again: {(time.process_time() - began) / TIMES * 1e3:.2f} ms")
    began = time.process_time()
    for number in range(TIMES):
        other = workload.model_copy(update={"seq_len": 1025 + number})
        price(other, recipe, hardware, spec, thorough=False)
    print(f"quick, another length: {(time.process_time() - began) / TIMES * 1e3:.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
