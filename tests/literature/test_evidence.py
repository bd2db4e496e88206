"""Which findings bear on a question, and many predictions at once."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.findings.study_files import load_studies
from advisor.domain.request.typed_numbers import size_of
from advisor.errors import BadRequest, UnknownName
from advisor.literature.evidence import evidence, predict_case, predict_lines

CASE = {
    "architecture": "decoder",
    "model_params": 8_000_000_000,
    "task_type": "NLU",
    "n_train_samples": 2_000,
    "method": "lora",
}


def test_the_nearest_findings_come_first():
    found = evidence("lora", architecture="encoder", model_parameters=110 * 10**6, samples=100, limit=None)
    nearness = [bearing.nearness for bearing in found.bearing]
    assert nearness == sorted(nearness, reverse=True)
    assert found.bearing[0].study == "unipelt2022"
    assert found.total == len(found.bearing)
    assert found.prediction is not None


def test_filters_keep_what_matches_and_nothing_else():
    found = evidence("prompt_tuning", task_type="summarization", limit=None)
    assert found.total > 0
    assert {bearing.finding.method for bearing in found.bearing} == {"prompt-tuning"}
    assert {bearing.finding.task_type for bearing in found.bearing} == {"summarization"}


def test_an_effect_has_the_sign_of_better_whichever_way_the_metric_goes():
    rows = [b for b in evidence(study="lora2021", limit=None).bearing if b.finding.metric == "TER" and b.effect]
    assert rows
    for bearing in rows:
        full = bearing.finding.full_value
        assert full is not None
        assert (bearing.effect > 0) == (bearing.finding.value < full)


def test_forgetting_and_cost_are_there_to_be_listed():
    assert evidence("lora", aspect="forgetting").total > 50
    assert evidence("lora", aspect="cost").total > 50


def test_what_is_not_there_is_refused_with_near_names():
    with pytest.raises(UnknownName):
        evidence(study="lora2020")
    with pytest.raises(UnknownName):
        evidence(task_type="cooking")
    with pytest.raises(BadRequest):
        evidence("lora", samples=0)


def test_a_prediction_answers_with_interval_probability_and_studies():
    answer = predict_case(CASE)
    assert answer["low"] <= answer["mid"] <= answer["high"]
    assert answer["effect"] == {end: answer[end] for end in ("low", "mid", "high")}
    assert 0 < answer["within_one_point"] < 1
    assert answer["studies"] > 10


@pytest.mark.parametrize("unknown", ["model_params", "n_train_samples"])
def test_an_unknown_size_is_answered(unknown):
    assert predict_case({**CASE, unknown: None})["studies"] > 0
    assert predict_case({key: value for key, value in CASE.items() if key != unknown})["studies"] > 0


@pytest.mark.parametrize(
    ("method", "ours"), [("full_ft", "full"), ("adapter_houlsby", "adapter-houlsby"), ("ln_tuning", "layernorm-tuning")]
)
def test_names_of_studies_and_ours_get_the_same_answer(method, ours):
    assert predict_case({**CASE, "method": method}) == predict_case({**CASE, "method": ours})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"n_train_samples": 0}, "BadRequest"),
        ({"n_train_samples": -5}, "BadRequest"),
        ({"n_train_samples": "many"}, "BadRequest"),
        ({"n_train_samples": True}, "BadRequest"),
        ({"n_train_samples": float("inf")}, "BadRequest"),
        ({"model_params": 0}, "BadRequest"),
        ({"model_params": [7]}, "BadRequest"),
        ({"trainable_parameters": 0}, "BadRequest"),
        ({"method": "lorra"}, "UnknownName"),
        ({"method": None}, "BadRequest"),
        ({"task_type": "cooking"}, "UnknownName"),
        ({"task_type": "cost"}, "UnknownName"),
        ({"architecture": "quantum"}, "UnknownName"),
        ({"sample": 5}, "BadRequest"),
        ({"n_train_samples": float("nan")}, "BadRequest"),
        ({"n_train_samples": 0.5}, "BadRequest"),
        ({"n_train_samples": 10**16}, "BadRequest"),
        ({"n_train_samples": 10**400}, "BadRequest"),
        ({"n_train_samples": "1e400"}, "BadRequest"),
        ({"n_train_samples": "1.2.3"}, "BadRequest"),
        ({"n_train_samples": "20%"}, "BadRequest"),
        ({"n_train_samples": "100-"}, "BadRequest"),
        ({"n_train_samples": {"train": 5}}, "BadRequest"),
        ({"model_params": -8e9}, "BadRequest"),
        ({"model_params": "8 billion"}, "BadRequest"),
        ({"trainable_parameters": "0%"}, "BadRequest"),
        ({"trainable_parameters": "120%"}, "BadRequest"),
        ({"trainable_parameters": "some%"}, "BadRequest"),
        ({"trainable_parameters": -5}, "BadRequest"),
        ({"method": ""}, "UnknownName"),
        ({"method": "no_tuning"}, "NoEvidence"),
        ({"method": ["lora"]}, "BadRequest"),
        ({"architecture": None}, "BadRequest"),
        ({"task_type": ""}, "UnknownName"),
        ({"options": 5}, "BadRequest"),
        ({"learning_rate_tuned": "yes"}, "BadRequest"),
        ({"own_method": 1}, "BadRequest"),
    ],
)
def test_a_bad_line_is_an_error_and_the_rest_go_on(changes, error):
    lines = [json.dumps({**CASE, **changes}), "", json.dumps(CASE)]
    bad, good = predict_lines(lines)
    assert bad["error"] == error
    assert bad["line"] == 1
    assert good["studies"] > 10


@pytest.mark.parametrize("missing", ["method", "architecture", "task_type"])
def test_a_line_without_what_it_needs_says_what(missing):
    (bad,) = predict_lines([json.dumps({key: value for key, value in CASE.items() if key != missing})])
    assert bad["error"] == "BadRequest"
    assert missing in bad["message"]


def test_every_setting_that_ships_can_be_asked_about_in_its_own_words():
    asked = {
        (one.architecture, one.model_parameters, one.task_type, one.samples or one.samples_printed, one.method)
        for study in load_studies()
        for one in study.findings
        if one.aspect == "quality" and one.method != "no-tuning" and "token" not in one.samples_printed
    }
    keys = ("architecture", "model_params", "task_type", "n_train_samples", "method")
    lines = [json.dumps(dict(zip(keys, case, strict=True))) for case in sorted(asked, key=str)]
    answers = list(predict_lines(lines))
    assert len(answers) > 500
    assert [(line, answer) for line, answer in zip(lines, answers, strict=True) if "error" in answer] == []


def test_near_names_come_with_an_unknown_method():
    (bad,) = predict_lines([json.dumps({**CASE, "method": "lorra"})])
    assert "lora" in bad["near"]


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=8), st.lists, max_leaves=4))
def test_whatever_a_field_holds_there_is_one_answer_or_one_error(junk):
    for field in (*CASE, "trainable_parameters", "options", "learning_rate_tuned", "own_method"):
        (answer,) = predict_lines([json.dumps({**CASE, field: junk})])
        assert ("error" in answer) != ("effect" in answer)


@pytest.mark.parametrize("trainable", [None, "", 4_000_000, "4M", "0.05%", "100%", "0.3 %", "895K (0.81%)"])
def test_trainable_parameters_are_read_as_studies_print_them(trainable):
    assert predict_case({**CASE, "trainable_parameters": trainable})["studies"] > 10


def test_what_is_not_said_of_a_study_lies_between_the_two_answers():
    """A method that no study proposes may be the new study's own."""
    own, not_own, unsaid = (
        predict_case({**CASE, "method": "hira", "own_method": said})["mid"] for said in (True, False, None)
    )
    assert not_own < unsaid < own
    assert "propose it" in predict_case({**CASE, "method": "hira"})["evidence"]
    assert "propose it" not in predict_case({**CASE, "method": "hira", "own_method": False})["evidence"]
    tuned, untuned, unsaid = (
        predict_case({**CASE, "method": "prompt-tuning", "learning_rate_tuned": said})["mid"]
        for said in (True, False, None)
    )
    assert untuned < unsaid < tuned


def test_a_method_whose_proposers_are_in_the_catalogue_is_nobody_elses():
    assert predict_case({**CASE, "method": "pissa"}) == predict_case({**CASE, "method": "pissa", "own_method": False})


def test_no_answer_is_beyond_what_a_score_can_be():
    for n in (1, 10**15):
        for method in ("prompt-tuning", "lora", "bitfit"):
            for architecture in ("encoder", "decoder"):
                changes = {"n_train_samples": n, "method": method, "architecture": architecture, "model_params": 10**6}
                answer = predict_case({**CASE, **changes})
                assert -100 <= answer["low"] <= answer["mid"] <= answer["high"] <= 100


@pytest.mark.parametrize(
    "line", ["{", "[1]", "null", "7", '"lora"', "NaN", "[" * 100_000, '{"n": ' + "9" * 5_000 + "}"]
)
def test_a_line_that_is_no_object_is_an_error(line):
    (bad,) = predict_lines([line])
    assert bad["error"] == "BadRequest"


@given(st.integers(1, 10**14))
def test_a_size_reads_as_a_number_or_as_text(size):
    assert size_of(size, "n") == size == size_of(str(size), "n")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8B", 8 * 10**9),
        ("125M", 125 * 10**6),
        ("8e9", 8 * 10**9),
        ("~151M", 151 * 10**6),
        ("2,000", 2000),
        ("1,234,567", 1_234_567),
        ("2.5K", 2500),
        ("2.0", 2),
        ("20-70", 37),
        ("1-3B", 1_732_050_808),
        ("7B-8B", 7_483_314_774),
        ("406M(not stated in text)", 406 * 10**6),
    ],
)
def test_a_size_reads_as_people_write_it(text, size):
    assert size_of(text, "n") == size


@pytest.mark.parametrize("text", ["1,5", "1,50", "12,3456", "1.5", "0,5", "1,000,5", "1,,000", "2,000.5"])
def test_a_decimal_comma_makes_no_size_ten_times_as_large(text):
    with pytest.raises(BadRequest):
        size_of(text, "n")
