"""The closed sets of names that requests, recipes and workloads share. Imports nothing, so that `--help` stays fast."""

from __future__ import annotations

from typing import Literal, get_args

DType = Literal["bfloat16", "float16", "float32"]
MixedPrecision = Literal["bf16", "fp16", "no"]
"""The trainer's flag, as accelerate names its values: products in that type, whatever the weights are loaded in."""
MIXED_DTYPES: dict[str, DType] = {"bf16": "bfloat16", "fp16": "float16"}
MIXED_FLAGS: dict[str, MixedPrecision] = {"bfloat16": "bf16", "float16": "fp16"}
Base = Literal["dtype", "int8", "nf4"]
"""How the frozen base weights are held: in `dtype`, or quantised by bitsandbytes."""
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Trainer = Literal["loop", "hf", "trl"]
"""`loop`: plain PyTorch loop · `hf`: transformers Trainer · `trl`: SFTTrainer (no tokens x vocabulary logits)."""
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
Batching = Literal["padded", "grouped", "packed", "padding-free"]
"""`padded`: to the longest of samples drawn at random · `grouped`: of samples sorted by length · `packed`: rows filled
with samples · `padding-free`: all samples of a batch in one row."""
Objective = Literal["quality", "time", "memory"]
"""What a search optimises; more than one gives a Pareto front."""
Launcher = Literal["local", "ray"]

Task = Literal["causal-lm", "sequence-classification", "seq2seq"]
TASKS: tuple[Task, ...] = get_args(Task)

TaskType = Literal[
    "NLU",
    "NLG",
    "instruction",
    "math",
    "code",
    "reasoning",
    "QA",
    "translation",
    "summarization",
    "NER",
    "classification",
    "vision",
    "preference",
    "pretraining",
]
"""What kind of skill is learned; evidence is grouped by it."""
