"""Sentence Transformers' CrossEncoder, a classifier of texts; what its embedding models learn is not priced."""

from __future__ import annotations

from typing import Any, Final

from advisor.exporters.config_text import stanza
from advisor.exporters.export_job import ExportedFile, Exporter, ExportJob
from advisor.exporters.expressible import against_kernels, against_method, against_optimizer, with_trainer
from advisor.exporters.formats.trl_cli import builder_of
from advisor.exporters.hf_arguments import training_arguments
from advisor.exporters.scripts.literals import python_literal
from advisor.exporters.scripts.script_text import adapter_settings, header, model_settings


class SentenceTransformers(Exporter):
    """`train.py`."""

    name = "sentence-transformers"
    says = "a script for CrossEncoderTrainer: classification of texts, whole models and peft's adapters"

    def against(self, job: ExportJob) -> str | None:
        if job.workload.task != "sequence-classification" or job.spec.task_class == "ImageClassification":
            return (
                "its CrossEncoder classifies texts; what its embedding models are trained by (pairs against each other "
                "in a batch) is not priced here"
            )
        if job.method.prompt:
            return "transformers' add_adapter, which it calls, takes no prompts"
        if job.recipe.batching != "padded":
            return "it pads its batches"
        reason = against_method(job) or against_optimizer(job) or against_kernels(job)
        if reason is None:
            adapter_settings(job)
        return reason

    def as_run(self, job: ExportJob) -> tuple[ExportJob, tuple[str, ...]]:
        return with_trainer(job, "hf", "Sentence Transformers")

    def files(self, job: ExportJob) -> tuple[ExportedFile, ...]:
        adapter, model = adapter_settings(job), model_settings(job)
        quantised = "quantization" in model
        arguments = training_arguments(job)
        if job.recipe.head_learning_rate is not None:
            arguments["learning_rate_mapping"] = {HEADS: job.recipe.head_learning_rate}
        init: dict[str, Any] = {key: model[key] for key in ("dtype", "attn_implementation")}
        values = {"ARGUMENTS": arguments, "MODEL": init} | ({"ADAPTER": adapter} if adapter is not None else {})
        text = header(self.format, stanza(self.format, job, self.command(job)))
        lines = [
            "import torch",
            "from datasets import load_dataset",
            *(["from peft import get_peft_config"] if adapter is not None else []),
            "from sentence_transformers.cross_encoder import CrossEncoder, CrossEncoderTrainer",
            "from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments",
            "from sentence_transformers.util import batch_to_device",
            *(["from transformers import BitsAndBytesConfig"] if quantised else []),
            "",
            *(python_literal(name, value) for name, value in values.items()),
            *([_QUANTISED.format(fields=model["quantization"])] if quantised else []),
            _MAIN.format(
                data=job.data,
                kind=builder_of(job.data),
                numbered=_NUMBERED if job.workload.num_labels > 1 else "",
                model=job.model,
                labels=job.workload.num_labels,
                length=job.workload.seq_len,
                adapter=_ADAPTER if adapter is not None else "",
                loss="CrossEntropyLoss()" if job.workload.num_labels > 1 else "MSELoss()",
            ),
        ]
        return (ExportedFile(name="train.py", text=text + "\n".join(lines)),)

    def command(self, job: ExportJob) -> str:
        return "python train.py"


HEADS: Final = r".*(?:classifier|score)\..*"
"""Names of new heads in transformers' classifiers."""
_QUANTISED: Final = """MODEL["quantization_config"] = BitsAndBytesConfig(**{fields!r})
MODEL["device_map"] = {{"": 0 if torch.cuda.is_available() else "cpu"}}"""
_ADAPTER: Final = "model.add_adapter(get_peft_config(ADAPTER))\n"
_MAIN: Final = """

class TextLoss(torch.nn.Module):
    \"\"\"The loss of rows with one text; those of the library take pairs.\"\"\"

    def __init__(self, model):
        super().__init__()
        self.model, self.loss = model, torch.nn.{loss}

    def forward(self, inputs, labels, prompt=None, task=None):
        tokens = batch_to_device(self.model.preprocess(inputs[0], prompt=prompt, task=task), self.model.device)
        scores = self.model(tokens)["scores"]
        return self.loss(scores if scores.shape[-1] > 1 else scores.view(-1), labels.view(-1))


rows = load_dataset({kind!r}, data_files={data!r}, split="train").select_columns(["text", "label"])
{numbered}model = CrossEncoder({model!r}, num_labels={labels!r}, max_length={length!r}, model_kwargs=MODEL)
{adapter}trainer = CrossEncoderTrainer(
    model=model,
    args=CrossEncoderTrainingArguments(**ARGUMENTS),
    train_dataset=rows,
    loss=TextLoss(model),
)
trainer.train()
model.save_pretrained(ARGUMENTS["output_dir"])
"""
_NUMBERED: Final = """names = sorted(set(rows["label"]))
rows = rows.map(lambda row: {"label": names.index(row["label"])})
"""

SENTENCE_TRANSFORMERS = SentenceTransformers()
