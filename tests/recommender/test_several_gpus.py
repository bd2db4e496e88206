"""`recommend --max-gpus`: machines of 1, 2, 4 ... GPUs are priced; one where it will do, shards where no copy fits."""

from __future__ import annotations

import pytest

import advisor
from advisor.domain.recommendation import Recommendation
from advisor.errors import DoesNotFit
from advisor.recommender.criteria import training_seconds

MODEL = "meta-llama/Llama-3.2-1B"
"""Its traces travel with the package."""
ASKED = {"samples": 2000, "seq_len": 512, "method": "lora"}


def ask(gpu="H100", **more):
    return advisor.recommend(MODEL, gpu, **{**ASKED, **more})


@pytest.fixture(scope="module")
def up_to_four():
    return ask(max_gpus=4)


def able(found):
    return [option for option in found.gpus if option.candidate is not None]


def test_every_machine_is_priced_once_and_the_choice_is_the_first(up_to_four):
    assert sorted(option.gpu_count for option in up_to_four.gpus) == [1, 2, 4]
    for option in able(up_to_four):
        candidate = option.candidate
        assert (candidate.gpu_count, candidate.sharding) == (option.gpu_count, option.sharding)
        assert (option.sharding is None) is (option.gpu_count == 1)
        recipe = candidate.recipe
        rows = recipe.micro_batch_size * recipe.gradient_accumulation * option.gpu_count
        assert rows == candidate.workload.effective_batch_size
    assert up_to_four.choice.gpu_count == up_to_four.gpus[0].gpu_count == up_to_four.hardware.count
    assert Recommendation.from_document(up_to_four.to_document()) == up_to_four


def test_one_gpu_is_taken_where_it_is_cheapest_and_copies_are_faster(up_to_four):
    assert up_to_four.choice.gpu_count == 1
    by_count = {option.gpu_count: option for option in able(up_to_four)}
    seconds = [training_seconds(by_count[count].candidate) for count in (1, 2, 4)]
    assert seconds == sorted(seconds, reverse=True)
    # no more than as many times faster as there are GPUs
    assert seconds[0] < 4 * seconds[2] < 4 * seconds[0]
    assert by_count[4].sharding == "ddp"


def test_a_deadline_that_one_gpu_misses_is_met_by_several(up_to_four):
    by_count = {option.gpu_count: training_seconds(option.candidate) for option in able(up_to_four)}
    found = ask(max_gpus=4, deadline_hours=(by_count[1] + by_count[2]) / 2 / 3600)
    assert found.choice.gpu_count == 2
    assert "2 x H100-SXM" in found.why[0]
    assert any(option.gpu_count == 1 and "takes" in option.refusal for option in found.gpus)


def test_a_batch_that_cannot_be_shared_is_refused_by_its_number():
    found = ask(max_gpus=4, effective_batch_size=6)
    refused = {option.gpu_count: option.refusal for option in found.gpus if option.candidate is None}
    assert list(refused) == [4]
    assert "a batch of 6 cannot be shared by 4 GPUs" in refused[4]


@pytest.mark.slow
def test_what_no_copy_can_hold_is_sharded():
    large = {"samples": 2000, "seq_len": 512, "method": "full", "dtype": "bfloat16", "optimizer": "adamw_torch"}
    with pytest.raises(DoesNotFit):
        advisor.recommend("meta-llama/Llama-3.1-8B", "A100-40GB", **large)
    found = advisor.recommend("meta-llama/Llama-3.1-8B", "A100-40GB", max_gpus=8, **large)
    assert found.choice.sharding == "fsdp2"
    assert found.choice.fits
    assert {option.gpu_count for option in found.gpus if option.candidate is None} >= {1}
    written = advisor.export(found, to="hf")
    assert f"num_processes: {found.choice.gpu_count}" in {f.name: f.text for f in written.files}["accelerate.yaml"]
