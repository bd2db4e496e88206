"""Random questions that make sense: options of the right types and sizes, of models, methods and cards there are."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from tests.laws.questions import CONFIGS, GPUS, LONGEST

SHIPPED = ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.2-1B", "Qwen/Qwen2.5-7B", "mistralai/Mistral-7B-v0.1")
"""Whose traces came along, so that a question of them costs no tracing."""
TASK_TYPES = ("NLU", "NLG", "instruction", "math", "code", "reasoning", "QA", "summarization", "classification")
DESCRIBES = frozenset(
    """learning_rate alpha task_type samples epochs dtype task batching tolerance_points policy max_grad_norm must_merge
    attn_implementation""".split()  # noqa: SIM905
)
"""Options that may leave every figure as it was and are no less used, and stand in the answer: rates and scalings cost
nothing, a kind of task may have no study of its own, without samples nothing is trained or paid, the two 16-bit types
cost alike, a decoder learns pairs as it learns text, samples of one length need no packing, and what weighs candidates
weighs nothing where there is one; clipping costs the same at every norm; sdpa takes the flash kernel by itself."""


@dataclass(slots=True)
class Question:
    """One command line: the verb, its words, its options by name, and those that may be left out."""

    verb: str
    words: list[str] = field(default_factory=list)
    options: dict[str, str | bool] = field(default_factory=dict)
    needed: frozenset[str] = frozenset()
    as_json: bool = False

    def arguments(self, without: str | None = None) -> list[str]:
        """The words of the command line."""
        said = [self.verb, *self.words]
        for name, value in self.options.items():
            if name == without:
                continue
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                said.append(flag if value else "--no-" + name.replace("_", "-"))
            else:
                said += [flag, value]
        return [*said, "--json"] if self.as_json else said

    def droppable(self, draw: random.Random) -> str | None:
        """One option that the question can do without."""
        names = [name for name in self.options if name not in self.needed]
        return draw.choice(names) if names and self.verb in ("estimate", "recommend") else None


def drawn(draw: random.Random, place: Path) -> Question:
    """A question; files it needs are written below `place`."""
    make = draw.choices([_estimate, _recommend, _methods, _listing, _evidence, _profile], weights=[52, 20, 8, 8, 8, 4])[
        0
    ]
    return make(draw, place)


def ignored(option: str, whole: dict[str, Any], less: dict[str, Any]) -> bool:
    """Whether an answer is the same in every figure without an option, and does not name it."""
    if option in DESCRIBES or _figures(whole) != _figures(less):
        return False
    said = " ".join(_texts(whole)).lower().replace("-", " ").replace("_", " ")
    return option.removesuffix("_hours").removesuffix("_usd").replace("_", " ") not in said


_ECHOED = ("workload", "recipe", "notes", "assumptions", "settings", "why", "would_change", "policy")


def _figures(document: Any) -> Any:
    """What an answer says in figures, without the question's own words."""
    if isinstance(document, dict):
        return {key: _figures(value) for key, value in document.items() if key not in _ECHOED}
    if isinstance(document, list):
        return [_figures(value) for value in document]
    return document


def _texts(document: Any) -> list[str]:
    if isinstance(document, dict):
        found = [text for key, value in document.items() if key not in ("workload", "recipe") for text in _texts(value)]
        return found
    if isinstance(document, list):
        return [text for value in document for text in _texts(value)]
    return [document] if isinstance(document, str) else []


@cache
def models_in(place: Path) -> dict[str, str]:
    """Folders of small models by their kind."""
    made: dict[str, str] = {}
    for kind, config in CONFIGS.items():
        folder = place / "models" / kind
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        made[kind] = str(folder)
    return made


def _model(draw: random.Random, place: Path) -> tuple[str, int]:
    """A model and the longest sample it takes."""
    if draw.random() < 0.75:
        kind = draw.choice(list(CONFIGS))
        return models_in(place)[kind], LONGEST[kind]
    return draw.choice(SHIPPED), 4096


def _methods_there() -> list[str]:
    from advisor.catalog.methods import methods

    return [m.name for m in methods()]


def _some(draw: random.Random, options: dict[str, Any], share: float) -> dict[str, str | bool]:
    """Each option with a probability, drawn where it is a function."""
    chosen: dict[str, str | bool] = {}
    for name, value in options.items():
        if draw.random() < share:
            found = value()
            chosen[name] = found if isinstance(found, bool) else str(found)
    return chosen


def _shared(draw: random.Random, longest: int) -> dict[str, Any]:
    """Options of both verbs; none of them at its default."""
    length = draw.randint(8, longest)
    return {
        "seq_len": lambda: length,
        "mean_seq_len": lambda: round(draw.uniform(1, length), 1) if draw.random() < 0.5 else draw.randint(1, length),
        "samples": lambda: round(10 ** draw.uniform(0, 6)),
        "epochs": lambda: draw.choice([0.5, 1, 2, 5, 10]),
        "task_type": lambda: draw.choice(TASK_TYPES),
        "dtype": lambda: draw.choice(["bfloat16", "float16", "float32"]),
        "optimizer": lambda: draw.choice(
            ["adamw_torch_fused", "sgd", "adafactor", "adamw_bnb_8bit", "paged_adamw_8bit"]
        ),
        "trainer": lambda: draw.choice(["loop", "trl"]),
        "gradient_checkpointing": lambda: True,
        "attn_implementation": lambda: draw.choice(["eager", "flash_attention_2"]),
        "headroom": lambda: draw.choice([0, 0.1, 0.3]),
        "usd_per_hour": lambda: round(draw.uniform(0.1, 9), 2),
        "num_labels": lambda: draw.randint(3, 50),
        "target_len": lambda: draw.randint(4, longest // 2),
        "task": lambda: draw.choice(["causal-lm", "sequence-classification", "seq2seq"]),
    }


def _gpu(draw: random.Random) -> dict[str, str | bool]:
    if draw.random() < 0.05:
        return {"gpu_memory": draw.choice(["24GB", "12GiB", "24564MiB"]), "gpu_like": draw.choice(GPUS)}
    return {"gpu": draw.choice(GPUS)}


def _estimate(draw: random.Random, place: Path) -> Question:
    model, longest = _model(draw, place)
    method = draw.choice(["lora", "full", "qlora"]) if draw.random() < 0.4 else draw.choice(_methods_there())
    named = {"model": model, **_gpu(draw), "method": method}
    more = {
        **_shared(draw, longest),
        "rank": lambda: draw.choice([1, 2, 4, 32, 64]),
        "alpha": lambda: draw.choice([1, 8, 64]),
        "dropout": lambda: draw.choice([0.1, 0.5]),
        "batch_size": lambda: draw.randint(2, 64),
        "gradient_accumulation": lambda: draw.randint(2, 16),
        "learning_rate": lambda: draw.choice([1e-5, 2e-4, 1e-2]),
        "max_grad_norm": lambda: draw.choice([0, 0.3]),
        "base": lambda: draw.choice(["int8", "nf4", "dtype"]),
        "autocast": lambda: True,
        "batching": lambda: draw.choice(["packed", "padding-free"]),
        "torch_compile": lambda: True,
    }
    options = named | _some(draw, more, 0.22)
    return Question("estimate", [], options, frozenset(named), as_json=draw.random() < 0.85)


def _recommend(draw: random.Random, place: Path) -> Question:
    model, longest = _model(draw, place)
    methods = draw.sample(
        ["lora", "dora", "full", "qlora", "ia3", "vera", "prompt-tuning", "bitfit"], draw.randint(1, 2)
    )
    named = {"model": model, **_gpu(draw), "method": ",".join(methods)}
    more = {
        **_shared(draw, longest),
        "effective_batch_size": lambda: draw.choice([1, 4, 8, 32, 60]),
        "budget_usd": lambda: round(10 ** draw.uniform(-2, 3), 2),
        "deadline_hours": lambda: round(10 ** draw.uniform(-2, 3), 2),
        "spot": lambda: True,
        "base": lambda: draw.choice(["dtype", "nf4", "int8,nf4"]),
        "must_merge": lambda: True,
        "tolerance_points": lambda: draw.choice([0, 0.5, 3]),
        "policy": lambda: draw.choice(["cheapest", "best-quality"]),
        "exclude": lambda: draw.choice(["dora", "lora", "full"]),
        "data": lambda: _rows(draw, place),
    }
    options = named | _some(draw, more, 0.2)
    return Question("recommend", [], options, frozenset(named), as_json=draw.random() < 0.85)


def _rows(draw: random.Random, place: Path) -> str:
    """A small file of rows of some kind."""
    kind = draw.choice(["text", "label", "prompt", "chat"])
    path = place / f"{kind}.jsonl"
    make = {
        "text": lambda i: {"text": f"some words number {i} " * (i % 7 + 1)},
        "label": lambda i: {"text": f"some words number {i}", "label": i % 3},
        "prompt": lambda i: {"prompt": f"what is {i}?", "completion": f"it is {i} " * (i % 5 + 1)},
        "chat": lambda i: {
            "messages": [{"role": "user", "content": f"what is {i}?"}, {"role": "assistant", "content": f"{i}"}]
        },
    }[kind]
    path.write_text("".join(json.dumps(make(i)) + "\n" for i in range(60)))
    return str(path)


def _methods(draw: random.Random, place: Path) -> Question:
    as_json = draw.random() < 0.5
    if draw.random() < 0.3:
        return Question("methods", [draw.choice(_methods_there())], as_json=as_json)
    if draw.random() < 0.3:
        options: dict[str, str | bool] = {
            "model": _model(draw, place)[0],
            "gpu": draw.choice(GPUS),
            **_some(draw, {"batch_size": lambda: 4, "seq_len": lambda: 128, "samples": lambda: 500}, 0.5),
        }
        return Question("methods", draw.sample(["lora", "dora", "ia3", "full"], 2), options, as_json=as_json)
    filters = {
        "family": lambda: draw.choice(["additive", "selective", "reparameterised", "hybrid"]),
        "base": lambda: draw.choice(["dtype", "int8", "nf4"]),
        "architecture": lambda: draw.choice(["decoder", "encoder", "encoder-decoder"]),
        "search": lambda: draw.choice(["rank", "adapter", "xyz", "Li"]),
        "mergeable": lambda: True,
        "core": lambda: True,
        "tree": lambda: True,
    }
    return Question("methods", [], _some(draw, filters, 0.3), as_json=as_json)


def _listing(draw: random.Random, place: Path) -> Question:
    del place
    verb = draw.choice(["gpus", "models"])
    word = draw.choice(["", "h100", "NVIDIA", "llama", "qwen", "no such thing", "4090", "e", "t5"])
    return Question(verb, [word] if word else [], as_json=draw.random() < 0.5)


def _evidence(draw: random.Random, place: Path) -> Question:
    del place
    as_json = draw.random() < 0.5
    shapes = ["decoder", "encoder", "encoder-decoder"]
    about: dict[str, Any] = {
        "task_type": lambda: draw.choice(TASK_TYPES),
        "architecture": lambda: draw.choice(shapes),
        "model_params": lambda: draw.choice(["8B", "1e8", "350M"]),
        "samples": lambda: draw.choice(["100", "5000", "1e5"]),
        "limit": lambda: draw.randint(1, 40),
    }
    form = draw.randrange(6)
    if form == 0:
        return Question("evidence", [], {draw.choice(["studies", "task_types"]): True}, as_json=as_json)
    if form == 1:
        options = {"settings": True, "method": draw.choice(_methods_there()), "architecture": draw.choice(shapes)}
        return Question("evidence", [], options, as_json=as_json)
    if form == 2:
        options = {"curve": draw.choice(["lora", "ia3", "prompt-tuning"]), "architecture": draw.choice(shapes)}
        return Question("evidence", [], options, as_json=as_json)
    if form == 3:
        return Question("evidence", [], {"forgetting": draw.choice(["lora", "full", "dora"])}, as_json=as_json)
    if form == 4:
        pilot = ",".join(f"{size}:{draw.uniform(0.3, 0.9):.2f}" for size in (50, 200, 800)[: draw.randint(2, 3)])
        return Question("evidence", [], {"pilot": pilot, "target": str(draw.choice([0.5, 0.9]))}, as_json=as_json)
    options = _some(draw, about, 0.5)
    if draw.random() < 0.7:
        options["method"] = draw.choice(_methods_there())
    return Question("evidence", [], options, as_json=as_json)


def _profile(draw: random.Random, place: Path) -> Question:
    options: dict[str, str | bool] = {
        "model": models_in(place)[draw.choice(list(CONFIGS))],
        "method": ",".join(draw.sample(["lora", "ia3", "full", "bitfit"], 2)),
        "device": "cpu",
        "dry_run": True,
        **_some(
            draw,
            {
                "batch_size": lambda: "1,4",
                "seq_len": lambda: draw.choice(["64", "64,128"]),
                "gradient_checkpointing": lambda: draw.choice(["off", "on", "both"]),
                "dtype": lambda: draw.choice(["float32", "bfloat16"]),
                "trainer": lambda: draw.choice(["hf", "loop"]),
                "steps": lambda: draw.randint(1, 9),
                "layers": lambda: 2,
                "order": lambda: "spread",
            },
            0.4,
        ),
    }
    return Question("profile", [], options, as_json=draw.random() < 0.5)
