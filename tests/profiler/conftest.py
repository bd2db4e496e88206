"""Models small enough that a run takes seconds, and jobs on them."""

from __future__ import annotations

from typing import Any

import pytest

from advisor.domain.model import ModelSpec
from advisor.profiler.campaign import Campaign, Grid
from advisor.profiler.device import Device
from advisor.profiler.planning import job_of
from advisor.profiler.profile_job import ProfileJob

CPU = Device(kind="cpu", name="cpu-test", reported="Test CPU", memory_bytes=8 * 2**30)


def tiny_spec(**changes: Any) -> ModelSpec:
    config = {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 1024,
        "max_position_embeddings": 256,
        "tie_word_embeddings": False,
        **changes,
    }
    return ModelSpec.model_validate(
        {
            "name": "tiny-llama",
            "asked": "tiny-llama",
            "source": "catalogue",
            "where": "tests",
            "config": config,
            "task_class": "CausalLM",
            "architecture": "decoder",
            "context_length": 256,
        }
    )


def make_job(*, spec: ModelSpec | None = None, campaign: dict[str, Any] | None = None, **axes: Any) -> ProfileJob:
    """One run on the tiny model: float32, 2 samples of 64 tokens, as little else as possible."""
    limit = axes.pop("memory_limit_bytes", None)
    fields = {"model": "tiny-llama", "method": "lora", "batch_size": 2, "seq_len": 64, "dtype": "float32", **axes}
    grid = Grid.model_validate(fields)
    settings = {"steps": 2, "threads": 1, "evaluation": False, "saving": False, **(campaign or {})}
    described = Campaign.model_validate({"name": "tests", "grids": (grid,), **settings})
    (choice,) = described.choices()
    return job_of(choice, spec or tiny_spec(), described, CPU, limit)


@pytest.fixture
def job() -> ProfileJob:
    return make_job()
