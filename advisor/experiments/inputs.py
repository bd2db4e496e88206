"""The question of a study as the tuner reads it: its files found and unpacked, its model named, its rows cut."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from advisor.dataset.splits import Row, make_splits
from advisor.domain.model import ModelSpec
from advisor.errors import BadRequest
from advisor.experiments.plan import FOLDER, SHIPPED_PREFIX, ExperimentPlan, draw
from advisor.tuner.study_preparation import make_request
from advisor.tuner.tune_request import TuneRequest

SHAPE: Final = ("architecture", "layers", "hidden", "vocabulary")
"""Figures of a model that weights of another would not share."""


def asked(
    plan: ExperimentPlan, weights: str, length: tuple[float | None, int | None] | None = None
) -> tuple[TuneRequest, dict[str, list[Row]]]:
    """The tuner's own reading of the question, and its rows; evaluation and test rows cut to the plan's number.

    `length` are epochs and batch in place of the plan's; a None of them is what the first method needs to converge, as
    `tune` has it.
    """
    epochs, batch = length or (plan.epochs or 3.0, plan.effective_batch_size)
    files = [_file(name, plan) for name in (plan.data, plan.eval_data, plan.test_data)]
    begun = make_request(
        weights,
        str(files[0]),
        columns=plan.columns,
        eval_data=files[1],
        test_data=files[2],
        method=plan.methods,
        task=plan.task,
        metric=plan.metric,
        trials=1,
        name=plan.id,
        seq_len=plan.seq_len,
        epochs=epochs,
        effective_batch_size=batch,
        trainer=plan.trainer,
        dtype=plan.dtype,
        seed=plan.seed,
        store=False,
    )
    request, rows = begun.request, dict(begun.rows)
    labelled = request.splits.kind == "text-label"
    for name, most in (("evaluation", plan.evaluation_rows), ("test", plan.test_rows)):
        rows[name] = draw(rows[name], min(most, len(rows[name])), plan.seed, labelled=labelled)
    rows, splits = make_splits(rows, request.splits.kind, seed=plan.seed, notes=begun.notes)
    workload = request.workload.model_copy(update={"task_type": plan.task_type or request.workload.task_type})
    update = {"splits": splits, "workload": workload, "spec": _named(request, plan, weights)}
    return request.model_copy(update=update), rows


def absolute(plan: ExperimentPlan) -> ExperimentPlan:
    """The plan as it can be resumed from another folder: files and a model's folder by their whole path."""
    fields = ("model", "data", "eval_data", "test_data")
    values = {name: getattr(plan, name) for name in fields}
    return plan.model_copy(update={k: str(Path(v).resolve()) for k, v in values.items() if v and Path(v).exists()})


def _named(request: TuneRequest, plan: ExperimentPlan, weights: str) -> ModelSpec:
    """The model under the plan's name, where its weights were found elsewhere and are of that model.

    Raises:
        BadRequest: the weights are of a model of another shape.
    """
    spec = request.spec
    if weights == plan.model:
        return spec
    from advisor.catalog.models import resolve_model

    wanted = resolve_model(plan.model)
    differ = [part for part in SHAPE if getattr(spec, part, None) != getattr(wanted, part, None)]
    if differ:
        raise BadRequest(
            f"the weights in {weights} are not those of {plan.model}: another {' and '.join(differ)}",
            hints=[f"to study them as a model of their own: --model {weights}"],
            differ=differ,
        )
    return spec.model_copy(update={"name": plan.model, "parameters": spec.parameters or wanted.parameters})


def _file(name: str | None, plan: ExperimentPlan) -> str | None:
    """The path of a data file; some ship.

    Raises:
        BadRequest: it is not there; says what the plan knows of building it.
    """
    if name is None:
        return None
    path = FOLDER / name.removeprefix(SHIPPED_PREFIX) if name.startswith(SHIPPED_PREFIX) else Path(name)
    if not path.exists():
        raise BadRequest(
            f"there is no data file {name}",
            cause=plan.data_note,
            hints=["to give yours: --data FILE, and --eval-data and --test-data where you have them"],
            path=name,
        )
    return str(path)
