"""The closed sets of names that requests, recipes and workloads share. Imports nothing, so that `--help` stays fast."""

from __future__ import annotations

from typing import Final, Literal, get_args

DType = Literal["bfloat16", "float16", "float32"]
MixedPrecision = Literal["bf16", "fp16", "no"]
"""The trainer's flag, as accelerate names its values: products in that type, whatever the weights are loaded in."""
MIXED_DTYPES: dict[str, DType] = {"bf16": "bfloat16", "fp16": "float16"}
MIXED_FLAGS: dict[str, MixedPrecision] = {"bfloat16": "bf16", "float16": "fp16"}
PRECISION: Final = ("dtype", "mixed_precision", "prepare_kbit_training")
"""Arguments that say in what precision to train."""
Base = Literal["dtype", "int8", "nf4"]
"""How the frozen base weights are held: in `dtype`, or quantised by bitsandbytes."""
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Trainer = Literal["loop", "hf", "trl"]
"""`loop`: plain PyTorch loop · `hf`: transformers Trainer · `trl`: SFTTrainer (no tokens x vocabulary logits)."""
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
Batching = Literal["padded", "grouped", "packed", "padding-free"]
"""`padded`: to the longest of samples drawn at random · `grouped`: of samples sorted by length · `packed`: rows filled
with samples · `padding-free`: all samples of a batch in one row."""
Sharding = Literal["ddp", "fsdp1", "fsdp2", "zero1", "zero2", "zero3"]
"""How one job is spread over several GPUs: copies of all (`ddp`), or weights, gradients and state in shards."""
SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)
SearchObjective = Literal["quality", "time", "memory"]
"""What a search optimises; more than one gives a Pareto front."""
Objective = Literal[
    "sft", "dpo", "ipo", "kto", "orpo", "cpo", "simpo", "reward", "grpo", "rloo", "ppo", "online-dpo", "gkd", "prm"
]
"""What a training minimises, as TRL names it. `sft` is supervised learning: next tokens, targets or classes."""
Reference = Literal["adapter-off", "copy", "precomputed"]
"""Where a preference objective's reference log-probabilities come from: the policy with its adapter switched off, a
second copy of the base model, or a pass over the data before the training."""
Launcher = Literal["local", "ray"]
DeviceKind = Literal["auto", "cuda", "cpu", "mps"]
RunOrder = Literal["spread", "design"]
AuditScheme = Literal["leave-one-run", "leave-one-method", "leave-one-model", "leave-one-device", "uncalibrated"]
"""What is left out of a fit before it predicts a run: the run, or all that share its method, model or device."""
Aspect = Literal["quality", "forgetting", "cost", "law", "curve"]
"""What a finding says: how good the result is, what was forgotten, what it cost, a fitted law's constant, or
a score met on the way through one run (`curve`: samples seen so far, not samples there were)."""
Family = Literal["full", "additive", "selective", "reparameterised", "hybrid"]
"""The families of methods of Han et al. 2024 (arXiv:2403.14608), and full fine-tuning."""

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
