"""Which objective the rows of a file serve, and the sizes of a training that it sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from advisor.catalog.objectives import check_groups, find_objective, usual_epochs
from advisor.dataset.rows import Rows
from advisor.domain.model import ModelSpec
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import Rollout
from advisor.errors import BadRequest
from advisor.literature.hyperparameters.denoising_rates import USUAL_BATCH as USUAL_PICTURES
from advisor.literature.hyperparameters.denoising_rates import usual_epochs_of_pictures
from advisor.literature.hyperparameters.training_length import USUAL_BATCH

INFERRED: Final[dict[str, Objective]] = {"preference": "dpo", "kto": "kto"}
"""The objective of rows of a format where nobody names one."""
OTHERS: Final[dict[str, str]] = {"preference": "orpo, cpo, simpo, ipo, kto and reward learn from them too", "kto": ""}


def formats_for(objective: Objective | None) -> tuple[str, ...]:
    """The formats of rows, beside those of supervised training, that may be read: the objective's, or all."""
    return tuple(INFERRED) if objective is None else find_objective(objective).rows


def objective_of(rows: Rows, asked: Objective | None, path: str) -> tuple[Objective, tuple[str, ...]]:
    """The objective that is asked for or that the columns tell, and the note that says so.

    Raises:
        BadRequest: the rows cannot serve the objective asked for.
    """
    found = rows.layout.format
    if asked is None or asked == "sft":
        inferred = INFERRED.get(found, "sft")
        if inferred == "sft":
            return "sft", ()
        note = f"objective: {inferred}, as the columns tell"
        return inferred, (f"{note}; {OTHERS[found]}: --objective" if OTHERS[found] else note,)
    objective = find_objective(asked)
    if found not in objective.rows:
        raise BadRequest(
            f"{asked} learns from rows with {objective.columns}, and those of {path} are {rows.kind}",
            hints=["leave --objective out: it is told by the columns", f"or name them: --columns {_named(asked)}"],
            objective=asked,
            path=path,
        )
    return asked, ()


def _named(objective: Objective) -> str:
    if objective == "kto":
        return "prompt=COLUMN,completion=COLUMN,label=COLUMN"
    return "prompt=COLUMN,chosen=COLUMN,rejected=COLUMN"


def samples_of(rows: Rows, objective: Objective) -> int:
    """Samples of a training: rows, or both answers of each where KTO takes pairs apart."""
    return rows.usable if objective == "kto" else rows.samples


def refuse_rows(spec: ModelSpec, data: object) -> None:
    """Refuse a file of rows for a diffusion model.

    Raises:
        BadRequest: there is one.
    """
    if data and spec.task_class == "Denoising":
        raise BadRequest(
            f"{spec.name} learns from pictures with texts, which are not read here",
            hints=["leave --data out and say how many pictures there are: --samples 20", "and how large: --image-size"],
            data=str(data),
        )


def epochs_of(objective: Objective, samples: int | None, spec: ModelSpec) -> tuple[float | None, str]:
    """Epochs where nobody says, and the sentence about them; None where the method decides."""
    if spec.task_class == "Denoising" and samples is not None:
        return usual_epochs_of_pictures(samples)
    return usual_epochs(objective)


def usual_batch(samples: int | None, spec: ModelSpec) -> int:
    """Rows of a step where nobody says: no more than there are."""
    usual = USUAL_PICTURES if spec.task_class == "Denoising" else USUAL_BATCH
    return usual if samples is None else max(1, min(usual, samples))


def usual_effective_batch(objective: Objective, rollout: Rollout | None) -> int | None:
    """Completions of an optimizer step where nobody says, in whole groups; None where samples are not generated."""
    if rollout is None:
        return None
    named = {setting.name: setting.value for setting in find_objective(objective).settings}
    wanted, group = named["effective_batch_size"], rollout.num_generations
    assert isinstance(wanted, int)
    return max(1, round(wanted / group)) * group


def prompts_of(lengths: Mapping[str, Any], rollout: Rollout | None) -> dict[str, Any]:
    """Lengths of a file's prompts as those of prompts with the longest completion; without a rollout as they are."""
    if rollout is None:
        return dict(lengths)
    more = rollout.completion_length
    return {
        **lengths,
        "seq_len": lengths["seq_len"] + more,
        "mean_seq_len": lengths["mean_seq_len"] + more,
        "length_quantiles": tuple(length + more for length in lengths["length_quantiles"]),
    }


def check_effective_batch(objective: Objective, effective: int, rollout: Rollout | None) -> None:
    """Refuse an optimizer step of fewer samples than the objective's smallest micro-batch, or of parts of groups.

    Raises:
        BadRequest, IllegalRecipe: with the smallest possible.
    """
    if rollout is not None:
        check_groups(rollout, 1, effective)
    fewest = find_objective(objective).fewest_rows
    if effective < fewest:
        raise BadRequest(
            f"{objective} pairs the samples of a micro-batch, and a step of {effective} has none to pair",
            hints=[f"smallest possible: --effective-batch-size {fewest}"],
            objective=objective,
            effective_batch_size=effective,
        )
