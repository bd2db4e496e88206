"""The quality model: what it must say, what it must refuse, and that its stored fit is the fit of these files."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advisor import store
from advisor.catalog.findings.method_names import KIND_OF
from advisor.catalog.findings.study_files import load_studies
from advisor.catalog.findings.task_types import TASK_TYPES
from advisor.domain.candidate import Quality
from advisor.errors import BadRequest, NoEvidence, UnknownName
from advisor.literature.data_scale import quality_curve
from advisor.literature.quality.features import ARCHITECTURES
from advisor.literature.quality.posterior import Posterior, QualityFit, fit_file, posterior
from advisor.literature.quality.quality_prediction import answer, only_attention, predict_quality
from advisor.literature.quality.refit import hash_of


def ask(method: str = "lora", **changes) -> Quality:
    asked = {"architecture": "decoder", "model_parameters": 8 * 10**9, "task_type": "NLU", "samples": 2_000}
    return predict_quality(method, **{**asked, **changes})


def test_the_fit_is_of_the_studies_that_ship():
    """A changed study file needs a new fit: `advisor evidence --fit`."""
    fit = store.read(QualityFit, fit_file())
    assert {study.id: study.sha256 for study in fit.studies} == {study.id: hash_of(study.id) for study in fit.studies}
    assert {study.id for study in fit.studies} <= {study.id for study in load_studies()}


def test_the_stored_fit_kept_its_laws_out_of_study():
    held_out = posterior().fit.held_out
    assert held_out["studies"] >= 45
    # the fit is deterministic, so what a new study may cost is all the room there is: 0.838, 0.746 and 0.736 now;
    # coverage 0.901 and 0.897, 15.9 points wide. Blind, papers of one's own method are ordered hardly (benchmarks/
    # quality_loso.py still asks 0.80), and full fine-tuning above 1,000 samples loses less than the blind choice.
    assert held_out["pairs_told"] >= 0.82
    assert held_out["pairs_blind"] >= 0.73
    assert held_out["pairs_blind_without_full"] >= 0.72
    assert 0.88 <= held_out["coverage_over_studies"] <= 0.92
    assert 0.88 <= held_out["coverage_over_rows"] <= 0.92
    assert held_out["interval_width"] <= 17
    assert held_out["regret_told"] <= min(held_out["regret_always_lora"], held_out["regret_pu_table"])
    assert held_out["regret_blind"] <= held_out["regret_always_lora"]


def test_what_each_study_said_adds_up_to_the_coefficients():
    model = posterior()
    for i, mean in enumerate(model.mean):
        assert model.moves[:, i].sum() == pytest.approx(mean, abs=2e-4)


@given(
    method=st.sampled_from(sorted(set(KIND_OF) - {"no-tuning"})),
    architecture=st.sampled_from(ARCHITECTURES),
    task_type=st.sampled_from(TASK_TYPES),
    samples=st.none() | st.integers(1, 10**8),
    parameters=st.none() | st.integers(10**6, 10**12),
)
@settings(max_examples=200, deadline=None)
def test_every_legal_question_has_an_honest_answer(method, architecture, task_type, samples, parameters):
    quality = ask(method, architecture=architecture, task_type=task_type, samples=samples, model_parameters=parameters)
    assert quality.effect.low <= quality.effect.mid <= quality.effect.high
    assert 0 <= quality.within_one_point <= 1
    if KIND_OF[method] != "full":
        assert quality.effect.high - quality.effect.low > 2  # between-study SD is 2.5-6.4 points: nobody knows better
        assert quality.effect.basis == "modelled"


def test_full_fine_tuning_is_the_reference():
    quality = ask("full_ft")
    assert (quality.effect.low, quality.effect.mid, quality.effect.high) == (0, 0, 0)


def test_not_knowing_the_samples_is_wider_than_knowing_they_are_many():
    unknown, many = ask(samples=None), ask(samples=30_000)
    assert unknown.effect.high - unknown.effect.low > many.effect.high - many.effect.low
    assert any("unknown" in warning for warning in unknown.warnings)


def test_not_tuning_is_no_method():
    with pytest.raises(NoEvidence):
        ask("no_tuning")


def test_soft_prompts_lose_badly_at_few_samples_and_less_at_many():
    few, many = ask("prompt-tuning", samples=100), ask("prompt-tuning", samples=10_000)
    assert few.effect.mid < -4 < many.effect.mid + 2
    assert few.effect.mid < many.effect.mid - 1
    assert any("soft prompts" in warning for warning in few.warnings)


def test_few_samples_cost_a_small_encoder_with_lora_more_than_gpt3():
    encoder = ask("lora", architecture="encoder", model_parameters=110 * 10**6, samples=100)
    gpt3 = ask("lora", model_parameters=175 * 10**9, samples=100)
    # half a point: UniPELT's encoders collapsed at 100 rows, our own did not when each rate was tuned
    assert encoder.effect.mid < gpt3.effect.mid - 0.5
    assert any("collapsed" in warning for warning in encoder.warnings)


def test_attention_alone_loses_at_few_hundred_samples():
    attention = ask(samples=300, options={"target_modules": ["q_proj", "v_proj"]})
    everything = ask(samples=300, options={"target_modules": ["q_proj", "v_proj", "up_proj", "down_proj"]})
    many = ask(samples=100_000, options={"target_modules": ["q_proj", "v_proj"]})
    assert attention.effect.mid < everything.effect.mid - 1
    assert many.effect.mid > attention.effect.mid
    assert attention.effect.high - attention.effect.low > everything.effect.high - everything.effect.low


@pytest.mark.parametrize(
    ("targets", "answer"),
    [
        (["q_proj", "v_proj"], True),
        (["model.layers.0.self_attn.q_proj"], True),
        ("q_proj", True),
        (["q_proj", "up_proj"], False),
        ("all-linear", False),
        ([], False),
        (None, False),
    ],
)
def test_targets_that_are_attention_alone_are_told_apart(targets, answer):
    assert only_attention({"target_modules": targets}) is answer


def test_one_rate_for_all_methods_hurts_soft_prompts():
    assert ask("p-tuning", learning_rate_tuned=False).effect.mid < ask("p-tuning").effect.mid


def test_authors_are_kinder_to_their_own_method():
    assert ask("pissa", own_method=True).effect.mid > ask("pissa").effect.mid


def test_a_method_without_findings_says_so_and_is_wider_than_its_like():
    # neither is its study's own: an expected gain nearer to 0 has the narrower spread, whoever is unseen
    unseen, seen = ask("kasa", own_method=False), ask("lora", own_method=False)
    assert unseen.studies == 0
    assert "no study of kasa" in unseen.evidence
    assert unseen.effect.high - unseen.effect.low > seen.effect.high - seen.effect.low


def test_the_studies_that_moved_it_most_are_cited_with_addresses():
    quality = ask("lora")
    weights = [citation.weight for citation in quality.citations]
    assert weights == sorted(weights, reverse=True)
    assert len(weights) >= 3
    assert all(citation.url.startswith("https://") for citation in quality.citations)


@pytest.mark.parametrize("field", ["samples", "model_parameters", "trainable_parameters"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_size_below_one_is_refused(field, value):
    with pytest.raises(BadRequest, match=field):
        ask(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("method", "lorra"), ("architecture", "decodr"), ("task_type", "sumarization")]
)
def test_an_unknown_name_is_refused_with_near_ones(field, value):
    with pytest.raises(UnknownName) as refused:
        ask(**{field: value})
    assert refused.value.fields["near"]


def test_the_curve_of_a_soft_prompt_rises_with_samples_until_it_is_flat():
    mids = [
        point.quality.effect.mid
        for point in quality_curve("prompt-tuning", architecture="decoder", model_parameters=None, task_type="NLU")
        if point.samples <= 10_000
    ]
    assert mids == sorted(mids)


def test_a_question_takes_less_than_twenty_milliseconds():
    ask()
    start = time.process_time()
    for _ in range(50):
        ask("dora")
    assert (time.process_time() - start) / 50 < 0.02


def test_predicting_loads_neither_torch_nor_scipy_nor_the_findings():
    code = (
        "import sys; from advisor.literature.quality.quality_prediction import predict_quality as p;"
        "p('lora', architecture='decoder', model_parameters=None, task_type='NLU', samples=5);"
        "import json; print(json.dumps([m for m in ('torch', 'scipy', 'sklearn', 'pandas') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("mean", [-130.0, -90.0, 95.0, 140.0])
def test_no_effect_lies_beyond_what_two_scores_can_differ_by(monkeypatch, mean):
    real = Posterior.answer
    answer.cache_clear()
    monkeypatch.setattr(Posterior, "answer", lambda self, question: (mean, 40.0, real(self, question)[2]))
    effect = ask().effect
    answer.cache_clear()
    assert -100 <= effect.low <= effect.mid <= effect.high <= 100
    assert -100 in (effect.low, -effect.high)
