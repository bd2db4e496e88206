"""Bad requests get a clear error; good ones become the three nouns."""

from __future__ import annotations

import json

import pytest

from advisor.domain.model import ModelSpec
from advisor.domain.request.unknown_keys import TRAINERS_KEYS
from advisor.errors import BadFile, BadRequest, IllegalRecipe, UnknownName
from advisor.estimator.estimate_request import EstimateRequest, from_case, hardware_of, recipe_of, workload_of

CASE = {"model": "m", "gpu": "L40S", "method": "lora", "batch_size": 4, "seq_len": 128}


def spec(architecture="decoder", context=512):
    return ModelSpec.model_validate(
        {
            "name": "m",
            "asked": "m",
            "source": "folder",
            "where": "",
            "config": {},
            "task_class": "Seq2SeqLM" if architecture == "encoder-decoder" else "CausalLM",
            "architecture": architecture,
            "context_length": context,
        }
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -3}, "batch_size"),
        ({"batch_size": 10**9}, "batch_size"),
        ({"batch_size": "four"}, "batch_size"),
        ({"seq_len": 0}, "seq_len"),
        ({"dtype": "int4"}, "dtype"),
        ({"dropout": 1.5}, "dropout"),
        ({"rank": 0}, "rank"),
        ({"trainer": "keras"}, "trainer"),
        ({"epochs": float("nan")}, "epochs"),
        ({"adapter_config": 7}, "adapter_config"),
        ({"batchsize": 4}, "batch_size"),
        ({"method": None}, "method"),
    ],
)
def test_a_bad_value_is_refused_with_its_field(change, said):
    with pytest.raises(BadRequest) as caught:
        from_case({**CASE, **change})
    assert said in str(caught.value)


def test_an_unknown_method_and_gpu_name_the_near_ones():
    with pytest.raises(UnknownName, match="lora"):
        recipe_of(from_case({**CASE, "method": "loraa"}))
    with pytest.raises(UnknownName, match="near names"):
        hardware_of(from_case({**CASE, "gpu": "L40Z"}))


def test_a_hyperparameter_of_the_method_may_stand_beside_the_other_keys():
    recipe = recipe_of(from_case({"model": "m", "gpu": "L40S", "method": "prompt-tuning", "virtual_tokens": 7}))
    assert recipe.options == {"virtual_tokens": 7}
    recipe = recipe_of(from_case({**CASE, "rank": 9, "options": {"alpha": 3}}))
    assert recipe.options == {"rank": 9, "alpha": 3}


def test_short_dtype_names_are_understood():
    assert from_case({**CASE, "dtype": "bf16"}).dtype == "bfloat16"
    assert from_case({**CASE, "dtype": "torch.float32"}).dtype == "float32"


@pytest.mark.parametrize("as_path", [False, True])
def test_an_adapter_config_says_its_method(tmp_path, as_path):
    config = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(config))
    given = str(path) if as_path else config
    recipe = recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": given}))
    assert recipe.method == "lora"
    assert recipe.adapter_config == config
    folder = recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": str(tmp_path)}))
    assert folder == recipe


@pytest.mark.parametrize(("optimizer", "method"), [("lora-fa", "lora-fa"), ("lora+", "lora-plus"), ("sgd", "lora")])
def test_lora_with_an_optimizer_of_its_own_is_the_method_of_that_name(optimizer, method):
    config = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]}
    recipe = recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": config, "optimizer": optimizer}))
    assert recipe.method == method
    assert recipe.adapter_config == config


def test_an_empty_adapter_config_with_a_method_is_that_method():
    recipe = recipe_of(from_case({"model": "m", "gpu": "L40S", "method": "full", "adapter_config": {}}))
    assert (recipe.method, recipe.adapter_config) == ("full", None)
    with pytest.raises(BadRequest):
        from_case({"model": "m", "gpu": "L40S"})


def test_bad_adapter_configs_are_refused(tmp_path):
    with pytest.raises(BadFile):
        recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": str(tmp_path / "none.json")}))
    (tmp_path / "cut.json").write_text('{"peft_type": ')
    with pytest.raises(BadFile):
        recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": str(tmp_path / "cut.json")}))
    with pytest.raises(IllegalRecipe):
        recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": {"peft_type": "NOPE"}}))
    with pytest.raises(BadRequest, match="beside an adapter config"):
        recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": {"peft_type": "LORA"}, "rank": 4}))
    with pytest.raises(BadRequest, match="was given with an adapter config"):
        recipe_of(from_case({"model": "m", "gpu": "L40S", "adapter_config": {"peft_type": "LORA"}, "method": "vera"}))


def workload(case, model):
    request = from_case(case)
    return workload_of(request, model, recipe_of(request))


def test_a_length_beyond_the_context_is_refused_and_the_longest_said():
    with pytest.raises(BadRequest, match="512"):
        workload({**CASE, "seq_len": 513}, spec())
    assert workload({**CASE, "seq_len": 512}, spec())[0].seq_len == 512


def test_a_mean_above_the_longest_is_refused():
    with pytest.raises(BadRequest, match="exceeds the longest"):
        workload({**CASE, "mean_seq_len": 400}, spec())


def test_what_was_assumed_is_said():
    case = {key: value for key, value in CASE.items() if key != "seq_len"}
    made, notes = workload(case, spec())
    assert made.seq_len == 512
    assert "no length was given" in notes[0]
    made, notes = workload(CASE, spec("encoder-decoder"))
    assert (made.task, made.target_len) == ("seq2seq", 32)
    assert "target" in notes[0]


@pytest.mark.parametrize(("context", "assumed"), [(512, 492), (20, 1), (2000, 1024), (None, 1024)])
def test_an_assumed_length_leaves_the_prompt_its_room(context, assumed):
    case = {"model": "m", "gpu": "L40S", "method": "prompt-tuning", "virtual_tokens": 20}
    assert workload(case, spec(context=context))[0].seq_len == assumed
    plain = {"model": "m", "gpu": "L40S", "method": "lora"}
    assert workload(plain, spec(context=context))[0].seq_len == min(context or 1024, 1024)


def test_several_devices_take_copies_unless_something_else_is_asked_for():
    assert hardware_of(from_case(CASE)).sharding is None
    for name in ("count", "gpus"):
        found = hardware_of(from_case({**CASE, name: 8}))
        assert (found.count, found.nodes, found.sharding) == (8, 1, "ddp")
    asked = {"gpus": 16, "nodes": 2, "parallelism": {"dp": 16, "tp": 1, "shard": "fsdp2"}}
    found = hardware_of(from_case({**CASE, **asked}))
    assert (found.count, found.nodes, found.sharding) == (16, 2, "fsdp2")


@pytest.mark.parametrize(
    "asked",
    ["tp2", "fsdp2 x tp 2", "pp4", "cp", "ep8", "hsdp", "zero3-offload", "sequence parallel", "megatron",
     {"tp": 2}, {"pp": 2, "dp": 4}, {"cp": 8}, {"ep": 2}, {"shard": "fsdp2", "offload": True}],
)  # fmt: skip
def test_what_is_not_priced_of_parallelism_is_refused_by_name(asked):
    with pytest.raises(BadRequest, match="not priced"):
        hardware_of(from_case({**CASE, "gpus": 8, "parallelism": asked}))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"gpus": 8, "parallelism": "nonesuch"}, "unknown parallelism"),
        ({"gpus": 8, "parallelism": {"rows": 2}}, "unknown key"),
        ({"gpus": 8, "parallelism": {"dp": 4}}, "idle"),
        ({"parallelism": "fsdp2"}, "there is one"),
        ({"gpus": 8, "nodes": 3}, "evenly"),
    ],
)
def test_parallelism_that_makes_no_sense_is_refused(more, says):
    with pytest.raises(BadRequest, match=says):
        hardware_of(from_case({**CASE, **more}))


@pytest.mark.parametrize(
    ("spelt", "meant"), [("FSDP", "fsdp2"), ("ZeRO-3", "zero3"), ("DeepSpeed zero2", "zero2"), ("full_shard", "fsdp2")]
)
def test_strategies_are_known_as_people_write_them(spelt, meant):
    assert hardware_of(from_case({**CASE, "gpus": 8, "parallelism": spelt})).sharding == meant


def test_lengths_from_a_file_are_a_workloads_and_contradictions_are_refused(tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text("100\n200\n600\n")
    case = {key: value for key, value in CASE.items() if key != "seq_len"}
    made, notes = workload({**case, "length_file": str(path)}, spec())
    assert (made.seq_len, made.samples, made.mean_seq_len) == (512, 3, pytest.approx(812 / 3))
    assert made.length_quantiles == (100, 200, 512)
    assert "length_quantiles" not in made.model_dump()
    assert "3 samples" in notes[0]
    assert "are cut at 512" in notes[1]
    shorter, _ = workload({**case, "length_file": str(path), "seq_len": 150, "samples": 9}, spec())
    assert (shorter.seq_len, shorter.samples) == (150, 9)
    with pytest.raises(BadRequest, match="beside --length-file"):
        workload({**case, "length_file": str(path), "mean_seq_len": 120}, spec())


def test_expandable_segments_and_grouped_batches_are_the_recipes():
    asked = from_case(
        {"model": "m", "gpu": "L40S", "method": "lora", "expandable_segments": True, "batching": "grouped"}
    )
    recipe = recipe_of(asked)
    assert (recipe.expandable_segments, recipe.batching) == (True, "grouped")


# a case may say `count`, an earlier name of `gpus`; as an option it is answered
@pytest.mark.parametrize(("theirs", "ours"), [pair for pair in TRAINERS_KEYS.items() if pair[0] != "count"])
def test_a_trainers_name_of_a_key_is_answered_with_ours(theirs, ours):
    assert ours in EstimateRequest.model_fields
    with pytest.raises(BadRequest, match="unknown key") as caught:
        from_case({**CASE, theirs: 3})
    assert repr(ours) in caught.value.hints[0]


def test_an_objective_under_a_strange_key_is_answered_with_how_to_ask():
    with pytest.raises(BadRequest, match="unknown key: 'training'") as caught:
        from_case({**CASE, "training": "dpo"})
    assert '"objective": "dpo"' in caught.value.hints[0]
