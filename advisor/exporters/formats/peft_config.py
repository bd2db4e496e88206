"""peft's `adapter_config.json`: the one format that carries every adapter, and nothing but the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.exporters.adapter_document import SAYS_NOTHING, adapter_document
from advisor.exporters.config_text import json_text
from advisor.exporters.export_job import ConfigCase, ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_method
from advisor.exporters.settings import Settings


class PeftAdapter(Exporter):
    """`adapter_config.json`."""

    name = "peft"
    says = "adapter_config.json: the adapter of every method of peft's, without its training"

    def against(self, job: ExportJob) -> str | None:
        if job.method.name == "full":
            return "full fine-tuning has no adapter: --to hf"
        reason = against_method(job)
        if reason is None:
            adapter_document(job.spec, job.workload.task, job.recipe)
        return reason

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        recipe = job.recipe
        said = (
            f"{recipe.micro_batch_size} x {recipe.gradient_accumulation} samples, base {recipe.base} in {recipe.dtype}"
        )
        return job, (f"adapter_config.json holds the adapter alone, not its training ({said}, rates, epochs): --to hf",)

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        document = adapter_document(job.spec, job.workload.task, job.recipe)
        document = {**document, "peft_version": self.format.version}
        return (ExportedFile(name="adapter_config.json", text=json_text(document)),)

    def command(self, job: ExportJob) -> str:
        return 'get_peft_model(model, PeftConfig.from_pretrained("."))'

    def recognises(self, document: Mapping[str, Any]) -> bool:
        return "peft_type" in document

    def read(self, settings: Settings) -> ConfigCase:
        document = settings.whole_document()
        base = settings.text("base_model_name_or_path")
        config = {key: value for key, value in document.items() if key not in SAYS_NOTHING - {"task_type"}}
        case: dict[str, Any] = {"adapter_config": config}
        if base:
            case["model"] = base
        note = "it says nothing of batch, length, precision or optimizer: the options' own are taken"
        return ConfigCase(case, (note,))


PEFT_ADAPTER = PeftAdapter()
