"""One question has one answer: from recommend and estimate, cold and warm, by any name, from any thread or process."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import advisor
from advisor.catalog.gpus import gpus
from advisor.catalog.library_support import ALLOCATORS
from advisor.catalog.models import models, resolve_model
from advisor.catalog.models.checkpoint import stored_base
from advisor.domain.candidate import Candidate
from advisor.errors import AdvisorError, IllegalRecipe, UnsupportedModel
from advisor.interfaces.cli import main
from advisor.tracer import trace as door
from tests.laws.conftest import law
from tests.laws.questions import GPUS, folder, recipes, sizes
from tests.laws.size_laws import question

FIGURES = ("memory", "time", "money", "trainable_parameters", "total_parameters", "fits", "limit_bytes")
OF_WORKLOAD = ("task", "task_type", "samples", "seq_len", "mean_seq_len", "target_len", "num_labels", "epochs")
FREE = {"head_learning_rate": None, "schedule": "cosine", "warmup_ratio": 0.0}
"""Fields of a recipe that no estimate takes: they cost nothing."""


def figures(candidate: Candidate) -> dict[str, Any]:
    """Every figure of an answer, to the last digit, and the recipe they are of."""
    effect = None if candidate.quality is None else candidate.quality.effect
    recipe = candidate.recipe.model_copy(update=FREE)
    return {**{name: getattr(candidate, name) for name in FIGURES}, "effect": effect, "recipe": recipe}


def estimate_of(candidate: Candidate, model: str, gpu: str, **machine: Any) -> Candidate:
    """What `advisor.estimate` says of a candidate's recipe, workload and machine."""
    recipe, workload = candidate.recipe, candidate.workload
    return advisor.estimate(
        model,
        gpu,
        method=recipe.method,
        options=recipe.options,
        batch_size=recipe.micro_batch_size,
        gradient_accumulation=recipe.gradient_accumulation,
        dtype=recipe.dtype,
        mixed_precision=recipe.mixed_precision,
        prepare_kbit_training=recipe.prepare_kbit_training,
        base=recipe.base,
        optimizer=recipe.optimizer,
        gradient_checkpointing=recipe.gradient_checkpointing,
        attn_implementation=recipe.attention,
        trainer=recipe.trainer,
        batching=recipe.batching,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        **{name: getattr(workload, name) for name in OF_WORKLOAD},
        **machine,
    )


recommended = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama", "bert", "bert", "gpt2", "t5"]),
        "gpu": st.sampled_from(GPUS),
        "method": st.sampled_from(["lora", "full", "lora,full", "ia3,bitfit", "qlora", "dora,lora-plus", "galore"]),
    },
    optional={
        "samples": st.integers(20, 10**6),
        "seq_len": st.integers(16, 512),
        "mean_seq_len": st.floats(8, 16),
        "epochs": st.sampled_from([0.5, 1.0, 3.0, 10.0]),
        "effective_batch_size": st.sampled_from([1, 6, 16, 64]),
        "task_type": st.sampled_from(["NLU", "classification", "math"]),
        "headroom": st.sampled_from([0.0, 0.2, 0.9]),
        "usd_per_hour": st.sampled_from([0.5, 7.0]),
        "spot": st.just(True),
        "dtype": st.sampled_from(["float32", "bfloat16", "float16"]),
        "trainer": st.sampled_from(["loop", "hf", "trl"]),
        "optimizer": st.sampled_from(["sgd", "adafactor"]),
        "policy": st.sampled_from(["cheapest", "best-quality"]),
    },
)


@pytest.mark.slow
def test_an_estimate_of_what_was_recommended_gives_the_same_figures():
    answered: list[bool] = []

    @law(4)
    @given(asked=recommended)
    def compared(asked: dict[str, Any]) -> None:
        answered.append(same(asked))

    compared()
    assert sum(answered) >= len(answered) / 2, "what was asked was mostly refused"


def same(asked: dict[str, Any]) -> bool:
    """Compare every candidate of a recommendation with its estimate; False where nothing is recommended."""
    model, gpu = folder(asked["model"]), asked["gpu"]
    try:
        found = advisor.recommend(**asked | {"model": model})
    except AdvisorError:
        return False
    machine = {name: asked[name] for name in ("headroom", "usd_per_hour") if name in asked}
    for candidate in found.ranked:
        again = figures(estimate_of(candidate, model, gpu, **machine))
        wanted = figures(candidate)
        if candidate.workload.samples is None:
            # without a number of samples recommend compares by an average over sizes
            wanted["effect"] = None
        for name, value in wanted.items():
            assert again[name] == value, f"{candidate.recipe.method}: {name}"
    return True


def said(*arguments: str) -> dict[str, Any]:
    with redirect_stdout(io.StringIO()) as out:
        main.run([*arguments, "--json"])
    return json.loads(out.getvalue())


def typed(asked: dict[str, Any]) -> list[str]:
    """The command line of an estimate's arguments."""
    words = []
    for name, value in asked.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, str(value)]
    return words


@pytest.mark.slow
@law(3)
@given(recipe=recipes, size=sizes)
def test_the_command_line_and_python_say_the_same(recipe: dict[str, Any], size: dict[str, Any]):
    asked = question(recipe, size) | {"model": folder(recipe["model"]), "samples": size["samples"]}
    told = said("estimate", *typed(asked))
    try:
        answer = json.loads(advisor.estimate(**asked).model_dump_json())
    except AdvisorError as error:
        answer = json.loads(json.dumps(error.facts(), default=str))
    assert told == answer


@contextmanager
def cold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """A process that knows no trace yet and an empty cache; within, the keys of the traces that are made."""
    made: list[str] = []
    real = door.make_trace

    def noted(*given: Any, key: str = "", **more: Any) -> Any:
        made.append(key)
        return real(*given, key=key, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ADVISOR_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setattr(door, "_memory", {})
        patch.setattr(door, "make_trace", noted)
        yield made


def answer(asked: dict[str, Any]) -> Candidate | str:
    """The estimate, or why there is none."""
    try:
        return advisor.estimate(**asked)
    except AdvisorError as error:
        return str(error)


@pytest.mark.slow
def test_a_cold_and_a_warm_cache_say_the_same(tmp_path_factory: pytest.TempPathFactory):
    answered: list[bool] = []

    @law(2)
    @given(recipe=recipes, size=sizes)
    def asked(recipe: dict[str, Any], size: dict[str, Any]) -> None:
        one = question(recipe, size) | {"model": folder(recipe["model"])}
        with cold(tmp_path_factory) as made:
            found = answer(one)
            answered.append(not isinstance(found, str))
            if not answered[-1]:
                return
            assert len(made) == 1, "nothing was cold"
            door._memory.clear()
            assert answer(one) == found, "from the cache's file"
            assert answer(one) == found, "from memory"
            assert len(made) == 1, "nothing was warm"

    asked()
    assert sum(answered) >= len(answered) / 2


@pytest.mark.slow
@law(1)
@given(drawn=st.lists(st.tuples(recipes, sizes), min_size=4, max_size=4))
def test_threads_say_the_same_as_one_after_the_other(
    drawn: list[tuple[dict[str, Any], dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
):
    """Each begins cold, so that the threads trace, and twice each question, so that two want the same trace."""
    asked = [question(*pair) | {"model": folder(pair[0]["model"])} for pair in drawn]
    with cold(tmp_path_factory) as made, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(answer, asked * 2))
        traced = sorted(made)
    with cold(tmp_path_factory) as made:
        alone = [answer(one) for one in asked]
        assert sorted(made) == traced, "threads trace what one traces, each step once"
    assert together == alone * 2
    assert any(not isinstance(one, str) for one in alone)


@pytest.mark.exhaustive
def test_worker_processes_say_the_same_as_this_one(tmp_path: Any, monkeypatch: pytest.MonkeyPatch):
    """Four methods go to processes of their own, one does not."""
    model = folder("llama")
    methods = ("lora", "ia3", "dora", "full", "bitfit")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "together"))
    together = advisor.recommend(model, "A100", samples=500, method=methods, policy="best-quality")
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "alone"))
    for candidate in together.ranked:
        alone = advisor.recommend(model, "A100", samples=500, method=candidate.recipe.method)
        assert figures(alone.choice) == figures(candidate)


SHIPPED = "meta-llama/Llama-3.2-1B"
"""Whose traces came with advisor."""
OWN_CHOICE = "-unsloth-bnb-4bit"
"""Copies that keep layers of their own choice in 16 bits: the catalogue cannot tell which, so that they are refused."""


def test_every_name_of_a_model_gives_the_same_model():
    named = [entry for entry in models() if entry.aliases]
    assert named
    for entry in named:
        known = resolve_model(entry.id)
        for alias in entry.aliases:
            if alias.endswith(OWN_CHOICE):
                with pytest.raises(UnsupportedModel) as refusal:
                    resolve_model(alias)
                assert refusal.value.facts()["field"] == "quantization_config", alias
                continue
            other = resolve_model(alias)
            assert (other.parameters, other.architecture) == (known.parameters, known.architecture), alias
            # the same weights stored in fewer bits are a checkpoint of their own
            assert stored_base(other) is not None or other.digests == known.digests, alias


@pytest.mark.exhaustive
@pytest.mark.slow
def test_every_name_of_a_card_gives_the_same_figures():
    for gpu in gpus():
        if gpu.bandwidth_bytes_s is None or gpu.bf16_flop_s is None:
            continue
        names = [gpu.name, *gpu.aliases][:3]
        if ALLOCATORS[gpu.vendor].planned:
            for name in names:
                with pytest.raises(IllegalRecipe, match=f"memory on {re.escape(gpu.name)} cannot be predicted"):
                    advisor.estimate(SHIPPED, name, method="lora", seq_len=512, samples=900)
            continue
        found = [figures(advisor.estimate(SHIPPED, name, method="lora", seq_len=512, samples=900)) for name in names]
        assert all(one == found[0] for one in found), gpu.name
