"""The finish of a study: the best weights loaded again, scored on rows no trial saw, exported and read back."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from advisor import store
from advisor.catalog.methods import find_method
from advisor.dataset.encoding import EncodedExample
from advisor.errors import AdvisorError, IllegalRecipe
from advisor.loading import load_adapter, load_tokenizer
from advisor.training.evaluator import empty_cache
from advisor.training.export_loader import ModelLoader, loader_of, merged_loader
from advisor.training.prepare import Prepared, attached, base_model, pick_device, prepare, weights_folder
from advisor.training.train import device_name, versions
from advisor.training.trainers.loop import load_trainable, trainable_state
from advisor.training.training_spec import TrainingResult, TrainingSpec

SAME: Final = {"float32": 1e-4, "bfloat16": 2**-8, "float16": 2**-10}
"""Largest relative difference of two runs' losses that counts as the same: sums in another order, at the precision
that a number of the dtype has (bfloat16 keeps 8 bits, float16 11)."""
ABOUT: Final = "advisor.json"
PEFT_CONFIG: Final = "adapter_config.json"
ADAPTER: Final = "adapter_model.safetensors"
OURS: Final = "no peft class reads this method: advisor.training.export.load_exported(folder) gives the model"
MERGED: Final = "merged"
"""The folder, inside the export's, of the model with the adapter in its weights."""


def finish(job: TrainingSpec) -> TrainingResult:
    """Score the test rows and write the adapter folder.

    Raises:
        AdvisorError: what `prepare` raises.
        ValueError: the weights are not those of this recipe.
    """
    assert job.weights is not None
    assert job.export is not None
    began = time.monotonic()
    prepared = prepare(job)
    untrained = prepared.scorer.score(prepared.examples["test"]) if job.score_untrained else {}
    untrained_intervals = prepared.scorer.intervals() if job.score_untrained else {}
    load_trainable(prepared.model, Path(job.weights))
    loaded = time.monotonic()
    rows = prepared.examples["test"]
    scores = prepared.scorer.score(rows)
    sure = prepared.scorer.intervals()
    doubts = no_better_than_one_answer(job, rows, scores["accuracy"]) if "accuracy" in scores else []
    scored = time.monotonic()
    folder = Path(job.export)
    job = job.model_copy(update={"pad_token_id": prepared.tokenizer.pad_token_id})
    export(prepared, job, folder)
    plain = _plain(prepared, job)
    whole = prepared.trainable == prepared.total
    loader = loader_of(job, plain=plain, whole=whole)
    usage = loader.lines(str(folder))
    few = prepared.examples["test"][:8]
    wanted = _loss(prepared, job, few)
    merged = _merge(prepared, job, folder / MERGED) if job.merge and not whole else ""
    # two models at a time may not fit where the training just did
    prepared.model = prepared.scorer.model = None
    against = _read_back(prepared, job, few, wanted, folder, loader)
    if job.merge and not whole and not merged:
        merged = _read_back(prepared, job, few, wanted, folder / MERGED, merged_loader(job))
    is_merged = job.merge and not whole and not merged
    if is_merged:
        usage = (*usage, *merged_loader(job).lines(str(folder / MERGED)))
    else:
        shutil.rmtree(folder / MERGED, ignore_errors=True)
    return TrainingResult(
        # an adapter that does not load again is no result, however well it scored
        status="failed" if against else "complete",
        reason=against,
        score=scores[job.metric],
        test=scores,
        intervals=sure,
        untrained=untrained,
        untrained_intervals=untrained_intervals,
        adapter=str(folder),
        merged=str(folder / MERGED) if is_merged else None,
        usage=usage,
        library=loader.library.partition(".")[0],
        reloaded=not against,
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
        notes=(*(() if plain else (OURS,)), *doubts, *([f"no merged model is kept: {merged}"] if merged else [])),
    )


def no_better_than_one_answer(job: TrainingSpec, rows: Sequence[EncodedExample], right: float) -> list[str]:
    """A training too short, or at a wrong rate, leaves a classifier where one label for every row would have been.

    Args:
        right: share of the rows whose class the adapter says.
    """
    said, most = Counter(row.labels for row in rows if isinstance(row.labels, int)).most_common(1)[0]
    share = most / len(rows)
    if share == 1 or right > share:
        return []
    return [
        f"{job.splits.labels[said]!r} as the answer to every test row would be right on {share:.4f} of them, the "
        f"adapter is on {right:.4f}: train longer (--epochs), on more rows or at another rate (--learning-rate)"
    ]


def export(prepared: Prepared, job: TrainingSpec, folder: Path) -> None:
    """peft's own format for peft's methods, the whole model for full fine-tuning, else the trained tensors.

    All are safetensors; the tokenizer goes along, and `advisor.json` says what an adapter was trained as.
    """
    from advisor.assembly.adapters.data_driven_init import START, moves_base
    from advisor.assembly.adapters.serialization import save_as_lora

    folder.mkdir(parents=True, exist_ok=True)
    start = Path(str(job.weights)).parent / START
    if not _plain(prepared, job):
        from safetensors.torch import save_file

        about = {"method": job.recipe.method, "base": job.spec.name, "recipe": job.recipe.model_dump_json()}
        save_file(trainable_state(prepared.model), folder / ADAPTER, metadata=about)
        if start.is_file():
            shutil.copyfile(start, folder / START)
    elif moves_base(prepared.model) and start.is_file():
        save_as_lora(prepared.model, folder, start)
    else:
        prepared.model.save_pretrained(str(folder), safe_serialization=True)
    if prepared.trainable != prepared.total:
        # an adapter is given away: of this machine's folders only the base's stays, as in peft's own config
        splits = job.splits.model_copy(update={"sources": {}, "notes": ()})
        gone = {"folder": "", "data": "", "weights": None, "export": None, "splits": splits, "device": "auto"}
        store.write(job.model_copy(update=gone), folder / ABOUT)
    prepared.tokenizer.save_pretrained(str(folder))


def _merge(prepared: Prepared, job: TrainingSpec, folder: Path) -> str:
    """Write the model with the adapter in its weights, tokenizer and labels; why that cannot be, or nothing.

    The prepared model is merged by it.
    """
    from advisor.assembly.adapters.serialization import merge_adapter

    if job.recipe.base != "dtype":
        return f"the base is held in {job.recipe.base}, into which nothing merges without rounding"
    try:
        merged: Any = merge_adapter(prepared.model)
        merged.save_pretrained(str(folder), safe_serialization=True)
    except (IllegalRecipe, ValueError, RuntimeError) as error:
        return str(error)
    prepared.tokenizer.save_pretrained(str(folder))
    return ""


def load_exported(folder: str | Path, *, weights: str | Path | None = None) -> Any:
    """The model with its adapter from the folder that `advisor tune` exported, of our own methods too.

    Args:
        weights: folder of the base model, where it does not lie where it lay in training.

    Raises:
        BadFile: the folder holds no such adapter.
        UnsupportedModel: the base model's weights are not here.
        ValueError: the tensors are not those of the method on this base.
    """
    from transformers import set_seed

    from advisor.assembly.adapters.data_driven_init import START, AdapterStart

    job = store.read(TrainingSpec, Path(folder) / ABOUT)
    base = Path(weights) if weights is not None else weights_folder(job.spec)
    # what a method draws at random and never trains must be drawn as it was
    set_seed(job.seed)
    tokenizer = load_tokenizer(folder)
    model = base_model(job, base, tokenizer, pick_device(job.device))
    if (Path(folder) / PEFT_CONFIG).is_file():
        return load_adapter(model, folder).eval()
    start = Path(folder) / START
    model = attached(model, job, AdapterStart(saved=start if start.is_file() else None))
    load_trainable(model, Path(folder) / ADAPTER)
    return model.eval()


def _plain(prepared: Prepared, job: TrainingSpec) -> bool:
    """Whether others' libraries read the export: peft's own methods, and whole models.

    A method of ours may build on a peft model, but what it adds to it peft would not save.
    """
    return find_method(job.recipe.method).peft_type is not None or prepared.trainable == prepared.total


def _loss(prepared: Prepared, job: TrainingSpec, rows: Sequence[EncodedExample]) -> float:
    prepared.scorer.metric = _loss_only(job)
    return prepared.scorer.score(rows)["loss"]


def _read_back(
    prepared: Prepared,
    job: TrainingSpec,
    few: Sequence[EncodedExample],
    wanted: float,
    folder: Path,
    loader: ModelLoader,
) -> str:
    """Why the written folder, loaded as its reader is told to, is not the trained model; empty where it is.

    The same loss on a few test rows means the same outputs.
    """
    empty_cache(prepared.device)
    try:
        prepared.scorer.model = loader.load(folder, prepared.device)
    except (AdvisorError, OSError, ValueError, RuntimeError, KeyError) as error:
        return f"the folder {folder.name}, as written, could not be loaded again: {error}"
    found = _loss(prepared, job, few)
    prepared.scorer.model = None
    if abs(found - wanted) <= SAME[job.recipe.compute_dtype] * max(1.0, abs(wanted)):
        return ""
    return f"the folder {folder.name}, loaded again, has a loss of {found:.6g} where the trained model had {wanted:.6g}"


def _loss_only(job: TrainingSpec) -> Any:
    from advisor.training.metrics import find_metric

    return find_metric("loss", job.workload.task)
