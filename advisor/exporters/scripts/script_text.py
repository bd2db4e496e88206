"""The Python that an export runs: one reader of rows a task, a model loaded as the estimate loads it, a trainer.

Scripts read plain settings and hold no logic of advisor's, so that they run where advisor is not installed. Names and
paths get into them through `repr` alone.
"""

from __future__ import annotations

from typing import Any, Final

from advisor.catalog.methods import options_of
from advisor.catalog.trainer_formats import TrainerFormat
from advisor.exporters.adapter_document import SAYS_NOTHING, adapter_document
from advisor.exporters.export_job import ExportJob
from advisor.exporters.several_gpus import quantised_storage

REALLOCATED: Final = ("ADALORA", "ADAMSS")
"""peft types whose model must be told of every optimizer step."""


def auto_class(job: ExportJob) -> str:
    """transformers' auto class that loads the model for its task, as `assembly/base_model.py` chooses it."""
    if job.workload.task == "sequence-classification":
        return "AutoModelForSequenceClassification"
    if job.spec.architecture == "encoder-decoder":
        return "AutoModelForSeq2SeqLM"
    return "AutoModelForImageTextToText" if job.spec.task_class == "ImageTextToText" else "AutoModelForCausalLM"


def model_settings(job: ExportJob) -> dict[str, Any]:
    """How the base model is loaded: dtype, attention, quantisation."""
    recipe = job.recipe
    made: dict[str, Any] = {
        "dtype": recipe.dtype,
        "attn_implementation": recipe.attention,
    }
    quantization: dict[str, Any] = {"load_in_8bit": True} if recipe.base == "int8" else {}
    if recipe.base == "nf4":
        quantization = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": recipe.compute_dtype,
            **quantised_storage(job),
        }
    if recipe.base != "dtype" and job.workload.task == "sequence-classification":
        # a list of one's own replaces transformers' own finding of heads, and a new head cannot be quantised
        quantization["llm_int8_skip_modules"] = ["classifier", "score", "pre_classifier", "lm_head"]
    return {**made, **({"quantization": quantization} if quantization else {})}


def adapter_settings(job: ExportJob) -> dict[str, Any] | None:
    """The adapter config without what peft writes only for the record; None for full fine-tuning."""
    if job.method.name == "full":
        return None
    document = adapter_document(job.spec, job.workload.task, job.recipe)
    return {key: value for key, value in document.items() if key not in SAYS_NOTHING - {"task_type"}}


def optimizer_settings(job: ExportJob) -> dict[str, Any] | None:
    """The optimizer that a method is defined by, as peft's own makers take it; None where the trainer makes it."""
    if job.method.optimizer is None:
        return None
    if job.method.optimizer == "loraplus":
        ratio = 16.0 if job.recipe.adapter_config else options_of(job.method, job.recipe.options)["rate_ratio"]
        return {"name": "loraplus", "loraplus_lr_ratio": ratio}
    return {"name": job.method.optimizer}


def header(format: TrainerFormat, lines: list[str]) -> str:
    """The docstring, and what `uv run` and Hugging Face Jobs install before the script runs."""
    said = "\n".join(line.replace("\\", "/").replace('"""', "'''") for line in lines)
    needed = ",\n".join(f'#     "{one}"' for one in format.requirements)
    return f'"""{said}\n"""\n\n# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n{needed},\n# ]\n# ///\n'


LOADING: Final = '''
def quantization():
    """The quantised form of the base, or None."""
    fields = MODEL.get("quantization")
    return BitsAndBytesConfig(**fields) if fields else None


def load(kind, **more):
    """The base model as it was priced, and the names of the parameters that its checkpoint lacks."""
    config = quantization()
    if config is not None:
        device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
        more |= {"quantization_config": config, "device_map": {"": device}}
    model, report = kind.from_pretrained(
        NAME, dtype=MODEL["dtype"], attn_implementation=MODEL["attn_implementation"], output_loading_info=True, **more
    )
    model.config.use_cache = False
    return model, set(report["missing_keys"])
'''

OPTIMIZERS: Final = '''
def method_optimizer(model, args):
    """The optimizer that the method is defined by."""
    kind = OPTIMIZER["name"]
    if kind == "loraplus":
        return create_loraplus_optimizer(
            model, torch.optim.AdamW, lr=args.learning_rate, weight_decay=args.weight_decay,
            loraplus_lr_ratio=OPTIMIZER["loraplus_lr_ratio"],
        )
    config = model.peft_config["default"]
    return create_lorafa_optimizer(
        model, r=config.r, lora_alpha=config.lora_alpha, lr=args.learning_rate, weight_decay=args.weight_decay
    )
'''

FREEZE_A: Final = '''
def freeze_lora_a(model):
    """LoRA-FA trains B only."""
    for name, parameter in model.named_parameters():
        if ".lora_A." in name:
            parameter.requires_grad_(False)
'''

REALLOCATION: Final = '''
class Reallocation(TrainerCallback):
    """Tells the adapter of every optimizer step, as peft asks for: it moves ranks by importance."""

    def on_optimizer_step(self, args, state, control, model=None, **kwargs):
        model.base_model.update_and_allocate(state.global_step + 1)
'''

HEAD_RATE: Final = '''
def give_head_its_rate(trainer, new):
    """Let a classification head that the checkpoint lacks learn at a rate of its own."""
    trainer.create_optimizer()
    wrapped = re.compile(r"^base_model\\.(?:model\\.)?|modules_to_save\\.\\w+\\.|original_module\\.")
    head = {id(p) for n, p in trainer.model.named_parameters() if p.requires_grad and wrapped.sub("", n) in new}
    groups = trainer.optimizer.param_groups
    for group in list(groups):
        moved = [p for p in group["params"] if id(p) in head]
        group["params"] = [p for p in group["params"] if id(p) not in head]
        if moved:
            groups.append({**group, "params": moved, "lr": HEAD_LEARNING_RATE})
    groups[:] = [group for group in groups if group["params"]]
'''

CAUSAL_ROWS: Final = '''
def encode(row):
    """Token ids and labels of one row: `messages`, `prompt` with `completion`, or `text`; only answers are learned."""
    end = tokenizer.eos_token or ""
    if row.get("messages"):
        said = [tokenizer.apply_chat_template(row["messages"], tokenize=False)]
    elif row.get("completion") is not None:
        said = [row["prompt"], row["completion"] + end]
    else:
        said = [row["text"] + end]
    opens = not row.get("messages")  # a chat template writes its own first token
    ids = [tokenizer(part, add_special_tokens=opens and i == 0)["input_ids"] for i, part in enumerate(said)]
    labels = ids[0] if len(ids) == 1 else [-100] * len(ids[0]) + ids[1]
    return {"input_ids": sum(ids, [])[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}
'''

SEQ2SEQ_ROWS: Final = '''
def encode(row):
    """Token ids of one row's `prompt`, and those of its `completion` as labels."""
    made = tokenizer(row["prompt"], truncation=True, max_length=MAX_LENGTH)
    labels = tokenizer(text_target=row["completion"], truncation=True, max_length=MAX_TARGET_LENGTH)["input_ids"]
    return {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"], "labels": labels}
'''

LABELLED_ROWS: Final = '''
def encode(row):
    """Token ids of one row's `text`, and the number of its `label`."""
    made = tokenizer(row["text"], truncation=True, max_length=MAX_LENGTH)
    label = LABELS.index(row["label"]) if NUM_LABELS > 1 else float(row["label"])
    return {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"], "labels": label}
'''
