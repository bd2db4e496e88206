"""Trainings shorter than a method needs: smaller batches and larger rates, said, and within the method's range."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor.catalog.methods import find_method
from advisor.domain.recommendation import Setting
from advisor.domain.units import plural
from advisor.domain.workload import Workload
from advisor.literature.hyperparameters.training_length import (
    HIGHEST_RANK,
    MOST,
    SMALLEST_BATCH,
    UNDECAYED,
    UNDECAYED_GAIN,
    converging_batch,
    converging_epochs,
    fields_for_short_training,
    quickened,
    shortfall,
    steps_needed,
    too_short,
)

METHODS = ("lora", "full", "bitfit", "ia3", "adapter-houlsby", "prompt-tuning", "linear-probe")


def work(samples, epochs, batch=16):
    return Workload(
        model="m", task="sequence-classification", samples=samples, epochs=epochs, effective_batch_size=batch
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_training_of_enough_steps_keeps_batch_rank_and_rate(method):
    long = work(2000, 100)
    assert converging_batch(method, long) == (16, "")
    assert quickened(method, 1e-4, 8, long) == (1e-4, 8)


@given(samples=st.integers(1, 5000), epochs=st.floats(0.5, 50), method=st.sampled_from(METHODS))
def test_batch_and_rate_move_only_as_far_as_the_steps_lack(samples, epochs, method):
    asked = work(samples, epochs)
    batch, said = converging_batch(method, asked)
    assert SMALLEST_BATCH <= batch <= 16
    assert bool(said) == (batch < 16)
    needed = steps_needed(method, asked)
    if batch < 16:
        assert work(samples, epochs, 2 * batch).optimizer_steps() < needed
    high = find_method(method).learning_rate.high
    raised, rank = quickened(method, 1e-4, None, work(samples, epochs, batch))
    assert rank is None
    assert 1e-4 <= raised <= max(1e-4, min(high, MOST * 1e-4))


@given(samples=st.integers(1, 5000), epochs=st.floats(0.5, 50), rank=st.integers(1, 200))
def test_the_rank_makes_up_for_missing_steps_before_the_rate_does(samples, epochs, rank):
    asked = work(samples, epochs)
    rate, wider = quickened("lora", 5e-4, rank, asked)
    lacking = shortfall("lora", asked)
    assert rank <= wider <= max(rank, HIGHEST_RANK)
    assert wider < 2 * rank * lacking
    if rate > 5e-4:
        assert wider >= HIGHEST_RANK
        assert rate * wider <= 5e-4 * rank * lacking * 1.001


def test_six_epochs_of_a_hundred_rows_take_a_wider_update_at_the_published_rate():
    """A shortfall of 6.7: half of it is made up by a rate that does not decay, the rest by the rank."""
    assert quickened("lora", 5e-4, 8, work(100, 6, 4)) == (5e-4, 32)
    assert quickened("lora", 5e-4, 8, work(100, 1, 4)) == (pytest.approx(1.25e-3), 64)


@given(labels=st.integers(2, 500), more=st.integers(0, 500))
def test_more_classes_never_learn_more_slowly(labels, more):
    few, many = (
        quickened("lora", 1e-4, 8, work(100, 6, 4).model_copy(update={"num_labels": n}))
        for n in (labels, labels + more)
    )
    assert few[0] <= many[0]
    assert few[1] <= many[1]


@given(labels=st.integers(2, 500))
def test_the_rank_beside_a_head_with_its_own_rate_does_not_follow_the_classes(labels):
    asked = work(100, 6, 4).model_copy(update={"num_labels": labels})
    two = work(100, 6, 4).model_copy(update={"num_labels": 2})
    assert quickened("lora", 1e-4, 8, asked, own_head=True) == quickened("lora", 1e-4, 8, two)


HEADED = {"learning_rate": 5e-4, "head_learning_rate": 7e-3}


def told_for(labels, rows=100, epochs=6.0):
    asked = work(rows, epochs, 4).model_copy(update={"num_labels": labels})
    fields, options = fields_for_short_training(find_method("lora"), HEADED, {"rank": 8}, asked)
    return fields["learning_rate"], fields["head_learning_rate"], options["rank"]


@pytest.mark.parametrize(
    ("labels", "adapter", "head"),
    [(2, 5e-4, 7e-3), (3, 5e-4, 7e-3), (5, 3.41e-4, 1.025e-2), (19, 2.5e-4, 1.876e-2), (500, 2.5e-4, 2e-2)],
)
def test_a_new_head_learns_many_classes_faster_and_the_adapter_beside_it_slower(labels, adapter, head):
    assert told_for(labels) == (pytest.approx(adapter, rel=1e-3), pytest.approx(head, rel=1e-3), 32)


@given(labels=st.integers(2, 500), more=st.integers(0, 500))
def test_more_classes_never_slow_the_head_nor_hurry_the_adapter(labels, more):
    few, many = told_for(labels), told_for(labels + more)
    assert few[0] >= many[0] >= 2.5e-4
    assert few[1] <= many[1] <= 2e-2


def test_a_training_long_enough_keeps_both_published_rates_whatever_the_classes():
    assert told_for(19, 2000, 100) == (5e-4, 7e-3, 8)


def test_a_published_head_rate_above_the_others_stays():
    asked = work(100, 6, 4).model_copy(update={"num_labels": 19})
    fields, _ = fields_for_short_training(
        find_method("lora"), {**HEADED, "head_learning_rate": 5e-2}, {"rank": 8}, asked
    )
    assert fields["head_learning_rate"] == 5e-2


@given(short=st.integers(1, 200), more=st.integers(1, 200))
def test_a_longer_training_never_gets_a_larger_rate(short, more):
    longer, shorter = (quickened("lora", 1e-4, 8, work(100, n)) for n in (short + more, short))
    assert longer[0] <= shorter[0]
    assert longer[1] <= shorter[1]


def test_a_published_rate_above_the_range_of_the_catalogue_stays():
    high = find_method("lora").learning_rate.high
    assert quickened("lora", 2 * high, None, work(100, 1)) == (2 * high, None)


def test_the_reason_names_both_batches_and_what_the_method_needs():
    batch, said = converging_batch("lora", work(100, 6))
    assert batch == 4
    assert said == (
        "effective batch: 4, which in 6 epochs gives 150 steps where 16 gives 42; lora needs about 1,000 to converge"
    )


def test_a_method_nobody_counted_steps_of_is_left_alone():
    assert steps_needed("linear-probe", work(10, 1)) is None
    assert converging_batch("linear-probe", work(10, 1)) == (16, "")
    assert quickened("linear-probe", 1e-3, None, work(10, 1)) == (1e-3, None)


EPOCHS = (Setting(name="epochs", value=3.0, low=1.0, high=30.0, why="a test", sources=("s",)),)


def text(samples, task_type=None, **fields):
    return Workload(model="m", task="causal-lm", task_type=task_type, samples=samples, **fields)


def test_few_rows_are_read_until_the_method_has_learned_and_many_as_often_as_usual():
    few, said = converging_epochs("lora", text(100), EPOCHS)
    assert few * 100 == pytest.approx(3000, rel=0.1)
    assert "to converge" in said
    assert converging_epochs("lora", text(5000), EPOCHS) == (3.0, "")
    assert converging_epochs("lora", text(None), EPOCHS) == (3.0, "")


@given(samples=st.integers(1, 10**6), usual=st.floats(0.5, 50), low=st.floats(0.5, 5), span=st.floats(1, 50))
def test_epochs_stay_within_what_was_published_and_are_never_fewer_for_fewer_rows(samples, usual, low, span):
    published = (EPOCHS[0].model_copy(update={"low": low, "high": low * span}),)
    epochs, said = converging_epochs("lora", text(samples, epochs=usual), published)
    assert low <= epochs <= low * span
    assert bool(said) == (epochs != usual)
    assert converging_epochs("lora", text(2 * samples, epochs=usual), published)[0] <= epochs


@given(samples=st.integers(64, 5000), epochs=st.floats(0.5, 50))
def test_a_short_training_to_generate_takes_smaller_batches_too(samples, epochs):
    asked = text(samples, epochs=epochs)
    batch, said = converging_batch("lora", asked)
    short = shortfall("lora", asked) > 1
    assert (batch < 16) == short == bool(said)
    if short:
        assert (
            batch == SMALLEST_BATCH or shortfall("lora", text(samples, epochs=epochs, effective_batch_size=batch)) == 1
        )


@given(samples=st.integers(20, 3000), epochs=st.floats(0.5, 60), method=st.sampled_from(METHODS))
def test_nothing_is_changed_for_less_than_an_undecayed_rate_makes_up(samples, epochs, method):
    """Or a training five steps short would go twice as far as one that is long enough."""
    asked, fields = work(samples, epochs), {"learning_rate": 1e-5, "schedule": "cosine"}
    found, options = fields_for_short_training(find_method(method), fields, {}, asked)
    assert (found == fields) == (not too_short(method, asked)) == (shortfall(method, asked) < UNDECAYED_GAIN)
    assert options == {} or too_short(method, asked)


def test_generation_counts_steps_by_the_learning_curve_and_classification_by_few_shot_recipes():
    assert steps_needed("lora", text(100, "instruction")) == steps_needed("lora", text(100)) == 188
    assert steps_needed("lora", text(100, "classification")) == steps_needed("lora", work(100, 3)) == 1000
    assert steps_needed("lora", text(100, effective_batch_size=4)) == 750


@pytest.mark.parametrize("method", ["lora", "pissa", "full", "bitfit"])
def test_fields_of_a_long_training_are_as_given_and_of_a_short_one_learn_faster(method):
    fields = {"learning_rate": 2e-5, "schedule": "cosine"}
    found = find_method(method)
    assert fields_for_short_training(found, fields, {}, work(2000, 100)) == (fields, {})
    short, options = fields_for_short_training(found, fields, {}, work(100, 1), widest=48)
    assert short["schedule"] == UNDECAYED
    assert short["learning_rate"] > 2e-5 or options
    if method in ("lora", "pissa"):
        assert options["rank"] == 48
        ratio = 2 if method == "lora" else 1
        assert options["alpha"] == 48 * ratio
    else:
        assert options == {}


def test_a_rank_already_wider_than_the_model_is_not_made_smaller():
    _, options = fields_for_short_training(
        find_method("lora"), {"learning_rate": 1e-4}, {"rank": 64}, work(100, 1), widest=32
    )
    assert options["rank"] == 64


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1 step"), (0, "0 steps"), (2000, "2,000 steps"), (1.0, "1 step"), (0.5, "0.5 steps")]
)
def test_one_is_told_in_the_singular(number, said):
    assert plural(number, "step") == said
