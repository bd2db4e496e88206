"""A traced step of each objective allocates what TRL's own trainer allocates for it, but for single numbers."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from advisor.assembly.attach import attach, peft_config
from advisor.assembly.batch import make_batch
from advisor.assembly.objectives.objective_loss import FUSED_OUTPUTS, loss_of, prepare_policy
from advisor.assembly.objectives.reference_model import ReferencePass, disable_dropout
from advisor.assembly.objectives.referenced_losses import REFERENCE_OUTPUTS
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.training_step import Stepper
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.tracer.fused_kernels.fused_lm_head import add_fused_head, selective_log_softmax
from tests.conformance.test_allocated_bytes import Counted
from tests.conformance.tiny import DECODER, LENGTH
from tests.conformance.trl_as_on_a_gpu import as_on_a_gpu, trainer_of

pytest.importorskip("trl")

BATCH = 4
SCALARS = 64
"""Bytes: a trainer scales its loss and adds up its metrics in single numbers, some of them alive where ours are not."""
EXHAUSTIVE = pytest.mark.exhaustive
CASES = [
    pytest.param("sft", "lora", None, id="sft"),
    pytest.param("dpo", "lora", "adapter-off", id="dpo-adapter-off"),
    pytest.param("dpo", "lora", "copy", id="dpo-copy-beside-an-adapter", marks=EXHAUSTIVE),
    pytest.param("dpo", "lora", "precomputed", id="dpo-precomputed", marks=EXHAUSTIVE),
    pytest.param("dpo", "full", "copy", id="dpo-full-copy"),
    pytest.param("dpo", "full", "precomputed", id="dpo-full-precomputed", marks=EXHAUSTIVE),
    pytest.param("ipo", "lora", "adapter-off", id="ipo", marks=EXHAUSTIVE),
    pytest.param("kto", "lora", "adapter-off", id="kto-adapter-off"),
    pytest.param("kto", "full", "copy", id="kto-full-copy", marks=EXHAUSTIVE),
    pytest.param("kto", "lora", "precomputed", id="kto-precomputed", marks=EXHAUSTIVE),
    pytest.param("orpo", "lora", None, id="orpo"),
    pytest.param("orpo", "full", None, id="orpo-full", marks=EXHAUSTIVE),
    pytest.param("cpo", "lora", None, id="cpo", marks=EXHAUSTIVE),
    pytest.param("simpo", "lora", None, id="simpo", marks=EXHAUSTIVE),
    pytest.param("reward", "lora", None, id="reward"),
    pytest.param("reward", "full", None, id="reward-full", marks=EXHAUSTIVE),
]


def asked(objective: Any, method: str, reference: Any) -> tuple[Workload, Recipe]:
    task: Any = "sequence-classification" if objective == "reward" else "causal-lm"
    workload = Workload(model="tiny", task=task, objective=objective, seq_len=LENGTH, num_labels=1)
    options = {"rank": 4} if method == "lora" else {}
    return workload, Recipe(
        method=method, options=options, dtype="float32", attention="eager", trainer="trl", reference=reference,
        micro_batch_size=BATCH, max_grad_norm=0.0,
    )  # fmt: skip


def base_model(workload: Workload, device: str) -> Any:
    torch.manual_seed(0)
    config = type(DECODER.config)(**{**DECODER.config.to_dict(), "num_labels": 1})
    kind = AutoModelForSequenceClassification if workload.objective == "reward" else DECODER.kind
    with torch.device(device):
        return kind.from_config(config, dtype=torch.float32, attn_implementation="eager").train()


def counted_steps(counted: Counted, model: Any, others: list[Any], step: Any) -> tuple[int, int]:
    """(most bytes alive, bytes alive after two steps) with the models' own."""
    gc.collect()
    gc.disable()
    try:
        with counted:
            for one in (model, *others):
                for tensor in (*one.parameters(), *one.buffers()):
                    counted.see(tensor)
            for _ in range(2):
                step()
                gc.collect()
    finally:
        gc.enable()
    return counted.peak, counted.now


def real(objective: Any, method: str, reference: Any, folder: Path) -> tuple[int, int]:
    """TRL's trainer, its inputs made by its own collator."""
    workload, recipe = asked(objective, method, reference)
    model = base_model(workload, "cpu")
    changes: dict[str, Any] = {"precomputed": reference == "precomputed"}
    if method == "lora":
        changes["peft_config"] = peft_config(DECODER.spec, workload, recipe, model)
    if reference == "copy":
        changes["ref_model"] = base_model(workload, "cpu").eval()
    trainer = trainer_of(objective, model, folder, BATCH, LENGTH, **changes)
    optimizer = make_optimizer(trainer.model, recipe, None)
    rows = [trainer.train_dataset[i] for i in range(BATCH)]
    trainer.model.train()
    held: list[Any] = []

    def step() -> None:
        inputs = trainer.data_collator([dict(row) for row in rows])
        # transformers' loop holds a batch until the next one is there
        held[:] = [inputs]
        assert {tensor.shape[1] for tensor in inputs.values() if getattr(tensor, "ndim", 0) == 2} <= {1, LENGTH}
        for tensor in inputs.values():
            if isinstance(tensor, torch.Tensor):
                counted.see(tensor)
        trainer.training_step(trainer.model, inputs, None)
        optimizer.step()
        optimizer.zero_grad()

    counted = Counted()
    others = [trainer.ref_model] if reference == "copy" else []
    return counted_steps(counted, trainer.model, others, step)


def traced(objective: Any, method: str, reference: Any) -> tuple[int, int]:
    """The step that is traced, on no device."""
    workload, recipe = asked(objective, method, reference)
    counted = Counted()
    model = base_model(workload, "meta")
    frozen = base_model(workload, "meta") if reference == "copy" else None
    recorder: Any = counted
    if objective in FUSED_OUTPUTS:
        add_fused_head(model, recorder, recipe, FUSED_OUTPUTS[objective])
    if frozen is not None:
        add_fused_head(frozen, recorder, recipe, REFERENCE_OUTPUTS)
        disable_dropout(frozen)
    model = attach(model, DECODER.spec, workload, recipe).train()
    model.config.use_cache = False
    prepare_policy(model, workload, recipe)
    loss = loss_of(DECODER.spec, workload, recipe, ReferencePass(reference, frozen), selective_log_softmax(recorder))
    stepper = Stepper(model, make_optimizer(model, recipe, None), recipe, mark=lambda phase: None, loss_of=loss)

    def inputs() -> dict[str, torch.Tensor]:
        made = make_batch(DECODER.spec, workload, BATCH, LENGTH, 1, padded=False, device="meta", recipe=recipe)
        if objective == "sft":
            made["attention_mask"] = torch.empty(BATCH, LENGTH, dtype=torch.long, device="meta")
        for tensor in made.values():
            counted.see(tensor)
        return made

    return counted_steps(counted, model, [frozen] if frozen is not None else [], lambda: stepper.step(inputs))


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "method", "reference"), CASES)
def test_a_traced_step_allocates_what_trls_own_does(
    objective: str, method: str, reference: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_a_gpu(monkeypatch)
    theirs = real(objective, method, reference, tmp_path)
    ours = traced(objective, method, reference)
    # prompts apart are taken to be as long as the sequences: theirs have one token
    prompts = 2 * BATCH * (LENGTH - 1) * 8 if objective in ("orpo", "cpo", "simpo") else 0
    assert all(abs(one - prompts - other) <= SCALARS for one, other in zip(ours, theirs, strict=True)), (ours, theirs)
