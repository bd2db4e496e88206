"""The finish of a study: the best weights loaded again, scored on rows no trial saw, exported and read back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from advisor.errors import AdvisorError, IllegalRecipe
from advisor.tuner.job import TrialJob, TrialResult
from advisor.tuner.prepare import Prepared, prepare, weights_folder
from advisor.tuner.trainers.loop import load_trainable, trainable_state
from advisor.tuner.training import device_name, versions

SAME = 1e-4
"""Largest difference of two runs' losses that counts as the same: sums in another order, in float32."""


def finish(job: TrialJob) -> TrialResult:
    """Score the test rows and write the adapter folder.

    Raises:
        AdvisorError: what `prepare` raises.
        ValueError: the weights are not those of this recipe.
    """
    assert job.weights is not None
    assert job.export is not None
    began = time.monotonic()
    prepared = prepare(job)
    load_trainable(prepared.model, Path(job.weights))
    loaded = time.monotonic()
    rows = prepared.examples["test"]
    scores = prepared.scorer.score(rows)
    scored = time.monotonic()
    folder = Path(job.export)
    export(prepared, job, folder)
    same, note = _read_back(prepared, job, folder)
    return TrialResult(
        status="complete",
        score=scores[job.metric],
        test=scores,
        adapter=str(folder),
        reloaded=same,
        seconds={
            "load": loaded - began,
            "evaluate": scored - loaded,
            "save": time.monotonic() - scored,
            "total": time.monotonic() - began,
        },
        trainable_parameters=prepared.trainable,
        total_parameters=prepared.total,
        truncated={"test": sum(e.cut for e in rows)},
        device=device_name(prepared.device),
        versions=versions(),
        notes=(note,) if note else (),
    )


def export(prepared: Prepared, job: TrialJob, folder: Path) -> None:
    """peft's own format for peft's methods, the whole model for full fine-tuning, else the trained tensors.

    All are safetensors; the tokenizer goes along.
    """
    from peft import PeftModel

    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(prepared.model, PeftModel) or prepared.trainable == prepared.total:
        prepared.model.save_pretrained(str(folder), safe_serialization=True)
    else:
        from safetensors.torch import save_file

        about = {"method": job.recipe.method, "base": job.spec.name, "recipe": job.recipe.model_dump_json()}
        save_file(trainable_state(prepared.model), folder / "adapter_model.safetensors", metadata=about)
    prepared.tokenizer.save_pretrained(str(folder))


def _read_back(prepared: Prepared, job: TrialJob, folder: Path) -> tuple[bool | None, str]:
    """Whether the written folder, loaded as a user would, gives the same loss on a few test rows."""
    from peft import PeftModel

    few = prepared.examples["test"][:8]
    prepared.scorer.metric = _loss_only(job)
    wanted = prepared.scorer.score(few)["loss"]
    try:
        if isinstance(prepared.model, PeftModel):
            again: Any = PeftModel.from_pretrained(_fresh_base(job, prepared), str(folder))
        elif prepared.trainable == prepared.total:
            again = type(prepared.model).from_pretrained(str(folder), dtype=next(prepared.model.parameters()).dtype)
        else:
            return None, f"{job.recipe.method} is not a peft method: load it with advisor, or merge it"
    except (AdvisorError, IllegalRecipe, OSError, ValueError, RuntimeError, KeyError) as error:
        return False, f"the written adapter could not be loaded again: {error}"
    again.to(prepared.device) if job.recipe.base == "dtype" else None
    prepared.scorer.model = again
    found = prepared.scorer.score(few)["loss"]
    if abs(found - wanted) <= SAME * max(1.0, abs(wanted)):
        return True, ""
    return (
        False,
        f"the written adapter, loaded again, has a loss of {found:.6g} where the trained model had {wanted:.6g}",
    )


def _loss_only(job: TrialJob) -> Any:
    from advisor.tuner.metrics import find_metric

    return find_metric("loss", job.workload.task)


def _fresh_base(job: TrialJob, prepared: Prepared) -> Any:
    from advisor.tuner.prepare import base_model

    return base_model(job, weights_folder(job.spec), prepared.tokenizer, prepared.device)
