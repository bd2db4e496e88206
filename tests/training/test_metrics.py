"""Scores: what they must equal, whatever the rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from advisor.errors import BadRequest, UnknownName
from advisor.training.metrics import (
    METRICS,
    classification_scores,
    find_metric,
    generation_scores,
    loss_scores,
    rouge_l,
    rouge_n,
    words,
)

texts = st.lists(st.sampled_from("abcdef"), max_size=12)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns(pairs):
    said, true = [p for p, _ in pairs], [t for _, t in pairs]
    scores = classification_scores(said, true)
    assert scores["f1"] == pytest.approx(f1_score(true, said, average="macro", zero_division=0), abs=1e-12)
    assert scores["accuracy"] == sum(p == t for p, t in pairs) / len(pairs)


@given(texts, texts)
def test_rouge_is_symmetric_and_within_0_and_1(said, true):
    for score in (rouge_n, lambda a, b, n: rouge_l(a, b)):
        value = score(said, true, 1)
        assert 0 <= value <= 1
        assert value == pytest.approx(score(true, said, 1))
    assert rouge_l(said, true) <= rouge_n(said, true, 1) + 1e-12


@given(texts.filter(bool))
def test_a_text_has_full_rouge_with_itself(said):
    assert rouge_n(said, said, 1) == rouge_l(said, said) == 1
    assert rouge_n(said, said, 2) == (1 if len(said) > 1 else 0)


def test_rouge_l_counts_the_papers_example():
    reference = words("police killed the gunman")
    assert rouge_l(words("police kill the gunman"), reference) == pytest.approx(3 / 4)
    assert rouge_l(words("the gunman kill police"), reference) == pytest.approx(2 / 4)


def test_exact_match_forgives_blanks_case_and_marks_but_not_words():
    scores = generation_scores([" The  answer.", "other"], ["the answer", "another"])
    assert scores["exact_match"] == 0.5


def test_a_perplexity_beyond_a_double_is_left_out():
    assert "perplexity" not in loss_scores(1e6, 1)
    assert loss_scores(2.0, 2)["perplexity"] == pytest.approx(math.e)


def test_scores_of_no_rows_are_refused():
    with pytest.raises(ValueError, match="0 rows"):
        classification_scores([], [])
    with pytest.raises(ValueError, match="references"):
        generation_scores(["a"], [])


def test_a_metric_of_another_task_is_refused_with_those_that_fit():
    with pytest.raises(BadRequest, match="accuracy does not score causal-lm") as caught:
        find_metric("accuracy", "causal-lm")
    assert "rougeL" in caught.value.hints[0]
    with pytest.raises(UnknownName, match="acuracy") as unknown:
        find_metric("acuracy", "sequence-classification")
    assert "accuracy" in unknown.value.fields["near"]


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_every_metric_is_found_by_its_name(metric):
    for task in metric.tasks:
        assert find_metric(metric.name.upper(), task) is metric


def test_rouge_weighs_precision_and_recall_alike_for_unequal_lengths():
    """Two of four words said, two of two wanted: precision 1/2, recall 1, F-measure 2/3."""
    scores = generation_scores(["the cat sat down"], ["the cat"])
    assert scores["rouge1"] == pytest.approx(2 / 3)
    assert scores["rougeL"] == pytest.approx(2 / 3)


def test_scores_of_classes_are_those_of_scikit_learn_with_a_class_never_said():
    scores = classification_scores([0, 0, 1, 1], [0, 2, 1, 1])
    assert scores["accuracy"] == pytest.approx(0.75)
    assert scores["f1"] == pytest.approx((2 / 3 + 1 + 0) / 3)
