"""A recipe under an objective: whose trainer takes the step, where the reference comes from, and what cannot be."""

from __future__ import annotations

from typing import Any

from advisor.catalog.methods.method import Method
from advisor.catalog.objectives.objective import TrainingObjective
from advisor.catalog.objectives.objective_table import find_objective
from advisor.catalog.objectives.rollouts import in_words
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Objective, Reference, Task, Trainer
from advisor.domain.workload import Rollout
from advisor.errors import BadRequest, IllegalRecipe

OWN_LOSS = frozenset({"cpt"})
"""Methods whose peft wrapper computes a loss of its own from the model's logits."""


def task_of(objective: Objective | None, spec: ModelSpec, asked: Task | None) -> Task | None:
    """The task that an objective is learned as; the one asked for under supervised learning.

    Raises:
        UnknownName, IllegalRecipe: no such objective, or one that is not priced.
        BadRequest: another task asked for beside it, or a model that the objective's trainer does not take.
    """
    found = find_objective(objective or "sft")
    if found.name == "sft":
        return asked
    if asked is not None and asked != found.task:
        raise BadRequest(
            f"{found.name} is learned as {found.task}, not as {asked}",
            hints=[f"leave --task out, or --task {found.task}"],
            objective=found.name,
            task=asked,
        )
    if spec.task_class not in ("CausalLM", "SequenceClassification", "ImageTextToText"):
        raise BadRequest(
            f"{found.name} trains language models on texts, and {spec.name} is none",
            hints=["to list language models: advisor models"],
            objective=found.name,
            model=spec.name,
        )
    return found.task


def trainer_for(objective: Objective, asked: Trainer | None, task: Task | None = None) -> Trainer:
    """TRL's for every objective but supervised learning; a plain loop, as diffusers' scripts have, for denoising.

    Args:
        asked: what the user said, None: nothing.
    Raises:
        IllegalRecipe: another trainer was asked for.
    """
    if task == "denoising":
        if asked not in (None, "loop"):
            raise IllegalRecipe(
                f"diffusion models are trained in a loop, that of diffusers' scripts, not by the trainer {asked!r}",
                hints=["nearest legal choice: --trainer loop, or leave it out"],
                trainer=asked,
            )
        return "loop"
    if objective == "sft":
        return asked or "hf"
    if asked not in (None, "trl"):
        raise IllegalRecipe(
            f"{objective} is trained by {find_objective(objective).trainer}, not by the trainer {asked!r}",
            hints=["nearest legal choice: --trainer trl, or leave it out"],
            objective=objective,
        )
    return "trl"


def under_objective(
    recipe: Recipe,
    method: Method,
    objective: Objective,
    reference: Reference | None,
    rollout: Rollout | None = None,
) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the objective's reference, and what is said of it.

    A recipe of supervised learning comes back as it is.

    Args:
        rollout: of an objective that generates; its groups are the caller's to check.

    Raises:
        BadRequest: a reference asked for where the objective has none.
        IllegalRecipe: a batch or method that the objective's trainer does not take.
    """
    found = find_objective(objective)
    referenced = found.reference and (rollout is None or rollout.beta > 0)
    if reference is not None and not referenced:
        raise BadRequest(
            f"{objective} has no reference model{' at --beta 0' if rollout else ''}, and --reference {reference} would "
            "mean nothing",
            hints=[
                "leave --reference out",
                "objectives with a reference: dpo, ipo, kto, and grpo and rloo with --beta",
            ],
            objective=objective,
            reference=reference,
        )
    if objective == "sft":
        return recipe, ()
    _check_method(found, method)
    _check_batch(found, recipe)
    update: dict[str, Any] = {}
    said = [f"objective: {found.says}; the step is {found.trainer}'s, {_dropout_of(found)}"]
    if rollout is not None:
        said += in_words(rollout)
    if rollout is not None and not referenced:
        said.append("reference: none, for --beta is 0")
    if referenced:
        update["reference"], why = _reference_of(method, reference, generates=found.generates)
        said.append(why)
    if found.trainer.startswith("trl.experimental.") and recipe.base != "dtype":
        update["prepare_kbit_training"] = True
        said.append(f"quantised base: prepared for k-bit training, as {found.trainer} does by itself")
    if found.rows and "chosen and rejected" in found.columns:
        said.append("a sample is a pair: two sequences in each forward pass, of --seq-len tokens at most each")
    if objective == "kto":
        said.append("each batch passes the policy and the reference a second time with mismatched answers")
    return recipe.model_copy(update=update), tuple(said)


def _dropout_of(objective: TrainingObjective) -> str:
    return "its dropout left on as by default" if objective.generates else "its dropout off as by default"


def _check_method(objective: TrainingObjective, method: Method) -> None:
    if method.name in OWN_LOSS:
        raise IllegalRecipe(
            f"{method.name} cannot learn by {objective.name}: its peft wrapper computes a loss of its own",
            hints=["nearest legal choice: --method lora"],
            method=method.name,
            reason=f"its own loss stands in the way of {objective.name}'s",
        )


def _check_batch(objective: TrainingObjective, recipe: Recipe) -> None:
    if recipe.batching != "padded":
        raise IllegalRecipe(
            f"{objective.trainer} pads its batches; {recipe.batching} ones it does not make",
            hints=["nearest legal choice: --batching padded"],
            objective=objective.name,
            reason=f"{objective.name} has padded batches only",
        )
    if recipe.micro_batch_size < objective.fewest_rows:
        raise IllegalRecipe(
            f"{objective.trainer} takes micro-batches of {objective.fewest_rows} samples or more: it pairs each with "
            "another's answer",
            hints=[f"nearest legal choice: --batch-size {objective.fewest_rows}"],
            objective=objective.name,
            reason=f"{objective.name} needs {objective.fewest_rows} samples in a micro-batch",
        )


def _reference_of(method: Method, asked: Reference | None, *, generates: bool) -> tuple[Reference, str]:
    """Where the reference's log-probabilities come from, as TRL decides it, and the sentence about it."""
    adapter = method.peft_type is not None
    if asked == "adapter-off" and not adapter:
        raise IllegalRecipe(
            f"{method.name} has no peft adapter that could be switched off for the reference",
            hints=["nearest legal choice: --reference copy, or precomputed"],
            method=method.name,
        )
    if asked == "precomputed" and generates:
        raise IllegalRecipe(
            "completions that are not generated yet have no log-probabilities to compute beforehand",
            hints=["nearest legal choice: --reference adapter-off, or copy"],
            method=method.name,
        )
    if asked == "precomputed":
        return asked, (
            "reference: log-probabilities computed over the data beforehand; that pass, about a third of an epoch's "
            "time, is not in the figures"
        )
    if (asked or ("adapter-off" if adapter else "copy")) == "adapter-off":
        return "adapter-off", "reference: the policy with its adapter switched off, a second forward pass each step"
    why = "a second, frozen copy of the base model, a forward pass of it each step"
    other = "" if adapter or generates else "; --reference precomputed saves its memory"
    return "copy", f"reference: {why}{other}"
