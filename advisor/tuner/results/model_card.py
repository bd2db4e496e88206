"""The model card that lies beside the adapter: what it is, how it was chosen, how good it is and on what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advisor.domain.tuning import Finalist, TunedStudy, TunedTrial
from advisor.domain.units import duration, gib
from advisor.store import durable, write_bytes


def write_card(study: TunedStudy, folder: Path) -> Path:
    """Write `README.md` with the Hub's metadata header into the adapter's folder."""
    path = folder / "README.md"
    text = card(study).encode()
    durable(path, lambda temporary: write_bytes(temporary, text))
    return path


def card(study: TunedStudy) -> str:
    """The card's text."""
    best = next(t for t in study.trials if t.number == study.best)
    recipe, workload = best.recipe, best.workload
    assert recipe is not None
    assert workload is not None
    parts = [
        _header(study),
        f"# {_plain(study.name)}",
        f"{_plain(recipe.method)} on `{_plain(study.workload.model)}` for {study.workload.task}, chosen among "
        f"{sum(t.state == 'complete' for t in study.trials)} trainings by `advisor tune`.",
        _use(study),
        "## Scores",
        _table(
            ("metric", "test", "before training", f"evaluation (trial {best.number})"),
            _scores(study, best),
        ),
        f"Test: {study.test_rows} rows that no trial saw; in brackets 90 % intervals, of the rows drawn again; "
        "before training is the same model without what it learned. The evaluation score chose the "
        "settings, so it flatters.",
        _finalists(study),
        "## Settings",
        _table(
            ("setting", "value"), [(k, f"{v:.6g}" if isinstance(v, float) else str(v)) for k, v in best.params.items()]
        ),
        f"Micro-batch {recipe.micro_batch_size} x {recipe.gradient_accumulation}, "
        f"{'' if recipe.base == 'dtype' else 'base weights in '}{recipe.precision}, optimizer {recipe.optimizer}, "
        f"schedule {recipe.schedule}, trainer {recipe.trainer}; rows cut to {workload.seq_len} tokens.",
        "## Cost",
        f"{study.device}: one training {duration(best.seconds.get('train', 0.0))}"
        + (f", peak {gib(best.measured_bytes)}" if best.measured_bytes else "")
        + f"; the whole search {duration(study.seconds)}.",
    ]
    if study.notes:
        parts += ["## Of the data", "\n".join(f"- {_plain(note)}" for note in study.notes)]
    parts += ["## Versions", ", ".join(f"{k} {v}" for k, v in study.versions.items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(study: TunedStudy) -> str:
    """How to load it, with the folder as its reader has it: the one the card lies in."""
    if not study.usage or study.adapter is None:
        return ""
    lines = [line.replace(repr(study.adapter), repr(".")) for line in study.usage]
    if study.merged is not None:
        lines = [line.replace(repr(study.merged), repr("./merged")) for line in lines]
    first = next(i for i, line in enumerate(lines) if line.startswith("tokenizer = ")) + 1
    parts = ["## Use", "In this folder:", "```python\n" + "\n".join(lines[:first]) + "\n```"]
    if lines[first:]:
        parts += ["With the adapter in the weights:", "```python\n" + "\n".join(lines[first:]) + "\n```"]
    return "\n\n".join(parts)


def _header(study: TunedStudy) -> str:
    """YAML that is JSON, so that no name can break it."""
    fields: dict[str, Any] = {
        "base_model": study.workload.model,
        "library_name": study.library,
        "pipeline_tag": "text-classification"
        if study.workload.task == "sequence-classification"
        else "text-generation",
        "tags": ["advisor", study.best_recipe.method if study.best_recipe else ""],
    }
    return "---\n" + "\n".join(f"{k}: {json.dumps(v)}" for k, v in fields.items()) + "\n---"


def _scores(study: TunedStudy, best: TunedTrial) -> list[tuple[str, ...]]:
    def shown(scores: Mapping[str, float], spans: Mapping[str, tuple[float, float]], name: str) -> str:
        if name not in scores:
            return ""
        return f"{scores[name]:.4f}" + (f" ({_between(spans[name])})" if name in spans else "")

    return [
        (
            name,
            shown(study.test, study.intervals, name),
            shown(study.untrained, study.untrained_intervals, name),
            shown(best.metrics, best.intervals, name),
        )
        for name in dict.fromkeys([study.metric, *study.test, *best.metrics])
    ]


def _between(span: tuple[float, float]) -> str:
    return f"{span[0]:.4f} to {span[1]:.4f}"


def _finalists(study: TunedStudy) -> str:
    if len(study.finalists) < 2:
        return ""
    rows = [_finalist(f) for f in study.finalists]
    return _table(
        (
            "trial",
            "scores by seed, the search's own first",
            "mean of the others",
            "90 % interval",
            "spread",
            "chance of being best",
        ),
        rows,
    )


def _finalist(found: Finalist) -> tuple[str, ...]:
    return (
        str(found.number),
        ", ".join(f"{s:.4f}" for s in found.scores),
        f"{found.mean:.4f}",
        "" if found.interval is None else _between(found.interval),
        "" if found.spread is None else f"{found.spread:.4f}",
        "" if found.better is None else f"{found.better:.0%}",
    )


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(_plain(str(cell)).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """A name on one line, without markup of its own."""
    return " ".join(text.replace("<", "&lt;").split())
