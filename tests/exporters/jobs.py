"""Jobs to export: the catalogue's methods on tiny models, and one recipe that every tool can express."""

from __future__ import annotations

from typing import Any

from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.domain.recipe import Recipe
from advisor.domain.workload import Workload
from advisor.exporters.export_job import ExportJob
from advisor.exporters.export_source import job_of
from tests.conformance.tiny import Tiny, small_options

TUNED: dict[str, Any] = {
    "micro_batch_size": 4,
    "gradient_accumulation": 2,
    "learning_rate": 3e-4,
    "weight_decay": 0.01,
    "warmup_ratio": 0.1,
}
"""Settings of which none is a tool's default."""


def job_for(method: Method, tiny: Tiny, **changes: Any) -> ExportJob:
    """A job of a method on a tiny model."""
    base = "dtype" if "dtype" in method.bases else method.default_base
    recipe = Recipe.model_validate(
        {
            "method": method.name,
            "base": base,
            "options": small_options(method),
            "optimizer": method.optimizer or "adamw_torch",
            **TUNED,
            **changes,
        }
    )
    workload = Workload(model=tiny.name, task=tiny.task, seq_len=16, samples=400, epochs=2, effective_batch_size=8)
    return ExportJob(workload, recipe, tiny.spec)


def published(method: str = "lora", model: str = "meta-llama/Llama-3.2-1B-Instruct", **more: Any) -> ExportJob:
    """A job of a catalogued model, as a case says it."""
    case = {
        "model": model,
        "gpu": "H100",
        "method": method,
        "batch_size": 4,
        "gradient_accumulation": 2,
        "seq_len": 1024,
        "samples": 2000,
        "epochs": 3,
        "learning_rate": 2e-4,
        "gradient_checkpointing": find_method(method).checkpointing,
        **more,
    }
    return job_of(case)
