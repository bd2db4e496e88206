"""What is exported loads again and gives the trained model's outputs; where it does not, the finish fails."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from advisor import store
from advisor.catalog.methods import check_recipe, methods
from advisor.dataset.encoding import EncodedExample
from advisor.errors import AdvisorError, BadFile
from advisor.training import export as finish
from advisor.training.export import ADAPTER, load_exported
from advisor.training.prepare import prepare
from advisor.training.trainers.loop import trainable_state
from tests.selection import one_in
from tests.tiny_models import labelled
from tests.training.test_trainers import make_job, one_thread, run

__all__ = ["one_thread"]
OURS = [m.name for m in methods() if m.peft_type is None]


def classify(tmp_path, spec, method):
    job = make_job(
        tmp_path,
        spec,
        labelled(60),
        "text-label",
        "sequence-classification",
        "accuracy",
        higher=True,
        trainer="loop",
        method=method,
    )
    short = job.workload.model_copy(update={"epochs": 0.5})
    return job.model_copy(update={"workload": short, "evaluations": 1, "checkpoint_seconds": 99})


def finished(job, tmp_path):
    update = {"mode": "finish", "weights": f"{job.folder}/weights.safetensors", "export": str(tmp_path / "out")}
    return run(job.model_copy(update=update))


def spoil(monkeypatch, change):
    """Let `change` have the written adapter's file before it is read back."""
    real = finish.export

    def spoilt(prepared, job, folder):
        real(prepared, job, folder)
        change(folder / ADAPTER)

    monkeypatch.setattr(finish, "export", spoilt)


@pytest.mark.slow
@pytest.mark.parametrize("method", one_in(3, list(OURS)))
def test_every_method_of_ours_loads_again_from_its_export(tmp_path, tiny_bert, method):
    job = classify(tmp_path, tiny_bert, method)
    try:
        check_recipe(tiny_bert, job.recipe, job.workload)
    except AdvisorError as error:
        pytest.skip(f"{method} is not for an encoder: {error.message}")
    trained = run(job)
    if trained.status == "failed" and "cannot run this" in trained.reason:
        pytest.skip(trained.reason)
    assert trained.status == "complete", trained.reason
    done = finished(job, tmp_path)
    assert done.status == "complete", done.reason
    assert done.reloaded is True
    # training moved something, or an export of a fresh model would have loaded as well
    fresh = trainable_state(prepare(job).model)
    trained = load_file(f"{job.folder}/weights.safetensors")
    assert trained.keys() == fresh.keys()
    assert any(not torch.equal(trained[name], fresh[name]) for name in fresh)
    if method in ("full", "galore"):
        assert not (tmp_path / "out" / finish.ABOUT).exists(), "a whole model is a plain export"
        return
    loaded = trainable_state(load_exported(tmp_path / "out"))
    assert loaded.keys() == trained.keys()
    assert all(torch.equal(loaded[name], trained[name]) for name in trained)


@pytest.mark.parametrize("towards", [0, 1])
def test_a_classifier_that_givesone_answer_to_every_row_is_told(tmp_path, tiny_bert, towards):
    job = classify(tmp_path, tiny_bert, "lora")
    assert run(job).status == "complete"
    path = f"{job.folder}/weights.safetensors"
    weights = load_file(path)
    (bias,) = [name for name in weights if "classifier" in name and name.endswith("bias")]
    weights[bias][towards] = 99.0
    save_file(weights, path)
    done = finished(job, tmp_path)
    assert done.test["accuracy"] == 0.5
    assert "as the answer to every test row would be right on 0.5000 of them, the adapter is on 0.5000" in done.notes[0]


def test_one_answer_is_named_where_the_adapter_is_no_better_and_rows_differ(tmp_path, tiny_bert):
    job = classify(tmp_path, tiny_bert, "lora")
    rows = [EncodedExample([1], label, [], "", cut=False) for label in (0, 1, 1, 1)]
    for right in (0.0, 0.5, 0.75):
        (told,) = finish.no_better_than_one_answer(job, rows, right)
        assert told.startswith(f"{job.splits.labels[1]!r} as the answer to every test row would be right on 0.7500")
    assert not finish.no_better_than_one_answer(job, rows, 1.0)
    assert not finish.no_better_than_one_answer(job, rows[1:], 1.0), "one class only: nothing to tell apart"


def test_an_export_with_other_numbers_fails_the_finish(tmp_path, tiny_bert, monkeypatch):
    job = classify(tmp_path, tiny_bert, "bitfit")
    assert run(job).status == "complete"
    spoil(monkeypatch, lambda path: save_file({k: v + 0.5 for k, v in load_file(path).items()}, path))
    done = finished(job, tmp_path)
    assert (done.status, done.reloaded) == ("failed", False)
    assert "loaded again, has a loss of" in done.reason


def test_an_export_that_cannot_be_read_fails_the_finish(tmp_path, tiny_bert, monkeypatch):
    job = classify(tmp_path, tiny_bert, "lora")
    assert run(job).status == "complete"
    spoil(monkeypatch, lambda path: path.write_bytes(path.read_bytes()[:40]))
    done = finished(job, tmp_path)
    assert done.status == "failed"
    assert done.reason


@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_a_classifier_on_a_quantised_base_trains_and_loads_again(tmp_path, wide_bert, base):
    """The new head is not quantised, and scorings between the steps leave the base as training needs it."""
    pytest.importorskip("bitsandbytes")
    job = classify(tmp_path, wide_bert, "lora")
    job = job.model_copy(update={"evaluations": 3, "recipe": job.recipe.model_copy(update={"base": base})})
    trained = run(job)
    assert trained.status == "complete", trained.reason
    assert trained.steps > 2
    done = finished(job, tmp_path)
    assert done.status == "complete", done.reason
    assert done.reloaded is True


def test_a_loaded_adapter_gives_the_trained_models_outputs_elsewhere_too(tmp_path, tiny_bert):
    """As a user has it: another process, its own generator's state, the base in another folder."""
    import shutil

    job = classify(tmp_path, tiny_bert, "bitfit").model_copy(update={"device": "cpu"})
    run(job)
    finished(job, tmp_path)
    base = tmp_path / "elsewhere"
    shutil.copytree(tiny_bert.weights, base)
    torch.manual_seed(12345)
    ids = torch.arange(5, 15)[None]
    one = load_exported(tmp_path / "out")(input_ids=ids).logits
    two = load_exported(tmp_path / "out", weights=base)(input_ids=ids).logits
    assert torch.equal(one, two)
    stored = store.read(finish.TrainingSpec, tmp_path / "out" / finish.ABOUT)
    assert stored.recipe == job.recipe
    assert (stored.folder, stored.data, stored.splits.sources) == ("", "", {})
    assert stored.device == "auto", "where it was trained says nothing of where it is used"
    with pytest.raises(BadFile):
        load_exported(tmp_path / "data")


def test_the_test_rows_are_scored_once_where_nobody_asks_for_the_untrained_model(tmp_path, tiny_bert, monkeypatch):
    from advisor.training.evaluator import Scorer

    job = classify(tmp_path, tiny_bert, "bitfit")
    assert run(job).status == "complete"
    rows: list[int] = []
    real = Scorer.score
    monkeypatch.setattr(Scorer, "score", lambda self, given: rows.append(len(given)) or real(self, given))
    whole = finished(job, tmp_path)
    with_untrained = list(rows)
    rows.clear()
    again = finished(job.model_copy(update={"score_untrained": False}), tmp_path)
    assert len(with_untrained) == len(rows) + 1
    assert whole.untrained
    assert not again.untrained
    assert again.test == whole.test
