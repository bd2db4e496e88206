"""The tracer's door: `trace()` answers from the cache where it can, else executes the step abstractly."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advisor import store
from advisor.assembly.objectives.rollout_batch import scored_before
from advisor.catalog.methods import find_method, prompt_length
from advisor.catalog.optimizer_names import OPTIMIZERS
from advisor.domain.hardware import Gpu
from advisor.domain.model import ModelSpec
from advisor.domain.recipe import KERNEL_FIELDS, Recipe, as_said_before
from advisor.domain.trace.expand import expand
from advisor.domain.trace.trace_schema import Repeat, Trace
from advisor.domain.workload import Workload
from advisor.errors import AdvisorError, IllegalRecipe, UnsupportedModel
from advisor.libraries import installed_versions
from advisor.tracer.library_releases import (
    SHIPPED_WITH,
    keyed_versions,
    other_series,
    patch_note,
    series,
    versions,
)
from advisor.tracer.shipped_traces import shipped_keys, shipped_trace

if TYPE_CHECKING:
    from advisor.tracer.parameter_census import Census
    from advisor.tracer.record_step import BatchShape, Recording, TraceRequest

TRACER = 4
"""Raised whenever the tracer's output changes, so that older cached traces are not used."""

PRUNING = 2
"""The same for AdaLoRA's own part of the step: 2 prunes ranks, as most steps of a training do."""

STATE = 2
"""The same for optimizers of others than torch, whose state may be made of a shape alone: 2 copies it with layers."""
OF_TORCH = frozenset(one.name for one in OPTIMIZERS if not one.package)

FUSED_HEAD = 4
"""The same for the stand-in of TRL's head alone, which only that trainer's traces contain: 4 takes the learned
positions out of the hidden states as TRL does on a GPU, and balances experts."""
OBJECTIVES = 1
"""The same for steps of other objectives than supervised learning."""
KERNELS = 1
"""The same for fused losses and layer kernels of others than the model and the trainer."""

IMAGES = 1
"""The same for steps of vision-language models with pictures."""

SUMS_NEED = 4
"""Shapes at which a step is recorded where one sequence holds a picture's positions and its text's: a size that is a
sum of both lengths passes, at two shapes, for one length with a shift."""

DENOISING = 3
"""The same for steps of diffusion models, which diffusers' series settles too."""

UNPADDED = 2
"""The same for FlashAttention on padded batches: 2 takes the padding out before the kernel, as transformers does, and
keeps no query alive."""

NOTICES = 2
"""The same for a user's own adapter config: 2 counts layers that the config does not treat alike."""

NAMED_TARGETS = 1
"""The same for targets that are named one by one, which may lie in some layers only."""

MIXED = 2
"""The same for mixed precision: 2 ends autocast with the forward pass, takes sums in float32 without a copy, and hands
outputs on in float32 where accelerate does."""
SOFTMAX = 2
"""The same for eager attention: 2 writes the float32 softmax of 16-bit scores without a copy, as CUDA's kernel does."""
CASTS = 1
"""The same for what a trainer casts beside a quantised base."""

BASE_MODEL = 3
"""The same for the base model but for those of `_AS_BEFORE`: 3 builds it as its checkpoint loads (output embeddings
of its own, layers kept in float32, whole multimodal models), quantises what transformers does, and says what
becomes of experts."""
_AS_BEFORE = frozenset({"llama", "mistral", "qwen2", "qwen3"})

_log = logging.getLogger("advisor")
_DEFAULT_CAPABILITY = 8.0
_WITH_COMPLETIONS = ((9, 3, 2), (17, 2, 1), (29, 3, 1), (11, 3, 2), (35, 2, 1))


def is_padded(recipe: Recipe, workload: Workload) -> bool:
    """Whether batches carry a padding mask: more than one sequence, neither packed nor padding-free."""
    return recipe.batching in ("padded", "grouped") and recipe.micro_batch_size * workload.sequences > 1


def capability_class(gpu: Gpu | None) -> float:
    """The compute capability as far as kernels choose by it: 8.0 stands for everything since Ampere."""
    capability = gpu.compute_capability if gpu is not None else None
    if capability is None:
        return _DEFAULT_CAPABILITY
    return _DEFAULT_CAPABILITY if capability >= _DEFAULT_CAPABILITY else capability


def settings(spec: ModelSpec, workload: Workload, recipe: Recipe, gpu: Gpu | None) -> dict[str, Any]:
    """Everything the events depend on. Batch and length are not in it: a trace answers for all of them."""
    options = json.dumps(recipe.options, sort_keys=True)
    return {
        "method": recipe.method,
        "options": options,
        "adapter_config": json.dumps(recipe.adapter_config, sort_keys=True) if recipe.adapter_config else None,
        "task": workload.task,
        "num_labels": workload.num_labels if workload.task == "sequence-classification" else None,
        **as_said_before(recipe),
        "base": recipe.base,
        "optimizer": recipe.optimizer,
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "attention": recipe.attention,
        "trainer": recipe.trainer,
        "clipping": recipe.max_grad_norm > 0,
        "weight_decay": recipe.weight_decay > 0,
        "padded": is_padded(recipe, workload),
        "capability": capability_class(gpu),
    }


def trace_key(
    spec: ModelSpec,
    workload: Workload,
    recipe: Recipe,
    gpu: Gpu | None = None,
    *,
    installed: Mapping[str, str] | None = None,
) -> str:
    """SHA-256 of what changes a trace: the settings, the model's config and the series of the libraries.

    `installed`: library -> version; None takes what is installed.
    """
    used = keyed_versions(recipe, versions() if installed is None else installed)
    asked = settings(spec, workload, recipe, gpu)
    if recipe.trainer == "trl":
        asked["head"] = FUSED_HEAD
    if workload.objective != "sft":
        asked |= {"objective": workload.objective, "reference": recipe.reference, "loss": OBJECTIVES}
    if workload.rollout is not None:
        asked["scored"] = sorted(scored_before(workload, recipe))
    if recipe.trainer == "unsloth" or any(name in asked for name in KERNEL_FIELDS):
        asked["kernels"] = KERNELS
    if recipe.attention == "flash_attention_2" and is_padded(recipe, workload):
        asked["unpadded"] = UNPADDED
    if spec.model_type not in _AS_BEFORE:
        asked["base_model"] = BASE_MODEL
    if spec.own_head:
        asked["own_head"] = True
    if workload.task == "denoising":
        asked["denoising"] = [DENOISING, series((installed or installed_versions(["diffusers"])).get("diffusers", ""))]
    if workload.image_size is not None and workload.image_size != spec.text_config.get("image_size"):
        asked["image_size"] = workload.image_size
    if workload.images is not None:
        images = workload.images
        asked["images"] = [IMAGES, images.count, *images.grid, images.tokens]
        if images.marks or images.tiles > 1:
            asked["tiles"] = [images.tiles, images.marks]
    if recipe.adapter_config is not None:
        asked["notices"] = NOTICES
    if isinstance(recipe.options.get("target_modules"), list):
        asked["targets"] = NAMED_TARGETS
    if recipe.attention == "eager":
        asked["softmax"] = SOFTMAX
    if recipe.mixed:
        asked["mixed"] = MIXED
    if recipe.trainer == "trl" and recipe.base != "dtype":
        asked["casts"] = CASTS
    if recipe.method == "adalora":
        asked["pruning"] = PRUNING
    if recipe.optimizer not in OF_TORCH:
        asked["state"] = STATE
    document = {"tracer": TRACER, "config": _bare(spec.config), "versions": used, **asked}
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def _bare(config: dict[str, Any]) -> dict[str, Any]:
    # names and dtype notes differ between copies of one architecture and change nothing
    ignored = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
    return {k: v for k, v in config.items() if k not in ignored}


def trace(spec: ModelSpec, workload: Workload, recipe: Recipe, gpu: Gpu | None = None) -> Trace:
    """The trace of a recipe: from memory, from those shipped, from the cache folder, else made and cached.

    Only the last imports torch. A corrupt cached file is made anew; a cache folder that cannot be written
    is done without.

    Raises:
        AdvisorError: the model cannot be built, the method cannot be attached (see assembly).
    """
    key = trace_key(spec, workload, recipe, gpu)
    known = remembered(key)
    if known is not None:
        return known
    with _one_at_a_time:
        # another thread may have made it meanwhile
        known = remembered(key)
        if known is not None:
            return known
        made = make_trace(spec, workload, recipe, gpu, key=key)
        store.write_cache(made, cache_path(key))
        _memory[key] = made
        return made


_memory: dict[str, Trace] = {}
_one_at_a_time = threading.RLock()
"""Held while a step is traced: for so long parts of torch and peft are others, for every thread of the process."""


def remembered(key: str) -> Trace | None:
    """The trace of a key from memory, from those shipped or from the cache folder; None where it is to be made."""
    if key not in _memory:
        found = shipped_trace(key) or store.read_cache(Trace, cache_path(key))
        if found is not None and found.key == key:
            _memory[key] = found
    return _memory.get(key)


def release_notes(
    made: Trace, spec: ModelSpec, workload: Workload, recipe: Recipe, gpu: Gpu | None = None
) -> tuple[str, ...]:
    """What is to be said of the libraries' releases: other patch releases, and a shipped trace that does not apply."""
    patched = patch_note(made, recipe)
    unlike = other_series(recipe)
    notes = (patched,) if patched else ()
    if unlike and trace_key(spec, workload, recipe, gpu, installed=SHIPPED_WITH) in shipped_keys():
        return (
            *notes,
            f"the trace that comes with advisor does not apply to {', '.join(unlike)}: the step was traced on this "
            "machine, which takes longer the first time",
        )
    return notes


def cache_path(key: str) -> Path:
    """Where a trace is cached."""
    return store.cache_dir() / "traces" / key[:2] / f"{key}.json.gz"


def make_trace(
    spec: ModelSpec, workload: Workload, recipe: Recipe, gpu: Gpu | None = None, *, key: str = "", whole: bool = False
) -> Trace:
    """Execute and compile, without any cache. `whole` traces every layer even where copying would do."""
    with _one_at_a_time:
        return _make(spec, workload, recipe, gpu, key, whole)


def _make(spec: ModelSpec, workload: Workload, recipe: Recipe, gpu: Gpu | None, key: str, whole: bool) -> Trace:
    from advisor.tracer.layer_cuts import cuts_of, depths_of, found_uneven
    from advisor.tracer.record_step import TraceRequest, whole_census
    from advisor.tracer.symbolic import Irregular

    asked = TraceRequest(spec, workload, recipe, capability_class(gpu), is_padded(recipe, workload))
    method = find_method(recipe.method)
    full, periods = depths_of(asked)
    if method.unrolls and not whole and periods:
        # what the whole model refuses is refused here; what only a cut one cannot do is traced whole
        parameters: Census | None = None
        for depth in cuts_of(asked, method.fewest_layers, full, periods):
            parameters = whole_census(asked) if parameters is None else parameters
            try:
                return _assemble(asked, depth, full, periods, key, parameters)
            except (Irregular, IllegalRecipe):
                # layers differ, some refer to others far away, or the method counts on more than were kept
                found_uneven(asked, depth)
                continue
            except (AdvisorError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
                _log.debug("%s with %s is traced whole: %s", spec.name, recipe.method, error)
                break
    return _assemble(asked, None, full, periods, key)


def _expert_notes(recipe: Recipe, share: float, *, reached: bool) -> tuple[str, ...]:
    """What is to be said of experts that no linear layer holds; `share` of the base's numbers lies in them."""
    from advisor.assembly.quantize import expert_notes

    method = find_method(recipe.method)
    linear = "target_modules" in method.options and not method.prompt and not reached
    return expert_notes(share, recipe, adapts_linear_layers=linear)


def _shapes(spec: ModelSpec, asked: TraceRequest) -> Iterator[BatchShape]:
    """Batch shapes whose products all differ, all beyond the sizes at which kernels change their ways."""
    from advisor.tracer.record_step import BatchShape

    longest = (spec.context_length or 1024) - prompt_length(asked.recipe)
    # kernels round lengths up to 128, so lengths are multiples of it wherever the context allows
    step = 128 if longest >= 384 else max(8, longest // 3 // 8 * 8)
    if asked.workload.rollout is not None:
        # a completion is shorter than the sequence that it ends
        for batch, length, target in _WITH_COMPLETIONS:
            yield BatchShape(batch * 128 // step, length * step, target * step)
        return
    for batch, length, target in ((9, 3, 1), (17, 2, 3), (29, 1, 2), (11, 3, 3), (35, 1, 1), (19, 2, 2)):
        yield BatchShape(batch * 128 // step, length * step, target * step)


def _assemble(
    asked: TraceRequest,
    depth: dict[str, int] | None,
    full: dict[str, int],
    periods: dict[str, int],
    key: str,
    whole: Census | None = None,
) -> Trace:
    """Record at two shapes, more where a size needs them, and compile.

    Args:
        depth: traced layers by config field, of the stacks that are cut; None traces all.
        periods: in which the layers of each field repeat.
        whole: the whole model's parameters, which those of a cut model must stand for.

    Raises:
        Irregular: the layers cut off are not like those kept.
    """
    from advisor.assembly.base_model import field_of
    from advisor.tracer.parameter_census import difference, expert_share, grown, totals
    from advisor.tracer.record_step import record
    from advisor.tracer.symbolic import Compiled, Irregular, Unresolved, compile_recordings, plan_repeats

    recordings: list[Recording] = []
    unresolved = ""
    compiled: Compiled | None = None
    for shape in _shapes(asked.spec, asked):
        recordings.append(record(asked, shape, depth))
        if len(recordings) < (SUMS_NEED if asked.workload.task == "denoising" else 2):
            continue
        try:
            compiled = compile_recordings(recordings)
            break
        except Unresolved as error:
            unresolved = str(error)
            continue
        except Irregular as error:
            if depth is not None:
                raise
            raise UnsupportedModel(
                f"{asked.spec.name} with {asked.recipe.method}: the step differs between batch shapes",
                cause=str(error),
            ) from error
    if compiled is None:
        raise UnsupportedModel(
            f"{asked.spec.name} with {asked.recipe.method}: a size is no polynomial of the batch's shape",
            cause=f"its values at the traced shapes: {unresolved}",
        )
    first = recordings[0]
    fields = {stack: field_of(stack, depth or full) or "" for stack in first.depths}
    deep = {stack: full[field] for stack, field in fields.items()}
    repeats: tuple[Repeat, ...] = ()
    if depth:
        repeats = plan_repeats(compiled, deep, first.depths, {stack: periods[f] for stack, f in fields.items()})
    if whole is not None:
        unlike = difference(whole, first.parameters, first.depths, repeats)
        if unlike is not None:
            raise Irregular(unlike)
    facts = list(grown(first.parameters, first.depths, repeats))
    trainable, total = totals(fact for _, fact in facts)
    reached = any(fact.trained and ".experts." in name for name, fact in facts)
    made = Trace(
        key=key or trace_key(asked.spec, asked.workload, asked.recipe),
        model=asked.spec.name,
        method=asked.recipe.method,
        settings=settings(asked.spec, asked.workload, asked.recipe, None)
        | ({"tied": ", ".join(first.tied)} if first.tied else {})
        | ({"experts_trained": True} if reached else {}),
        versions=versions(),
        layers=deep or full,
        trainable_parameters=trainable,
        total_parameters=total,
        names=compiled.names,
        dtypes=compiled.dtypes,
        polys=compiled.polys,
        shares=compiled.shares,
        storages=compiled.storages,
        stacks=compiled.stacks,
        parts=compiled.parts,
        repeats=repeats,
        assumptions=(*_expert_notes(asked.recipe, expert_share(facts), reached=reached), *first.assumptions),
    )
    try:
        expand(made)
    except KeyError as error:
        raise Irregular(str(error)) from error
    return made
