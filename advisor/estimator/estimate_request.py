"""What `advisor estimate` is asked, with the keys of one line of `--from cases.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field, ValidationError

from advisor import store
from advisor.catalog.models.checkpoint import head_outputs
from advisor.catalog.models.context_length import check_lengths
from advisor.catalog.models.image_lengths import images_asked, length_beside
from advisor.catalog.models.modality import sample_size, sized_workload
from advisor.catalog.models.tasks import not_used, target_length, task_for
from advisor.catalog.objectives import (
    PROMPT_TOKENS,
    check_groups,
    check_lengths_of,
    rollout_for,
    task_of,
    trainer_for,
    usual_accumulation,
    usual_epochs,
)
from advisor.catalog.objectives.rollout_request import RolloutRequest
from advisor.dataset.length_file import lengths_from, refuse_beside
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.plain_values import is_mapping
from advisor.domain.recipe import Recipe
from advisor.domain.request.unknown_keys import meant_by
from advisor.domain.request.validation import first_problem
from advisor.domain.request.verb_options import (
    Alpha,
    AttnImplementation,
    AudioSeconds,
    Autocast,
    BatchingName,
    BatchSize,
    CheckpointMinutes,
    Dropout,
    Epochs,
    ExpandableSegments,
    FusedLossName,
    Gpu,
    GpuLike,
    GpuMemory,
    Gpus,
    GradientAccumulation,
    GradientCheckpointing,
    HeadLearningRate,
    Headroom,
    ImageCount,
    ImageSize,
    InterruptionsPerHour,
    LearningRate,
    LengthFile,
    LoraKernels,
    MaxGradNorm,
    MeanSeqLen,
    MixedPrecisionFlag,
    Model,
    Nodes,
    NumLabels,
    ObjectiveName,
    OneBase,
    OneMethod,
    Optimizer,
    Precision,
    PrepareKbitTraining,
    Rank,
    ReferenceModel,
    RestartMinutes,
    Samples,
    Schedule,
    SeqLen,
    TargetLen,
    TaskName,
    TaskTypeName,
    TorchCompile,
    TrainerName,
    Trials,
    UsdPerHour,
    UseLigerKernel,
    WarmupRatio,
    WeightDecay,
)
from advisor.domain.request.vocabulary import Trainer
from advisor.domain.workload import DEFAULT_SEQ_LEN, Workload
from advisor.errors import BadRequest
from advisor.estimator.gpu_request import gpu_asked
from advisor.estimator.parallelism.strategies import parallelism_of
from advisor.estimator.spending.interruptions import interruptions_asked

OPTION_KEYS: Final = ("rank", "alpha", "dropout", "target_modules")
"""Hyperparameters that many methods share and that may be given beside `options`."""


class EstimateRequest(RolloutRequest):
    """One recipe on one machine, as a user puts it. Lengths in tokens, money in USD.

    `adapter_config` is a peft adapter config, or the path of one; else `method` with its hyperparameters.
    """

    model: Model
    gpu: Gpu | None = None
    gpu_memory: GpuMemory | None = None
    gpu_like: GpuLike | None = None
    adapter_config: dict[str, Any] | str | None = None
    method: OneMethod | None = None
    rank: Rank | None = None
    alpha: Alpha | None = None
    dropout: Dropout | None = None
    target_modules: str | list[str] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    batch_size: BatchSize = 1
    gradient_accumulation: GradientAccumulation = 1
    seq_len: SeqLen | None = None
    mean_seq_len: MeanSeqLen | None = None
    length_file: LengthFile | None = None
    target_len: TargetLen | None = None
    images: ImageCount | None = None
    image_size: ImageSize | None = None
    audio_seconds: AudioSeconds | None = None
    num_labels: NumLabels | None = None
    task: TaskName | None = None
    objective: ObjectiveName | None = None
    task_type: TaskTypeName | None = None
    samples: Samples | None = None
    epochs: Epochs = 3.0
    dtype: Precision | None = None
    base: OneBase | None = None
    mixed_precision: MixedPrecisionFlag | None = None
    prepare_kbit_training: PrepareKbitTraining | None = None
    autocast: Autocast | None = None
    optimizer: Optimizer | None = None
    learning_rate: LearningRate | None = None
    max_grad_norm: MaxGradNorm = 1.0
    schedule: Schedule | None = None
    warmup_ratio: WarmupRatio | None = None
    weight_decay: WeightDecay = 0.0
    head_learning_rate: HeadLearningRate | None = None
    gradient_checkpointing: GradientCheckpointing = False
    attn_implementation: AttnImplementation = "sdpa"
    expandable_segments: ExpandableSegments = False
    trainer: TrainerName = "hf"
    reference: ReferenceModel | None = None
    batching: BatchingName = "padded"
    torch_compile: TorchCompile = False
    use_liger_kernel: UseLigerKernel = False
    gpus: Gpus = 1
    nodes: Nodes = 1
    parallelism: str | dict[str, Any] | None = None
    fused_loss: FusedLossName | None = None
    lora_kernels: LoraKernels | None = None
    headroom: Headroom = 0.05
    usd_per_hour: UsdPerHour | None = None
    interruptions_per_hour: InterruptionsPerHour | None = None
    checkpoint_minutes: CheckpointMinutes | None = None
    restart_minutes: RestartMinutes | None = None
    trials: Trials | None = None

    @property
    def trainer_said(self) -> Trainer | None:
        """The trainer where the user named one."""
        return self.trainer if "trainer" in self.model_fields_set else None


def from_case(case: Mapping[str, Any]) -> EstimateRequest:
    """A request from one JSON object. A hyperparameter of the method may stand beside the other keys.

    Raises:
        BadRequest: a key nobody knows (near names are given), a value of the wrong type or size, no method.
    """
    known = set(EstimateRequest.model_fields)
    if "count" in case:
        # an earlier name of `gpus`
        case = {"gpus": case["count"], **{key: value for key, value in case.items() if key != "count"}}
    fields = {key: value for key, value in case.items() if key in known and value is not None}
    strange = {key: value for key, value in case.items() if key not in known}
    if strange:
        fields["options"] = {**strange, **_checked_options(fields, strange, known)}
    if not fields.get("method") and not fields.get("adapter_config"):
        raise BadRequest(
            "neither a method nor an adapter_config was given",
            hints=["to choose a method: --method lora", "to list them: advisor methods"],
        )
    try:
        return EstimateRequest.model_validate(fields)
    except ValidationError as error:
        field, said, value = first_problem(error)
        raise BadRequest(
            f"{field}: {said}, not {value!r}",
            hints=[f"{len(error.errors()) - 1} more fields are wrong"] if error.error_count() > 1 else [],
            field=field,
        ) from error


def _checked_options(fields: Mapping[str, Any], strange: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The method's own options among keys that are no keys of a request."""
    from advisor.catalog.methods import find_method

    takes = set(find_method(str(fields["method"])).options) if fields.get("method") else set[str]()
    unknown = [key for key in strange if key not in takes]
    if unknown:
        key = unknown[0]
        near, hints = meant_by(key, strange[key], sorted(known | takes))
        raise BadRequest(f"unknown key: {key!r}", hints=hints, key=key, near=near)
    given: Any = fields.get("options")
    return dict(given) if is_mapping(given) else {}


def workload_of(request: EstimateRequest, spec: ModelSpec, recipe: Recipe) -> tuple[Workload, list[str]]:
    """The workload asked about, and what was assumed to complete it, such as a length that the recipe can take.

    Raises:
        BadRequest: a length beyond the model's context, a mean above the longest or beside a file of lengths.
        BadFile: the file of lengths cannot be read.
    """
    from advisor.catalog.methods import longest

    notes: list[str] = []
    objective = request.objective or "sft"
    task = task_for(spec, task_of(objective, spec, request.task))
    asked = {name: getattr(request, name) for name in ("seq_len", "target_len", "image_size", "audio_seconds")}
    told = request.length_file is not None or request.mean_seq_len is not None
    size = sample_size(spec, **asked, lengths_told=told)
    if size is not None:
        settings = {name: getattr(request, name) for name in ("task_type", "samples", "epochs")}
        settings |= {"objective": objective, "effective_batch_size": request.batch_size * request.gradient_accumulation}
        return sized_workload(spec, task, size, request.num_labels, settings)
    seq_len, of_the_file = request.seq_len, {}
    if request.length_file is not None:
        refuse_beside(request.length_file, mean_seq_len=request.mean_seq_len)
        of_the_file, notes = lengths_from(request.length_file, seq_len, spec.context_length)
        seq_len = of_the_file["seq_len"]
    rollout = rollout_for(objective, request)
    if rollout is not None:
        check_groups(rollout, recipe.micro_batch_size, recipe.gradient_accumulation, request.gpus)
        if seq_len is None:
            seq_len = PROMPT_TOKENS + rollout.completion_length
            notes.append(f"no length was given: prompts of {PROMPT_TOKENS} tokens are assumed")
        check_lengths_of(rollout, seq_len)
    images = images_asked(spec, objective, task, count=request.images, size=request.image_size)
    if images is not None:
        seq_len, said = length_beside(images, spec, seq_len, texts=DEFAULT_SEQ_LEN)
        notes += said
    if seq_len is None:
        most = longest(spec, recipe, task, "seq_len")
        seq_len = DEFAULT_SEQ_LEN if most is None else max(1, min(DEFAULT_SEQ_LEN, most))
        notes.append(f"no length was given: every sample is taken to be {seq_len} tokens long")
    check_lengths(spec, seq_len=seq_len, target_len=request.target_len)
    target_len, assumed = target_length(spec, task, seq_len, request.target_len)
    notes += [*assumed, *not_used(spec, task, target_len=request.target_len, num_labels=request.num_labels)]
    fields = {
        "model": spec.name,
        "task": task,
        "objective": objective,
        "task_type": request.task_type,
        "samples": request.samples,
        "seq_len": seq_len,
        "mean_seq_len": request.mean_seq_len,
        "target_len": target_len,
        "epochs": request.epochs if "epochs" in request.model_fields_set else usual_epochs(objective)[0] or 3.0,
        "effective_batch_size": recipe.micro_batch_size * recipe.gradient_accumulation * request.gpus,
        "rollout": rollout,
        "images": images,
        "lengths": "given" if request.seq_len else "assumed: no data given",
        **of_the_file,
    }
    if request.samples is not None:
        fields["samples"] = request.samples
    if rollout is not None:
        fields["target_len"] = rollout.completion_length
    labels = request.num_labels or head_outputs(spec)
    if objective == "reward":
        labels = 1
    if labels is not None and task == "sequence-classification":
        fields["num_labels"] = labels
    try:
        return Workload.model_validate(fields), notes
    except ValidationError as error:
        raise BadRequest(first_problem(error)[1]) from error


def recipe_of(request: EstimateRequest) -> Recipe:
    """The recipe asked about, its precision as far as it was said; the method of an adapter config is read from it.

    What was left open of the precision is settled by `precision_request.recipe_asked` alone.

    Raises:
        BadRequest: the named method and the adapter config's differ; hyperparameters beside an adapter config.
        BadFile: the adapter config's file is missing or no JSON object.
        UnknownName, IllegalRecipe: no such method, peft_type or optimizer, or one that is not modelled.
    """
    from advisor.catalog.methods import find_method, method_for_adapter_config
    from advisor.catalog.methods.named_optimizer import with_optimizer
    from advisor.catalog.optimizer_names import find_optimizer

    config = _adapter_config(request.adapter_config)
    beside = {key: getattr(request, key) for key in OPTION_KEYS if getattr(request, key) is not None}
    options = {**request.options, **beside}
    if config is not None:
        method = method_for_adapter_config(config)
        named = find_method(request.method) if request.method else method
        if named.peft_type != method.peft_type:
            raise BadRequest(
                f"method {request.method!r} was given with an adapter config of {method.name}",
                hints=["leave --method out: it is read from the config"],
            )
        if options:
            raise BadRequest(
                f"{', '.join(sorted(options))} given beside an adapter config, which already says it",
                hints=["change the config, or give --method with hyperparameters instead"],
            )
        method = named
    else:
        method = find_method(request.method or "")
    method, optimizer = with_optimizer(method, request.optimizer, config is not None)
    if optimizer != method.optimizer:
        find_optimizer(optimizer)
    optional = ("schedule", "warmup_ratio", "head_learning_rate", "dtype", "mixed_precision", "prepare_kbit_training")
    return Recipe.model_validate(
        {
            **{name: value for name in (*optional, "lora_kernels") if (value := getattr(request, name)) is not None},
            "method": method.name,
            "options": options,
            "adapter_config": config,
            "micro_batch_size": request.batch_size,
            "gradient_accumulation": _accumulation_of(request),
            "base": request.base or method.default_base,
            "optimizer": optimizer,
            "gradient_checkpointing": request.gradient_checkpointing,
            "attention": request.attn_implementation,
            "trainer": trainer_for(request.objective or "sft", request.trainer_said),
            "batching": request.batching,
            "expandable_segments": request.expandable_segments,
            "learning_rate": request.learning_rate,
            "max_grad_norm": request.max_grad_norm,
            "weight_decay": request.weight_decay,
        }
    )


def _accumulation_of(request: EstimateRequest) -> int:
    """As asked for; where nobody says and completions come in groups, until a group is whole."""
    rollout = rollout_for(request.objective or "sft", request)
    if rollout is None or "gradient_accumulation" in request.model_fields_set:
        return request.gradient_accumulation
    return usual_accumulation(rollout, request.batch_size * request.gpus)


def _adapter_config(given: dict[str, Any] | str | None) -> dict[str, Any] | None:
    if not isinstance(given, str):
        return given or None  # peft's public runs write {} for full fine-tuning
    path = store.expanded(given)
    return store.read_document(path / "adapter_config.json" if path.is_dir() else path)


def hardware_of(request: EstimateRequest) -> Hardware:
    """The machine asked about.

    Raises:
        UnknownName: no such GPU.
        BadRequest: none named; GPUs that do not spread evenly over the machines; see `parallelism_of` too.
    """
    if request.gpus % request.nodes:
        raise BadRequest(
            f"{request.gpus} GPUs do not spread evenly over {request.nodes} machines",
            hints=["--gpus counts all of the job, on all machines together"],
            gpus=request.gpus,
            nodes=request.nodes,
        )
    sharding = parallelism_of(request.parallelism, request.gpus)
    gpu, note = gpu_asked(request.gpu, request.gpu_memory, request.gpu_like)
    return Hardware.model_validate(
        {
            "gpu": gpu,
            "count": request.gpus,
            "nodes": request.nodes,
            "sharding": sharding if request.gpus > 1 else None,
            "asked": request.gpu or "",
            "note": note,
            "headroom": request.headroom,
            "usd_per_hour": request.usd_per_hour,
            "interruptions": interruptions_asked(request),
        }
    )
