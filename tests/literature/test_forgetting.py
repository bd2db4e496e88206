"""Forgetting against full fine-tuning."""

from __future__ import annotations

import pytest

from advisor.catalog.findings.study_files import load_studies
from advisor.errors import UnknownName
from advisor.literature.forgetting import forgetting, rank_of


def test_lora_forgets_less_than_full_fine_tuning_where_it_was_measured_most():
    first = forgetting("lora")[0]
    assert first.study == "biderman2024"
    assert first.kept > 0
    assert first.settings > 50
    assert first.better_in > first.settings / 2


def test_a_rise_of_the_loss_counts_as_forgetting():
    (measured,) = forgetting("prefix-tuning")
    assert measured.unit == "nats"
    assert measured.kept < 0  # prefix tuning rose by 0.2-1.8 nats, full fine-tuning by 0.03


def test_what_nobody_measured_is_empty_and_not_zero():
    assert forgetting("corda") == ()


@pytest.mark.parametrize(
    ("settings", "rank"),
    [("LoRA (r=16); all modules", 16), ("lora/llama-3.2-3B-rank32", 32), ("r8a16", 8), ("full finetuning", None)],
)
def test_a_rank_is_read_however_it_is_printed(settings, rank):
    some = next(f for study in load_studies() for f in study.findings).model_copy(update={"settings": settings})
    assert rank_of(some) == rank


def test_each_rank_has_its_row_and_they_are_all_of_the_settings():
    of_biderman = [one for one in forgetting("lora") if one.study == "biderman2024"]
    whole, *ranks = of_biderman
    assert whole.rank is None
    assert len(ranks) > 1
    assert sum(one.settings for one in ranks) == whole.settings
    assert {one.rank for one in ranks} >= {16, 256}


def test_an_interval_holds_its_mean_and_one_setting_has_none():
    for method in ("lora", "oft", "vera", "pissa", "adalora"):
        for one in forgetting(method):
            if one.kept_low is None:
                assert one.settings == 1
            else:
                assert one.kept_low <= one.kept <= one.kept_high
                assert one.settings > 1
    first = forgetting("lora")[0]
    assert first.kept_low > 0


def test_what_is_lost_is_told_against_the_untouched_model_and_by_training():
    """PEFT-Arena, LoRA, supervised: Qwen2.5-7B falls from 46.97 to 39.22, Llama-3.2-3B from 53.03 to 36.57."""
    by = {one.trained_by: one for one in forgetting("lora") if one.study == "peft-arena2026"}
    assert by["SFT"].lost == pytest.approx((46.97 - 39.22 + 53.03 - 36.57) / 2)
    assert by["GRPO"].lost < 2 < by["SFT"].lost
    assert next(one for one in forgetting("lora") if one.study == "biderman2024").lost is None


def test_an_unknown_method_is_refused():
    with pytest.raises(UnknownName):
        forgetting("lorra")
