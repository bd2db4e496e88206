"""What a task is called: our task types, and what studies and users call them."""

from __future__ import annotations

from functools import cache
from typing import Final

from advisor.domain.request.vocabulary import TaskType
from advisor.errors import UnknownName

TASK_TYPES: Final[tuple[TaskType, ...]] = TaskType.__args__

_TASK_ALIASES: Final[dict[str, TaskType]] = {
    "image classification": "vision",
    "image generation": "vision",
    "generation": "NLG",
    "code (continued pretraining)": "pretraining",
    "math (continued pretraining)": "pretraining",
    "commonsense": "reasoning",
    "multiple choice": "reasoning",
    "text classification": "classification",
    "sequence classification": "classification",
    "sentiment analysis": "classification",
    "token classification": "NER",
    "natural language understanding": "NLU",
    "natural language generation": "NLG",
    "text generation": "NLG",
    "dialogue": "instruction",
    "chat": "instruction",
    "instruction tuning": "instruction",
    "instruction following": "instruction",
    "continued pretraining": "pretraining",
    "coding": "code",
    "code generation": "code",
    "mathematics": "math",
    "arithmetic": "math",
    "question answering": "QA",
    "named entity recognition": "NER",
    "machine translation": "translation",
    "summarisation": "summarization",
}


@cache
def task_type_of(name: str) -> TaskType:
    """Our task type for a study's or a user's word for it; raises `UnknownName` with the near names."""
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    for known in TASK_TYPES:
        if plain == known.lower():
            return known
    if plain in _TASK_ALIASES:
        return _TASK_ALIASES[plain]
    raise UnknownName.of("task type", name, [*TASK_TYPES, *_TASK_ALIASES], list_with="advisor evidence --task-types")
