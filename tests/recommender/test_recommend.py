"""The door, with textbook costs: what it chooses, refuses and says, for good questions and bad."""

from __future__ import annotations

import pickle
from datetime import date

import pytest

import advisor
from advisor.domain.recommendation import Recommendation
from advisor.domain.units import GIB
from advisor.errors import AdvisorError, BadRequest, DoesNotFit, UnknownName
from advisor.literature.hyperparameters.training_length import SMALLEST_BATCH, UNDECAYED
from advisor.recommender.criteria import dominates, expected_effect, peak_bytes, training_seconds, training_usd

MODEL, GPU = "meta-llama/Llama-3.1-8B", "H100"
SOME = ["full", "lora", "qlora", "dora", "prompt-tuning"]


def ask(costs, model=MODEL, gpu=GPU, **more):
    return advisor.recommend(model, gpu, costs=costs, **{"samples": 2000, "method": SOME, **more})


def methods_of(found):
    return [c.recipe.method for c in found.ranked]


def test_the_choice_fits_and_is_named_with_reasons(costs):
    found = ask(costs)
    assert found.choice.recipe.method == "lora"
    assert all(c.fits for c in found.ranked)
    assert found.why
    assert "lora" in found.why[0]
    assert "balanced" in found.policy


def test_what_the_choice_may_lose_is_told_of_each_method_and_what_nothing_separates(costs):
    found = ask(costs, samples=5_000)
    assert [risk.method for risk in found.risks] == [one.recipe.method for one in found.ranked]
    assert sum(risk.best for risk in found.risks) == pytest.approx(1, abs=0.02)
    assert min(risk.extra_seconds for risk in found.risks) == 0
    assert any(text.startswith("at risk: ") for text in found.why)
    between = [risk.method for risk in found.risks[1:] if 0.25 < risk.above_choice < 0.75]
    said = " ".join(text for text in found.why if text.startswith("no difference known"))
    assert all(name in said for name in between)


def test_every_method_asked_about_is_ranked_or_refused_once(costs):
    found = ask(costs, method=None)
    core = {m.name for m in advisor.methods() if m.core}
    named = [*methods_of(found), *(r.method for r in found.refused)]
    assert sorted(named) == sorted(core)


def test_the_effective_batch_is_met_exactly(costs):
    for effective in (1, 6, 16, 17, 96):
        for candidate in ask(costs, effective_batch_size=effective).ranked:
            recipe = candidate.recipe
            assert recipe.micro_batch_size * recipe.gradient_accumulation == effective


def test_no_larger_micro_batch_would_have_fitted(costs):
    found = ask(costs, seq_len=4096, effective_batch_size=64)
    for candidate in found.ranked:
        recipe = candidate.recipe
        larger = [d for d in range(recipe.micro_batch_size + 1, 65) if 64 % d == 0]
        for size in larger:
            bigger = recipe.model_copy(update={"micro_batch_size": size, "gradient_accumulation": 64 // size})
            from advisor.catalog.models import resolve_model

            assert not costs.price(found.workload, bigger, found.hardware, resolve_model(MODEL)).fits


def test_what_is_offered_beside_the_choice_is_not_dominated(costs):
    found = ask(costs)
    for candidate in found.ranked[1:]:
        assert not any(dominates(other, candidate) for other in found.ranked)


def test_a_method_too_large_says_what_it_needs_and_what_would_hold_it(costs):
    found = ask(costs, gpu="A100-40GB")
    refusal = next(r for r in found.refused if r.method == "full")
    assert refusal.kind == "does-not-fit"
    assert "GiB" in refusal.reason
    assert any("full fits" in text and "points" in text for text in found.would_change)


def test_checkpointing_is_used_only_where_it_lets_more_fit(costs):
    roomy = ask(costs, seq_len=128).choice.recipe
    tight = ask(costs, gpu="RTX 4090", seq_len=4096, method=["lora"]).choice.recipe
    assert not roomy.gradient_checkpointing
    assert tight.gradient_checkpointing


def test_a_quantised_base_is_tried_only_where_the_plain_one_does_not_fit(costs):
    assert ask(costs, method=["lora"]).choice.recipe.base == "dtype"
    assert {base for _, base, _, _ in costs.asked} == {"dtype"}
    assert ask(costs, method=["lora"], gpu="T4").choice.recipe.base == "int8"


def full_of(costs, gpu, **more):
    return ask(costs, model="meta-llama/Llama-3.2-1B", gpu=gpu, method=["full"], seq_len=128, **more)


def test_full_tuning_keeps_float32_weights_while_they_fit_then_a_smaller_state_then_bfloat16_with_its_warning(costs):
    """1.24 billion parameters: 16, 10 and 8 bytes each are 18.4, 11.5 and 9.2 GiB; Kahan summation takes 10 too."""
    roomy = full_of(costs, "A100")
    assert (roomy.choice.recipe.precision, roomy.choice.recipe.optimizer) == (
        "float32 with bf16 autocast",
        "adamw_torch",
    )
    assert any("float32 weights" in text for text in roomy.why)
    tight = full_of(costs, "RTX 4080")
    assert (tight.choice.recipe.mixed, tight.choice.recipe.optimizer) == (True, "adamw_bnb_8bit")
    assert any("16 bytes a parameter" in text for text in tight.why)
    full = full_of(costs, "RTX 3060", headroom=0.1)
    assert full.choice.recipe.precision == "bfloat16"
    assert any("0.570 against 0.747" in text for text in full.why)
    assert any("--gpu" in text and "galore" in text for text in full.why)


def test_an_optimizer_asked_for_is_kept_and_float16_is_never_trained_alone(costs):
    assert full_of(costs, "A100", optimizer="adafactor").choice.recipe.optimizer == "adafactor"
    with pytest.raises(DoesNotFit):
        full_of(costs, "RTX 2080", headroom=0.1)
    with pytest.raises(BadRequest, match="updates become infinite"):
        full_of(costs, "A100", dtype="float16")


def test_the_precision_asked_for_is_the_precision_of_every_recipe(costs):
    plain = full_of(costs, "A100", dtype="bfloat16")
    assert plain.choice.recipe.precision == "bfloat16"
    assert any("0.570 against 0.747" in text for text in plain.why)
    assert full_of(costs, "A100", mixed_precision="no").choice.recipe.precision == "float32"
    mixed = ask(costs, method=["lora"], mixed_precision="bf16", gpu="H100")
    assert mixed.choice.recipe.precision == "bfloat16 with bf16 autocast"
    prepared = ask(costs, method=["qlora"], prepare_kbit_training=True)
    assert prepared.choice.recipe.prepare_kbit_training
    assert not ask(costs, method=["qlora"]).choice.recipe.prepare_kbit_training


def test_few_samples_turn_the_choice_to_full_tuning_where_it_fits(costs):
    assert ask(costs, model="google-bert/bert-base-uncased", seq_len=128, samples=100).choice.recipe.method == "full"


def test_what_other_data_would_choose_is_computed(costs):
    found = ask(costs, model="google-bert/bert-base-uncased", seq_len=128, samples=2000, tolerance_points=1)
    again = ask(costs, model="google-bert/bert-base-uncased", seq_len=128, samples=200, tolerance_points=1)
    assert found.choice.recipe.method != again.choice.recipe.method
    assert any("200 samples" in text and again.choice.recipe.method in text for text in found.would_change)


def test_another_tolerance_named_does_change_the_choice(costs):
    found = ask(costs, gpu="H200", policy="cheapest", tolerance_points=0)
    named = [text for text in found.would_change if "--tolerance-points" in text]
    assert named
    for text in named:
        tolerance = float(text.split("--tolerance-points ")[1].split(":")[0])
        other = ask(costs, gpu="H200", policy="cheapest", tolerance_points=tolerance).choice.recipe.method
        assert other == text.split(": ")[1].split(" ")[0]
        assert other != found.choice.recipe.method


def test_a_budget_is_kept_and_what_exceeds_it_is_named(costs):
    free = ask(costs, gpu="H200", seq_len=256)
    dear = max(free.ranked, key=training_seconds)
    budget = training_usd(dear).mid * 0.99
    found = ask(costs, gpu="H200", seq_len=256, budget_usd=budget)
    assert all(training_usd(c).mid <= budget for c in found.ranked)
    assert any(r.kind == "over-budget" and r.method == dear.recipe.method for r in found.refused)


def test_a_deadline_is_kept(costs):
    free = ask(costs, gpu="H200", seq_len=256)
    deadline = max(map(training_seconds, free.ranked)) * 0.99 / 3600
    found = ask(costs, gpu="H200", seq_len=256, deadline_hours=deadline)
    assert all(training_seconds(c) <= deadline * 3600 for c in found.ranked)
    assert any(r.kind == "over-deadline" for r in found.refused)


def test_a_hopeless_budget_says_what_would_keep_it(costs):
    with pytest.raises(DoesNotFit) as caught:
        ask(costs, budget_usd=0.05)
    share = caught.value.fields["share"]
    assert 0 < share < 1
    told = [hint.removeprefix("to fit: ").split() for hint in caught.value.hints if "--epochs" in hint]
    assert [words[0] for words in told] == ["--epochs", "--samples"]
    for words in told:
        kept = {name[2:].replace("-", "_"): float(value) for name, value in zip(words[::2], words[1::2], strict=True)}
        assert training_usd(ask(costs, budget_usd=0.05, **kept).choice).mid <= 0.05


def test_a_budget_without_a_known_price_is_not_taken_as_kept(costs):
    costs.price_usd = None
    with pytest.raises(BadRequest, match="price"):
        ask(costs, budget_usd=100)
    assert training_usd(ask(costs).choice) is None


@pytest.mark.parametrize("limit", [{"budget_usd": 5.0}, {"deadline_hours": 2.0}])
def test_a_limit_without_samples_is_refused(costs, limit):
    with pytest.raises(BadRequest, match="samples"):
        ask(costs, samples=None, **limit)


def test_without_samples_there_is_an_answer_but_no_cost(costs):
    found = ask(costs, samples=None)
    assert found.choice.recipe.method == "lora"
    assert any("samples" in note for note in found.notes)
    assert found.choice.time.training is None
    assert training_usd(found.choice) is None


def test_what_does_not_fit_says_by_how_much_and_each_hint_fits(costs):
    with pytest.raises(DoesNotFit) as caught:
        ask(costs, gpu="T4", method=["full"])
    error = caught.value
    assert error.exit_code == 3
    assert error.fields["short_bytes"] == error.fields["need_bytes"] - error.fields["limit_bytes"] > 0
    larger = error.fields["larger_gpus"][0]
    assert ask(costs, gpu=larger, method=["full"]).choice.fits
    assert any("--method" in hint for hint in error.hints)
    assert any("--gpu" in hint for hint in error.hints)


def test_a_shorter_length_is_suggested_where_it_fits(costs):
    with pytest.raises(DoesNotFit) as caught:
        ask(costs, gpu="T4", method=["qlora"], seq_len=100_000)
    length = int(next(h for h in caught.value.hints if "--seq-len" in h).split()[3])
    assert ask(costs, gpu="T4", method=["qlora"], seq_len=length).choice.fits
    with pytest.raises(DoesNotFit):
        ask(costs, gpu="T4", method=["qlora"], seq_len=int(length * 1.1))


def test_must_merge_leaves_only_what_merges(costs):
    found = ask(costs, must_merge=True)
    assert "prompt-tuning" not in methods_of(found)
    assert any(r.method == "prompt-tuning" and r.kind == "excluded" for r in found.refused)


def test_excluded_is_not_offered(costs):
    found = ask(costs, exclude=["lora"])
    assert "lora" not in methods_of(found)
    assert any(r.method == "lora" and r.kind == "excluded" for r in found.refused)


def test_more_headroom_never_raises_the_peak(costs):
    peaks = [peak_bytes(ask(costs, headroom=h, method=["lora"], seq_len=4096).choice) for h in (0.0, 0.2, 0.5)]
    assert peaks == sorted(peaks, reverse=True)
    limit = ask(costs, headroom=0.5, method=["lora"]).hardware.limit_bytes
    assert peaks[2] <= limit < 41 * GIB


def test_the_same_question_gets_the_same_answer_and_survives_json_and_pickle(costs):
    one, other = ask(costs), ask(costs)
    assert one == other
    assert Recommendation.from_document(one.to_document()) == one
    assert pickle.loads(pickle.dumps(one)) == one


def test_best_quality_ranks_by_expected_effect(costs):
    found = ask(costs, gpu="H200", policy="best-quality", seq_len=256)
    assert expected_effect(found.choice) == max(map(expected_effect, found.ranked))


def test_notes_say_how_the_names_were_read(costs):
    notes = " ".join(ask(costs, model="llama-3.1-8b", gpu="a100", samples=10).notes)
    assert "meta-llama/Llama-3.1-8B" in notes
    assert "A100-" in notes


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"samples": 0}, "samples"),
        ({"samples": -5}, "samples"),
        ({"samples": 10**13}, "samples"),
        ({"seq_len": 0}, "seq-len"),
        ({"seq_len": 10**6}, "context"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": float("nan")}, "epochs"),
        ({"epochs": float("inf")}, "epochs"),
        ({"effective_batch_size": 0}, "effective-batch-size"),
        ({"mean_seq_len": -1.0}, "mean-seq-len"),
        ({"mean_seq_len": 900.0, "seq_len": 512}, "mean-seq-len"),
        ({"headroom": 1.0}, "headroom"),
        ({"headroom": -0.1}, "headroom"),
        ({"budget_usd": -1}, "budget-usd"),
        ({"deadline_hours": 0}, "deadline-hours"),
        ({"tolerance_points": -1}, "tolerance"),
        ({"max_gpus": 0}, "max-gpus"),
        ({"task": "seq2seq", "model": "google-bert/bert-base-uncased"}, "seq2seq"),
        ({"method": []}, "method"),
        ({"method": ["qlora"], "base": ["dtype"]}, "qlora"),
    ],
)
def test_a_size_or_limit_that_cannot_be_is_refused_by_name(costs, wrong, said):
    with pytest.raises(BadRequest, match=said):
        ask(costs, **wrong)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ({"model": "meta-llama/Llama-3.1-8C"}, "meta-llama/Llama-3.1-8B"),
        ({"gpu": "h10"}, "H100"),
        ({"task": "causal"}, "causal-lm"),
        ({"task_type": "maths"}, "math"),
        ({"trainer": "hff"}, "hf"),
        ({"dtype": "bfloat"}, "bfloat16"),
        ({"policy": "balance"}, "balanced"),
        ({"method": ["loraa"]}, "lora"),
        ({"exclude": ["loraa"]}, "lora"),
        ({"base": ["nf3"]}, "nf4"),
    ],
)
def test_an_unknown_name_is_told_the_near_ones(costs, wrong, near):
    with pytest.raises(UnknownName) as caught:
        ask(costs, **wrong)
    assert near in str(caught.value)


def test_one_methods_bug_is_its_own_refusal_and_not_the_end(costs, monkeypatch):
    honest = costs.price

    def price(workload, recipe, *rest, **more):
        if recipe.method == "dora":
            raise ZeroDivisionError("a bug")
        return honest(workload, recipe, *rest, **more)

    monkeypatch.setattr(costs, "price", price)
    found = ask(costs)
    assert found.choice.recipe.method == "lora"
    assert next(r for r in found.refused if r.method == "dora").kind == "error"


def test_progress_counts_up_to_all_methods(costs):
    told = []
    ask(costs, on_progress=lambda done, total, what: told.append((done, total)))
    assert told[-1] == (len(SOME), len(SOME))
    assert told == sorted(told)


def test_errors_are_ours_and_survive_another_process(costs):
    for wrong in ({"samples": 0}, {"gpu": "T4", "method": ["full"]}, {"budget_usd": 0.01}):
        with pytest.raises(AdvisorError) as caught:
            ask(costs, **wrong)
        again = pickle.loads(pickle.dumps(caught.value))
        assert again.facts() == caught.value.facts()


def test_a_few_samples_on_a_small_encoder_are_passed_more_often_unless_the_user_says(costs):
    asked = {"model": "google-bert/bert-base-uncased", "seq_len": 128, "samples": 300, "task_type": "NLU"}
    found = ask(costs, **asked)
    assert found.workload.epochs > 3
    assert any(note.startswith("epochs: ") for note in found.notes)
    assert ask(costs, **asked, epochs=3).workload.epochs == 3
    epochs = next(s for s in found.settings if s.name == "epochs")
    assert epochs.value == found.workload.epochs
    assert epochs.sources


def test_the_settings_listed_are_those_priced(costs):
    found = ask(costs)
    listed = {s.name: s.value for s in found.settings}
    assert listed["learning_rate"] == found.choice.recipe.learning_rate
    assert listed["effective_batch_size"] == found.workload.effective_batch_size
    assert listed["steps"] == found.workload.optimizer_steps()
    assert {"rank", "alpha", "target_modules"} <= set(listed)
    assert all(s.why for s in found.settings)


def test_few_samples_are_read_until_lora_has_learned_and_the_cost_says_so(costs):
    few, many = ask(costs, samples=100), ask(costs, samples=2000)
    assert many.workload.epochs == 3
    assert few.workload.epochs > 10
    assert few.workload.optimizer_steps() > 100
    assert any("to converge" in note for note in few.notes)


def test_a_training_asked_for_shorter_than_it_takes_learns_faster_and_says_so(costs):
    usual, short = ask(costs, samples=100), ask(costs, samples=100, epochs=2)
    assert short.workload.epochs == 2
    assert short.choice.recipe.learning_rate > usual.choice.recipe.learning_rate
    assert short.choice.recipe.schedule == UNDECAYED
    assert any(note.startswith("length: ") and "needs about" in note for note in short.notes)
    assert not any(note.startswith("length: ") for note in usual.notes)


def test_a_short_training_of_a_classifier_takes_smaller_batches_unless_the_user_says(costs):
    asked = {"model": "google-bert/bert-base-uncased", "seq_len": 128, "samples": 100, "task_type": "NLU", "epochs": 3}
    assert ask(costs, **asked).workload.effective_batch_size == SMALLEST_BATCH
    assert ask(costs, **asked, effective_batch_size=16).workload.effective_batch_size == 16


@pytest.mark.parametrize(("samples", "batch"), [(1, 1), (7, 7), (16, 16), (40, 16)])
def test_no_step_takes_more_rows_than_there_are_unless_the_user_says(costs, samples, batch):
    found = ask(costs, model="google-bert/bert-base-uncased", seq_len=64, samples=samples)
    assert found.choice.workload.effective_batch_size == batch
    said = ask(costs, model="google-bert/bert-base-uncased", seq_len=64, samples=samples, effective_batch_size=32)
    assert said.choice.workload.effective_batch_size == 32


def test_spot_asked_for_is_spot_quoted(costs):
    from rich.console import Console

    from advisor.interfaces.amounts import stacked
    from advisor.interfaces.cli.recommend import recommendation_table

    priced = costs.price

    def with_spot(*asked, **how):
        made = priced(*asked, **how)
        half = made.money.on_demand.times(0.4, "USD", "1.20 USD/h, a provider spot")
        return made.model_copy(update={"money": made.money.model_copy(update={"spot": half})})

    costs.price = with_spot
    plain, spot = ask(costs), ask(costs, spot=True)
    money = spot.choice.money
    assert money.spot.mid < money.on_demand.mid
    assert (plain.spot, spot.spot) == (False, True)
    assert any(note.startswith("price: spot, ") for note in spot.notes)
    for found, shown, head in ((plain, money.on_demand, "cost"), (spot, money.spot, "spot cost")):
        screen = Console(width=220, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
        for part in recommendation_table(found):
            screen.print(part)
        text = screen.export_text()
        assert head in text
        assert stacked(shown).splitlines()[0] in text


def test_a_price_of_the_users_own_is_the_price_at_spot_too():
    from advisor.catalog.gpus import find_gpu
    from advisor.domain.hardware import Hardware
    from advisor.domain.quantity import Quantity
    from advisor.estimator.spending.money import money_of

    hardware = Hardware(gpu=find_gpu("H100")[0], asked="H100", usd_per_hour=2.0)
    money = money_of(Quantity.around(3600.0, 0.1, 0.1, "s", "modelled", "told"), hardware, [], today=date.today())
    assert money.at(spot=True) == money.on_demand
    assert money.on_demand.mid == 2.0


def test_what_a_hint_asks_for_are_arguments_of_the_request():
    """model_copy takes any name without a word, so a renamed field would silently ask for nothing."""
    from advisor.recommender.infeasible import FRUGAL
    from advisor.recommender.recommend_request import RecommendRequest

    assert set(FRUGAL) <= set(RecommendRequest.model_fields)


def test_a_smaller_base_is_proposed_whatever_base_was_asked_for(costs):
    with pytest.raises(DoesNotFit) as caught:
        ask(costs, gpu="T4", method=["full"], base=["dtype"])
    assert any("--method qlora" in hint for hint in caught.value.hints)
    from advisor.catalog.methods import find_method
    from advisor.recommender.infeasible import FRUGAL
    from advisor.recommender.recipe_space import bases_to_try
    from advisor.recommender.recommend_request import checked, resolve

    question = resolve(checked({"model": MODEL, "gpu": "T4", "samples": 2000, "base": ["dtype"]}))
    frugal = question.model_copy(update={"request": question.request.model_copy(update=FRUGAL)})
    assert list(bases_to_try(frugal, find_method("qlora"))) == ["nf4"]
