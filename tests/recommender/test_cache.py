"""What was worked out is remembered exactly as long as nothing it depends on changed."""

from __future__ import annotations

import pytest

from advisor import store
from advisor.domain.recommendation import Refusal
from advisor.recommender import cache as remember
from advisor.recommender.cache import keep, recall
from advisor.recommender.recommend_request import checked, resolve
from advisor.recommender.sizing import MethodOutcome


def question(**more):
    return resolve(checked({"model": "meta-llama/Llama-3.1-8B", "gpu": "H100", "samples": 100, **more}))


@pytest.fixture
def fits(candidate):
    refused = Refusal(method="full", reason="large", kind="does-not-fit")
    return {
        "lora": MethodOutcome(method="lora", candidate=candidate("lora")),
        "full": MethodOutcome(method="full", refusal=refused),
    }


def test_the_same_question_finds_its_fits_again(fits):
    assert recall(question()) == {}
    keep(question(), fits)
    assert recall(question()) == fits


@pytest.mark.parametrize(
    "other",
    [
        {"samples": 101},
        {"seq_len": 512},
        {"headroom": 0.1},
        {"trainer": "trl"},
        {"dtype": "float32"},
        {"gpu": "A100"},
        {"usd_per_hour": 9.0},
        {"gradient_checkpointing": True},
        {"optimizer": "sgd"},
    ],
)
def test_a_question_that_differs_in_what_matters_finds_nothing(fits, other):
    keep(question(), fits)
    assert recall(question(**other)) == {}


def test_rows_of_other_lengths_find_nothing_though_all_else_is_the_same(fits):
    def with_lengths(*lengths):
        asked = question()
        return asked.model_copy(update={"workload": asked.workload.model_copy(update={"length_quantiles": lengths})})

    keep(with_lengths(10, 20, 30), fits)
    assert recall(with_lengths(10, 20, 30)) == fits
    assert recall(with_lengths(15, 20, 25)) == recall(with_lengths(10, 20)) == recall(with_lengths()) == {}


def test_what_is_only_weighed_later_does_not_matter(fits):
    keep(question(), fits)
    assert recall(question(tolerance_points=3.0, policy="cheapest", budget_usd=5.0, exclude=["dora"])) == fits


def test_a_new_file_of_the_users_own_makes_all_stale(fits, tmp_path):
    keep(question(), fits)
    own = store.home("data") / "profiles" / "x.json"
    own.parent.mkdir(parents=True)
    own.write_text("{}")
    assert recall(question()) == {}


def test_another_day_makes_prices_stale(fits, monkeypatch):
    from datetime import date, timedelta

    class Tomorrow(date):
        @classmethod
        def today(cls):
            return date.today() + timedelta(days=1)

    keep(question(), fits)
    monkeypatch.setattr(remember, "date", Tomorrow)
    assert recall(question()) == {}


def test_a_corrupt_file_is_as_none(fits):
    keep(question(), fits)
    (path,) = (store.cache_dir() / "fits").glob("*.json.gz")
    path.write_bytes(b"\x1f\x8b broken")
    assert recall(question()) == {}
    keep(question(), fits)
    assert recall(question()) == fits


def test_a_bug_is_not_remembered(fits):
    fits["dora"] = MethodOutcome(method="dora", refusal=Refusal(method="dora", reason="a bug", kind="error"))
    keep(question(), fits)
    assert set(recall(question())) == {"lora", "full"}


def test_a_cache_that_cannot_be_written_is_done_without(fits, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("ADVISOR_HOME", str(blocked / "below"))
    keep(question(), fits)
    assert recall(question()) == {}
