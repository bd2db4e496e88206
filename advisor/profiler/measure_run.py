"""One run measured in this process: build, warm up, step, evaluate, save. The same step that is traced."""

# pyright: reportUnknownMemberType=false
# torch's functions name only some of their types

from __future__ import annotations

import gc
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import nn

from advisor import store
from advisor.assembly.attach import attach
from advisor.assembly.base_model import build
from advisor.assembly.batch import make_batch
from advisor.assembly.dtypes import torch_dtype
from advisor.assembly.objectives.objective_loss import FUSED_OUTPUTS, fuses_head, loss_of, prepare_policy
from advisor.assembly.objectives.reference_model import ReferencePass, build_reference
from advisor.assembly.objectives.referenced_losses import REFERENCE_OUTPUTS
from advisor.assembly.optimizers import make_optimizer
from advisor.assembly.parameter_count import total_parameters, trainable_parameters
from advisor.assembly.trainer_casts import cast_trained, hand_on_in_float32
from advisor.assembly.training_step import Stepper
from advisor.catalog.constants import load_constants
from advisor.catalog.methods import find_method
from advisor.domain.profile import Profile
from advisor.domain.units import gib
from advisor.errors import AdvisorError, MissingExtra
from advisor.processes import out_of_memory
from advisor.profiler.meters import limit_memory, meter_for
from advisor.profiler.meters.meter import EVALUATION, SAVING, STEP, Facts, Meter
from advisor.profiler.profile_job import ProfileJob, config_sha256

EVALUATION_BATCHES: Final = 2
"""Two, so that the first batch's kept logits lie beside the second batch's forward."""
_log = logging.getLogger(__name__)


def measure(job: ProfileJob, history: Path | None = None) -> Profile:
    """The profile of one run. Out of memory and every other failure are results: status and reason say which.

    What was read up to the failure is kept. What the allocator did, where the job asks for it, is written to
    `history`.
    """
    facts: Facts = {}
    meter: Meter | None = None
    status, reason = "complete", ""
    try:
        meter = meter_for(job)
        _MeasuredRun(job, meter, facts).take()
    except Exception as error:
        # any failure of a run is its result; the traceback goes to the run's log
        _log.exception("the run failed")
        if out_of_memory(error):
            status, reason = "oom", f"during {facts.get('_during', 'start')}: {first_line(error)}"
        else:
            status, reason = "failed", f"during {facts.get('_during', 'start')}: {first_line(error)}"
    kept = getattr(meter, "kept", None)
    if history is not None and kept is not None:
        store.write(kept.model_copy(update={"device": job.device_name}), history)
    return as_profile(job, facts, meter, status=status, reason=reason)


def first_line(error: BaseException) -> str:
    """What a failure says in one line."""
    text = error.message if isinstance(error, AdvisorError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = lines[0] if lines else ""
    return said if isinstance(error, AdvisorError) else f"{type(error).__name__}: {said}"[:300]


def as_profile(job: ProfileJob, facts: Facts, meter: Meter | None = None, *, status: str, reason: str = "") -> Profile:
    """A profile of the facts known so far."""
    known = {name: value for name, value in facts.items() if not name.startswith("_")}
    read = meter.facts() if meter is not None else {}
    notes = [known.pop("notes", ""), read.pop("notes", "")]
    versions = {**job.versions, **read.pop("versions", {})}
    if meter is not None and meter.seconds:
        phases = {name: total / len(meter.seconds) for name, total in meter.phases.items() if name != "end"}
        known |= {"step_seconds": tuple(meter.seconds), "steps": len(meter.seconds), "phase_seconds": phases}
    return Profile.model_validate(
        {
            "id": job.id,
            "device": job.device_name,
            "device_reported": job.device_reported,
            "status": status,
            "reason": reason or known.pop("reason", ""),
            "workload": job.workload,
            "recipe": job.recipe,
            "model_config_sha256": config_sha256(job.spec.config),
            "config_overrides": job.config_overrides,
            "measured_on": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions,
            "notes": "; ".join(note for note in notes if note),
            **read,
            **{name: value for name, value in known.items() if name != "reason"},
        }
    )


class _MeasuredRun:
    """The stages of one run; `facts` fills up as they pass, so that a failure leaves what came before."""

    def __init__(self, job: ProfileJob, meter: Meter, facts: Facts) -> None:
        self.job = job
        self.meter = meter
        self.facts = facts
        self.notes: list[str] = []
        self.seed = job.seed
        self.drawn: dict[tuple[int, int], dict[str, Any]] = {}
        self.lengths: tuple[int, ...] = ()
        self.length = job.workload.seq_len

    def take(self) -> None:
        job, meter = self.job, self.meter
        if job.threads is not None:
            torch.set_num_threads(job.threads)
        torch.manual_seed(job.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with meter.watch():
                self._during("building the model")
                began = time.perf_counter()
                self._build()
                meter.settle()
                limit_memory(job, _bytes_of(self.model))
                self.facts["notes"] = f"built in {time.perf_counter() - began:.1f} s"
                self._during("warm-up")
                with meter.stage(STEP):
                    for _ in range(job.warmup):
                        gc.collect()
                        self._step()
                    if meter.times_within_watch:
                        self._timed()
                self._evaluate()
                self._save()
            if not meter.times_within_watch:
                self._during("warm-up")
                self._step()
                self._timed()
        self.facts["notes"] = "; ".join([self.facts["notes"], *self.notes])

    def _during(self, what: str) -> None:
        self.facts["_during"] = what

    def _build(self) -> None:
        """Model, adapter and optimizer on the device, as a trainer would have them."""
        job, recipe = self.job, self.job.recipe
        model = build(job.spec, job.workload, recipe, device=job.device)
        copy = build_reference(job.spec, job.workload, recipe, device=job.device)
        if fuses_head(job.spec, job.workload, recipe):
            _add_trls_head(model, FUSED_OUTPUTS[job.workload.objective])
        if copy is not None:
            _add_trls_head(copy, REFERENCE_OUTPUTS)
        model = attach(model, job.spec, job.workload, recipe)
        if any(p.device.type != job.device for p in model.parameters()):
            model = model.to(job.device)
        model.train()
        config: Any = getattr(model, "config", None)
        if recipe.trainer != "loop" and config is not None:
            config.use_cache = False
        if recipe.gradient_checkpointing:
            enable: Any = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable({"use_reentrant": False})
            if hasattr(model, "enable_input_require_grads"):
                model.enable_input_require_grads()  # pyright: ignore
        cast_trained(model, job.workload, recipe)
        prepare_policy(model, job.workload, recipe)
        if recipe.mixed:
            for one in (model, copy) if copy is not None else (model,):
                _autocast(one, job)
            if recipe.mixed_precision == "fp16":
                self.notes.append("float16 without gradient scaling")
        optimizer = make_optimizer(model, recipe, find_method(recipe.method).optimizer)
        self.model, self.optimizer = model, optimizer
        reference = ReferencePass(recipe.reference, copy)
        loss = loss_of(job.spec, job.workload, recipe, reference, _selective_log_softmax)
        self.stepper = Stepper(model, optimizer, recipe, mark=self.meter.mark, loss_of=loss)
        self.facts["trainable_parameters"] = trainable_parameters(model)
        self.facts["total_parameters"] = total_parameters(model)
        workload = job.workload
        self.lengths = lengths_to_measure(job)
        self.facts["lengths"] = self.lengths or (workload.seq_len,)
        rows = recipe.micro_batch_size * recipe.gradient_accumulation * workload.sequences
        mean = float(np.mean(self.facts["lengths"]))
        self.facts["tokens_per_step"] = rows * mean

    def _batch(self, size: int) -> Callable[[], dict[str, Any]]:
        """Makes inputs as a data loader hands them over: drawn beforehand, copied to the device in the step.

        A processor gets new ones each time, since a batch kept would lie in the memory that is measured.
        """
        if self.job.device == "cpu":
            self.seed += 1
            return lambda: self._draw(size)
        key = size, self.length
        if key not in self.drawn:
            self.drawn[key] = self._draw(size)
        return lambda: {name: tensor.to(self.job.device) for name, tensor in self.drawn[key].items()}

    def _draw(self, size: int) -> dict[str, Any]:
        job = self.job
        return make_batch(
            job.spec,
            job.workload,
            size,
            self.length,
            job.workload.target_len or 1,
            padded=job.recipe.batching in ("padded", "grouped") and size * job.workload.sequences > 1,
            device="cpu",
            seed=self.seed,
            recipe=job.recipe,
        )

    def _step(self) -> None:
        recipe = self.job.recipe
        for _ in range(recipe.gradient_accumulation - 1):
            self.stepper.micro_batch(self._batch(recipe.micro_batch_size))
        self.stepper.step(self._batch(recipe.micro_batch_size))
        self.meter.mark("end")

    def _timed(self) -> None:
        self._during("timed steps")
        reserved: list[int] = []
        for number in range(self.job.steps):
            if self.lengths:
                self.length = self.lengths[number]
            # cycles of the step before go at a moment of our choosing, as in the trace
            gc.collect()
            with self.meter.timing():
                self._step()
            if self.lengths and self.job.device == "cuda":
                reserved.append(torch.cuda.memory_reserved())
                self.facts["reserved_after_step_bytes"] = tuple(reserved)

    def _evaluate(self) -> None:
        """Forward passes without gradients, their logits kept as for metrics. Out of memory here fails no run."""
        size = self.job.evaluation_batch_size
        if not size:
            return
        self._during("evaluation")
        self.model.eval()
        kept: list[Any] = []
        try:
            with self.meter.stage(EVALUATION), torch.no_grad():
                for _ in range(EVALUATION_BATCHES):
                    inputs = self._batch(size)()
                    if self.stepper.loss_of is not None:
                        kept.append(self.stepper.loss_of(self.model, inputs))
                    else:
                        kept.append(self.model(**inputs).logits)
                    del inputs
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            self.facts["reason"] = f"training fits, evaluation runs out of memory: {first_line(error)}"
        finally:
            kept.clear()
            self.model.train()

    def _save(self) -> None:
        """A checkpoint as a trainer writes it: weights or adapter, and the optimizer's state."""
        if not self.job.saving:
            return
        self._during("saving")
        state = _bytes_of(self.model)
        with tempfile.TemporaryDirectory(prefix="advisor-checkpoint-") as folder:
            free = shutil.disk_usage(folder).free
            if free < 3 * state:
                self.notes.append(f"saving left out: {gib(free)} of disk free")
                return
            with self.meter.stage(SAVING):
                _write_checkpoint(self.model, Path(folder), whole=self.job.recipe.method == "full")
                torch.save(self.optimizer.state_dict(), Path(folder) / "optimizer.pt")


def lengths_to_measure(job: ProfileJob) -> tuple[int, ...]:
    """A length for each timed step where they vary: drawn from a gamma law around the mean, none above the longest."""
    workload = job.workload
    if workload.mean_length >= workload.seq_len:
        return ()
    shape = load_constants("time")["length_shape"].value
    drawn = np.random.default_rng(job.seed).gamma(shape, workload.mean_length / shape, size=job.steps)
    return tuple(int(length) for length in np.clip(np.ceil(drawn), 1, workload.seq_len))


def _bytes_of(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _write_checkpoint(model: nn.Module, folder: Path, *, whole: bool) -> None:
    if whole or hasattr(model, "peft_config"):
        model.save_pretrained(folder)  # pyright: ignore
        return
    from safetensors.torch import save_file

    trained = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters() if p.requires_grad}
    save_file(trained, folder / "adapter.safetensors")


def _add_trls_head(model: nn.Module, outputs: tuple[str, ...]) -> None:
    """TRL's own head on the base model, put there before the adapter.

    Raises:
        MissingExtra: no TRL, or one that builds whole logits.
    """
    try:
        from trl.trainer.utils import add_fused_lm_head
    except ImportError as error:
        raise MissingExtra.of("trl", extra="trl", why="the loss of TRL's SFTTrainer") from error
    add_fused_lm_head(model, outputs=outputs)  # type: ignore[arg-type]


def _selective_log_softmax(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """TRL's own, of its ORPO and CPO trainers."""
    from trl.trainer.utils import selective_log_softmax

    return selective_log_softmax(logits, ids)


def _autocast(model: nn.Module, job: ProfileJob) -> None:
    """Mixed precision; transformers' trainers also hand the outputs on in float32, as accelerate does for them."""
    mixed = torch.autocast(job.device, dtype=torch_dtype(job.recipe.compute_dtype))
    forward = cast("Callable[..., Any]", mixed(model.forward))
    model.forward = forward  # type: ignore[method-assign]
    hand_on_in_float32(model, job.recipe)
