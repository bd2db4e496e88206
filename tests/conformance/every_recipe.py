"""Every method on every model family, base and checkpointing, asked as a user would ask: `estimate` of a tiny model."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advisor.catalog.methods import check_recipe, find_method, methods
from advisor.catalog.models import resolve_model
from advisor.catalog.models.index import ModelEntry
from advisor.errors import AdvisorError
from advisor.estimator.estimate_request import EstimateRequest, from_case, recipe_of, workload_of
from advisor.tracer.record_step import BatchShape, TraceRequest, record
from tests.assembly.small_families import small
from tests.conformance.tiny import small_options

WAYS = {
    "bfloat16": {"base": "dtype", "dtype": "bfloat16"},
    "float32": {"base": "dtype", "dtype": "float32"},
    "nf4": {"base": "nf4", "dtype": "bfloat16"},
    "int8": {"base": "int8", "dtype": "bfloat16"},
}
"""How the base is held -> fields of a question."""
CRASH = "CRASH"

REASONS = {
    r"it needs a task id with every sample": "multi-task methods, and a workload has one task",
    r"it needs LoRA adapters trained before": "X-LoRA mixes adapters that are there",
    r"is an? [a-z-]+ model; it runs on": "the method's architectures",
    r"it cannot learn [a-z-]+; it learns": "the method's tasks",
    r"it does not run on a base in": "the method's bases",
    r"it does not work under gradient checkpointing": "the method's own word",
    r"peft has it for llama, mistral, gpt2 only": "LLaMA-Adapter",
    r"has no output layer apart from its embeddings": "linear probe of tied embeddings",
    r"takes (audio features|pixels)": "methods of token embeddings on models without",
    r"holds its weights transposed \(Conv1D\)": "GPT-2's layers",
    r"takes no past keys and values": "prefixes before encoders that keep none",
    r"layers of linear attention, which keep no past keys": "prefixes before Qwen3.5",
    r"its float32 outputs meet \w+ ones": "no autocast over a quantised base, and attention that torch does not fuse",
    r"peft finds no token embeddings": "Llama 4, whose last part is not its language model",
    r"peft looks for its layers in the model itself": "ShadowPEFT on multimodal models",
    r"its embeddings have a width of their own": "ShadowPEFT on OPT",
    r"peft's hooks on the idle vision tower": "aLoRA on multimodal models under checkpointing",
    r"not a plain torch.nn.Linear": "GLoRA on Falcon's own linear layers",
    r"block size should be a factor of the output size": "C3A on gates narrower than its block",
    r"must be divisible by group_size": "RoAd on gates narrower than its group",
}
"""What a refusal may say, as a regular expression -> whose reason it is. A refusal that is not here is a finding."""


def explained(said: str) -> bool:
    """Whether a case was answered, or refused for a reason that is known."""
    return not said or any(re.search(reason, said) for reason in REASONS)


@dataclass(frozen=True, slots=True)
class Case:
    """One recipe on one family."""

    family: str
    method: str
    way: str
    checkpointing: bool

    def __str__(self) -> str:
        return f"{self.family}, {self.method}, {self.way}{', checkpointing' if self.checkpointing else ''}"


def cases(family: str) -> list[Case]:
    return [Case(family, m.name, way, on) for m in methods() for way in WAYS for on in (False, True)]


def share(family: str, number: int) -> list[Case]:
    """A part of a family's cases: each method in one way that it says it can run; all shares together are all cases.

    The way goes round from method to method and family to family. What is refused without being built is in share 0.
    """
    found: list[Case] = []
    for place, method in enumerate(methods()):
        mine = [case for case in cases(family) if case.method == method.name]
        able = [case for case in mine if WAYS[case.way]["base"] in method.bases]
        built = [case for case in able if method.checkpointing or not case.checkpointing]
        if number < len(built):
            found.append(built[(len(family) + place + number) % len(built)])
        if number == 0:
            found.extend(case for case in mine if case not in built)
    return found


def folder_of(entry: ModelEntry, place: Path) -> Path:
    """A local folder with the family's own definition, cut down."""
    folder = place / f"small-{entry.model_type}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(small(entry).config))
    return folder


def question(case: Case, folder: Path) -> EstimateRequest:
    """The case as `advisor estimate` is asked it."""
    method = find_method(case.method)
    asked: dict[str, Any] = {
        "model": str(folder),
        "gpu": "L40S",
        "method": case.method,
        # the side network's own width is peft's choice: half rotations of a narrow one are no whole numbers
        "options": {name: value for name, value in small_options(method).items() if name != "width"},
        "gradient_checkpointing": case.checkpointing,
        "batch_size": 2,
        "samples": 100,
        **WAYS[case.way],
    }
    config = json.loads((folder / "config.json").read_text())
    if "num_mel_bins" not in config and ("image_size" not in config or "vocab_size" in config):
        # pictures and sound have a length of their own
        asked["seq_len"] = 32
    return from_case(asked)


def record_once(request: EstimateRequest) -> None:
    """What `estimate` checks, then two steps recorded at one batch shape: all but the arithmetic on the trace."""
    spec = resolve_model(request.model)
    recipe = recipe_of(request)
    workload, _ = workload_of(request, spec, recipe)
    check_recipe(spec, recipe, workload)
    record(TraceRequest(spec, workload, recipe, 8.9, True), BatchShape(3, 24, 16), None)


def became_of(case: Case, folder: Path, ask: Callable[[EstimateRequest], Any]) -> str:
    """Empty where a case is answered; the refusal on one line; `CRASH ...` where something else than one is raised."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ask(question(case, folder))
    except AdvisorError as error:
        return told(error)
    except Exception as error:
        first = str(error).strip().splitlines()
        return f"{CRASH} {type(error).__name__}: {first[0] if first else ''}"
    return ""


def told(error: AdvisorError) -> str:
    """Reason and cause on one line."""
    reason = str(error.fields.get("reason") or error.message)
    return re.sub(r"\s+", " ", f"{reason} | {error.cause}").strip(" |")
