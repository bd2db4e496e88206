"""Optimizers that update within the backward pass: every trainer hands them its learning rate, and SGD agrees."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

from tests.training.test_trainers import causal, run

STAND_IN = (
    "from advisor.assembly.library_optimizers.fused_backward import TracedAdaLomo as AdaLomo, TracedLomo as Lomo\n"
)


@pytest.fixture
def lomo_optim(tmp_path, monkeypatch):
    """The library where it is installed, else its stand-in under its name."""
    if importlib.util.find_spec("lomo_optim") is None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "lomo_optim.py").write_text(STAND_IN)
        monkeypatch.syspath_prepend(tmp_path / "site")
        importlib.invalidate_caches()
        monkeypatch.setattr("accelerate.accelerator.is_lomo_available", lambda: True)
        monkeypatch.setattr("accelerate.optimizer.is_lomo_available", lambda: True)
    yield
    if (tmp_path / "site").is_dir():
        sys.modules.pop("lomo_optim", None)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["loop", "hf", "trl"])
def test_lomo_over_float32_weights_is_sgd_in_every_trainer(tmp_path, tiny_llama, lomo_optim, trainer):
    fields = {"method": "full", "max_grad_norm": 0.0, "learning_rate": 0.05, "schedule": "linear"}
    hashes = {}
    for name in ("sgd", "lomo"):
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        job = causal(tmp_path, tiny_llama, trainer, optimizer=name, **fields)
        result = run(job.model_copy(update={"max_steps": 4, "evaluations": 1}))
        assert result.status == "complete", result.reason
        hashes[name] = result.weights_sha256
        assert Path(job.folder).is_dir()
    assert hashes["lomo"] == hashes["sgd"]
