"""Fits on made-up devices whose constants are known, and the recorded word of a real one."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from advisor import store
from advisor.catalog.constants import load_constants
from advisor.domain.hardware import Gpu
from advisor.domain.profile import Calibration, Profile
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.errors import BadFile, BadRequest, UnknownName
from advisor.estimator import measurements as known
from advisor.estimator.audit import audit
from advisor.estimator.batch_lengths import lengths_of
from advisor.estimator.calibrate import _interval, calibrate, fit_device
from advisor.estimator.calibration.cross_validation import (
    HeldOutPrediction,
    conformal,
    leave_out,
    predicted_bytes,
    summary,
)
from advisor.estimator.calibration.fit import SHARED, fit_time, predict, prior_deviations, prior_precision
from advisor.estimator.calibration.measured_runs import Run, TracedCase, sha256_of
from advisor.estimator.calibration.optimal_design import choose_runs
from advisor.estimator.cpu_device import PROCESSOR
from advisor.estimator.measurements import POOLED
from advisor.estimator.step_time.step_simulator import HOST_NAMES, TIME_NAMES, Ops, Rates, default_time
from advisor.estimator.step_time.time_prediction import time_of

ROOT = Path(__file__).parents[2]
TRUE = default_time() * np.exp(np.linspace(-0.4, 0.4, len(TIME_NAMES)))
GPU = Gpu.model_validate(
    {"name": "made-up", "vendor": "v", "generation": "g", "memory_bytes": 2**36, "usable_bytes": 2**36}
)


def question(timeline, batch, length):
    workload = Workload.model_validate({"model": "toy", "seq_len": length})
    recipe = Recipe.model_validate({"method": "lora", "micro_batch_size": batch, "trainer": "loop"})
    lengths = lengths_of(workload, recipe)
    return TracedCase(
        workload, recipe, GPU, timeline, lengths, Ops(timeline, batch, lengths.typical), Rates(1e14, 2e13, 1e12)
    )


def run(number, asked, method, *, noise=0.0):
    raw = predicted_bytes(asked)
    profile = Profile.model_validate(
        {
            "id": f"run-{number}",
            "device": "made-up",
            "device_reported": "made-up",
            "status": "complete",
            "workload": asked.workload,
            "recipe": asked.recipe.model_copy(update={"method": method}),
            "step_seconds": (predict(asked, TRUE) * math.exp(noise),),
            "peak_reserved_bytes": round(raw.peak_reserved * 1.02),
            "allocated_after_step_bytes": round(raw.allocated_after_step + 5e6),
        }
    )
    return Run(profile, sha256_of(profile), asked)


@pytest.fixture(scope="module")
def runs(toys):
    rng = np.random.default_rng(7)
    shapes = [(layers, batch, length) for layers in (2, 40, 300) for batch, length in ((1, 64), (4, 512), (16, 2048))]
    return [
        run(i, question(toys(layers), batch, length), f"method-{i}", noise=rng.normal(0, 0.005))
        for i, (layers, batch, length) in enumerate(shapes)
    ]


def test_a_fit_predicts_runs_it_did_not_see_far_better_than_the_catalogue(runs):
    missed = leave_out(runs, "leave-one-method", targets=("step_time",))
    fitted = summary(missed, "step_time", "leave-one-method")
    before = np.median([abs(predict(r.asked, default_time()) / r.step_seconds - 1) for r in runs])
    assert fitted.median < 0.25 * before


@given(st.lists(st.floats(0.05, 20.0), min_size=3, max_size=40))
def test_the_interval_of_a_fit_holds_nine_in_ten_of_the_runs_it_was_made_of(ratios):
    """Measured over predicted: a run that took four times its prediction is no less far off than that."""
    missed = [HeldOutPrediction(None, "step_time", measured=ratio, predicted=1.0, low=0, high=0) for ratio in ratios]
    low, high = _interval(missed, "step_time")
    inside = [low <= ratio - 1 <= high for ratio in ratios]
    assert sum(inside) >= 0.9 * len(ratios)


def test_a_noisy_run_moves_the_fit_less(runs):
    def fitted(seconds):
        told = [
            Run(one.profile.model_copy(update={"step_seconds": seconds(one)}), one.sha256, one.asked) for one in runs
        ]
        return fit_time(told).constants

    even = fitted(lambda one: (2 * one.step_seconds,) * 3)
    uneven = fitted(lambda one: (0.6 * one.step_seconds, 2 * one.step_seconds, 3.4 * one.step_seconds))
    moved = [float(np.abs(np.log(constants / default_time())).sum()) for constants in (uneven, even)]
    assert 0 < moved[0] < 0.9 * moved[1]


def test_what_one_run_says_of_the_host_moves_all_its_constants():
    precision = prior_precision()
    spread = np.linalg.inv(precision)
    host = [TIME_NAMES.index(name) for name in HOST_NAMES]
    for i in range(len(TIME_NAMES)):
        assert spread[i, i] == pytest.approx(prior_deviations()[i] ** 2)
        for j in range(i):
            alike = spread[i, j] / math.sqrt(spread[i, i] * spread[j, j])
            assert alike == pytest.approx(SHARED if i in host and j in host else 0, abs=1e-9)


def test_a_fit_without_runs_is_the_catalogue():
    fit = fit_time([])
    np.testing.assert_allclose(fit.constants, default_time())
    for name in TIME_NAMES:
        assert fit.log_error(name) == pytest.approx(load_constants("time")[name].log_deviation)


def test_more_runs_never_leave_a_constant_less_known(runs):
    few, many = fit_time(runs[:3]), fit_time(runs)
    surer = [many.log_error(n) <= few.log_error(n) * 1.2 + 0.02 for n in TIME_NAMES]
    assert all(surer)


def test_the_same_runs_give_the_same_constants(runs):
    np.testing.assert_array_equal(fit_time(runs).constants, fit_time(runs).constants)


def test_what_bytes_are_off_alike_everywhere_is_corrected(runs):
    missed = leave_out(runs, "leave-one-run", targets=("peak_reserved", "allocated_after_step"))
    assert summary(missed, "peak_reserved", "x").worst < 0.001
    assert summary(missed, "allocated_after_step", "x").median < 0.001


def test_nothing_can_be_left_out_of_one_group(runs):
    assert leave_out(runs, "leave-one-device") == []
    assert leave_out(runs, "leave-one-model") == []


def test_runs_chosen_by_design_tell_more_than_the_first_ones(runs):
    asked = [r.asked for r in runs]
    chosen = choose_runs(asked, 3)
    assert len(set(chosen)) == 3
    assert choose_runs(asked, 99) != []
    assert len(choose_runs(asked, 99)) == len(asked)

    def doubt(picked):
        return np.linalg.slogdet(fit_time([runs[i] for i in picked]).covariance)[1]

    assert doubt(chosen) < doubt([0, 1, 2])


@given(errors=st.lists(st.floats(-1, 1), min_size=1, max_size=60), more=st.floats(0.5, 1))
def test_a_conformal_width_covers_its_share_and_grows_with_it(errors, more):
    width = conformal(errors)
    assert sum(abs(e) <= width for e in errors) >= 0.9 * len(errors) - 1e-9
    assert conformal(errors, 0.5) <= conformal(errors, more)


def test_a_calibration_survives_its_file(runs, tmp_path):
    made = fit_device("made-up", runs, ["a note"])
    path = store.write(made, tmp_path / "made-up.json")
    assert store.read(Calibration, path) == made
    assert set(made.fitted_on) == {r.profile.id for r in runs}
    assert made.time_interval[0] < 0 < made.time_interval[1]


def test_a_card_that_was_never_measured_borrows_from_several_and_says_so(runs, toys):
    def elsewhere(run, device):
        profile = run.profile.model_copy(update={"device": device, "id": f"{device}-{run.profile.id}"})
        return Run(profile, sha256_of(profile), run.asked)

    both = [*runs, *(elsewhere(run, "made-up-too") for run in runs)]
    pooled = fit_device(POOLED, both, [])
    assert pooled.devices == ("made-up", "made-up-too")
    left_out = next(h for h in pooled.held_out if h.target == "step_time")
    assert left_out.scheme == "leave-one-device"
    assert left_out.median < 0.05
    asked = question(toys(40), 4, 512)
    third = GPU.model_copy(update={"name": "never-measured", "bandwidth_bytes_s": 1e12, "bf16_flop_s": 1e14})
    third = third.model_copy(update={"tf32_flop_s": 2e13, "fp32_flop_s": 2e13, "fp16_flop_s": 1e14})
    told = (asked.timeline, asked.lengths, asked.workload, asked.recipe, third)
    borrowed, generic = time_of(*told, pooled)[0].step, time_of(*told)[0].step
    true = float(predict(asked, TRUE))
    assert abs(borrowed.mid / true - 1) < 0.5 * abs(generic.mid / true - 1)
    assert borrowed.basis == "modelled"
    assert "none of never-measured" in borrowed.why
    # two devices tell little of a third: never surer than without them, but by how much the host bounds the step
    assert borrowed.high / borrowed.mid >= generic.high / generic.mid - 0.001
    assert borrowed.low / borrowed.mid <= generic.low / generic.mid + 0.001


def test_an_unmeasured_card_asks_the_pooled_fit_and_a_processor_never_does(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    known.forget()
    assert known.pooled_for(GPU) is None
    store.write(fit_device(POOLED, runs, []), store.home("data") / known.CALIBRATION / "pooled.json")
    known.forget()
    assert known.pooled_for(GPU).device == POOLED
    assert known.pooled_for(GPU.model_copy(update={"vendor": PROCESSOR})) is None
    known.forget()


def test_too_few_profiles_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(known, "profiles", lambda: [])
    with pytest.raises(BadRequest, match="no device has 3"):
        calibrate(write=False)
    with pytest.raises(BadRequest, match="no measured run"):
        audit()
    with pytest.raises(UnknownName, match="no profile of H100"):
        calibrate("H100-SXM", write=False)
    with pytest.raises(UnknownName, match="leave-one-run"):
        audit(scheme="leave-one-rum")


def test_a_damaged_profile_is_refused_with_its_field(tmp_path, monkeypatch):
    monkeypatch.setenv("ADVISOR_HOME", str(tmp_path))
    folder = tmp_path / "data" / "profiles"
    folder.mkdir(parents=True)
    shipped = next((ROOT / "profiles" / "l40s").glob("*.json"))
    (folder / "cut.json").write_text(shipped.read_text().replace('"steps": 5000', '"steps": "many"'))
    with pytest.raises(BadFile, match="steps"):
        known.profiles()
    (folder / "cut.json").write_text(shipped.read_text()[:300])
    with pytest.raises(BadFile):
        known.profiles()


# --- the shipped fit and profiles ---------------------------------------------------------------------


def shipped_calibrations():
    paths = sorted((ROOT / "calibration").glob("*.json"))
    return [store.read(Calibration, p) for p in paths if store.read_document(p)["schema"].startswith("calibration/")]


def test_shipped_calibrations_were_fitted_on_the_shipped_profiles():
    by_id = {}
    for path in store.listing(ROOT / "profiles"):
        profile = store.read(Profile, path)
        by_id[profile.id] = sha256_of(profile)
    assert shipped_calibrations(), "no calibration is shipped"
    for fitted in shipped_calibrations():
        for name, digest in fitted.fitted_on.items():
            assert by_id.get(name) == digest, f"{fitted.device}: {name} changed since the fit"


def test_shipped_intervals_cover_nine_runs_in_ten_that_the_fit_did_not_see():
    for fitted in shipped_calibrations():
        for held in fitted.held_out:
            least = binom.ppf(0.01, held.runs, 0.9) / held.runs
            assert held.coverage >= least, f"{fitted.device}: {held}"


def test_shipped_profiles_say_where_they_come_from():
    for path in store.listing(ROOT / "profiles"):
        profile = store.read(Profile, path)
        assert profile.source or profile.measured_on, f"{path.name} names neither a source nor a day"
        assert profile.versions.get("torch"), path.name
        if profile.status == "complete":
            assert profile.step_seconds, path.name
            assert profile.peak_reserved_bytes or profile.peak_allocated_bytes, path.name


def test_a_digest_changes_with_what_a_profile_says_and_not_with_fields_it_is_silent_on():
    path = next(iter(store.listing(ROOT / "profiles")))
    profile = store.read(Profile, path)
    assert sha256_of(store.read(Profile, path)) == sha256_of(profile)
    for changes in ({"head_learning_rate": 7e-3}, {"micro_batch_size": profile.recipe.micro_batch_size + 1}):
        other = profile.model_copy(update={"recipe": profile.recipe.model_copy(update=changes)})
        assert sha256_of(other) != sha256_of(profile)
