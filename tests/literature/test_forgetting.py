"""Forgetting against full fine-tuning."""

from __future__ import annotations

import pytest

from advisor.errors import UnknownName
from advisor.literature.forgetting import forgetting


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


def test_an_unknown_method_is_refused():
    with pytest.raises(UnknownName):
        forgetting("lorra")
