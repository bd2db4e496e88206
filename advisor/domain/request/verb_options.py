"""The arguments of the verbs, each written once: its type, its bounds, and the sentence that explains it.

The Python functions are typed by the TypedDicts here (PEP 692), the requests that validate them hold fields of the
same types, and the command line makes its options from them; a test holds the three together. Nothing heavy is
imported, so that `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, TypedDict

from advisor.domain.request.argument import Argument, VerbDetail
from advisor.domain.request.rollout_options import RolloutOptions
from advisor.domain.request.vocabulary import (
    FLAG_WORDS,
    PRECISION_WORDS,
    Attention,
    Base,
    Batching,
    DType,
    FusedLoss,
    MixedPrecision,
    Objective,
    Reference,
    Task,
    TaskType,
    Trainer,
)

Names = str | Sequence[str]
"""One name, several separated by commas, or a sequence of them."""


def names_in(names: Names) -> tuple[str, ...]:
    """The names of a repeated argument, each of which may hold several: `lora,dora` or `["lora,dora", "full"]`."""
    values = [names] if isinstance(names, str) else names
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


Model = Annotated[
    str, Argument("A Hub id, catalogue name or alias, or a local folder.", metavar="NAME", least_length=1)
]
Gpu = Annotated[
    str,
    Argument("A GPU of the catalogue (see `advisor gpus`), or auto: this machine's.", metavar="NAME", least_length=1),
]
GpuMemoryMax = Annotated[
    str | float, Argument("Of several GPUs: none with more memory than this, 24GB ...", metavar="SIZE")
]
MaxUsdPerHour = Annotated[float, Argument("Of several GPUs: none that costs more an hour.", gt=0)]
Data = Annotated[str, Argument("Training rows: JSONL, JSON, CSV, Arrow, Parquet or a folder of them.", metavar="FILE")]
EvalData = Annotated[
    str,
    Argument("Rows to choose by.", metavar="FILE", shown_default="a tenth of --data", earlier=("--eval",)),
]
TestData = Annotated[
    str,
    Argument("Rows for the reported score.", metavar="FILE", shown_default="a tenth of --data", earlier=("--test",)),
]
ColumnsNamed = Annotated[
    str | Mapping[str, str],
    Argument("Columns of --data named otherwise: text=utterance,label=intent.", metavar="ROLE=COLUMN"),
]
"""Which column is read as what; in Python `{"text": "utterance", "label": "intent"}` too."""

MetricName = Annotated[
    str,
    Argument(
        "accuracy, f1, loss, perplexity, exact_match, rouge1, rouge2, rougeL.",
        metavar="NAME",
        shown_default="by the task",
    ),
]
LocalModel = Annotated[Model, VerbDetail("Its weights must lie there, or in the Hub's cache.")]
GpuMemory = Annotated[str | float, Argument("Of a card that is not listed: 24GB, 24564MiB ...", metavar="SIZE")]
GpuLike = Annotated[
    str, Argument("... and the GPU of the catalogue whose rates it shares.", metavar="NAME", least_length=1)
]
MaxGpus = Annotated[int, Argument("Most GPUs of one machine that the job may use.", shown_default="1", ge=1, le=1024)]
Gpus = Annotated[
    int, Argument("GPUs of the job, all machines together.", shown_default="1", earlier=("--count",), ge=1, le=10**5)
]
Nodes = Annotated[
    int, Argument("Machines that the GPUs are spread over, as many on each.", shown_default="1", ge=1, le=10**5)
]
Parallelism = Annotated[
    str | Mapping[str, Any],
    Argument(
        "Of several GPUs: ddp, fsdp1, fsdp2, zero1, zero2 or zero3; in Python and files also an object.",
        metavar="NAME",
        shown_default="ddp",
    ),
]
Headroom = Annotated[float, Argument("Share of memory to keep free.", shown_default="0.05", ge=0, lt=1)]
UsdPerHour = Annotated[float, Argument("Your own price for the machine.", shown_default="the cheapest offer", gt=0)]
InterruptionsPerHour = Annotated[
    float, Argument("Of a spot machine, expected: what is lost to them is counted.", ge=0, le=60)
]
CheckpointMinutes = Annotated[float, Argument("... training between checkpoints, lost at most.", gt=0, le=10**6)]
RestartMinutes = Annotated[float, Argument("... until the training goes on.", ge=0, le=10**6)]

TaskName = Annotated[
    Task,
    Argument(
        "causal-lm, sequence-classification, seq2seq or denoising.", metavar="TASK", shown_default="by model or rows"
    ),
]
ObjectiveName = Annotated[
    Objective,
    Argument(
        "sft, dpo, ipo, kto, orpo, cpo, simpo, reward, grpo or rloo; ppo, online-dpo, gkd and prm are not priced yet.",
        metavar="NAME",
        shown_default="sft, or by the rows",
    ),
]
ReferenceModel = Annotated[
    Reference,
    Argument(
        "Of dpo, ipo, kto, and grpo and rloo with --beta: adapter-off, copy or precomputed.",
        metavar="HOW",
        shown_default="adapter-off with a peft adapter, else copy",
    ),
]
TaskTypeName = Annotated[
    TaskType, Argument("NLU, NLG, instruction, math, code, reasoning ...: for evidence.", metavar="TYPE")
]
Samples = Annotated[int, Argument("Training samples.", metavar="N", reads="count", ge=1, le=10**12)]
SeqLen = Annotated[int, Argument("Tokens of the longest sample; longer ones are cut. Decides memory.", ge=1, le=10**7)]
MeanSeqLen = Annotated[
    float, Argument("Mean tokens of a sample, padding counted: decides time.", shown_default="--seq-len", gt=0)
]
LengthFile = Annotated[
    str, Argument("Tokens of each sample, one a line or a JSON list: lengths from it.", metavar="FILE")
]
TargetLen = Annotated[int, Argument("Tokens of the longest target (seq2seq).", ge=1, le=10**7)]
ImageCount = Annotated[
    int,
    Argument("Pictures of a sample (vision-language models); 0: none.", shown_default="none", ge=0, le=1000),
]
ImageSize = Annotated[
    int | str,
    Argument(
        "A picture's side in pixels, or WIDTHxHEIGHT.", metavar="SIZE", shown_default="the model's own where it has one"
    ),
]
AudioSeconds = Annotated[float, Argument("Seconds of the longest recording.", shown_default="30", gt=0)]
NumLabels = Annotated[int, Argument("Classes (sequence-classification).", ge=1, le=10**6)]
Epochs = Annotated[float, Argument("Passes over the samples.", gt=0, le=10**6)]
EffectiveBatchSize = Annotated[int, Argument("Samples of one optimizer step.", ge=1, le=10**7)]

Precision = Annotated[
    DType,
    Argument(
        "Weights are loaded in bfloat16, float16 or float32.",
        metavar="DTYPE",
        shown_default="the GPU's 16-bit type; float32 for what would lose its updates in it",
        words=PRECISION_WORDS,
    ),
]
MixedPrecisionFlag = Annotated[
    MixedPrecision,
    Argument(
        "The trainer's flag: bf16, fp16 or no.",
        metavar="FLAG",
        shown_default="no; the GPU's 16-bit type over float32 weights",
        words=FLAG_WORDS,
    ),
]
PrepareKbitTraining = Annotated[
    bool,
    Argument(
        "A quantised base's norms, embeddings and head in float32, as peft's guide does.",
        shown_default="as the trainer does: no",
    ),
]
Optimizer = Annotated[str, Argument("As transformers names them.", metavar="NAME", shown_default="adamw_torch")]
TrainerName = Annotated[
    Trainer,
    Argument("loop, hf, trl, axolotl or unsloth: they hold memory differently.", metavar="NAME", shown_default="hf"),
]
GradientCheckpointing = Annotated[bool, Argument("Recompute activations.")]
AttnImplementation = Annotated[
    Attention, Argument("sdpa, eager or flash_attention_2.", metavar="NAME", shown_default="sdpa")
]
HIGHEST_RATE: Final = 100.0
"""The largest published is 50, of visual prompts under SGD (arXiv:2203.12119, table 6): beyond is a slip of the pen."""
LearningRate = Annotated[float, Argument("Of the optimizer; a search starts there.", gt=0, le=HIGHEST_RATE)]

OneMethod = Annotated[str, Argument("A method of the catalogue: see `advisor methods`.", metavar="NAME")]
OneBase = Annotated[
    Base, Argument("How frozen weights are held: dtype, int8 or nf4.", metavar="BASE", shown_default="by method")
]
BudgetUsd = Annotated[float, Argument("Most USD that it may be expected to cost.", earlier=("--usd",), gt=0)]

AdapterConfig = Annotated[
    Mapping[str, Any] | str,
    Argument("Your own peft adapter_config.json, instead of --method.", metavar="FILE"),
]
Rank = Annotated[int, Argument("Rank of the method, if it has one.", ge=1)]
Alpha = Annotated[float, Argument("Scaling of the method, if it has one.", gt=0, le=10**6)]
Dropout = Annotated[float, Argument("Dropout of the method, if it has one.", ge=0, lt=1)]
TargetModule = Annotated[str, Argument("A module to adapt.", metavar="NAME")]
MethodOptions = Annotated[
    Mapping[str, Any],
    Argument("Any other option of the method.", metavar="NAME=VALUE", flag="--option", repeated=True),
]
BatchSize = Annotated[int, Argument("Samples of one forward pass.", shown_default="1", ge=1, le=10**6)]
GradientAccumulation = Annotated[
    int, Argument("Forward passes of one optimizer step.", shown_default="1", ge=1, le=10**6)
]
Schedule = Annotated[
    str, Argument("Of the learning rate, as transformers names it.", metavar="NAME", shown_default="cosine")
]
WarmupRatio = Annotated[float, Argument("Share of all steps.", shown_default="0.03", ge=0, le=1)]
HeadLearningRate = Annotated[float, Argument("The learning rate of a new classification head.", gt=0, le=HIGHEST_RATE)]
MaxGradNorm = Annotated[float, Argument("Clip gradients to this norm; 0: never.", shown_default="1", ge=0)]
WeightDecay = Annotated[
    float, Argument("Of the optimizer; above 0 each step has one more operation.", shown_default="0", ge=0, lt=1)
]
Autocast = Annotated[
    bool, Argument("Earlier word for --mixed-precision: float32 weights, products in --dtype.", hidden=True)
]
BatchingName = Annotated[
    Batching, Argument("padded, grouped (by length), packed or padding-free.", metavar="HOW", shown_default="padded")
]
ExpandableSegments = Annotated[bool, Argument("PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True is set.", switch=True)]
TorchCompile = Annotated[bool, Argument("Compiled: not modelled, so ranges widen downwards.", switch=True)]
UseLigerKernel = Annotated[bool, Argument("Liger's kernels, and its loss where the trainer takes it.", switch=True)]
LoraKernels = Annotated[
    bool, Argument("axolotl's and unsloth's fused LoRA projections.", shown_default="as the trainer does")
]
FusedLossName = Annotated[
    FusedLoss,
    Argument("liger, cce (cut cross entropy) or none: no logits.", metavar="NAME", shown_default="the trainer's own"),
]
DeadlineHours = Annotated[float, Argument("Most hours that the training may be expected to take.", gt=0)]
SpotPrices = Annotated[bool, Argument("Count the budget at spot prices.", switch=True)]
ExcludedMethod = Annotated[str, Argument("A method to leave out.", metavar="NAME")]
MustMerge = Annotated[bool, Argument("Only methods that merge into the base weights.", switch=True)]
TolerancePoints = Annotated[
    float,
    Argument("Points worth giving up for cost.", shown_default="1", earlier=("--tolerance",), ge=0, le=100),
]
PolicyName = Annotated[str, Argument("balanced, cheapest or best-quality.", metavar="NAME", shown_default="balanced")]

Trials = Annotated[int, Argument("Most trials.", ge=1, le=10**6)]
Seeds = Annotated[int, Argument("Trainings of each setting, which differ in the seed.")]
Seed = Annotated[int, Argument("Of all that is drawn at random.", ge=0)]
Threads = Annotated[int, Argument("CPU threads of a run.", shown_default="torch's own")]
Hours = Annotated[float, Argument("Most hours to spend.")]
StudyName = Annotated[str, Argument("Of the study.", metavar="NAME")]
Out = Annotated[str, Argument("Where to write.", metavar="PATH", short="-o")]
DryRun = Annotated[bool, Argument("Show what would be done, begin nothing.", switch=True)]
AsJson = Annotated[bool, Argument("Print one JSON document on stdout.", flag="--json", switch=True)]


class MachineOptions(TypedDict, total=False):
    """The machine beside its GPU's name."""

    gpu_memory: GpuMemory | None
    gpu_like: GpuLike | None
    headroom: Headroom | None
    usd_per_hour: UsdPerHour | None
    interruptions_per_hour: InterruptionsPerHour | None
    checkpoint_minutes: CheckpointMinutes | None
    restart_minutes: RestartMinutes | None


class WorkloadOptions(TypedDict, total=False):
    """What is to be learned, beside the model. Lengths in tokens."""

    task: TaskName | None
    objective: ObjectiveName | None
    task_type: TaskTypeName | None
    samples: Samples | None
    seq_len: SeqLen | None
    mean_seq_len: MeanSeqLen | None
    length_file: LengthFile | None
    target_len: TargetLen | None
    images: ImageCount | None
    image_size: ImageSize | None
    audio_seconds: AudioSeconds | None
    num_labels: NumLabels | None
    epochs: Epochs | None


class TrainingOptions(TypedDict, total=False):
    """How it is trained, whatever the method."""

    dtype: Precision | None
    mixed_precision: MixedPrecisionFlag | None
    prepare_kbit_training: PrepareKbitTraining | None
    optimizer: Optimizer | None
    trainer: TrainerName | None
    reference: ReferenceModel | None
    gradient_checkpointing: GradientCheckpointing | None
    attn_implementation: AttnImplementation | None
    expandable_segments: ExpandableSegments | None


class EstimateOptions(WorkloadOptions, MachineOptions, TrainingOptions, RolloutOptions, total=False):
    """The arguments of `advisor.estimate` beside model and gpu."""

    method: OneMethod | None
    adapter_config: AdapterConfig | None
    rank: Rank | None
    alpha: Alpha | None
    dropout: Dropout | None
    target_modules: TargetModule | Sequence[TargetModule] | None
    options: MethodOptions | None
    batch_size: BatchSize | None
    gradient_accumulation: GradientAccumulation | None
    learning_rate: LearningRate | None
    max_grad_norm: MaxGradNorm | None
    schedule: Schedule | None
    warmup_ratio: WarmupRatio | None
    weight_decay: WeightDecay | None
    head_learning_rate: HeadLearningRate | None
    base: OneBase | None
    autocast: Autocast | None
    batching: BatchingName | None
    torch_compile: TorchCompile | None
    use_liger_kernel: UseLigerKernel | None
    gpus: Gpus | None
    nodes: Nodes | None
    parallelism: Parallelism | None
    fused_loss: FusedLossName | None
    lora_kernels: LoraKernels | None
    trials: Annotated[Trials, VerbDetail("What a search of so many costs, as advisor tune runs it.")] | None


class RecommendOptions(WorkloadOptions, MachineOptions, TrainingOptions, RolloutOptions, total=False):
    """The arguments of `advisor.recommend` beside model and gpu."""

    data: Annotated[Data, VerbDetail("Their number, lengths and task are taken.")] | None
    columns: ColumnsNamed | None
    effective_batch_size: EffectiveBatchSize | None
    budget_usd: BudgetUsd | None
    deadline_hours: DeadlineHours | None
    spot: SpotPrices | None
    gpu_memory_max: GpuMemoryMax | None
    max_usd_per_hour: MaxUsdPerHour | None
    method: Annotated[OneMethod | Sequence[OneMethod], VerbDetail("Only these are considered.")] | None
    exclude: ExcludedMethod | Sequence[ExcludedMethod] | None
    base: Annotated[OneBase | Sequence[OneBase], VerbDetail("Only so.")] | None
    must_merge: MustMerge | None
    max_gpus: MaxGpus | None
    tolerance_points: TolerancePoints | None
    policy: PolicyName | None
