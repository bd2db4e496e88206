"""A run is recognised by what it costs, not by how it is written down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from advisor import store
from advisor.domain.model import ModelSpec
from advisor.domain.profile import Profile
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.estimator.measurements import PROFILES, calibration_of, fingerprint, forget, plain_adapter, profile_of

CONFIG = {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj", "v_proj"]}


def recipe(**fields):
    return Recipe.model_validate({"method": "lora", "adapter_config": CONFIG, **fields})


def workload(**fields):
    return Workload.model_validate({"model": "m", "seq_len": 683, "mean_seq_len": 224.6, **fields})


HERE = fingerprint(workload(), recipe(), "L40S")


@pytest.mark.parametrize(
    ("of_workload", "of_recipe"),
    [
        ({"mean_seq_len": 225}, {}),
        ({"samples": 5}, {"learning_rate": 1e-3}),
        ({"epochs": 9}, {"schedule": "linear", "weight_decay": 0.1, "max_grad_norm": 0.5}),
        ({"num_labels": 7}, {}),
        ({}, {"adapter_config": {**CONFIG, "target_modules": ["v_proj", "q_proj"], "peft_version": "9", "bias": None}}),
    ],
)
def test_what_does_not_bear_on_cost_is_the_same_run(of_workload, of_recipe):
    assert fingerprint(workload(**of_workload), recipe(**of_recipe), "L40S") == HERE


@pytest.mark.parametrize(
    ("of_workload", "of_recipe", "gpu"),
    [
        ({"seq_len": 684}, {}, "L40S"),
        ({"mean_seq_len": 230}, {}, "L40S"),
        ({"model": "n"}, {}, "L40S"),
        ({}, {"micro_batch_size": 2}, "L40S"),
        ({}, {"max_grad_norm": 0}, "L40S"),
        ({}, {"trainer": "trl"}, "L40S"),
        ({}, {"adapter_config": {**CONFIG, "r": 9}}, "L40S"),
        ({}, {}, "A10G"),
    ],
)
def test_what_bears_on_cost_is_another_run(of_workload, of_recipe, gpu):
    assert fingerprint(workload(**of_workload), recipe(**of_recipe), gpu) != HERE


@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.integers(1, 9), st.lists(st.text(max_size=3)))))
def test_a_plain_adapter_is_plain_already(config):
    assert plain_adapter(plain_adapter(config)) == plain_adapter(config)


def test_a_device_never_measured_has_no_calibration():
    assert calibration_of("no such device") is None


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, True),
        ({"status": "failed"}, False),
        ({"status": "oom"}, False),
        ({"config_overrides": {"num_hidden_layers": 2}}, False),
        ({"device": "another-card"}, False),
        ({"model_config_sha256": "0" * 64}, False),
        ({"model_config_sha256": "1" * 64}, True),
    ],
)
def test_only_a_whole_run_of_this_model_on_this_device_is_told_as_the_measurement(tmp_path, monkeypatch, fields, found):
    """A run of the model cut to a few layers has the name and the recipe of a whole one."""
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    profile = Profile.model_validate(
        {"id": "one", "device": "my-card", "device_reported": "a card", "status": "complete", "workload": workload(),
         "recipe": recipe(), **fields}
    )  # fmt: skip
    store.write(profile, tmp_path / "data" / PROFILES / "my-card" / "one.json")
    forget()
    spec = ModelSpec.model_validate(
        {"name": "m", "asked": "m", "source": "hub", "where": "the Hub", "config": {}, "task_class": "CausalLM",
         "architecture": "decoder"}
    )  # fmt: skip
    monkeypatch.setattr(ModelSpec, "digests", property(lambda _: frozenset({"1" * 64})))
    assert (profile_of(workload(), recipe(), "my-card", spec) is not None) == found
