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
PRECISION_WORDS: tuple[tuple[str, DType], ...] = (
    ("bf16", "bfloat16"), ("fp16", "float16"), ("half", "float16"), ("fp32", "float32"), ("single", "float32"),
    ("torch.bfloat16", "bfloat16"), ("torch.float16", "float16"), ("torch.float32", "float32"),
)  # fmt: skip
"""What else people call a type, in files and in Python."""
FLAG_WORDS: tuple[tuple[str, MixedPrecision], ...] = (*MIXED_FLAGS.items(), ("none", "no"))
"""The same of the trainer's flag."""
Base = Literal["dtype", "int8", "nf4"]
"""How the frozen base weights are held: in `dtype`, or quantised by bitsandbytes."""
Attention = Literal["sdpa", "eager", "flash_attention_2"]
Trainer = Literal["loop", "hf", "trl", "axolotl", "unsloth"]
"""`loop`: plain PyTorch loop · `hf`: transformers Trainer · `trl`: SFTTrainer (no tokens x vocabulary logits) ·
`axolotl`: transformers' with fused LoRA kernels · `unsloth`: kernels, loss and checkpointing of its own."""
OwnTrainer = Literal["loop", "hf", "trl"]
"""Those that advisor trains with; the others are priced and exported to."""
TRAINERS: tuple[Trainer, ...] = get_args(Trainer)
Batching = Literal["padded", "grouped", "packed", "padding-free"]
"""`padded`: to the longest of samples drawn at random · `grouped`: of samples sorted by length · `packed`: rows filled
with samples · `padding-free`: all samples of a batch in one row."""
Varied = Literal["batch", "length", "model", "gpu"]
"""What `advisor fit` looks for, all else as asked."""
VARIED: tuple[Varied, ...] = get_args(Varied)
Sharding = Literal["ddp", "fsdp1", "fsdp2", "zero1", "zero2", "zero3"]
"""How one job is spread over several GPUs: copies of all (`ddp`), or weights, gradients and state in shards."""
SHARDINGS: tuple[Sharding, ...] = get_args(Sharding)
LayerKernels = Literal["none", "liger"]
"""`liger`: Liger's norms, gated products and rotary embeddings in the place of the model's own."""
FusedLoss = Literal["none", "liger", "cce"]
"""A loss without tokens x vocabulary logits. `none`: the trainer's own, which of TRL is one too · `liger`: Liger's
fused linear cross entropy · `cce`: cut cross entropy."""
SearchObjective = Literal["quality", "time", "memory"]
"""What a search optimises; more than one gives a Pareto front."""
Objective = Literal[
    "sft", "dpo", "ipo", "kto", "orpo", "cpo", "simpo", "reward", "grpo", "rloo", "ppo", "online-dpo", "gkd", "prm"
]
"""What a training minimises, as TRL names it. `sft` is supervised learning: next tokens, targets or classes."""
Reference = Literal["adapter-off", "copy", "precomputed"]
"""Where a preference objective's reference log-probabilities come from: the policy with its adapter switched off, a
second copy of the base model, or a pass over the data before the training."""
GenerationEngine = Literal["transformers", "vllm", "vllm-sleep", "vllm-server"]
"""What generates the completions of a reinforcement objective: transformers itself, vLLM on the same card, the same
asleep while the policy is trained, or a vLLM server on a card of its own."""
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

Task = Literal["causal-lm", "sequence-classification", "seq2seq", "denoising"]
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
