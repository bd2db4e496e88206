"""What each library can run on which device, in which precision: a table with its sources, and the rules read from it.

A rule refuses what cannot train, says why, and names a recipe that can; nothing here is traced, so that every
combination of GPU, precision, base, optimizer and trainer can be asked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from advisor.catalog.gpus.capabilities import no_bf16
from advisor.catalog.methods.method import Method
from advisor.catalog.optimizer_names import Named, optimizer_named, updates_in_backward
from advisor.domain.hardware import Gpu
from advisor.domain.recipe import Recipe
from advisor.domain.request.vocabulary import Task
from advisor.errors import IllegalRecipe


@dataclass(frozen=True, slots=True)
class Allocator:
    """What hands out device memory under PyTorch. `like_cuda`: CUDA's own caching allocator, or one built as it is."""

    like_cuda: bool
    planned: str = ""
    """Why no allocator's law can be told: set where the memory of a step is planned by a compiler."""
    source: str = ""


_COMPILED: Final = (
    "{} plans the memory of a whole graph; no caching allocator hands it out tensor by tensor, and its plan is not "
    "modelled"
)
ALLOCATORS: Final[Mapping[str, Allocator]] = {
    "nvidia": Allocator(True, source="https://docs.pytorch.org/docs/stable/notes/cuda.html"),
    "amd": Allocator(True, source="https://docs.pytorch.org/docs/stable/notes/hip.html"),
    "apple": Allocator(False, source="https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/mps/MPSAllocator.h"),
    "huawei": Allocator(False, source="https://github.com/Ascend/pytorch"),
    "google": Allocator(False, _COMPILED.format("XLA"), "https://docs.pytorch.org/xla/master/"),
    "aws": Allocator(
        False, _COMPILED.format("Neuron's compiler, under XLA,"), "https://awsdocs-neuron.readthedocs-hosted.com"
    ),
    "intel": Allocator(False, _COMPILED.format("Gaudi's graph compiler"), "https://docs.habana.ai/en/latest/PyTorch/"),
}
"""By the vendor of a catalogue's card."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Where a part of a library runs: vendors, and the least compute capability of NVIDIA's cards."""

    vendors: frozenset[str]
    least_capability: float
    source: str


BITSANDBYTES: Final = "bitsandbytes 0.50.2, README (accelerator support) and docs/source/installation.mdx"
PAGES: Final = "bitsandbytes 0.50.2, functional.get_paged, and its optimizers, which page nothing on a CPU"
OPTIMI: Final = "torch-optimi 0.3.3, utils._default_to_triton, and Triton's README (compute capability 8.0 and above)"
ADALOMO: Final = "lomo-optim 0.1.1, AdaLomo.__init__, which puts its statistics on a CUDA device whatever the model's"
FUSED: Final = "lomo-optim 0.1.1, fuse_update, and accelerate 1.15, Accelerator.backward and AcceleratedOptimizer.step"
ON_CPU_TOO: Final = frozenset({"nvidia", "amd", "cpu"})
SUPPORT: Final[Mapping[str, Runs]] = {
    "nf4": Runs(ON_CPU_TOO | {"apple"}, 6.0, BITSANDBYTES),
    "int8": Runs(ON_CPU_TOO | {"apple"}, 7.5, BITSANDBYTES),
    "8-bit optimizers": Runs(ON_CPU_TOO, 6.0, BITSANDBYTES),
    "paged optimizers": Runs(ON_CPU_TOO, 6.0, PAGES),
    "Kahan summation": Runs(ON_CPU_TOO, 8.0, OPTIMI),
    "adalomo": Runs(frozenset({"nvidia", "amd"}), 0.0, ADALOMO),
    "fp16 mixed precision": Runs(
        frozenset({"nvidia", "amd", "apple", "huawei"}), 0.0, "accelerate 1.15, Accelerator.__init__, supported_device"
    ),
}

SCALER_SOURCE: Final = "https://github.com/huggingface/peft/issues/1249"
BF16_SCALER_SOURCE: Final = "https://github.com/pytorch/pytorch/issues/127176"
FLASH_SOURCE: Final = "https://github.com/Dao-AILab/flash-attention, README: fp16 and bf16 only"

STATE_IN_WEIGHT_DTYPE: Final = frozenset(
    {
        "adamw_torch", "adamw_torch_fused", "adamw_torch_loop", "stable_adamw", "adagrad", "rmsprop", "galore",
        "loraplus", "lorafa",
    }
)  # fmt: skip
"""Optimizers whose second moment is stored in the weight's own type and divided by.

In float16 the square of a gradient below 2.4e-4 is 0 there, and so is AdamW's epsilon, 1e-8: the update is infinite.
bitsandbytes' and Adafactor compute in float32 (bitsandbytes 0.50.2, kernels; transformers 5.23, its own Adafactor).
"""


AFTER_THE_STEP: Final = frozenset({"adalora", "adamss"})
"""Methods that read gradients when the optimizer has stepped (peft 0.21.2, `update_and_allocate`)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One combination: a card, or None for a CPU, and a recipe of a method for a task."""

    gpu: Gpu | None
    recipe: Recipe
    method: Method
    task: Task

    @property
    def vendor(self) -> str:
        return "cpu" if self.gpu is None else self.gpu.vendor

    @property
    def name(self) -> str:
        return "a CPU" if self.gpu is None else self.gpu.name

    @property
    def optimizer(self) -> str:
        """The method's own, where it is defined by one."""
        return self.method.optimizer or self.recipe.optimizer

    @property
    def trained_in(self) -> str:
        """The type that weights of the base, a saved copy or a new head are trained in; "" where none is."""
        saved = bool((self.recipe.adapter_config or {}).get("modules_to_save"))
        if not (self.method.trains_in_base_dtype or saved or self.task == "sequence-classification"):
            return ""
        return "float32" if self.recipe.prepare_kbit_training else self.recipe.dtype

    @property
    def half(self) -> str:
        """The flag of the 16-bit type that the card has."""
        return "fp16" if self.gpu is not None and self.gpu.bf16_supported is False else "bf16"

    @property
    def half_dtype(self) -> str:
        return {"fp16": "float16", "bf16": "bfloat16"}[self.half]

    def runs(self, part: str) -> bool:
        """Whether a part of a library runs on the card; an NVIDIA card of unknown capability is taken to be new."""
        where = SUPPORT[part]
        capability = self.gpu.compute_capability if self.gpu is not None else None
        old = self.vendor == "nvidia" and capability is not None and capability < where.least_capability
        return self.vendor in where.vendors and not old


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a combination cannot train, fields of a recipe that can (None: no recipe can), and the source."""

    reason: str
    instead: Mapping[str, Any] | None
    source: str

    @property
    def way_out(self) -> str:
        """The fields as options of the command line."""
        if self.instead is None:
            return "an NVIDIA or AMD GPU: see advisor gpus"
        flags = {"attention": "attn-implementation", "micro_batch_size": "batch-size"}

        def said(field: str, value: Any) -> str:
            flag = flags.get(field, field.replace("_", "-"))
            if value is None:
                return f"no --{flag}"
            if isinstance(value, bool):
                return f"--{'' if value else 'no-'}{flag}"
            return f"--{flag} {value}"

        return " ".join(said(field, value) for field, value in self.instead.items())


def _allocator(setup: Setup) -> Refused | None:
    known = ALLOCATORS.get(setup.vendor)
    if setup.gpu is None or known is None or not known.planned:
        return None
    return Refused(f"memory on {setup.name} cannot be predicted: {known.planned}", None, known.source)


def _bfloat16(setup: Setup) -> Refused | None:
    recipe = setup.recipe
    if setup.gpu is None or setup.gpu.bf16_supported is not False:
        return None
    if "bfloat16" not in (recipe.dtype, recipe.compute_dtype):
        return None
    return Refused(no_bf16(setup.gpu), _safe(setup), "https://docs.nvidia.com/cuda/cuda-c-programming-guide/")


def _safe(setup: Setup) -> dict[str, Any]:
    """The precision that trains on the card: float32 weights of what is trained, else its 16-bit type."""
    if setup.trained_in:
        return {"dtype": "float32", "mixed_precision": setup.half}
    return {"dtype": setup.half_dtype, "mixed_precision": "no"}


def _float16_weights(setup: Setup) -> Refused | None:
    recipe = setup.recipe
    if setup.trained_in != "float16":
        return None
    if recipe.mixed_precision == "fp16":
        reason = "a GradScaler stops on trained weights stored in float16 (Attempting to unscale FP16 gradients)"
        return Refused(reason, _safe(setup), SCALER_SOURCE)
    if setup.optimizer not in STATE_IN_WEIGHT_DTYPE:
        return None
    reason = (
        f"trained weights stored in float16 under {setup.optimizer}: the squares of gradients and epsilon underflow to "
        "0 in its state, and updates become infinite"
    )
    return Refused(reason, _safe(setup), SCALER_SOURCE)


def _scaled_bfloat16(setup: Setup) -> Refused | None:
    recipe = setup.recipe
    if recipe.mixed_precision != "fp16":
        return None
    if recipe.trainer == "trl" and recipe.base != "dtype":
        reason = (
            "TRL casts what is trained beside a quantised base to bfloat16, for which the GradScaler of fp16 has no "
            "kernel"
        )
        return Refused(reason, {"trainer": "hf"}, BF16_SCALER_SOURCE)
    if setup.trained_in == "bfloat16":
        reason = "the GradScaler of fp16 has no kernel for gradients in bfloat16, the type of what is trained"
        return Refused(reason, _safe(setup), BF16_SCALER_SOURCE)
    return None


def _mixed(setup: Setup) -> Refused | None:
    if setup.recipe.mixed_precision == "fp16" and not setup.runs("fp16 mixed precision"):
        reason = f"fp16 mixed precision does not run on {setup.name}"
        return Refused(reason, {"mixed_precision": "no"}, SUPPORT["fp16 mixed precision"].source)
    return None


def _base(setup: Setup) -> Refused | None:
    base = setup.recipe.base
    if base == "dtype" or setup.runs(base):
        return None
    where = SUPPORT[base]
    old = setup.vendor in where.vendors
    needs = f"needs compute capability {where.least_capability:g}" if old else "does not run there"
    other = "nf4" if base == "int8" and setup.runs("nf4") and "nf4" in setup.method.bases else "dtype"
    instead: dict[str, Any] = {"base": other}
    if other == "dtype" and "dtype" not in setup.method.bases:
        instead = {"method": "lora", "base": "dtype"}
    if other == "dtype" and setup.recipe.prepare_kbit_training:
        instead["prepare_kbit_training"] = False
    return Refused(f"an {base} base on {setup.name}: bitsandbytes {needs}", instead, where.source)


def _optimizer(setup: Setup) -> Refused | None:
    named = optimizer_named(setup.recipe.optimizer)
    part = _part_of(named)
    if named is None or part not in SUPPORT or setup.runs(part):
        return None
    # what AdamW cannot train in float16, another precision has to
    instead: dict[str, Any] = {"optimizer": "adamw_torch", **(_safe(setup) if setup.trained_in == "float16" else {})}
    if named.keeps_updates:
        reason = f"{named.name} is optimi's, whose Triton kernels do not run on {setup.name}"
    elif named.in_backward:
        reason = f"{named.name} keeps its statistics on a CUDA device, which {setup.name} is not"
    else:
        reason = f"{named.name} is bitsandbytes', whose {part} do not run on {setup.name}"
    return Refused(reason, instead, SUPPORT[part].source)


def _part_of(named: Named | None) -> str:
    """The row of SUPPORT that says where an optimizer runs; one that has none runs wherever torch does."""
    if named is None:
        return ""
    if named.paged:
        return "paged optimizers"
    return {"torch-optimi": "Kahan summation", "bitsandbytes": "8-bit optimizers"}.get(named.package, named.name)


def _in_backward(setup: Setup) -> Refused | None:
    """What an update within the backward pass leaves no room for."""
    recipe, name = setup.recipe, setup.recipe.optimizer
    if not updates_in_backward(setup.optimizer):
        return None
    if recipe.gradient_accumulation > 1:
        together = recipe.micro_batch_size * recipe.gradient_accumulation
        reason = f"{name} updates weights in each backward pass: gradients of several cannot be accumulated"
        return Refused(reason, {"micro_batch_size": together, "gradient_accumulation": 1}, FUSED)
    if recipe.mixed_precision == "fp16":
        reason = f"{name} would use gradients as the GradScaler of fp16 scaled them: it runs before they are unscaled"
        return Refused(reason, {"mixed_precision": "no" if setup.half == "fp16" else "bf16"}, FUSED)
    if setup.trained_in == "float16" and name == "lomo":
        reason = "lomo over float16 weights scales no loss, or asks for a norm of gradients that no trainer takes"
        return Refused(reason, {"dtype": "float32"}, FUSED)
    if setup.method.name in AFTER_THE_STEP:
        reason = f"{setup.method.name} weighs its ranks by gradients after each step, and {name} keeps none"
        return Refused(reason, {"optimizer": "adafactor"}, "peft 0.21.2, update_and_allocate")
    if recipe.head_learning_rate is not None:
        return Refused(f"{name} knows one learning rate for all parameters", {"head_learning_rate": None}, FUSED)
    if recipe.trainer == "unsloth":
        reason = f"unsloth rewrites the Trainer's step, and with {name} that was not traced"
        return Refused(reason, {"trainer": "hf"}, "unsloth 2026.10.9, models/_utils.py, _unsloth_training_step")
    return None


def _flash(setup: Setup) -> Refused | None:
    if setup.recipe.attention != "flash_attention_2" or setup.recipe.compute_dtype != "float32":
        return None
    return Refused(
        "FlashAttention computes in 16 bits only, and this recipe in float32", {"attention": "sdpa"}, FLASH_SOURCE
    )


def _nothing_to_prepare(setup: Setup) -> Refused | None:
    if not setup.recipe.prepare_kbit_training or setup.recipe.base != "dtype":
        return None
    reason = "prepare_kbit_training is of a quantised base; a plain one it would only cast to float32 as a whole"
    return Refused(reason, {"prepare_kbit_training": False}, "peft 0.21.2, prepare_model_for_kbit_training")


RULES: Final[tuple[Callable[[Setup], Refused | None], ...]] = (
    _allocator, _nothing_to_prepare, _bfloat16, _base, _optimizer, _in_backward, _scaled_bfloat16, _float16_weights,
    _mixed, _flash,
)  # fmt: skip


def refused(setup: Setup) -> Refused | None:
    """The first reason why a combination cannot train; None where every library runs it."""
    return next((found for rule in RULES if (found := rule(setup)) is not None), None)


def check_support(gpu: Gpu | None, recipe: Recipe, method: Method, task: Task) -> None:
    """Refuse what cannot train.

    Args:
        gpu: the card; None is a CPU.

    Raises:
        IllegalRecipe: with the reason, its source, and the nearest recipe that trains.
    """
    found = refused(Setup(gpu, recipe, method, task))
    if found is not None:
        raise IllegalRecipe(
            found.reason,
            cause=found.source,
            hints=[f"nearest legal choice: {found.way_out}"],
            method=method.name,
            reason=found.reason,
        )


def allocator_note(gpu: Gpu) -> str:
    """What is said of a card whose memory is handed out by another allocator than CUDA's; "" for the others."""
    known = ALLOCATORS.get(gpu.vendor)
    if known is not None and known.like_cuda:
        return ""
    whose = {"apple": "Metal's", "huawei": "Ascend's"}.get(gpu.vendor, "the device's own")
    where = f" ({known.source})" if known is not None else ""
    return (
        f"reserved memory on {gpu.name}: priced by CUDA's caching allocator, where {whose} hands memory out{where}; "
        "its range reaches from what is allocated to the usual fragmentation above CUDA's"
    )
