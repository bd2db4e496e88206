"""What `recommend()` was asked, checked and resolved: which model, which machine, what data, which limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from pydantic import Field, ValidationError, field_validator

from advisor.catalog.library_support import allocator_note
from advisor.catalog.models.checkpoint import head_outputs
from advisor.catalog.models.context_length import check_lengths
from advisor.catalog.models.image_lengths import with_images
from advisor.catalog.models.modality import sample_size
from advisor.catalog.models.tasks import not_used, target_length, task_for
from advisor.catalog.objectives import (
    PROMPT_TOKENS,
    check_lengths_of,
    rollout_for,
    task_of,
    trainer_for,
)
from advisor.catalog.objectives.rollout_request import RolloutRequest
from advisor.dataset.length_file import lengths_from, quantiles_of, refuse_beside
from advisor.dataset.lengths import TokenLengths, long_rows
from advisor.domain.hardware import Gpu as Card
from advisor.domain.hardware import Hardware
from advisor.domain.model import ModelSpec
from advisor.domain.request.validation import check_names, refusal_of
from advisor.domain.request.verb_options import (
    AttnImplementation,
    AudioSeconds,
    BudgetUsd,
    CheckpointMinutes,
    Data,
    DeadlineHours,
    EffectiveBatchSize,
    Epochs,
    ExpandableSegments,
    Gpu,
    GpuLike,
    GpuMemory,
    GpuMemoryMax,
    GradientCheckpointing,
    Headroom,
    ImageCount,
    ImageSize,
    InterruptionsPerHour,
    LengthFile,
    MaxGpus,
    MaxUsdPerHour,
    MeanSeqLen,
    MixedPrecisionFlag,
    Model,
    MustMerge,
    NumLabels,
    ObjectiveName,
    Optimizer,
    PolicyName,
    Precision,
    PrepareKbitTraining,
    ReferenceModel,
    RestartMinutes,
    Samples,
    SeqLen,
    SpotPrices,
    TargetLen,
    TaskName,
    TaskTypeName,
    TolerancePoints,
    TrainerName,
    UsdPerHour,
    names_in,
)
from advisor.domain.request.vocabulary import Base, DType, Sharding, Trainer
from advisor.domain.stored import Value
from advisor.domain.units import HOUR
from advisor.domain.workload import DEFAULT_SEQ_LEN, Workload
from advisor.errors import BadRequest
from advisor.estimator.gpu_request import dtype_asked, gpu_asked
from advisor.estimator.spending.interruptions import interruptions_asked
from advisor.recommender.checked_once import check_base, check_precision
from advisor.recommender.objective_rows import (
    check_effective_batch,
    epochs_of,
    formats_for,
    objective_of,
    prompts_of,
    refuse_rows,
    samples_of,
    usual_batch,
    usual_effective_batch,
)

FAR_LONGER: Final = 2
"""Times the length that 95 rows in 100 have, from which the longest row is said to decide the memory."""


class RecommendRequest(RolloutRequest):
    """The arguments of `recommend()`, each within its range."""

    model: Model
    gpu: Gpu | None = None
    gpu_memory: GpuMemory | None = None
    gpu_like: GpuLike | None = None
    max_gpus: MaxGpus = 1
    samples: Samples | None = None
    data: Data | None = None
    columns: str | dict[str, str] | None = None
    task: TaskName | None = None
    objective: ObjectiveName | None = None
    task_type: TaskTypeName | None = None
    seq_len: SeqLen | None = None
    mean_seq_len: MeanSeqLen | None = None
    length_file: LengthFile | None = None
    target_len: TargetLen | None = None
    images: ImageCount | None = None
    image_size: ImageSize | None = None
    audio_seconds: AudioSeconds | None = None
    num_labels: NumLabels | None = None
    epochs: Epochs | None = None
    effective_batch_size: EffectiveBatchSize | None = None
    budget_usd: BudgetUsd | None = None
    deadline_hours: DeadlineHours | None = None
    headroom: Headroom | None = None
    usd_per_hour: UsdPerHour | None = None
    interruptions_per_hour: InterruptionsPerHour | None = None
    checkpoint_minutes: CheckpointMinutes | None = None
    restart_minutes: RestartMinutes | None = None
    spot: SpotPrices = False
    gpu_memory_max: GpuMemoryMax | None = None
    max_usd_per_hour: MaxUsdPerHour | None = None
    method: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    base: tuple[Base, ...] | None = None
    gradient_checkpointing: GradientCheckpointing | None = None
    must_merge: MustMerge = False
    trainer: TrainerName = "hf"
    reference: ReferenceModel | None = None
    dtype: Precision | None = None
    mixed_precision: MixedPrecisionFlag | None = None
    prepare_kbit_training: PrepareKbitTraining | None = None
    optimizer: Optimizer | None = None
    attn_implementation: AttnImplementation = "sdpa"
    expandable_segments: ExpandableSegments = False
    tolerance_points: TolerancePoints = 1.0
    policy: PolicyName = "balanced"

    @field_validator("method", "exclude", "base", mode="before")
    @classmethod
    def _split(cls, names: Any) -> Any:
        return names_in(names) if isinstance(names, str) else names

    @property
    def trainer_said(self) -> Trainer | None:
        """The trainer where the user named one."""
        return self.trainer if "trainer" in self.model_fields_set else None


class ResolvedRequest(Value):
    """A request resolved: everything a worker process needs to fit and price one method."""

    request: RecommendRequest
    spec: ModelSpec
    workload: Workload
    hardware: Hardware
    dtype: DType
    options: dict[str, dict[str, Any]] = Field(default_factory=dict, description="method -> its recommended options")
    training: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="method -> learning rate, schedule ..."
    )
    row_lengths: TokenLengths | None = Field(None, description="of the data's rows, where they were read")
    machine_notes: tuple[str, ...] = Field((), description="how the model and the GPU were resolved")
    notes: tuple[str, ...] = Field((), description="of data and lengths")

    @property
    def batch_of_rank(self) -> int:
        """Samples of one optimizer step on each GPU."""
        return self.workload.effective_batch_size // self.hardware.count

    @property
    def deadline_seconds(self) -> float | None:
        return None if self.request.deadline_hours is None else self.request.deadline_hours * HOUR


def checked(arguments: Mapping[str, Any]) -> RecommendRequest:
    """The request, or why it is none.

    Raises:
        BadRequest: a size out of range, a limit without what it is measured in, a wrong kind of value.
        UnknownName: a task, task type, trainer, precision ... that does not exist.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    check_names(given, RecommendRequest.model_fields)
    try:
        request = RecommendRequest.model_validate(given)
    except ValidationError as error:
        raise refusal_of(error, given) from None
    return request


def resolve(request: RecommendRequest) -> ResolvedRequest:
    """Find the model and the GPU, read the data, settle the task and the lengths.

    Raises:
        BadRequest: the model, GPU, task or lengths cannot be had or do not go together.
        BadFile: the data cannot be read.
    """
    return resolve_on(request, *gpu_asked(request.gpu, request.gpu_memory, request.gpu_like))


def resolve_on(request: RecommendRequest, gpu: Card, note: str = "") -> ResolvedRequest:
    """The same on a card that is known already; `note` says how its name was read. Raises as `resolve`."""
    from advisor.catalog.models import resolve_model

    spec = resolve_model(request.model, denoisers=True)
    check_base(request.base, spec)
    machine = _machine(request, spec, gpu, note)
    workload, notes, row_lengths = _workload(request, spec)
    shared: dict[str, Any] = {"request": request, "spec": spec, "workload": workload}
    return ResolvedRequest(**shared, **machine, row_lengths=row_lengths, notes=tuple(notes))


def moved_to(question: ResolvedRequest, gpu: Card, note: str = "") -> ResolvedRequest:
    """The same question on another card: its data is not read again.

    Raises:
        BadRequest: the card cannot do what was asked for.
    """
    return question.model_copy(update=_machine(question.request, question.spec, gpu, note))


def spread_over(question: ResolvedRequest, count: int, sharding: Sharding | None) -> ResolvedRequest:
    """The same question on so many GPUs of one machine."""
    hardware = question.hardware.model_copy(update={"count": count, "sharding": sharding})
    return question.model_copy(update={"hardware": hardware})


def _machine(request: RecommendRequest, spec: ModelSpec, gpu: Card, note: str) -> dict[str, Any]:
    """What of a resolved request depends on the card: `hardware`, `dtype` and the notes on both."""
    from advisor.catalog.gpus import check_attention

    check_attention(gpu, request.attn_implementation)
    precision = request.dtype, request.mixed_precision
    check_precision(gpu, request.trainer, request.attn_implementation, *precision)
    given: dict[str, Any] = {"gpu": gpu, "asked": request.gpu or "", "note": note}
    given["interruptions"] = interruptions_asked(request)
    if request.headroom is not None:
        given["headroom"] = request.headroom
    if request.usd_per_hour is not None:
        given["usd_per_hour"] = request.usd_per_hour
    dtype, why = dtype_asked(request.dtype, gpu, spec)
    whose = allocator_note(gpu)
    if request.prepare_kbit_training:
        why = (*why, "quantised bases are prepared for k-bit training; a base in 16 or 32 bits has nothing to prepare")
    said = (f"model: {spec.name}, {spec.where}", f"GPU: {gpu.name}{f' ({note})' if note else ''}")
    return {
        "hardware": Hardware.model_validate(given),
        "dtype": dtype,
        "machine_notes": (*said, *why, *([whose] if whose else ())),
    }


def _workload(request: RecommendRequest, spec: ModelSpec) -> tuple[Workload, list[str], TokenLengths | None]:
    refuse_beside(request.length_file, data=request.data, mean_seq_len=request.mean_seq_len)
    refuse_rows(spec, request.data)
    found, notes, lengths = _from_data(request, spec) if request.data else ({}, [], None)
    if request.length_file is not None:
        found, notes = lengths_from(request.length_file, request.seq_len, spec.context_length)
    if request.columns and not request.data:
        raise BadRequest("--columns names the columns of a data file, and none is given", hints=["add: --data FILE"])
    fields: dict[str, Any] = {"model": spec.name, **found}
    for name in ("samples", "task_type", "mean_seq_len", "target_len", "num_labels", "epochs", "effective_batch_size"):
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    objective = fields.setdefault("objective", request.objective or "sft")
    trainer_for(objective, request.trainer_said, spec.task)
    rollout = fields["rollout"] = rollout_for(objective, request)
    epochs, why = epochs_of(objective, fields.get("samples"), spec)
    if epochs is not None and "epochs" not in fields:
        fields["epochs"] = epochs
        notes.append(why)
    usual = usual_effective_batch(objective, rollout) or usual_batch(fields.get("samples"), spec)
    fields.setdefault("effective_batch_size", usual)
    check_effective_batch(objective, fields["effective_batch_size"], rollout)
    asked = request.task if objective != "sft" else request.task or fields.get("task")
    fields["task"] = task_for(spec, task_of(objective, spec, asked))
    if objective != "sft" and rollout is None:
        fields.setdefault("task_type", "preference")
    size = sample_size(
        spec,
        seq_len=request.seq_len,
        target_len=request.target_len,
        image_size=request.image_size,
        audio_seconds=request.audio_seconds,
        lengths_told=request.length_file is not None or request.mean_seq_len is not None,
    )
    if fields["task"] == "sequence-classification" and "task_type" not in fields:
        fields["task_type"] = "classification" if size is None else "vision"
    labels = 1 if objective == "reward" else head_outputs(spec)
    if fields["task"] != "sequence-classification":
        fields.pop("num_labels", None)
    elif labels is not None:
        fields["num_labels"] = labels if objective == "reward" else fields.get("num_labels", labels)
    if size is not None:
        fields |= {name: getattr(size, name) for name in ("seq_len", "target_len", "image_size", "audio_seconds")}
        fields["lengths"] = size.says
        return Workload.model_validate(fields), [*notes, size.says, *size.notes], None
    if rollout is not None and not ("seq_len" in fields or request.seq_len or request.mean_seq_len):
        fields["seq_len"] = PROMPT_TOKENS + rollout.completion_length
        notes.append(f"lengths: prompts of {PROMPT_TOKENS} tokens assumed, no data or --seq-len given")
    measured = request.length_file is not None or (lengths is not None and lengths.measured)
    fields["seq_len"], said = _length(request, fields.get("seq_len"), spec, measured=measured)
    if said:
        notes.append(said)
    changed, about = with_images(
        fields, spec, count=request.images, size=request.image_size, seq_len=request.seq_len,
        measured=bool(request.data),
    )  # fmt: skip
    fields, notes = fields | changed, [*notes, *about]
    check_lengths(spec, target_len=request.target_len)
    if rollout is not None:
        check_lengths_of(rollout, fields["seq_len"])
    fields["target_len"], assumed = target_length(spec, fields["task"], fields["seq_len"], fields.get("target_len"))
    if rollout is not None:
        fields["target_len"] = rollout.completion_length
    unused = not_used(spec, fields["task"], target_len=request.target_len, num_labels=request.num_labels)
    notes += [*(f"lengths: {text}" for text in assumed), *unused]
    mean = fields.get("mean_seq_len")
    if mean is not None and mean > fields["seq_len"]:
        if request.mean_seq_len is not None and request.seq_len is not None:
            raise BadRequest(
                f"--mean-seq-len {mean:g} exceeds the longest, --seq-len {fields['seq_len']}",
                hints=["--seq-len is the longest sample, --mean-seq-len the mean of all"],
                mean_seq_len=mean,
                seq_len=fields["seq_len"],
            )
        fields["mean_seq_len"] = float(fields["seq_len"])
    if request.seq_len is not None and not (request.data or request.length_file):
        fields["lengths"] = "as given"
    if request.mean_seq_len is not None:
        fields["length_quantiles"] = ()
    return Workload.model_validate(fields), notes, lengths


def _length(request: RecommendRequest, from_data: int | None, spec: ModelSpec, *, measured: bool) -> tuple[int, str]:
    """The longest sample in tokens, within the context; a length asked for beyond it is refused."""
    context = spec.context_length
    if request.seq_len is not None:
        check_lengths(spec, seq_len=request.seq_len)
        if measured and from_data is not None and from_data < request.seq_len:
            return from_data, f"lengths: no sample is as long as --seq-len {request.seq_len}; {from_data} tokens count"
        return request.seq_len, ""
    wanted = from_data or max(DEFAULT_SEQ_LEN, int(request.mean_seq_len or 0))
    if context is not None and wanted > context:
        said = f"lengths: samples of up to {wanted} tokens are cut to the model's context, {context}"
        return context, said
    return wanted, "" if from_data else f"lengths: {wanted} tokens assumed, no data or --seq-len given"


def _from_data(request: RecommendRequest, spec: ModelSpec) -> tuple[dict[str, Any], list[str], TokenLengths]:
    """Samples, task and lengths of the user's file: fields of a workload, and notes."""
    from advisor.dataset import measure_lengths, read_rows

    path, of_objective = str(request.data), request.objective not in (None, "sft")
    rows = read_rows(
        path,
        None if of_objective else request.task,
        columns=request.columns,
        usual_task=spec.task,
        also=formats_for(request.objective),
    )
    objective, said = objective_of(rows, request.objective, path)
    if request.task is None and objective == "sft" and rows.task not in spec.tasks:
        from advisor.dataset import near_columns

        raise BadRequest(
            f"the rows of {request.data} are {rows.kind}, which trains a model for {rows.task}, and {spec.name} is an "
            f"{spec.architecture}, which is trained for {' or '.join(spec.tasks)}",
            hints=[*near_columns(str(request.data)), "or take a model for the rows: see advisor models"],
            task=rows.task,
            kind=rows.kind,
            architecture=spec.architecture,
        )
    rollout = rollout_for(objective, request)
    most = request.seq_len or spec.context_length
    if most is not None and rollout is not None:
        check_lengths_of(rollout, most)
        most -= rollout.completion_length
    lengths = measure_lengths(rows, spec, most)
    fields: dict[str, Any] = {
        "samples": samples_of(rows, objective),
        "objective": objective,
        "task": rows.task,
        "seq_len": lengths.max,
        "mean_seq_len": lengths.mean,
        "length_quantiles": quantiles_of(np.array(lengths.sizes, dtype=np.int64)),
        "lengths": lengths.how,
    }
    if lengths.target_max is not None:
        fields["target_len"] = lengths.target_max
    if rows.task == "sequence-classification" and len(rows.labels) > 1:
        fields["num_labels"] = len(rows.labels)
    held = "pairs, whose sequences have" if rows.layout.answers else f"{rows.kind} samples of"
    notes = [f"data: {rows.samples:,} {held} {lengths.mean:.0f} tokens, at most {lengths.max}", *said]
    notes.extend(f"data: {note}" for note in rows.notes)
    notes.append(f"lengths: {lengths.how}")
    notes.extend(f"data: {note}" for note in (*lengths.notes, *rows.warnings))
    if lengths.cut:
        notes.append(f"data: {lengths.cut:.1%} of samples are cut at {lengths.max} tokens")
    if lengths.max > FAR_LONGER * lengths.p95:
        said = long_rows(lengths, rows.usable, FAR_LONGER * lengths.p95)
        notes.append(f"data: the longest sample, {lengths.max} tokens, decides memory; {said}")
    return prompts_of(fields, rollout), notes, lengths
