"""How what was trained is loaded again: the call itself, and the lines that a model card shows for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from advisor.loading import auto_model, load_auto_peft, load_model
from advisor.training.training_spec import TrainingSpec

PEFT_CLASSES: Final = {
    "CAUSAL_LM": "AutoPeftModelForCausalLM",
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
}


@dataclass(frozen=True, slots=True)
class ModelLoader:
    """One call that gives the model of an exported folder.

    `quantization` are the fields of a `BitsAndBytesConfig`; an adapter was trained beside such a base and
    belongs on one.
    """

    library: str
    name: str
    keywords: Mapping[str, Any] = field(default_factory=dict[str, Any])
    quantization: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def load(self, folder: Path, device: str = "cpu") -> Any:
        """The model, on the device."""
        import importlib

        keywords = dict(self.keywords)
        if self.quantization:
            from transformers import BitsAndBytesConfig

            keywords |= {"quantization_config": BitsAndBytesConfig(**self.quantization), "device_map": {"": device}}
        if self.library == "peft":
            model: Any = load_auto_peft(self.name, folder, **keywords)
        elif self.library == "transformers":
            model = load_model(auto_model(self.name.removeprefix("AutoModelFor")), folder, **keywords)
        else:
            model = getattr(importlib.import_module(self.library), self.name)(folder)
        return model if self.quantization else model.to(device)

    def lines(self, folder: str, *, tokenizer: bool = True) -> tuple[str, ...]:
        """Python that a reader can paste: imports, model, tokenizer."""
        imports = ["AutoTokenizer"] if tokenizer else []
        keywords = [f"{name}={value!r}" for name, value in self.keywords.items()]
        if self.quantization:
            imports.append("BitsAndBytesConfig")
            fields = ", ".join(f"{name}={value!r}" for name, value in self.quantization.items())
            keywords.append(f"quantization_config=BitsAndBytesConfig({fields})")
        call = self.name if self.library == "advisor.training.export" else f"{self.name}.from_pretrained"
        lines = [f"from {self.library} import {self.name}"]
        if self.library == "transformers":
            lines, imports = [], sorted({*imports, self.name})
        lines += [f"from transformers import {', '.join(sorted(imports))}"] if imports else []
        lines.append(f"model = {call}({', '.join([repr(folder), *keywords])})")
        return (*lines, *([f"tokenizer = AutoTokenizer.from_pretrained({folder!r})"] if tokenizer else []))


def loader_of(job: TrainingSpec, *, plain: bool, whole: bool) -> ModelLoader:
    """How the export of a training is loaded.

    Args:
        plain: peft or transformers read it; else only we do.
        whole: it is a whole model, not an adapter.
    """
    from advisor.assembly.base_model import auto_class
    from advisor.catalog.models.tasks import peft_task_type

    if not plain:
        return ModelLoader("advisor.training.export", "load_exported")
    dtype = {"dtype": job.recipe.dtype}
    if whole:
        return ModelLoader("transformers", auto_class(job.spec, job.workload.task).__name__, dtype)
    task_type = peft_task_type(job.spec, job.workload.task)
    quantization = quantization_fields(job)
    if task_type is None:
        return ModelLoader("peft", "AutoPeftModel", dtype, quantization)
    return ModelLoader("peft", PEFT_CLASSES[task_type], {**_head(job), **dtype}, quantization)


def merged_loader(job: TrainingSpec) -> ModelLoader:
    """How the model with the adapter in its weights is loaded."""
    return loader_of(job, plain=True, whole=True)


def _head(job: TrainingSpec) -> dict[str, Any]:
    """What of a classifier stands in its base's config, which knows nothing of these labels."""
    if job.workload.task != "sequence-classification":
        return {}
    head: dict[str, Any] = {"id2label": dict(enumerate(job.splits.labels))}
    head["label2id"] = {label: i for i, label in head["id2label"].items()}
    if job.spec.config.get("pad_token_id") is None and job.pad_token_id is not None:
        head["pad_token_id"] = job.pad_token_id
    return head


def quantization_fields(job: TrainingSpec) -> dict[str, Any]:
    """The fields of the `BitsAndBytesConfig` that a base is trained beside; none where it is not quantised."""
    from advisor.assembly.base_model import build
    from advisor.assembly.quantize import unquantised

    base = job.recipe.base
    if base == "dtype":
        return {}
    # left to itself, transformers keeps the heads of causal LMs only, and a new classifier cannot be quantised
    plain = build(job.spec, job.workload, job.recipe.model_copy(update={"base": "dtype"}))
    heads = {"llm_int8_skip_modules": unquantised(plain)}
    if base == "int8":
        return {"load_in_8bit": True, **heads}
    nf4 = {
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": job.recipe.compute_dtype,
    }
    return {"load_in_4bit": True, **nf4, **heads}
