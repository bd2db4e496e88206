"""Recommended hyperparameters: never without a source, in range, and what the literature is sure of comes out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor.catalog.findings.method_names import KIND_OF
from advisor.catalog.findings.task_types import TASK_TYPES
from advisor.catalog.hyperparameters.published_settings import FILE, SettingsFile, load_settings
from advisor.domain.findings import Finding
from advisor.domain.recommendation import Setting
from advisor.errors import BadRequest, UnknownName
from advisor.literature.hyperparameters import steps_to_converge as steps_file
from advisor.literature.hyperparameters.steps_to_converge import fewest_steps, steps_to_converge
from advisor.literature.hyperparameters.suggest import recommend_settings
from advisor.literature.hyperparameters.weighting import (
    OTHER_OPTIMIZER,
    WeightedSetting,
    _same_optimizer,
    numbers_of,
    repository,
)
from advisor.literature.quality.features import ARCHITECTURES


def ask(method: str = "lora", **changes) -> dict[str, Setting]:
    asked = {"architecture": "decoder", "model_parameters": 8 * 10**9, "task_type": "instruction", "samples": 2_000}
    return {one.name: one for one in recommend_settings(method, **{**asked, **changes})}


def test_the_settings_file_keeps_its_laws():
    published = load_settings()
    assert len(published.settings) > 2_000
    for one in published.settings:
        if one.setting == "learning_rate" and isinstance(one.value, float):
            assert 1e-8 < one.value < 10, one
        if one.low is not None and one.high is not None:
            assert one.low <= one.high, one
    used = {source for one in published.settings for source in one.sources}
    assert used == set(range(len(published.addresses)))


@pytest.mark.parametrize(
    "changes", [{"sources": []}, {"sources": [10**6]}, {"method": "lorra"}, {"method": "full_ft"}, {"kind": "rumour"}]
)
def test_a_setting_that_breaks_a_law_is_refused(changes):
    document = json.loads(FILE.read_text(encoding="utf-8"))
    document["settings"] = [{**document["settings"][0], **changes}]
    with pytest.raises((ValueError, UnknownName)):
        SettingsFile.from_document(document)


@given(
    method=st.sampled_from(sorted(set(KIND_OF) - {"no-tuning"})),
    architecture=st.sampled_from(ARCHITECTURES),
    task_type=st.sampled_from(TASK_TYPES),
    samples=st.none() | st.integers(1, 10**7),
    parameters=st.none() | st.integers(10**7, 10**11),
)
@settings(max_examples=60, deadline=None)
def test_every_setting_has_a_source_and_a_value_within_its_range(method, architecture, task_type, samples, parameters):
    found = ask(method, architecture=architecture, task_type=task_type, samples=samples, model_parameters=parameters)
    for one in found.values():
        assert one.sources, one
        assert one.why
        if one.low is not None and one.high is not None and isinstance(one.value, (int, float)):
            assert one.low <= one.value <= one.high, one


@pytest.mark.parametrize("size", [10**9, 8 * 10**9])
def test_loras_rate_is_about_ten_times_full_fine_tunings_for_decoders(size):
    lora = ask("lora", model_parameters=size)["learning_rate"].value
    full = ask("full", model_parameters=size)["learning_rate"].value
    assert 5 <= lora / full <= 20


def test_loras_rate_is_fifty_to_a_hundred_times_full_fine_tunings_for_vision():
    asked = {"architecture": "vision", "model_parameters": 86 * 10**6, "task_type": "vision", "samples": 1_000}
    assert 50 <= ask("lora", **asked)["learning_rate"].value / ask("full", **asked)["learning_rate"].value <= 100


def test_ia3_wants_a_larger_rate_than_lora():
    asked = {"model_parameters": 3 * 10**9, "task_type": "math", "samples": 20_000}
    assert ask("ia3", **asked)["learning_rate"].value >= 10 * ask("lora", **asked)["learning_rate"].value


@pytest.mark.parametrize("method", ["adapter-houlsby", "adapter-pfeiffer", "prefix-tuning", "qlora", "bitfit"])
@pytest.mark.parametrize("samples", [300, 2_000, 50_000])
def test_few_new_parameters_are_never_told_a_lower_rate_than_all_the_old_ones(method, samples):
    asked = {"model_parameters": 8 * 10**9, "task_type": "math", "samples": samples}
    assert ask(method, **asked)["learning_rate"].value >= ask("full", **asked)["learning_rate"].value


def test_a_rate_that_was_passed_over_is_shown_as_conflict():
    """One repository runs adapters at 2e-6, a fifth of its full fine-tuning; every paper has 1e-4 or more."""
    rate = ask("adapter-houlsby", model_parameters=8 * 10**9, task_type="math")["learning_rate"]
    assert rate.value >= 1e-4
    assert "2e-06" in rate.conflict


def test_every_linear_layer_is_the_target_and_the_conflict_is_shown():
    targets = ask("lora")["target_modules"]
    assert targets.value == "all-linear"
    assert "q_proj" in targets.conflict


def test_alpha_is_twice_the_rank():
    found = ask("lora")
    assert found["alpha"].value == 2 * found["rank"].value


def test_methods_without_a_rank_get_none():
    assert not {"rank", "alpha", "target_modules"} & set(ask("prompt-tuning"))


def test_few_samples_get_more_epochs_so_that_the_steps_suffice():
    few = ask("prompt-tuning", samples=50)
    assert few["steps"].value >= 500
    assert few["epochs"].value > ask("prompt-tuning", samples=100_000)["epochs"].value
    assert "epochs" in few["epochs"].conflict


def test_steps_are_epochs_times_batches_when_data_are_many():
    found = ask("lora", samples=100_000)
    batches = -(-100_000 // found["effective_batch_size"].value)
    assert found["steps"].value == pytest.approx(batches * found["epochs"].value, abs=1)


def test_soft_prompts_need_more_steps_than_full_fine_tuning_at_few_samples():
    assert fewest_steps("prompt-tuning", 50).value > fewest_steps("full", 50).value


def test_learning_curves_give_steps_for_many_methods():
    curves = steps_to_converge()
    assert len(curves) > 30
    assert all(250 <= steps <= 5_000 and address for steps, address in curves.values())


def test_a_method_needs_the_steps_of_its_quickest_curve_that_rises(monkeypatch):
    def curve(settings, *points):
        return [
            Finding.model_validate(
                {"table": "t", "model": "m", "architecture": "decoder", "task": "x", "task_type": "math",
                 "method": "lora", "settings": settings, "aspect": "curve", "samples": steps * 4, "metric": "accuracy",
                 "training": f"{steps} steps", "value": value, "address": settings}
            )
            for steps, value in points
        ]  # fmt: skip

    curves = [
        *curve("slow", (250, 20.0), (500, 30.0), (1000, 50.0)),
        *curve("quick", (250, 20.0), (500, 46.0), (1000, 50.0)),
        *curve("never", (250, 1.0), (500, 1.0)),
        *curve("slowest", (250, 10.0), (2000, 50.0)),
    ]
    monkeypatch.setattr(steps_file, "load_studies", lambda: (SimpleNamespace(findings=curves),))
    assert steps_to_converge.__wrapped__() == {"lora": (500, "quick")}


def test_a_repository_speaks_with_one_voice():
    assert repository("github:axolotl-ai-cloud/axolotl@067b021c8 examples/a.yml") == "axolotl-ai-cloud/axolotl"
    assert repository("github:axolotl-ai-cloud/axolotl@067b021c8 examples/b.yml") == "axolotl-ai-cloud/axolotl"
    assert repository("arXiv 2205.05638 Appendix D: github:someone/notes") == "arXiv 2205.05638"


@pytest.mark.parametrize("field", ["samples", "model_parameters", "hidden_size"])
def test_a_size_below_one_is_refused(field):
    with pytest.raises(BadRequest, match=field):
        ask(**{field: 0})


def test_unknown_names_are_refused():
    with pytest.raises(UnknownName):
        ask("lorra")
    with pytest.raises(UnknownName):
        ask(task_type="cooking")


def test_a_rate_found_with_adafactor_does_not_speak_for_adamw():
    """1e-2 for LoRA (arXiv 2402.17193) is Adafactor's; it was the loudest on generation, fifty times AdamW's."""
    for parameters in (135 * 10**6, 8 * 10**9):
        found = ask("lora", task_type="NLG", samples=100, model_parameters=parameters)["learning_rate"]
        assert found.value <= 1e-3
        assert found.high < 5e-3


def test_a_method_of_which_only_other_optimizers_rates_are_known_keeps_them():
    assert _same_optimizer(_rate_of("ia3", "2205.05638"), _source("2205.05638")) == OTHER_OPTIMIZER
    assert ask("ia3", architecture="encoder-decoder", samples=50)["learning_rate"].value >= 1e-3


def _source(text: str) -> int:
    return next(i for i, address in enumerate(load_settings().addresses) if text in address and "section 3" in address)


def _rate_of(method: str, text: str):
    return next(
        one
        for one in load_settings().settings
        if (one.method, one.setting) == (method, "learning_rate") and _source(text) in one.sources
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2e-2 / 5e-2", [0.02, 0.05]),
        ("1e-4..3e-4", [1e-4, 3e-4]),
        ("{1,3,6}", [1, 3, 6]),
        ("3 / 2 / 2", [3, 2, 2]),
        ("2e-4 (1e-4..5e-4 not significantly different)", []),
        ("1e-5 (LoRA) vs 1e-6 (full FT)", []),
        ("${EPOCHS}", []),
    ],
)
def test_a_printed_list_speaks_with_every_member_and_prose_with_none(text, numbers):
    heard = numbers_of([WeightedSetting(text, None, None, 1.0, "s")], positive=True)
    assert [number for number, _, _ in heard] == numbers
    assert not numbers or sum(weight for _, weight, _ in heard) == pytest.approx(1.0)


def test_the_best_rates_of_a_paper_outweigh_a_default_for_all_methods_alike():
    """Its own searches found 2e-2 to 5e-2, printed as a list that was not read; 1e-4 is a benchmark's default."""
    assert ask("fourierft", task_type="NLG")["learning_rate"].value >= 1e-2


@pytest.mark.parametrize("method", ["lora", "vblora", "fourierft", "ia3", "bitfit", "prompt-tuning"])
def test_an_encoders_new_head_has_a_rate_of_its_own_beside_an_adapter(method):
    found = ask(method, architecture="encoder", task_type="classification")
    head = found["head_learning_rate"]
    assert 1e-3 <= head.low <= head.value <= head.high <= 2e-2
    assert any("2405.03003" in source for source in head.sources)
    assert "of a new head" in head.why


@pytest.mark.parametrize(
    ("method", "architecture", "task_type"),
    [
        ("lora", "decoder", "classification"),
        ("lora", "encoder-decoder", "summarization"),
        ("full", "encoder", "classification"),
        ("linear-probe", "encoder", "classification"),
    ],
)
def test_no_heads_rate_is_told_where_none_was_published_or_the_learning_rate_is_it(method, architecture, task_type):
    names = ask(method, architecture=architecture, task_type=task_type)
    assert "learning_rate" in names
    assert "head_learning_rate" not in names


def test_the_rates_of_a_head_do_not_speak_for_the_adapter():
    """VB-LoRA's bank was published with 1e-3, its head with 2e-3 to 2e-2."""
    found = ask("vblora", architecture="encoder", task_type="classification")
    assert found["learning_rate"].value == 1e-3


@pytest.mark.parametrize("method", ["ssf", "bitfit", "layernorm-tuning", "adapter-pfeiffer"])
def test_pictures_have_rates_of_their_own_where_a_grid_was_searched(method):
    """VTAB-1k, 19 tasks: 1e-3 beat 1e-2 on most; rates of texts, 5e-5 for norms, are not borrowed."""
    asked = {"architecture": "vision", "model_parameters": 86 * 10**6, "task_type": "vision", "samples": 1_000}
    rate = ask(method, **asked)["learning_rate"]
    assert rate.low <= 1e-3 <= rate.high
    assert any("2409.16434" in source for source in rate.sources)
