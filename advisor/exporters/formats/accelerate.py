"""`accelerate launch --config_file`: processes and mixed precision, and nothing of the recipe else."""

from __future__ import annotations

from typing import Any

from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ExportedFile, Exporter, ExportJob


class Accelerate(Exporter):
    """One YAML file, which goes with a script of --to hf or --to script."""

    name = "accelerate"
    says = "YAML for `accelerate launch`: one process and the mixed precision; the script is another export"

    def against(self, job: ExportJob) -> str | None:
        return job.method.cannot or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        return job, (
            "accelerate's config holds processes and mixed precision alone: method, batch, rates and rows are in "
            "train.py and training_args.json, of --to hf",
        )

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        recipe = job.recipe
        document: dict[str, Any] = {
            "compute_environment": "LOCAL_MACHINE",
            "distributed_type": "NO",
            "num_processes": 1,
            "num_machines": 1,
            "machine_rank": 0,
            "mixed_precision": recipe.mixed_precision,
            "downcast_bf16": False,
            "use_cpu": False,
            "main_training_function": "main",
            "debug": False,
        }
        text = yaml_text(document, stanza(self.format, job, self.command(job)))
        return (ExportedFile(name="accelerate.yaml", text=text),)

    def command(self, job: ExportJob) -> str:
        return "accelerate launch --config_file accelerate.yaml train.py"


ACCELERATE = Accelerate()
