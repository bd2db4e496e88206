"""What a view costs the host beside an op: the same small model with plain LoRA and with adapters that reshape more.

    python benchmarks/host_costs.py

Tensors are tiny, so that the time is Python's, autograd's and the dispatcher's. Two adapters on the same layers
differ mostly in views: what the further time comes to for a further view, beside what an op or view of plain LoRA
costs on average, forward and backward apart. No kernel launch is in it, which on a GPU adds to ops and not to views.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import torch
from peft import BdLoraConfig, GraloraConfig, LoraConfig, get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 64,
}  # fmt: skip
ATTENTION, MLP = ["q_proj", "v_proj"], ["up_proj", "down_proj", "gate_proj"]
REPEATS = 200


class Counting(TorchDispatchMode):
    """Counts ops and views, told apart by the phase that is set from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str]] = Counter()
        self.phase = "forward"

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[self.phase, "view" if func.is_view else "op"] += 1
        return func(*args, **(kwargs or {}))


class Model:
    """A tiny Llama with an adapter, and the seconds of its passes."""

    def __init__(self, config: Any) -> None:
        torch.manual_seed(0)
        self.model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), config).train()
        self.ids = torch.randint(0, SIZES["vocab_size"], (2, 8))
        self.seconds: dict[str, list[float]] = {"forward": [], "backward": []}

    def loss(self) -> torch.Tensor:
        return self.model(input_ids=self.ids, labels=self.ids).loss

    def count(self) -> Counter[tuple[str, str]]:
        with Counting() as counting:
            value = self.loss()
            counting.phase = "backward"
            value.backward()
        return counting.seen

    def time(self) -> None:
        began = time.thread_time()
        value = self.loss()
        between = time.thread_time()
        value.backward()
        self.seconds["forward"].append(between - began)
        self.seconds["backward"].append(time.thread_time() - between)


def compare(plain: Model, reshaping: Model) -> list[dict[str, Any]]:
    """By phase, seconds of a further view and of an average op or view; passes alternate, so that noise meets both."""
    one, other = plain.count(), reshaping.count()
    for _ in range(REPEATS):
        plain.time()
        reshaping.time()
    rows: list[dict[str, Any]] = []
    for phase in ("forward", "backward"):
        before, after = (float(np.quantile(m.seconds[phase][10:], 0.1)) for m in (plain, reshaping))
        average = before / (one[phase, "op"] + one[phase, "view"])
        further = {kind: other[phase, kind] - one[phase, kind] for kind in ("op", "view")}
        view = (after - before - further["op"] * average) / further["view"]
        rows.append(
            {"phase": phase, "view_s": view, "average_s": average, "ratio": round(view / average, 2), **further}
        )
    return rows


def main() -> int:
    """Prints one line a pair and phase."""
    torch.set_num_threads(1)
    gc.disable()
    blocks = BdLoraConfig(
        nblocks=2, target_modules_bd_a=["down_proj"], target_modules_bd_b=["up_proj", "gate_proj"], match_strict=False
    )
    pairs = {
        "gralora": (LoraConfig(r=8, target_modules=ATTENTION), GraloraConfig(r=8, target_modules=ATTENTION)),
        "bdlora": (
            LoraConfig(r=8, target_modules=MLP),
            LoraConfig(r=8, target_modules=MLP, use_bdlora=blocks),
        ),
    }
    for name, (plain, reshaping) in pairs.items():
        for row in compare(Model(plain), Model(reshaping)):
            print(json.dumps({"pair": name, **row}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
