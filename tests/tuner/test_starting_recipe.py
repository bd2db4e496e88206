"""What is published for a method, fitted to the length that was asked for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from advisor.catalog.methods import methods
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.literature.hyperparameters.suggest import settings_published_for
from advisor.literature.hyperparameters.training_length import HIGHEST_RANK, RAISED_WARM_UP, UNDECAYED
from advisor.tuner.starting_recipe import converging, in_precision, plain_recipe

SPEC = ModelSpec(
    name="small",
    asked="small",
    source="folder",
    where="a test",
    config={"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12, "num_hidden_layers": 6},
    task_class="SequenceClassification",
    architecture="encoder",
)


def work(samples=100, epochs=3.0, batch=16):
    return Workload(
        model="small",
        task="sequence-classification",
        task_type="classification",
        samples=samples,
        epochs=epochs,
        effective_batch_size=batch,
    )


def recipe(name, workload):
    return plain_recipe(name, SPEC, workload, None, settings_published_for(name, SPEC, workload))


def test_a_training_long_enough_is_as_published():
    long = work(epochs=200.0)
    said = {s.name: s.value for s in settings_published_for("lora", SPEC, long)}
    found = recipe("lora", long)
    assert found.learning_rate == said["learning_rate"]
    assert found.warmup_ratio == said["warmup_ratio"]
    assert found.options["rank"] == said["rank"]
    assert found.schedule == said["schedule"]


def test_a_short_training_learns_faster_and_warms_up():
    short = recipe("lora", work(epochs=6.0, batch=4))
    usual = recipe("lora", work(epochs=200.0)).options["rank"]
    assert usual < short.options["rank"] <= HIGHEST_RANK
    assert short.options["alpha"] == 2 * short.options["rank"]
    assert short.warmup_ratio >= RAISED_WARM_UP
    assert short.schedule == UNDECAYED
    shorter = recipe("lora", work(epochs=1.0, batch=16))
    assert shorter.learning_rate > short.learning_rate


def test_the_rank_never_exceeds_the_width():
    narrow = SPEC.model_copy(update={"config": {**SPEC.config, "hidden_size": 24, "num_attention_heads": 2}})
    asked = work(epochs=1.0)
    found = plain_recipe("lora", narrow, asked, None, settings_published_for("lora", narrow, asked))
    assert found.options["rank"] <= 24


@pytest.mark.parametrize("method", [m.name for m in methods() if m.core])
def test_every_core_method_has_a_recipe_at_any_length(method):
    for epochs in (0.5, 3.0, 500.0):
        found = recipe(method, work(epochs=epochs))
        assert found.method == method
        assert found.learning_rate is None or 0 < found.learning_rate < 1


def test_what_the_user_gave_is_not_changed():
    asked = work(epochs=2.0, batch=16)
    assert converging("lora", SPEC, asked, 2.0, 16) == (asked, "")
    longer, said = converging("lora", SPEC, asked, None, 16)
    assert longer.effective_batch_size == 16
    assert longer.epochs > 2.0
    assert "steps" in said
    smaller, said = converging("lora", SPEC, asked, 2.0, None)
    assert (smaller.epochs, smaller.effective_batch_size) == (2.0, 4)
    assert "effective batch: 4" in said


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["full", "galore", "partial", "lora"])
def test_weights_that_are_trained_start_in_float32_beside_a_recommendation_in_16_bits(name, dtype):
    told = SimpleNamespace(choice=SimpleNamespace(recipe=Recipe(method="lora", dtype=dtype)))
    workload = Workload(model="tiny", samples=2000)
    recipe = plain_recipe(name, SPEC, workload, told, ())
    assert recipe.compute_dtype == dtype
    assert recipe.dtype == (dtype if name == "lora" else "float32")


def test_a_precision_asked_for_is_taken_and_what_it_leaves_open_is_usual():
    lora, full = (Recipe(method=name, dtype="float32") for name in ("lora", "full"))
    assert in_precision(full, "causal-lm", {"prepare_kbit_training": True}) == full
    assert in_precision(full, "causal-lm", {"dtype": "bfloat16"}).precision == "bfloat16"
    assert in_precision(full, "causal-lm", {"mixed_precision": "bf16"}).precision == "float32 with bf16 autocast"
    assert in_precision(lora, "causal-lm", {"mixed_precision": "bf16"}).precision == "bfloat16 with bf16 autocast"
    both = {"mixed_precision": "fp16", "dtype": "float32"}
    assert in_precision(lora, "causal-lm", both).precision == "float32 with fp16 autocast"
