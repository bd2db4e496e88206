"""From a job to a training that is ready to run: tokenizer, examples, the model with its weights and adapter."""

from __future__ import annotations

import contextlib
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor import store
from advisor.catalog.methods import find_method
from advisor.catalog.methods.method import Method
from advisor.dataset.encoding import EncodedExample, Encoder, collate
from advisor.dataset.splits import read_split
from advisor.domain.model import ModelSpec
from advisor.domain.request.vocabulary import Task
from advisor.errors import BadFile, BadRequest, UnsupportedModel
from advisor.loading import load_model, load_tokenizer, safetensors_of
from advisor.processes import out_of_memory
from advisor.training.evaluator import Scorer
from advisor.training.export_loader import quantization_fields
from advisor.training.metrics import find_metric
from advisor.training.training_spec import TrainingSpec

if TYPE_CHECKING:
    from advisor.assembly.adapters.data_driven_init import AdapterStart


@dataclass(slots=True)
class Prepared:
    """A model on its device with the adapter attached, and the examples of each split."""

    model: Any
    tokenizer: Any
    device: str
    task: Task
    examples: dict[str, list[EncodedExample]]
    autocast: Callable[[], Any]
    scorer: Scorer
    trainable: int
    total: int
    new: tuple[str, ...] = ()
    """Names in the base model of the parameters that its checkpoint lacks: a new classification head's."""


def weights_folder(spec: ModelSpec) -> Path:
    """The local folder with the model's weights.

    Raises:
        UnsupportedModel: none is known, or it holds no weights.
    """
    if spec.weights is None and spec.source == "folder":
        raise UnsupportedModel(
            f"{spec.asked} holds a definition but no weights (*.safetensors), and training needs them",
            hints=["give the folder that save_pretrained() wrote, or a Hub id"],
            model=spec.name,
        )
    if spec.weights is None:
        raise UnsupportedModel(
            f"{spec.name} has a definition but no weights here, and training needs them",
            cause=f"the definition is {spec.where}",
            hints=[f"to fetch them: hf download {spec.name}", "or give a local folder: --model FOLDER"],
            model=spec.name,
        )
    folder = Path(spec.weights)
    _check_whole(folder, spec)
    return folder


def _check_whole(folder: Path, spec: ModelSpec) -> None:
    """Refuse weights that were cut off on their way here, by their headers: not a tensor is read."""
    from safetensors import SafetensorError, safe_open

    for path in safetensors_of(folder):
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise UnsupportedModel(
                f"{path} is {'not whole' if path.is_file() else 'missing'}",
                cause=str(error),
                hints=["copy or fetch the model's weights again"],
                model=spec.name,
                path=str(path),
            ) from error


def prepare(job: TrainingSpec) -> Prepared:
    """Everything loaded and seeded; the classification head and the adapter follow from the job's seed.

    Raises:
        AdvisorError: no weights, a model that cannot do the task, a method that cannot attach to it.
    """
    import torch
    from transformers import set_seed

    from advisor.assembly.parameter_count import total_parameters, trainable_parameters

    folder = weights_folder(job.spec)
    device = pick_device(job.device)
    if job.threads:
        torch.set_num_threads(job.threads)
    set_seed(job.seed)
    tokenizer = load_tokenizer(folder)
    tokenizer.model_max_length = 10**9  # the encoder cuts by the rule it states
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    task = job.workload.task
    if task == "seq2seq" and job.spec.architecture != "encoder-decoder":
        task = "causal-lm"
    examples = _examples(job, tokenizer)
    model, new = load_base(job, folder, tokenizer, device)
    if find_method(job.recipe.method).needs_data and job.recipe.base == "dtype":
        model.to(device)  # its start computes with the model
    model = attached(model, job, adapter_start(job, tokenizer, examples, device))
    _keep_start(model, job)
    model.to(device) if job.recipe.base == "dtype" else None
    autocast = _autocast(job, device)
    vocabulary = len(job.splits.labels) if task == "sequence-classification" else job.spec.vocabulary or len(tokenizer)
    scorer = Scorer(model, tokenizer, task, find_metric(job.metric, job.workload.task), device, vocabulary, autocast)
    return Prepared(
        model=model,
        tokenizer=tokenizer,
        device=device,
        task=task,
        examples=examples,
        autocast=autocast,
        scorer=scorer,
        trainable=trainable_parameters(model),
        total=total_parameters(model),
        new=new,
    )


def pick_device(asked: str) -> str:
    """`cuda` where there is one, else `cpu`, unless one is asked for."""
    import torch

    if asked != "auto":
        return asked
    return "cuda" if torch.cuda.is_available() else "cpu"


def _examples(job: TrainingSpec, tokenizer: Any) -> dict[str, list[EncodedExample]]:
    encoder = Encoder(
        tokenizer,
        job.workload,
        job.splits.kind,
        job.splits.labels,
        pairs=job.spec.architecture == "encoder-decoder" and job.workload.task == "seq2seq",
    )
    wanted = ("train", "evaluation") if job.mode == "train" else ("test",)
    examples = {name: encoder.encode(read_split(Path(job.data), name, job.splits)) for name in wanted}
    for name, part in examples.items():
        if not part:
            raise BadRequest(f"no {name} row leaves a token to learn within {job.workload.seq_len} tokens")
    if job.mode == "train" and "evaluation" in job.train_on:
        examples["train"] = examples["train"] + examples["evaluation"]
    return examples


def base_model(job: TrainingSpec, folder: Path, tokenizer: Any, device: str) -> Any:
    """The base model with its weights; a missing classification head is drawn from the seed."""
    return load_base(job, folder, tokenizer, device)[0]


def load_base(job: TrainingSpec, folder: Path, tokenizer: Any, device: str) -> tuple[Any, tuple[str, ...]]:
    """The base model, and the names of its parameters that the weights lack."""
    from advisor.assembly.base_model import auto_class
    from advisor.assembly.dtypes import torch_dtype
    from advisor.assembly.trainer_casts import prepare_base

    recipe = job.recipe
    extra: dict[str, Any] = {}
    if job.workload.task == "sequence-classification":
        extra["num_labels"] = len(job.splits.labels)
        extra["id2label"] = dict(enumerate(job.splits.labels))
        extra["label2id"] = {label: i for i, label in enumerate(job.splits.labels)}
    if recipe.base != "dtype":
        from transformers import BitsAndBytesConfig

        extra["quantization_config"] = BitsAndBytesConfig(**quantization_fields(job))
        extra["device_map"] = {"": device}
    try:
        model, loading = load_model(
            auto_class(job.spec, job.workload.task),
            folder,
            dtype=torch_dtype(recipe.dtype),
            attn_implementation=recipe.attention,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        if out_of_memory(error):
            raise
        raise UnsupportedModel(
            f"the weights in {folder} cannot be loaded", cause=f"{type(error).__name__}: {error}", model=job.spec.name
        ) from error
    for module in model.modules():
        # on a CPU a scoring would repack 4-bit weights for inference, in a form that no gradient passes
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    prepare_base(model, recipe)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.use_cache = False
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model, tuple(sorted(loading["missing_keys"]))


def attached(model: Any, job: TrainingSpec, start: AdapterStart | None = None) -> Any:
    """The model with the recipe's method; only what the method trains still requires gradients."""
    from advisor.assembly.adapters.data_driven_init import AdapterStart
    from advisor.assembly.attach import attach

    return attach(model, job.spec, job.workload, job.recipe, start or AdapterStart())


def adapter_start(
    job: TrainingSpec, tokenizer: Any, examples: Mapping[str, list[EncodedExample]], device: str
) -> AdapterStart:
    """The start that this training had before, where its file lies; else training rows for a method that reads some."""
    from advisor.assembly.adapters.data_driven_init import START, AdapterStart

    method = find_method(job.recipe.method)
    saved = (Path(job.folder) if job.mode == "train" else Path(str(job.weights)).parent) / START
    if saved.is_file():
        return AdapterStart(saved=saved)
    if not method.needs_data:
        return AdapterStart()
    if job.mode != "train":
        raise BadFile(
            f"the weights in {saved.parent} lack the start that {method.name} drew from the data",
            hints=["train them again: they are of no use without it"],
            path=str(saved),
        )
    rows = some(examples["train"], rows_to_start(method, job, examples["train"]), job.seed)
    micro, pad = job.recipe.micro_batch_size, tokenizer.pad_token_id
    batches = [collate(rows[i : i + micro], pad) for i in range(0, len(rows), micro)]
    return AdapterStart(batches=[{name: t.to(device) for name, t in batch.items()} for batch in batches])


def rows_to_start(method: Method, job: TrainingSpec, examples: Sequence[EncodedExample]) -> int:
    """How many of the training rows the method's start reads at most."""
    number, of = method.start_reads
    if of == "rows":
        return number
    if of == "batches":
        return number * job.recipe.micro_batch_size
    tokens = sum(len(example.input_ids) for example in examples) / len(examples)
    return len(examples) if job.spec.hidden is None else math.ceil(number * job.spec.hidden / tokens)


def _keep_start(model: Any, job: TrainingSpec) -> None:
    """Write the start down before the first step: a resume, a test and an export begin from it."""
    from advisor.assembly.adapters.data_driven_init import START, keeps_start, save_start

    path = Path(job.folder) / START
    if job.mode == "train" and not path.is_file() and keeps_start(model, find_method(job.recipe.method)):
        store.durable(path, lambda temporary: save_start(model, temporary))


def make_optimizer(prepared: Prepared, job: TrainingSpec) -> Any:
    """The recipe's optimizer, or the one its method is defined by."""
    from advisor.assembly.optimizers import give_own_rate
    from advisor.assembly.optimizers import make_optimizer as make

    optimizer = make(prepared.model, job.recipe, find_method(job.recipe.method).optimizer)
    if job.recipe.head_learning_rate is not None:
        give_own_rate(optimizer, new_head(prepared), job.recipe.head_learning_rate)
    return optimizer


_WRAPPED = re.compile(r"^base_model\.(?:model\.)?|modules_to_save\.\w+\.|original_module\.")


def new_head(prepared: Prepared) -> list[Any]:
    """The trainable parameters that the checkpoint lacks, an adapter's own not among them."""
    new = set(prepared.new)
    return [p for name, p in prepared.model.named_parameters() if p.requires_grad and _WRAPPED.sub("", name) in new]


def _autocast(job: TrainingSpec, device: str) -> Callable[[], Any]:
    if not job.recipe.mixed:
        return contextlib.nullcontext
    import torch

    from advisor.assembly.dtypes import torch_dtype

    dtype = torch_dtype(job.recipe.compute_dtype)
    return lambda: torch.autocast(device, dtype=dtype)


def some(examples: list[EncodedExample], most: int, seed: int) -> list[EncodedExample]:
    """At most so many examples, the same ones for the same seed."""
    if len(examples) <= most:
        return examples
    return random.Random(seed).sample(examples, most)
