"""What is priced where precision is said in part or not at all, and what the answer says of it."""

from __future__ import annotations

import pytest

import advisor
from advisor.catalog.gpus import find_gpu
from advisor.catalog.models import resolve_model
from advisor.catalog.optimizer_names import OPTIMIZERS
from advisor.domain.public_run import PublicRun
from advisor.domain.recipe import Recipe
from advisor.errors import BadRequest, IllegalRecipe
from advisor.estimator import precision_request, public_audit
from advisor.estimator.estimate import answer_on
from advisor.estimator.estimate_request import from_case, hardware_of

MODEL = "EleutherAI/pythia-14m"
LLAMA = "HuggingFaceTB/SmolLM2-135M"
ASKED = {"seq_len": 64, "batch_size": 2}


def said(candidate, *words: str) -> bool:
    return any(all(word in note for word in words) for note in candidate.assumptions)


@pytest.mark.slow
def test_nothing_said_prices_what_recommend_takes_and_names_it():
    full = advisor.estimate(MODEL, "A100", method="full", **ASKED)
    assert full.recipe.precision == "float32 with bf16 autocast"
    assert said(full, "float32 weights", "recommend", "--dtype bfloat16")
    lora = advisor.estimate(MODEL, "A100", method="lora", **ASKED)
    assert lora.recipe.precision == "bfloat16"
    assert not said(lora, "float32 weights")
    turing = advisor.estimate(MODEL, "T4", method="full", **ASKED)
    assert turing.recipe.precision == "float32 with fp16 autocast"
    chosen = advisor.recommend(MODEL, "A100", method=["full"], samples=200, seq_len=64).choice.recipe
    assert chosen.precision == full.recipe.precision


@pytest.mark.parametrize(
    ("fields", "precision"),
    [
        ({"dtype": "bf16"}, "bfloat16"),
        ({"dtype": "bfloat16", "mixed_precision": "bf16"}, "bfloat16 with bf16 autocast"),
        ({"mixed_precision": "bf16"}, "float32 with bf16 autocast"),
        ({"mixed_precision": "no"}, "float32"),
        ({"dtype": "float32", "mixed_precision": "fp16"}, "float32 with fp16 autocast"),
        ({"autocast": True}, "float32 with bf16 autocast"),
        ({"autocast": True, "dtype": "float16"}, "float32 with fp16 autocast"),
        ({"autocast": False, "dtype": "bfloat16"}, "bfloat16"),
        ({"autocast": False}, "float32"),
        ({"mixed_precision": "none", "dtype": "torch.bfloat16"}, "bfloat16"),
    ],
)
def test_what_is_said_is_priced(fields, precision):
    found = advisor.estimate(MODEL, "A100", method="full", **ASKED, **fields)
    assert found.recipe.precision == precision


@pytest.mark.parametrize("gpu", ["A100", "T4", None])
@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"dtype": "fp32"}, {"mixed_precision": "none"}, {"autocast": True}, {"autocast": False}, {"trainer": "trl"}],
    ids=str,
)
def test_what_is_priced_is_what_is_exported(gpu, method, fields):
    """One home of precision: a case asked of the estimator and of an exporter is one recipe."""
    from advisor.exporters.export_source import job_of

    case = {"model": LLAMA, "method": method, **ASKED, **fields}
    exported = job_of({**case, "gpu": gpu} if gpu else case).recipe
    priced, _ = precision_request.recipe_asked(from_case(case), _spec(LLAMA), find_gpu(gpu or "A100")[0])
    assert exported == priced


@pytest.mark.parametrize(("model", "said"), [("google/flan-t5-small", True), (LLAMA, False)])
def test_a_trainer_that_stands_for_another_is_named(model, said):
    request = from_case({"model": model, "method": "lora", "trainer": "trl", "seq_len": 64})
    _, notes = precision_request.recipe_asked(request, _spec(model), find_gpu("A100")[0])
    assert any("priced as transformers' Trainer" in note for note in notes) == said


def test_every_verb_takes_the_same_words_for_a_precision():
    from advisor.recommender.recommend_request import checked

    for word, meant in (("none", "no"), ("bfloat16", "bf16"), ("fp16", "fp16")):
        assert checked({"model": MODEL, "mixed_precision": word}).mixed_precision == meant
        assert from_case({"model": MODEL, "method": "lora", "mixed_precision": word}).mixed_precision == meant
    for word, meant in (("bf16", "bfloat16"), ("single", "float32"), ("torch.float16", "float16")):
        assert checked({"model": MODEL, "dtype": word}).dtype == meant
        assert from_case({"model": MODEL, "method": "lora", "dtype": word}).dtype == meant


@pytest.mark.exhaustive
def test_autocast_saves_the_inputs_of_adapters_in_16_bits():
    """Adapters are float32: without autocast peft keeps a float32 copy of every adapted layer's input for backward."""
    plain, mixed = (
        advisor.estimate(
            LLAMA, "A100", method="lora", dtype="bfloat16", mixed_precision=flag, seq_len=512, batch_size=8
        )
        for flag in ("no", "bf16")
    )
    assert mixed.memory.breakdown["saved activations"] < 0.8 * plain.memory.breakdown["saved activations"]
    assert mixed.memory.breakdown["base weights"] == plain.memory.breakdown["base weights"]


def test_contradictions_are_refused():
    with pytest.raises(BadRequest, match="say the same thing"):
        advisor.estimate(MODEL, "A100", method="full", autocast=True, mixed_precision="bf16", **ASKED)
    with pytest.raises(IllegalRecipe, match="quantised base") as caught:
        advisor.estimate(MODEL, "A100", method="lora", prepare_kbit_training=True, **ASKED)
    assert "--no-prepare-kbit-training" in caught.value.hints[0]
    with pytest.raises(BadRequest, match="mixed_precision"):
        advisor.estimate(MODEL, "A100", method="lora", mixed_precision="fp8", **ASKED)


@pytest.mark.exhaustive
def test_preparation_is_the_trainers_own_unless_said_and_the_answer_says_which():
    usual = advisor.estimate(MODEL, "A100", method="qlora", **ASKED)
    assert not usual.recipe.prepare_kbit_training
    assert said(usual, "Trainer", "--prepare-kbit-training")
    trl = advisor.estimate(MODEL, "A100", method="qlora", trainer="trl", **ASKED)
    assert said(trl, "SFTTrainer", "--prepare-kbit-training")
    assert said(trl, "SFTConfig", "bf16")
    prepared = advisor.estimate(MODEL, "A100", method="qlora", prepare_kbit_training=True, **ASKED)
    assert not said(prepared, "--prepare-kbit-training")
    more = prepared.memory.breakdown["base weights"] - usual.memory.breakdown["base weights"]
    # embeddings and head, 50,304 x 128 each, and norms and biases, from two to four bytes
    assert more == pytest.approx(2 * 2 * 50304 * 128, rel=0.05)


def test_a_public_run_is_priced_with_every_check_of_a_users_question(monkeypatch):
    asked = {"model": MODEL, "gpu": "A100-80GB", "method": "qlora", "seq_len": 64, "batch_size": 2}
    asked |= {"dtype": "bfloat16", "mixed_precision": "bf16", "prepare_kbit_training": True}
    source = next(s for s in public_audit.public_runs() if s.runs)
    run = source.runs[0].model_copy(update={"asked": asked})
    monkeypatch.setattr(public_audit, "spec_for", lambda *_: _spec())
    request = from_case({"headroom": 0.0, **asked})
    assert public_audit.priced(source, run) == answer_on(request, hardware_of(request), _spec(), use_measured=False)
    assert public_audit.request_of(run).prepare_kbit_training
    with pytest.raises(IllegalRecipe):
        public_audit.priced(source, _with(run, method="full", dtype="float16"))
    with pytest.raises(IllegalRecipe, match="FlashAttention"):
        public_audit.priced(source, _with(run, gpu="T4", dtype="float16", mixed_precision="fp16", attn_implementation="flash_attention_2"))  # fmt: skip  # noqa: E501


def _with(run: PublicRun, **fields: object) -> PublicRun:
    return run.model_copy(update={"asked": {**(run.asked or {}), "prepare_kbit_training": None, **fields}})


def _spec(model: str = MODEL):
    from advisor.catalog.models import resolve_model

    return resolve_model(model)


def test_what_this_machine_lacks_to_train_is_said_and_stops_no_plan(monkeypatch):
    monkeypatch.setattr(precision_request, "find_spec", lambda name: None)
    for recipe in (Recipe(method="qlora", base="nf4"), Recipe(method="full", optimizer="paged_adamw_8bit")):
        assert "pip install 'advisor[quant]'" in precision_request.to_train_here(recipe)
    assert not precision_request.to_train_here(Recipe(method="lora"))


@pytest.mark.parametrize("base", ["int8", "nf4", "dtype"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_what_checkpointing_cannot_drop_beside_an_int8_base_is_told(base, checkpointing):
    case = {"model": LLAMA, "method": "lora", "base": base, "gradient_checkpointing": checkpointing, **ASKED}
    request = from_case({**case, "gpu": "A100"})
    _, notes = precision_request.recipe_asked(request, resolve_model(LLAMA), find_gpu("A100")[0])
    assert any("use_reentrant" in note for note in notes) == (base == "int8" and checkpointing)


@pytest.mark.parametrize("name", [one.name for one in OPTIMIZERS if not one.refused])
def test_what_the_studies_of_adamw_say_is_borrowed_by_adamw_alone(name):
    """In whatever bits its state is: SGD at AdamW's rate would be told as full fine-tuning's own quality."""
    notes = precision_request.optimizer_notes(Recipe.model_validate({"method": "full", "optimizer": name}))
    own = "adamw" in name
    assert any(note.startswith("quality: no study") for note in notes) != own
    assert any(note.startswith("learning rate: the usual ones are AdamW's") for note in notes) != own


def test_an_optimizer_whose_statistics_no_checkpoint_holds_is_told():
    """lomo-optim 0.1.1 keeps AdaLomo's as attributes, of which `state_dict` says nothing; LOMO has none."""
    told = {
        name: any("resumed run" in note for note in precision_request.optimizer_notes(asked))
        for name in ("adalomo", "lomo", "adamw_torch")
        for asked in [Recipe.model_validate({"method": "full", "optimizer": name})]
    }
    assert told == {"adalomo": True, "lomo": False, "adamw_torch": False}


@pytest.mark.parametrize(("method", "over"), [("qlora", "a nf4 base"), ("full", "plain weights in float32")])
def test_the_earlier_word_for_mixed_precision_is_told_for_what_it_is(method, over):
    """Over a quantised base it may change no figure: nobody could tell whether it was read."""
    request = from_case({"model": LLAMA, "method": method, "autocast": True, "gpu": "L4", **ASKED})
    _, notes = precision_request.recipe_asked(request, resolve_model(LLAMA), find_gpu("L4")[0])
    assert f"precision: --autocast, the earlier word, is --mixed-precision bf16 over {over}" in notes
