"""The door, end to end on a tiny model: real config, real adapter, real trace."""

from __future__ import annotations

import json
import pickle

import pytest

from advisor.domain.candidate import BREAKDOWN, Candidate
from advisor.domain.profile import Profile
from advisor.errors import BadRequest, IllegalRecipe
from advisor.estimator import measurements as known
from advisor.estimator.estimate import estimate, largest_micro_batch, price
from advisor.estimator.estimate_request import from_case, hardware_of, recipe_of, workload_of
from tests.selection import one_in

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-llama")
    (path / "config.json").write_text(json.dumps(LLAMA))
    return str(path)


@pytest.fixture(scope="module")
def ask(folder):
    return {"model": folder, "gpu": "L40S", "method": "lora", "rank": 4, "batch_size": 4, "seq_len": 512}


def asked(case):
    from advisor.catalog.models import resolve_model

    request = from_case(case)
    spec = resolve_model(request.model)
    recipe = recipe_of(request)
    return workload_of(request, spec, recipe)[0], recipe, hardware_of(request), spec


def test_an_answer_has_the_keys_scripts_rely_on_and_survives_pickle_and_json(ask):
    candidate = estimate(**ask)
    document = json.loads(candidate.model_dump_json())
    assert document["trainable_parameters"] == 6 * 4 * (2 * 256 + 256 + 128 + 256 + 128 + 256 + 256 + 3 * (256 + 512))
    for part, name in (("memory", "peak_allocated"), ("memory", "peak_reserved"), ("time", "step")):
        assert set(document[part][name]) == {"low", "mid", "high", "unit", "basis", "why"}
    assert pickle.loads(pickle.dumps(candidate)) == candidate
    assert Candidate.model_validate_json(candidate.model_dump_json()) == candidate


def test_the_parts_add_up_to_what_the_device_shows(ask):
    memory = estimate(**ask).memory
    assert set(memory.breakdown) == {*BREAKDOWN, "fragmentation"}
    assert sum(memory.breakdown.values()) == pytest.approx(memory.peak_device.mid, abs=1)
    assert memory.peak_allocated.mid <= memory.peak_reserved.mid <= memory.peak_device.mid


def test_shares_and_phases_of_a_step_add_up_to_it(ask):
    time = estimate(**ask).time
    assert sum(time.phases.values()) == pytest.approx(time.step.mid, rel=1e-6)
    assert sum(time.bound_by.values()) == pytest.approx(1, abs=1e-3)


def test_a_measured_device_is_calibrated_and_another_is_modelled_and_no_narrower(ask):
    known_device, other = estimate(**ask), estimate(**{**ask, "gpu": "A10G"})
    assert known_device.time.step.basis == "calibrated"
    assert other.time.step.basis == "modelled"

    def width(quantity):
        return (quantity.high - quantity.low) / quantity.mid

    assert width(other.time.step) >= width(known_device.time.step) * (1 - 1e-9)
    assert "no measured run" in other.time.step.why


def test_samples_give_a_training_time_a_cost_and_a_quality(ask):
    without, with_samples = estimate(**ask), estimate(**{**ask, "samples": 1000, "epochs": 2})
    assert without.time.training is None
    assert without.money.on_demand is None
    assert with_samples.time.training.mid == pytest.approx(500 * with_samples.time.step.mid)
    assert with_samples.money.on_demand.mid > 0
    assert with_samples.quality is not None
    assert without.quality is None


def test_accumulation_takes_longer_and_hardly_more_memory(ask):
    one, four = estimate(**ask), estimate(**{**ask, "gradient_accumulation": 4})
    assert 3.8 < four.time.step.mid / one.time.step.mid < 4.01
    assert four.memory.peak_allocated.mid <= one.memory.peak_allocated.mid * 1.005


def test_shorter_batches_take_less_time_and_no_less_memory(ask):
    full, short = estimate(**ask), estimate(**{**ask, "mean_seq_len": 100})
    assert short.time.step.mid < full.time.step.mid
    assert short.memory.peak_allocated.mid == pytest.approx(full.memory.peak_allocated.mid, rel=0.002)


def test_quick_prices_are_close_to_thorough_ones_and_as_fast_in_time(ask):
    workload, recipe, hardware, spec = asked(ask)
    thorough = price(workload, recipe, hardware, spec)
    quick = price(workload, recipe, hardware, spec, thorough=False)
    assert quick.time == thorough.time
    assert quick.memory.peak_allocated.mid == pytest.approx(thorough.memory.peak_allocated.mid, rel=0.002)
    assert sum(quick.memory.breakdown.values()) == pytest.approx(quick.memory.peak_device.mid, abs=1)


def test_the_largest_micro_batch_fits_and_the_next_larger_does_not(ask):
    workload, recipe, hardware, spec = asked({**ask, "seq_len": 2048, "headroom": 0.9})
    found = largest_micro_batch(workload, recipe, hardware, spec, 4096)
    assert found is not None
    assert 4096 % found == 0

    def fits(size):
        tried = recipe.model_copy(update={"micro_batch_size": size, "gradient_accumulation": 4096 // size})
        return price(workload, tried, hardware, spec).fits

    assert fits(found)
    assert found < 4096
    assert not fits(found * 2)


def test_nothing_fits_is_none(ask):
    workload, recipe, hardware, spec = asked({**ask, "headroom": 0.999})
    assert largest_micro_batch(workload, recipe, hardware, spec, 8) is None


def test_this_very_run_in_the_store_is_answered_as_measured(ask, tmp_path, monkeypatch):
    from advisor import store

    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    workload, recipe, _, spec = asked(ask)
    profile = Profile.model_validate(
        {
            "id": "mine",
            "device": "L40S",
            "device_reported": "NVIDIA L40S",
            "model_config_sha256": sorted(spec.digests)[0],
            "status": "complete",
            "workload": workload,
            "recipe": recipe,
            "peak_reserved_bytes": 123_456_789,
            "step_seconds": (0.5, 0.7),
        }
    )
    store.write(profile, tmp_path / "data" / "profiles" / "mine.json")
    known.forget()
    try:
        candidate = estimate(**ask)
        other = estimate(**{**ask, "batch_size": 2})
    finally:
        known.forget()
    assert (candidate.memory.peak_reserved.mid, candidate.memory.peak_reserved.basis) == (123_456_789, "measured")
    assert candidate.time.step.mid == pytest.approx(0.6)
    assert candidate.time.step.basis == "measured"
    assert sum(candidate.memory.breakdown.values()) == pytest.approx(candidate.memory.peak_device.mid, abs=1)
    assert other.time.step.basis != "measured"


@pytest.mark.parametrize(
    "change",
    [
        {"seq_len": 2049},
        {"method": "lora", "options": {"rank": -1}},
        {
            "adapter_config": {"peft_type": "LORA", "r": 4, "target_modules": ["no_such_module"]},
            "method": None,
            "rank": None,
        },
    ],
    ids=["beyond the context", "negative rank", "absent modules"],
)
def test_what_cannot_be_run_is_refused(ask, change):
    case = {key: value for key, value in {**ask, **change}.items() if value is not None and key != "rank"}
    with pytest.raises((BadRequest, IllegalRecipe)):
        estimate(**case)


@pytest.mark.parametrize("dtype", one_in(3, ["bfloat16", "float16", "float32"]))
def test_a_fit_and_a_prediction_use_the_same_rates(ask, dtype):
    """A T4 multiplies bfloat16 at its float32 rate; a fit against another rate would price it eight times too slow.

    Asked for, bfloat16 is refused there; a run that somebody measured in it is still fitted and priced.
    """
    from advisor.estimator.calibration.fit import predict
    from advisor.estimator.calibration.measured_runs import question
    from advisor.estimator.step_time.time_prediction import constants_of

    case = {**ask, "gpu": "T4", "dtype": dtype}
    workload, recipe, hardware, spec = asked(case)
    if dtype == "bfloat16":
        with pytest.raises(IllegalRecipe, match="T4 has no bfloat16"):
            estimate(**case)
        told = price(workload, recipe, hardware, spec).time.step.mid
    else:
        told = estimate(**case).time.step.mid
    fitted = predict(question(workload, recipe, hardware, spec), constants_of(None, hardware.gpu.generation))
    assert fitted == pytest.approx(told, rel=0.02), "the two differ in the lengths they sample, not in rates"
