"""Which kind of model studies and settings are asked for: pictures have studies of their own, speech has none."""

from __future__ import annotations

from advisor.domain.model import ModelSpec


def evidence_architecture(spec: ModelSpec) -> str:
    """`vision` of picture classifiers, `other` of models of speech and diffusion, else the architecture."""
    if spec.task_class == "ImageClassification":
        return "vision"
    return "other" if spec.task_class in ("SpeechSeq2Seq", "Denoising") else spec.architecture
