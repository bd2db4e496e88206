"""What makes fit what does not: cheapest tries first, no step traced late, and where nothing does, how near it is."""

from __future__ import annotations

import pytest

from advisor.domain.candidate import Candidate
from advisor.domain.hardware import Hardware
from advisor.domain.units import GIB
from advisor.domain.workload import Workload
from advisor.errors import BadRequest
from advisor.estimator.fitting import changes
from advisor.estimator.fitting.changes import in_words
from tests.recommender.conftest import make_candidate

LIMIT = 20


class Costs:
    """Weights, and so much for each token of a micro-batch; checkpointing leaves a quarter of that."""

    def __init__(self, kept: float, each: float) -> None:
        self.kept, self.each, self.traced = kept, each, 0

    def price(self, workload: Workload, recipe, hardware, spec, *, thorough: bool = True) -> Candidate:
        self.traced += recipe.gradient_checkpointing
        share = 0.25 if recipe.gradient_checkpointing else 1.0
        acts = self.each * recipe.micro_batch_size * workload.seq_len / 1024 * share
        made = make_candidate("lora", gib=self.kept + acts, limit_gib=LIMIT)
        memory = made.memory.model_copy(
            update={
                "breakdown": {
                    **dict.fromkeys(made.memory.breakdown, 0),
                    "base weights": round(self.kept * GIB),
                    "saved activations": round(acts * GIB),
                },
                "allocated_after_step": made.memory.peak_device.times(0.01, "B", "by hand"),
            }
        )
        fits = self.kept + acts <= LIMIT
        return made.model_copy(update={"workload": workload, "recipe": recipe, "memory": memory, "fits": fits})

    def largest(self, workload, recipe, hardware, spec, at_most: int) -> int | None:
        sizes = [n for n in range(at_most, 0, -1) if at_most % n == 0]
        fit = [n for n in sizes if self.price(workload, changes._split(recipe, n), hardware, spec).fits]
        return max(fit, default=None)


@pytest.fixture
def asked(monkeypatch):
    from advisor.catalog.gpus import find_gpu
    from advisor.catalog.models import resolve_model

    monkeypatch.setattr(changes, "known_trace", lambda *of: None)
    hardware, spec = Hardware(gpu=find_gpu("L4")[0]), resolve_model("meta-llama/Llama-3.2-3B")

    def ask(costs: Costs, *, micro: int = 4, length: int = 1024) -> tuple[list[str], str]:
        recipe = make_candidate("full" if isinstance(costs, Full) else "lora", micro=micro).recipe
        if isinstance(costs, Full):
            recipe = recipe.model_copy(update={"gradient_accumulation": 1, "optimizer": costs.optimizer})
        workload = Workload(model="meta-llama/Llama-3.2-3B", seq_len=length)
        first = costs.price(workload, recipe, hardware, spec)
        assert not first.fits
        return in_words(first, hardware, spec, costs.price, costs.largest)

    return ask


def test_each_single_change_that_fits_is_said_with_what_it_takes(asked):
    said, note = asked(Costs(kept=10, each=4))
    batch, length, checkpointing = (one.partition(":")[0] for one in said)
    assert batch == "--batch-size 2 --gradient-accumulation 8"
    # 640 tokens are what there is room for
    assert 600 <= int(length.removeprefix("--seq-len ")) <= 640
    assert checkpointing == "--gradient-checkpointing"
    assert "18.0 GiB" in said[0]
    assert note == ""


def test_where_the_weights_alone_are_too_much_nothing_is_tried(asked):
    costs = Costs(kept=30, each=4)
    said, note = asked(costs)
    assert said == []
    assert costs.traced == 0
    assert "base weights and smaller parts that stay take 30.0 GiB" in note


def test_where_nothing_fits_the_nearest_is_said(asked):
    said, note = asked(Costs(kept=19.99, each=40), micro=1)
    assert said == []
    assert note.startswith("none found; nearest: --seq-len 64, ")
    assert "GiB too much" in note
    assert "--gradient-checkpointing: 30.0 GiB" in note


def test_no_step_is_traced_late_and_that_is_said(asked, monkeypatch):
    monkeypatch.setattr(changes, "NEW_TRACE_SECONDS", -1.0)
    costs = Costs(kept=10, each=4)
    said, note = asked(costs)
    assert len(said) == 2
    assert costs.traced == 0
    assert "--gradient-checkpointing not tried" in note
    monkeypatch.setattr(changes, "known_trace", lambda *of: object())
    assert asked(costs)[1] == ""
    assert costs.traced == 1


def test_a_change_that_the_recipe_cannot_take_costs_no_other(asked):
    class Refusing(Costs):
        def largest(self, workload, recipe, hardware, spec, at_most: int) -> int | None:
            raise BadRequest("no such batch")

    said, note = asked(Refusing(kept=10, each=4))
    assert [one.partition(" ")[0].rstrip(":") for one in said] == ["--seq-len", "--gradient-checkpointing"]
    assert note == ""


KEEPS = {
    "adamw_torch": (1, 2.0), "adamw_8bit": (1, 0.5), "paged_adamw_8bit": (1, 0), "adafactor": (1, 0), "lomo": (0, 0),
}  # fmt: skip
"""Optimizer -> gradients and state as multiples of the weights."""


class Full(Costs):
    """Full fine-tuning of so many GiB of weights: gradients as large, AdamW's state twice, what others keep of both."""

    def __init__(self, kept: float, each: float, optimizer: str = "adamw_torch") -> None:
        super().__init__(kept, each)
        self.optimizer = optimizer

    def price(self, workload: Workload, recipe, hardware, spec, *, thorough: bool = True) -> Candidate:
        made = super().price(workload, recipe, hardware, spec)
        gradients, state = (round(share * self.kept * GIB) for share in KEEPS[recipe.optimizer])
        peak = made.memory.peak_device.mid + gradients + state
        parts = {**made.memory.breakdown, "gradients": gradients, "optimizer state": state}
        device = made.memory.peak_device.times(peak / made.memory.peak_device.mid, "B", "by hand")
        memory = made.memory.model_copy(update={"breakdown": parts, "peak_device": device})
        return made.model_copy(update={"memory": memory, "fits": peak <= LIMIT * GIB})


def test_where_no_gradient_accumulates_another_effective_batch_is_named_as_one(asked):
    said, _ = asked(Full(kept=10, each=4, optimizer="lomo"), micro=8)
    assert said[0].startswith("--batch-size 2 --gradient-accumulation 1: 18.0 GiB")
    assert said[0].endswith(", an effective batch of 2, not 8")
    assert not any("effective" in one for one in said[1:])


def test_an_optimizer_with_less_state_is_named_with_what_it_costs(asked):
    """Weights of 8 GiB, gradients of 8, AdamW's state of 16 and 1 GiB beside: 13 too much."""
    said, note = asked(Full(kept=8, each=0.25))
    assert [one.partition(":")[0] for one in said] == [
        f"--optimizer {name}" for name in ("paged_adamw_8bit", "adafactor", "lomo")
    ]
    assert "moves to the host" in said[0]
    assert "no study bears on its quality" in said[2]
    # neither smaller batches nor the first of them, whose state is 4 GiB
    assert "no smaller batch" in note
    assert "--optimizer adamw_8bit" not in " ".join(said)


def test_no_optimizer_is_tried_whose_state_is_not_what_is_too_much(asked, monkeypatch):
    assert all("optimizer" not in one for one in asked(Costs(kept=10, each=4))[0])
    # 26 too much, state of 16 and gradients of 8
    said, _ = asked(Full(kept=8, each=3.5))
    assert not said
    monkeypatch.setattr(changes, "NEW_TRACE_SECONDS", -1.0)
    said, note = asked(Full(kept=8, each=0.25))
    assert not said
    assert (
        "--optimizer adamw_8bit, --optimizer paged_adamw_8bit, --optimizer adafactor, --optimizer lomo not tried"
        in note
    )
