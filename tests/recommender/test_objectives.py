"""Preference objectives: told by the data's columns or asked for, with their own settings, nothing borrowed of SFT."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

import advisor
from advisor.catalog.methods import find_method
from advisor.catalog.objectives import find_objective, objectives, priced_objectives
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Objective
from advisor.domain.workload import PAIRED
from advisor.errors import BadRequest, IllegalRecipe
from advisor.estimator.batch_lengths import lengths_of
from advisor.interfaces.terminal.answer import exportable
from advisor.recommender.recommend_request import ResolvedRequest, checked, resolve

MODEL, GPU = "meta-llama/Llama-3.2-1B", "H100"
USER, GOOD, BAD = ({"role": r, "content": c} for r, c in (("user", "a"), ("assistant", "b"), ("assistant", "c")))
PAIRS: list[dict[str, Any]] = [{"prompt": "why " * 9, "chosen": f"so {i} " * 40, "rejected": "no"} for i in range(40)]
MARKED: list[dict[str, Any]] = [{"prompt": "y", "completion": "so " * i, "label": i % 2 == 0} for i in range(1, 40)]
RATES = [("dpo", 1e-6, 2e-5), ("orpo", 2e-5, 3e-4), ("reward", 1e-5, 1e-3)]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def asked(folder: Path, rows: list[dict[str, Any]], **more: Any) -> ResolvedRequest:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return resolve(checked({"model": MODEL, "gpu": GPU, "data": str(path), **more}))


def ask(costs: Any, objective: str, **more: Any) -> Any:
    options = {"samples": 2000, "method": ["full", "lora", "ia3"], "objective": objective, **more}
    return advisor.recommend(MODEL, GPU, costs=costs, **options)


def test_every_name_of_an_objective_is_priced_or_refused_with_what_would_work():
    assert {one.name for one in objectives()} == set(get_args(Objective))
    for one in objectives():
        if not one.unmodelled:
            assert find_objective(one.name) is one
            continue
        with pytest.raises(IllegalRecipe, match=f"{one.name} is not priced") as caught:
            advisor.estimate(MODEL, GPU, method="lora", objective=one.name)
        assert len(caught.value.hints) > 1


@pytest.mark.parametrize("one", [o for o in priced_objectives() if o.name != "sft"], ids=lambda o: o.name)
def test_every_setting_of_an_objective_has_a_source_or_says_that_it_has_none(one: Any):
    for settings in (one.settings_for(own_weights=True), one.settings_for(own_weights=False)):
        names = [setting.name for setting in settings]
        assert "learning_rate" in names
        assert "epochs" in names
        assert len(names) == len(set(names))
        for setting in settings:
            assert setting.sources or "none was found" in setting.why, (one.name, setting.name)


def test_columns_tell_the_objective_and_the_answer_says_so(tmp_path: Path):
    found = asked(tmp_path, PAIRS)
    assert (found.workload.objective, found.workload.task, found.workload.samples) == ("dpo", "causal-lm", 40)
    assert any(note.startswith("objective: dpo, as the columns tell") for note in found.notes)
    assert found.workload.epochs == 1
    marked = asked(tmp_path, MARKED)
    assert (marked.workload.objective, marked.workload.samples) == ("kto", 39)


def test_both_sequences_of_a_pair_count_in_its_lengths(tmp_path: Path):
    found = asked(tmp_path, PAIRS)
    assert found.row_lengths is not None
    assert found.row_lengths.n == 80
    # a micro-batch of one pair is padded to the longer of its two sequences: more than the mean
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": 1, "trainer": "trl"})
    assert lengths_of(found.workload, recipe).typical.mean() > 1.2 * found.row_lengths.mean
    assert asked(tmp_path, PAIRS, objective="kto").workload.samples == 80, "KTO takes pairs apart"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"prompt": "a", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"conversations": [{"from": "human", "value": "a"}], "chosen": {"from": "gpt", "value": "b"},
         "rejected": {"from": "gpt", "value": "c"}},
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        {"chosen": "a b", "rejected": "a c"},
    ],
)  # fmt: skip
def test_pairs_are_read_in_every_form_people_write_them(row: dict[str, Any], tmp_path: Path):
    found = asked(tmp_path, [row] * 20, objective="orpo")
    assert (found.workload.objective, found.workload.samples) == ("orpo", 20)


def test_pairs_under_other_names_are_named(tmp_path: Path):
    rows = [{"q": "a", "better": "b", "worse": "c"}] * 20
    found = asked(tmp_path, rows, columns="prompt=q,chosen=better,rejected=worse")
    assert found.workload.objective == "dpo"


def test_rows_that_cannot_serve_an_objective_are_refused_with_what_would(tmp_path: Path):
    with pytest.raises(BadRequest, match="prompt, chosen and rejected"):
        asked(tmp_path, [{"prompt": "a", "completion": "b"}] * 20, objective="dpo")
    with pytest.raises(BadRequest, match="supervised training cannot learn") as caught:
        asked(tmp_path, PAIRS, objective="sft")
    assert any("--objective dpo" in hint for hint in caught.value.hints)


def test_no_quality_is_borrowed_and_lora_stands_by_default(costs: Any):
    found = ask(costs, "dpo")
    assert found.choice.recipe.method == "lora"
    assert all(candidate.quality is None for candidate in found.ranked)
    assert "what SFT's say is not borrowed" in found.why[0]
    assert not [one for one in found.refused if one.kind == "dominated"], "nothing is known to be no better"


@pytest.mark.parametrize(("objective", "low", "high"), RATES)
def test_an_adapters_rate_is_the_objectives_own(costs: Any, objective: str, low: float, high: float):
    found = ask(costs, objective)
    (rate,) = [setting for setting in found.settings if setting.name == "learning_rate"]
    assert low < rate.value < high
    assert rate.sources
    full = next(candidate for candidate in found.ranked if candidate.recipe.method == "full")
    assert full.recipe.learning_rate < rate.value
    other = next(candidate for candidate in found.ranked if candidate.recipe.method == "ia3")
    assert other.recipe.learning_rate < find_method("ia3").learning_rate.default


def test_the_reference_is_as_trl_has_it_for_each_method(costs: Any):
    found = ask(costs, "dpo")
    how = {candidate.recipe.method: candidate.recipe.reference for candidate in found.ranked}
    assert how == {"lora": "adapter-off", "ia3": "adapter-off", "full": "copy"}
    assert {candidate.recipe.trainer for candidate in found.ranked} == {"trl"}
    assert any(note.startswith("reference: the policy with its adapter switched off") for note in found.notes)
    assert {c.recipe.reference for c in ask(costs, "orpo").ranked} == {None}


def test_kto_has_two_samples_in_a_micro_batch(costs: Any):
    for effective in (2, 3, 16, 17):
        for candidate in ask(costs, "kto", effective_batch_size=effective).ranked:
            assert candidate.recipe.micro_batch_size > 1
            assert candidate.recipe.micro_batch_size * candidate.recipe.gradient_accumulation == effective
    with pytest.raises(BadRequest, match="has none to pair"):
        ask(costs, "kto", effective_batch_size=1)


def test_a_reward_model_has_one_output_and_classifies(costs: Any):
    workload = ask(costs, "reward").workload
    assert (workload.task, workload.num_labels, workload.sequences) == ("sequence-classification", 1, 2)
    assert {one.name for one in priced_objectives() if "chosen" in one.columns} == PAIRED


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objective": "dpo", "trainer": "hf"}, "trained by trl.DPOTrainer"),
        ({"objective": "dpo", "task": "sequence-classification"}, "learned as causal-lm"),
        ({"objective": "orpo", "reference": "copy"}, "has no reference model"),
        ({"reference": "copy"}, "has no reference model"),
        ({"objective": "dpo", "batching": "packed"}, "pads its batches"),
        ({"objective": "kto"}, "2 samples or more"),
        ({"objective": "dpo", "method": "full", "reference": "adapter-off"}, "no peft adapter"),
        ({"objective": "dpo", "method": "cpt"}, "loss of its own"),
        ({"objective": "dpo", "model": "google-t5/t5-small"}, "language models"),
        ({"objective": "dpo", "model": "google/vit-base-patch16-224"}, "language models"),
    ],
)
def test_what_an_objective_cannot_do_is_refused_before_anything_is_traced(options: dict[str, Any], said: str):
    given = {"method": "lora", **options}
    with pytest.raises(BadRequest, match=said) as caught:
        advisor.estimate(given.pop("model", MODEL), GPU, **given)
    assert caught.value.hints


def test_exports_and_tuning_of_preference_objectives_are_refused_by_name(costs: Any, tmp_path: Path):
    found = ask(costs, "dpo")
    with pytest.raises(IllegalRecipe, match="dpo are priced, not exported yet"):
        advisor.export(found, to="trl")
    # nor is an export what a reader is told to type next
    assert exportable(found) == ""


def test_prompts_are_read_for_reinforcement_alone(tmp_path: Path):
    prompts = [{"prompt": "why is it so " * i} for i in range(1, 41)]
    found = asked(tmp_path, prompts, objective="grpo")
    assert (found.workload.objective, found.workload.samples) == ("grpo", 40)
    assert found.workload.rollout is not None
    assert found.workload.seq_len > found.workload.rollout.completion_length == found.workload.target_len
    assert found.workload.effective_batch_size % found.workload.rollout.num_generations == 0
    # the answer beside a question is for the reward: it is not generated
    beside = asked(tmp_path, [{"question": row["prompt"], "answer": "42 " * 900} for row in prompts], objective="rloo")
    assert beside.workload.seq_len == found.workload.seq_len
    with pytest.raises(BadRequest, match="prompts without an answer") as caught:
        asked(tmp_path, prompts)
    assert any("--objective grpo" in hint for hint in caught.value.hints)
    with pytest.raises(BadRequest, match="whole groups of 8"):
        asked(tmp_path, prompts, objective="grpo", effective_batch_size=12)
