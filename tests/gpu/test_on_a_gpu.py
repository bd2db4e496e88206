"""What only a GPU can say: `pytest -m gpu`. Without one these fail: a skip would pass for a proof."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import advisor
from advisor import store
from advisor.domain.profile import Profile
from advisor.estimator.calibration.measured_runs import prepare
from advisor.estimator.memory.memory_prediction import memory_of

pytestmark = pytest.mark.gpu

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
}
RUNS = {"batch_size": [1, 2, 4], "seq_len": [128, 256]}


@pytest.fixture(scope="module")
def gpu() -> str:
    import torch

    assert torch.cuda.is_available(), "these tests need a GPU that torch can use"
    return torch.cuda.get_device_name()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder)


@pytest.fixture(scope="module")
def measured(gpu: str, model: str) -> tuple[Profile, ...]:
    """Twelve short runs, kept in the store that calibrate reads."""
    found = advisor.profile(model, ["lora", "full"], device="cuda", dtype="float32", steps=3, **RUNS)
    return found.profiles


def test_a_run_completes_and_says_where_it_ran(measured: tuple[Profile, ...]):
    assert len(measured) == 12
    for one in measured:
        assert one.status == "complete", one.reason
        assert len(one.step_seconds) == 3
        assert min(one.step_seconds) > 0


def test_the_traced_step_allocates_what_the_gpu_allocated(measured: tuple[Profile, ...]):
    """No calibration, no interval: blocks rounded to 512 bytes leave a percent at most, a missed tensor is larger."""
    left_out: list[str] = []
    runs = prepare(measured, left_out=lambda profile, why: left_out.append(f"{profile.id}: {why}"))
    assert not left_out
    for run in runs:
        asked = run.asked
        memory, _ = memory_of(asked.timeline, asked.lengths, asked.recipe, asked.gpu)
        assert run.profile.peak_allocated_bytes == pytest.approx(memory.peak_allocated.mid, rel=0.01), run.profile.id


def test_a_calibration_is_fitted_to_what_was_measured(measured: tuple[Profile, ...], tmp_path: Path):
    fitted = advisor.calibrate(measured[0].device, out=tmp_path)
    assert fitted
    assert list(tmp_path.rglob("*.json"))
    assert store.read(type(fitted[0]), next(tmp_path.rglob("*.json"))) == fitted[0]
