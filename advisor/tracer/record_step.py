"""Two training steps of one recipe at one batch shape, recorded on the meta device."""

# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false
# torch tells what a step does to memory only through names it keeps to itself

from __future__ import annotations

import gc
import importlib
import re
import sys
import warnings
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast
from unittest import mock

import torch
from torch import nn

from advisor.assembly.attach import attach_and_tell
from advisor.assembly.base_model import build, field_of, layer_drop, layer_fields, stacks
from advisor.assembly.batch import make_batch
from advisor.assembly.denoisers.denoiser_model import checkpoint_denoiser
from advisor.assembly.dtypes import torch_dtype
from advisor.assembly.library_optimizers.backward_pass import updates_in_backward
from advisor.assembly.objectives.objective_loss import FUSED_OUTPUTS, fuses_head, loss_of, prepare_policy
from advisor.assembly.objectives.reference_model import ReferencePass, build_reference
from advisor.assembly.objectives.referenced_losses import REFERENCE_OUTPUTS
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.trainer_casts import cast_trained, hand_on_in_float32
from advisor.assembly.training_step import Stepper
from advisor.assembly.without_bitsandbytes.stand_in import stand_in
from advisor.catalog.methods import find_method
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import MIXED_FLAGS
from advisor.domain.workload import Workload
from advisor.errors import IllegalRecipe
from advisor.tracer.cycle_collection import collected_between_steps
from advisor.tracer.dispatch_recorder import Event, Home, Recorder, StorageRecord
from advisor.tracer.fused_kernels.attention import AsOnCuda
from advisor.tracer.fused_kernels.autocast import Autocast
from advisor.tracer.fused_kernels.chunked_losses import chunked_loss
from advisor.tracer.fused_kernels.delta_rule import fused_delta_rule
from advisor.tracer.fused_kernels.fused_lm_head import add_fused_head, selective_log_softmax
from advisor.tracer.fused_kernels.images_at_once import images_at_once
from advisor.tracer.fused_kernels.offloaded_checkpoint import offload_checkpoints
from advisor.tracer.fused_kernels.own_kernels import own_kernels
from advisor.tracer.library_releases import needs_bitsandbytes
from advisor.tracer.parameter_census import Census, census_of

REFERENCE = "reference"
"""What stands before the names of the layers of a frozen reference model."""


@dataclass(frozen=True, slots=True)
class BatchShape:
    """One batch shape: B samples of S tokens, targets of T."""

    batch: int
    length: int
    target: int


@dataclass(slots=True)
class Recording:
    """What was recorded at one shape, and the model's parameters. `depths`: traced layers of each stack."""

    shape: BatchShape
    events: list[Event]
    storages: list[StorageRecord]
    depths: dict[str, int]
    parameters: Census
    assumptions: tuple[str, ...]
    tied: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """Everything a recording depends on but the shape and the depth."""

    spec: ModelSpec
    workload: Workload
    recipe: Recipe
    capability: float
    padded: bool

    @property
    def fuses_loss(self) -> bool:
        """Whether the loss of a supervised step is a fused one of others than TRL."""
        causal = self.workload.task == "causal-lm" and self.spec.architecture == "decoder"
        fused = self.recipe.fused_loss != "none" or self.recipe.trainer == "unsloth"
        return causal and fused and self.workload.objective == "sft"


def record(asked: TraceRequest, shape: BatchShape, depth: Mapping[str, int] | None) -> Recording:
    """Build, attach, take two steps under the recorder.

    Raises:
        AdvisorError: the recipe cannot be built (see assembly).
    """
    with _libraries(asked.recipe):
        return _recorded(asked, shape, depth)


def _libraries(recipe: Recipe) -> AbstractContextManager[None]:
    """bitsandbytes or what stands in for it, where the recipe needs it: others are built as where it is absent."""
    return stand_in() if needs_bitsandbytes(recipe) else nullcontext()


def _recorded(asked: TraceRequest, shape: BatchShape, depth: Mapping[str, int] | None) -> Recording:
    autocast = Autocast(torch_dtype(asked.recipe.compute_dtype)) if asked.recipe.mixed else None
    recorder = Recorder(padded=asked.padded)
    assembled = assemble(asked, depth, autocast, recorder)
    model = assembled.model
    parameters = census_of(model, assembled.base)
    reference = _reference(asked, depth, autocast, recorder)
    watched = stacks(model)
    if reference.model is not None:
        watched |= {f"{REFERENCE}.{path}": layers for path, layers in stacks(reference.model).items()}
    kernels = own_kernels(model, asked.spec, asked.recipe, recorder, padded=asked.padded)
    kernels.enter_context(images_at_once(model, asked.workload, recorder))
    with collected_between_steps(), _as_on_gpu(asked, recorder, autocast), recorder.watching(watched), kernels:
        _adopt(recorder, model, assembled.base)
        if reference.model is not None:
            recorder.assume("reference model", "a frozen copy of the base model lies beside it")
            _adopt(recorder, reference.model, {id(p) for p in reference.model.parameters()}, REFERENCE)
        method = find_method(asked.recipe.method)
        optimizer = make_optimizer(model, asked.recipe, method.optimizer)
        try:
            _two_steps(asked, shape, model, optimizer, recorder, reference)
        except RuntimeError as error:
            if not _of_two_dtypes(error):
                raise
            raise _mixed_dtypes(asked, error) from error
    _categorise(recorder)
    return Recording(
        shape=shape,
        events=recorder.events,
        storages=recorder.storages,
        depths=_cut_stacks(asked.spec, watched, depth),
        parameters=parameters,
        assumptions=(*assembled.notices, *(f"{what}: {how}" for what, how in sorted(recorder.assumptions.items()))),
        tied=assembled.tied,
    )


def _of_two_dtypes(error: RuntimeError) -> bool:
    """Whether a product was refused because its factors have different dtypes: as torch's kernels say it anywhere."""
    return re.search(r"expected scalar type|must have the same dtype|same dtype", str(error)) is not None


def _mixed_dtypes(asked: TraceRequest, error: RuntimeError) -> IllegalRecipe:
    recipe = asked.recipe
    flag = MIXED_FLAGS.get(recipe.dtype, "bf16")
    return IllegalRecipe(
        f"{recipe.method} cannot fine-tune {asked.spec.name} so: its float32 outputs meet {recipe.dtype} ones in the "
        "model's attention, and nothing casts them",
        cause=str(error).strip().splitlines()[0],
        hints=[] if recipe.mixed else [f"to go on: --mixed-precision {flag}, as trainers do with {flag}=True"],
        method=recipe.method,
        model=asked.spec.name,
    )


def whole_census(asked: TraceRequest) -> Census:
    """The parameters of the whole model with its adapter, nothing run.

    Raises:
        AdvisorError: the recipe cannot be built (see assembly).
    """
    with _libraries(asked.recipe):
        assembled = assemble(asked, None)
    return census_of(assembled.model, assembled.base)


@dataclass(frozen=True, slots=True)
class Assembled:
    """The model with its adapter, the ids of the base's parameters, and what to say of the two, in words.

    `tied` holds the tied weights that the adapter changes on one side only.
    """

    model: nn.Module
    base: set[int]
    notices: tuple[str, ...]
    tied: tuple[str, ...]


def _reference(
    asked: TraceRequest, depth: Mapping[str, int] | None, autocast: Autocast | None, recorder: Recorder
) -> ReferencePass:
    """Where the reference's log-probabilities come from; a frozen copy has TRL's head and autocast as the policy."""
    copy = build_reference(asked.spec, asked.workload, asked.recipe, depth=depth)
    if copy is not None:
        add_fused_head(copy, recorder, asked.recipe, REFERENCE_OUTPUTS)
        if autocast is not None:
            autocast.around(copy)
    return ReferencePass(asked.recipe.reference, copy)


def assemble(
    asked: TraceRequest,
    depth: Mapping[str, int] | None,
    autocast: Autocast | None = None,
    recorder: Recorder | None = None,
) -> Assembled:
    """The model as the step trains it, on the meta device, its forward pass under `autocast`.

    Args:
        recorder: told what TRL's head, put on where the trainer has it, does; None: the model is not run.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(asked.spec, asked.workload, asked.recipe, device="meta", depth=depth)
        base = {id(p) for p in model.parameters()}
        if recorder is not None and fuses_head(asked.spec, asked.workload, asked.recipe):
            add_fused_head(model, recorder, asked.recipe, FUSED_OUTPUTS[asked.workload.objective])
        attached = attach_and_tell(model, asked.spec, asked.workload, asked.recipe)
        model = attached.model
        cast_trained(model, asked.workload, asked.recipe)
        prepare_policy(model, asked.workload, asked.recipe)
    model.train()
    if asked.recipe.trainer != "loop" and hasattr(model, "config"):
        setting: Any = model.config
        setting.use_cache = False
    if asked.recipe.gradient_checkpointing and asked.spec.task_class == "Denoising":
        checkpoint_denoiser(model, autocast.recomputing if autocast is not None else None)
    elif asked.recipe.gradient_checkpointing:
        # random state is kept on the host and costs no device memory; meta has none to keep
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        settings: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        if autocast is not None:
            settings["context_fn"] = autocast.recomputing
        enable(settings)  # pyright: ignore
        if asked.recipe.trainer == "unsloth":
            offload_checkpoints(model, autocast.region if autocast is not None else nullcontext)
        if hasattr(model, "enable_input_require_grads"):
            model.enable_input_require_grads()  # pyright: ignore
    if autocast is not None:
        autocast.around(model)
        if not _fuses_head(asked):
            hand_on_in_float32(model, asked.recipe)
    return Assembled(model, base, (*layer_drop(asked.spec), *attached.notices), attached.tied)


@contextmanager
def _as_on_gpu(asked: TraceRequest, recorder: Recorder, autocast: Autocast | None) -> Generator[None]:
    """The modes that make meta behave as CUDA would; innermost the recorder."""
    force = {"eager": None, "sdpa": None, "flash_attention_2": "flash"}[asked.recipe.attention]
    foreach = importlib.import_module("torch.utils._foreach_utils")
    devices = [*foreach._get_foreach_kernels_supported_devices(), "meta"]
    with ExitStack() as modes:
        for module in (
            importlib.import_module("torch.utils._foreach_utils"),
            sys.modules[torch.optim.Optimizer.__module__],
        ):
            for name in ("_get_foreach_kernels_supported_devices", "_get_fused_kernels_supported_devices"):
                modes.enter_context(mock.patch.object(module, name, return_value=devices))
        modes.enter_context(mock.patch.object(torch, "autocast", _autocast))
        modes.enter_context(fused_delta_rule(recorder))
        modes.enter_context(AsOnCuda(asked.capability, force))
        if autocast is not None:
            modes.enter_context(autocast)
        modes.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        modes.enter_context(recorder)
        yield


_real_autocast = torch.autocast


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    # meta knows no autocast; where the recipe asks for one, our own stands in for it
    return nullcontext() if device_type == "meta" else _real_autocast(device_type, *args, **kwargs)


def _adopt(recorder: Recorder, model: nn.Module, base: set[int], within: str = "") -> None:
    """Everything that lies on the device before the first step, in loading order: base weights, then the adapter.

    Args:
        within: what stands before the model's own paths in the names of stacks.
    """
    layered = _homes(model)
    for mine in (False, True):
        for name, tensor in _named_tensors(model):
            if (id(tensor) in base or not isinstance(tensor, nn.Parameter)) == mine:
                continue
            kind = "adapter" if mine else "base weights" if isinstance(tensor, nn.Parameter) else "buffers"
            home = _home_of(name, layered)
            if home is not None and within:
                home = f"{within}.{home[0]}", home[1]
            recorder.adopt(tensor, home, kind)
            state = getattr(tensor, "quant_state", None)
            for extra in _quantisation_tensors(state):
                recorder.adopt(extra, home, "base weights")


def _quantisation_tensors(state: Any) -> Iterator[torch.Tensor]:
    while state is not None:
        for name in ("absmax", "code", "offset"):
            value = getattr(state, name, None)
            if isinstance(value, torch.Tensor):
                yield value
        state = getattr(state, "state2", None)


def _named_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _homes(model: nn.Module) -> list[str]:
    return list(stacks(model))


def _home_of(name: str, layered: list[str]) -> Home:
    for stack in layered:
        if name.startswith(stack + "."):
            return stack, int(name[len(stack) + 1 :].split(".", 1)[0])
    return None


def _two_steps(
    asked: TraceRequest,
    shape: BatchShape,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    recorder: Recorder,
    reference: ReferencePass,
) -> None:
    def mark(phase: str) -> None:
        recorder.mark(phase)
        if phase in ("clip", "optimizer"):
            for p in stepper.parameters:
                if p.grad is not None:
                    recorder.adopt(p.grad, recorder.home_of(p), "gradients")

    def inputs() -> dict[str, torch.Tensor]:
        batch = make_batch(
            asked.spec, asked.workload, shape.batch, shape.length, shape.target, padded=asked.padded, device="meta",
            dtype=torch_dtype(asked.recipe.dtype), recipe=asked.recipe,
        )  # fmt: skip
        for tensor in batch.values():
            recorder.adopt(tensor, None, "inputs")
            recorder.note("batch", "h2d", "int64", 0, (tensor.numel() * tensor.element_size(),), 1)
        return batch

    loss = loss_of(asked.spec, asked.workload, asked.recipe, reference, selective_log_softmax(recorder))
    if asked.fuses_loss:
        loss = chunked_loss(recorder, asked.recipe)
    stepper = Stepper(model, optimizer, asked.recipe, mark=mark, loss_of=loss, backward=_backward)
    if updates_in_backward(optimizer):
        recorder.watch_updates(optimizer, stepper.parameters)
    for number in (1, 2):
        recorder.begin_step(number)
        gc.collect()
        stepper.step(inputs)
        for served, state in cast("dict[Any, Any]", optimizer.state).items():
            # LoRA-FA keeps its state under names
            home = recorder.home_of(served) if isinstance(served, torch.Tensor) else None
            for value in state.values():
                if getattr(value, "is_paged", False):
                    recorder.assume("paged optimizer state", "outside PyTorch's allocator, moved to the host for room")
                    recorder.adopt(value, home, "paged state")
                elif isinstance(value, torch.Tensor):
                    recorder.settle(value, home)
                    recorder.adopt(value, None, "optimizer state")
    recorder.close()


def _backward(loss: torch.Tensor) -> None:
    # torch.autograd.backward would leave the function modes before it runs, and recomputation needs them
    from torch.autograd.graph import _engine_run_backward

    seed = (torch.ones_like(loss, memory_format=torch.preserve_format),)
    _engine_run_backward((loss,), seed, False, False, (), allow_unreachable=True, accumulate_grad=True)


def _fuses_head(asked: TraceRequest) -> bool:
    """Whether the trainer takes the loss without logits: its outputs are float32 already."""
    return fuses_head(asked.spec, asked.workload, asked.recipe) or asked.fuses_loss


def _cut_stacks(
    spec: ModelSpec, watched: Mapping[str, nn.ModuleList], depth: Mapping[str, int] | None
) -> dict[str, int]:
    """Which stacks the depths belong to: path -> traced layers."""
    found: dict[str, int] = {}
    depth = depth or layer_fields(spec)
    for path, layers in watched.items():
        field = field_of(path, depth)
        if field is not None and len(layers) == depth[field]:
            found[path] = depth[field]
    return found


def _categorise(recorder: Recorder) -> None:
    """Name what has no name yet by when it lived."""
    for storage in recorder.storages:
        if storage.category:
            continue
        if storage.tail:
            storage.category = "logits and loss"
        elif (storage.born_phase in ("forward", "loss") and storage.freed_phase not in ("forward", "loss")) or (
            storage.born_phase == "forward" and storage.freed_step > storage.born_step
        ):
            storage.category = "saved activations"
        else:
            storage.category = "temporaries"
