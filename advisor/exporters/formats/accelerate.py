"""`accelerate launch --config_file`: processes, sharding and mixed precision, and nothing of the recipe else."""

from __future__ import annotations

from advisor.exporters.config_text import stanza, yaml_text
from advisor.exporters.export_job import ExportedFile, Exporter, ExportJob
from advisor.exporters.several_gpus import CONFIG, accelerate_document


class Accelerate(Exporter):
    """One YAML file, which goes with a script of --to hf or --to script."""

    name = "accelerate"
    says = "YAML for `accelerate launch`: processes, sharding and mixed precision; the script is another export"

    def against(self, job: ExportJob) -> str | None:
        return job.method.cannot or None

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        return job, (
            "accelerate's config holds processes, sharding and mixed precision alone: method, batch, rates and rows "
            "are in train.py and training_args.json, of --to hf",
        )

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        text = yaml_text(accelerate_document(job), stanza(self.format, job, self.command(job)))
        return (ExportedFile(name=CONFIG, text=text),)

    def command(self, job: ExportJob) -> str:
        return f"accelerate launch --config_file {CONFIG} train.py"


ACCELERATE = Accelerate()
