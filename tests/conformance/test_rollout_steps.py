"""A traced step of GRPO and RLOO allocates what TRL's own trainer allocates for completions that were generated."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from advisor.assembly.attach import attach, peft_config
from advisor.assembly.batch import make_batch
from advisor.assembly.objectives.objective_loss import FUSED_OUTPUTS, loss_of, prepare_policy
from advisor.assembly.objectives.reference_model import ReferencePass
from advisor.assembly.objectives.referenced_losses import REFERENCE_OUTPUTS
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.training_step import Stepper
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Rollout, Workload
from advisor.tracer.fused_kernels.fused_lm_head import add_fused_head, selective_log_softmax
from tests.conformance.test_allocated_bytes import Counted
from tests.conformance.test_objective_steps import BATCH, base_model, counted_steps
from tests.conformance.tiny import DECODER, LENGTH
from tests.conformance.trl_as_on_a_gpu import as_on_a_gpu, tokenizer

pytest.importorskip("trl")

COMPLETION = 5
SCALARS = 512
"""Bytes: rewards, advantages and metrics are single numbers or one a completion, some alive where ours are not."""
EXHAUSTIVE = pytest.mark.exhaustive
CASES = [
    pytest.param("grpo", "lora", None, 1, id="grpo"),
    pytest.param("grpo", "lora", "adapter-off", 1, id="grpo-adapter-off", marks=EXHAUSTIVE),
    pytest.param("grpo", "lora", None, 2, id="grpo-twice", marks=EXHAUSTIVE),
    pytest.param("grpo", "full", "copy", 1, id="grpo-full-copy"),
    pytest.param("rloo", "lora", "adapter-off", 1, id="rloo"),
    pytest.param("rloo", "full", None, 1, id="rloo-full", marks=EXHAUSTIVE),
]


def asked(objective: Any, method: str, reference: Any, iterations: int) -> tuple[Workload, Recipe]:
    beta = 0.0 if reference is None else 0.05
    rollout = Rollout(
        num_generations=2, completion_length=COMPLETION, beta=beta, steps_per_generation=1, num_iterations=iterations
    )
    workload = Workload(model="tiny", objective=objective, seq_len=LENGTH, target_len=COMPLETION, rollout=rollout)
    options = {"rank": 4} if method == "lora" else {}
    return workload, Recipe(
        method=method, options=options, dtype="float32", attention="eager", trainer="trl", reference=reference,
        micro_batch_size=BATCH, max_grad_norm=0.0,
    )  # fmt: skip


def trainer_of(workload: Workload, recipe: Recipe, folder: Path) -> Any:
    """TRL's trainer, whose completions are all as long as they may be and were generated for nothing."""
    from datasets import Dataset

    rollout, name = workload.rollout, workload.objective.upper()
    assert rollout is not None
    module = importlib.import_module(f"trl.trainer.{workload.objective}_trainer")
    model = base_model(workload, "cpu")
    if recipe.reference == "copy":
        model.save_pretrained(folder / "model")
        model.config._name_or_path = str(folder / "model")
    arguments = getattr(module, f"{name}Config")(
        output_dir=str(folder), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        per_device_train_batch_size=BATCH, num_generations=2, max_completion_length=COMPLETION, beta=rollout.beta,
        steps_per_generation=1, num_iterations=rollout.num_iterations,
    )  # fmt: skip
    adapter = {} if recipe.method == "full" else {"peft_config": peft_config(DECODER.spec, workload, recipe, model)}
    prompt = " ".join(f"w{4 + i}" for i in range(LENGTH - COMPLETION))
    made = getattr(module, f"{name}Trainer")(
        model=model,
        args=arguments,
        reward_funcs=lambda completions, **_: [float(i) for i in range(len(completions))],
        train_dataset=Dataset.from_list([{"prompt": prompt}] * 8),
        processing_class=tokenizer(),
        **adapter,
    )
    generated = [[5] * COMPLETION] * BATCH
    of_grpo = workload.objective == "grpo"
    made._generate_single_turn = lambda *_, **__: (generated, None) if of_grpo else generated
    made.current_gradient_accumulation_steps = 1
    torch.set_grad_enabled(True)
    return made


def real(objective: str, method: str, reference: Any, iterations: int, folder: Path) -> tuple[int, int]:
    workload, recipe = asked(objective, method, reference, iterations)
    trainer = trainer_of(workload, recipe, folder)
    optimizer = make_optimizer(trainer.model, recipe, None)
    rows = [trainer.train_dataset[i // 2] for i in range(BATCH)]
    trainer.model.train()

    def step() -> None:
        trainer.training_step(trainer.model, rows, None)
        optimizer.step()
        optimizer.zero_grad()

    others = [trainer.ref_model] if reference == "copy" else []
    return counted_steps(Counted(), trainer.model, others, step)


def traced(objective: str, method: str, reference: Any, iterations: int) -> tuple[int, int]:
    workload, recipe = asked(objective, method, reference, iterations)
    counted: Any = Counted()
    model = base_model(workload, "meta")
    frozen = base_model(workload, "meta").eval().requires_grad_(False) if reference == "copy" else None
    add_fused_head(model, counted, recipe, FUSED_OUTPUTS[workload.objective])
    if frozen is not None:
        add_fused_head(frozen, counted, recipe, REFERENCE_OUTPUTS)
    model = attach(model, DECODER.spec, workload, recipe).train()
    model.config.use_cache = False
    prepare_policy(model, workload, recipe)
    loss = loss_of(DECODER.spec, workload, recipe, ReferencePass(reference, frozen), selective_log_softmax(counted))
    stepper = Stepper(model, make_optimizer(model, recipe, None), recipe, mark=lambda phase: None, loss_of=loss)

    def inputs() -> dict[str, torch.Tensor]:
        made = make_batch(DECODER.spec, workload, BATCH, LENGTH, COMPLETION, padded=False, device="meta", recipe=recipe)
        for tensor in made.values():
            counted.see(tensor)
        return made

    return counted_steps(counted, model, [frozen] if frozen is not None else [], lambda: stepper.step(inputs))


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "method", "reference", "iterations"), CASES)
def test_a_traced_step_allocates_what_trls_own_does(
    objective: str, method: str, reference: str | None, iterations: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_a_gpu(monkeypatch)
    theirs = real(objective, method, reference, iterations, tmp_path)
    ours = traced(objective, method, reference, iterations)
    assert all(abs(one - other) <= SCALARS for one, other in zip(ours, theirs, strict=True)), (ours, theirs)
