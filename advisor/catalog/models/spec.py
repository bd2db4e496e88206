"""Reading a `config.json` without transformers: is it whole, what kind of model is it, how long may its input be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.catalog.models.checkpoint import has_endless_positions, has_own_head, refuse_unmodelled_storage
from advisor.domain.model import Architecture, ModelSource, ModelSpec, TaskClass
from advisor.domain.plain_values import is_list, is_mapping, is_object
from advisor.errors import UnsupportedModel

ENCODERS = frozenset(
    """albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm eurobert
    flaubert funnel ibert layoutlm longformer luke megatron-bert mobilebert modernbert mpnet mra nezha nomic_bert
    nystromformer qdqbert rembert roberta roberta-prelayernorm roformer splinter squeezebert xlm xlm-roberta
    xlm-roberta-xl xmod yoso""".split()  # noqa: SIM905
)
"""transformers' model types whose `AutoModelForSequenceClassification` reads in both directions."""

NUMBERED_FROM_PADDING = frozenset(
    """camembert data2vec-text ibert longformer luke mpnet roberta roberta-prelayernorm xlm-roberta xlm-roberta-xl
    xmod""".split()  # noqa: SIM905
)
"""RoBERTa's kin: the first token has position `pad_token_id` + 1 in transformers' embeddings, 2 in every checkpoint."""

VISION_ENCODERS = frozenset(["beit", "convnext", "convnextv2", "deit", "dinov2", "swin", "swinv2", "vit", "vit_msn"])
SPEECH = frozenset({"whisper", "speech_to_text"})
ENCODER_DECODERS = frozenset(
    """bart blenderbot fsmt led longt5 m2m_100 marian mbart mt5 mvp nllb-moe pegasus prophetnet switch_transformers t5
    umt5""".split()  # noqa: SIM905
)

Kind = tuple[TaskClass, Architecture]
LARGEST = {"layers": 10_000, "hidden": 1_000_000, "heads": 100_000, "vocabulary": 100_000_000}
"""Beyond these a size is a slip, not a model: each is some hundred times the largest known."""


def spec_of(
    config: dict[str, Any], *, name: str, asked: str, source: ModelSource, where: str, **known: Any
) -> ModelSpec:
    """A checked ModelSpec of a parsed `config.json`; `known` are further fields of ModelSpec.

    Raises:
        UnsupportedModel: a field that every model needs is missing or absurd (fields `field`, `where`).
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise _lacking(name, where, "model_type", "says which architecture it is")
    task_class, architecture = kind_of(config, name, where)
    known.setdefault("context_length", context_of(config))
    if has_endless_positions(config):
        known["context_length"] = None
    known["own_head"] = has_own_head(config, known.get("weights"))
    spec = ModelSpec(
        name=name,
        asked=asked,
        source=source,
        where=where,
        config=config,
        task_class=task_class,
        architecture=architecture,
        **known,
    )
    _check_sizes(spec, where)
    return refuse_unmodelled_storage(spec)


def kind_of(config: Mapping[str, Any], name: str = "", where: str = "") -> Kind:
    """Task class and architecture, from the model type first and the class name it was saved as second.

    Raises:
        UnsupportedModel: neither tells, or the class is for a task that is not modelled.
    """
    model_type = str(config.get("model_type", ""))
    saved_as = config.get("architectures")
    classes = [str(c) for c in saved_as] if is_list(saved_as) else []
    for other in (c for c in classes if c.endswith(_NOT_MODELLED)):
        raise _unmodelled_task(name, where, other)
    if model_type in SPEECH:
        return "SpeechSeq2Seq", "encoder-decoder"
    if model_type in ENCODER_DECODERS or config.get("is_encoder_decoder") is True:
        return "Seq2SeqLM", "encoder-decoder"
    if model_type in VISION_ENCODERS or any(c.endswith("ForImageClassification") for c in classes):
        return "ImageClassification", "encoder"
    if model_type in ENCODERS:
        return ("CausalLM", "decoder") if config.get("is_decoder") is True else ("SequenceClassification", "encoder")
    if is_object(config.get("vision_config")) and (
        is_object(config.get("text_config")) or any(c.endswith("ForConditionalGeneration") for c in classes)
    ):
        if any(c.endswith("Model") for c in classes):
            # CLIP and its like: towers that are compared, without a language model's head
            raise _unmodelled_task(name, where, classes[0])
        return "ImageTextToText", "decoder"
    if any(c.endswith(("ForSequenceClassification", "RewardModel")) for c in classes):
        return "SequenceClassification", "decoder"
    if is_object(config.get("audio_config")) and classes:
        raise _unmodelled_task(name, where, classes[0])
    if any(c.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for c in classes):
        return "CausalLM", "decoder"
    if any(c.endswith("ForMaskedLM") for c in classes):
        return "SequenceClassification", "encoder"
    known = _catalogued().get(model_type)
    if known is None and is_object(config.get("auto_map")):
        raise remote_code(name, where, model_type)
    if known is None and classes:
        raise _unmodelled_task(name, where, classes[0])
    if known is None:
        raise _lacking(name, where, "architectures", f"its class; the model type {model_type!r} is not one we know")
    return known


def context_of(config: Mapping[str, Any]) -> int | None:
    """The longest input in tokens that the definition allows; None where positions set no limit or none is said."""
    if has_endless_positions(config):
        return None
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if is_mapping(inner) else config
    for field in ("max_position_embeddings", "n_positions", "max_source_positions", "seq_length", "max_seq_len"):
        value = text.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            # positions are numbered from pad_token_id + 1, so that many rows are never reached
            return value - 2 if config.get("model_type") in NUMBERED_FROM_PADDING else value
    return None


def same_sizes(a: ModelSpec, b: ModelSpec) -> bool:
    """Whether two definitions are of one model type and agree in depth, width, heads and vocabulary."""

    def sizes(spec: ModelSpec) -> tuple[object, ...]:
        return spec.model_type, spec.layers, spec.hidden, spec.heads, spec.vocabulary

    return sizes(a) == sizes(b)


def _check_sizes(spec: ModelSpec, where: str) -> None:
    found = {"layers": spec.layers, "hidden": spec.hidden, "heads": spec.heads, "vocabulary": spec.vocabulary}
    for size in ("layers", "hidden"):
        if found[size] is None:
            raise _lacking(spec.name, where, _spelling(size), f"its number of {size}", spec.config)
    for size, value in found.items():
        if value is not None and not 0 < value <= LARGEST[size]:
            raise UnsupportedModel(
                f"the definition of {spec.name} has {size} {value}, which no model has",
                cause=where,
                hints=["correct its config.json"],
                model=spec.name,
                field=_spelling(size),
                value=value,
                where=where,
            )


def _spelling(size: str) -> str:
    return {"layers": "num_hidden_layers", "hidden": "hidden_size", "heads": "num_attention_heads"}.get(
        size, "vocab_size"
    )


def _lacking(
    name: str, where: str, field: str, meaning: str, config: Mapping[str, Any] | None = None
) -> UnsupportedModel:
    written = (config or {}).get(field)
    state = "is missing" if written is None else f"is {written!r}, not a whole number"
    return UnsupportedModel(
        f"the definition of {name} cannot be used: {field} ({meaning}) {state}",
        cause=where,
        hints=["give a folder with the whole config.json of a Hugging Face model, or see: advisor models"],
        model=name,
        field=field,
        where=where,
    )


_NOT_MODELLED = (
    "ForCTC", "ForAudioClassification", "ForAudioFrameClassification", "ForXVector", "ForSemanticSegmentation",
    "ForInstanceSegmentation", "ForUniversalSegmentation", "ForImageSegmentation", "ForObjectDetection",
    "ForZeroShotObjectDetection", "ForDepthEstimation", "ForVideoClassification", "ForTextToSpeech",
)  # fmt: skip
"""Endings of classes whose task is not modelled, though a model of their type may be for another task."""


def _unmodelled_task(name: str, where: str, class_name: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"{name} is saved as {class_name}: this task is not modelled",
        cause=where,
        hints=[
            "modelled are causal language models, text and image classification, and text or speech to text "
            "(sequence to sequence)"
        ],
        model=name,
        field="architectures",
        where=where,
    )


def remote_code(name: str, where: str, model_type: str) -> UnsupportedModel:
    """The refusal of a model whose code is a file of its own repository."""
    return UnsupportedModel(
        f"{name}: the code of its model type {model_type!r} lies in its own repository (auto_map), and advisor "
        "does not run remote code",
        cause=where,
        hints=["to price a model of the same shape that transformers has: see advisor models"],
        model=name,
        field="auto_map",
        where=where,
    )


def _catalogued() -> dict[str, Kind]:
    """What the catalogue says of each model type, for definitions that do not name their class."""
    from advisor.catalog.models.index import models

    kinds: dict[str, Kind] = {}
    for entry in models():
        architecture: Architecture = (
            "encoder-decoder"
            if entry.task_class in ("Seq2SeqLM", "SpeechSeq2Seq")
            else "encoder"
            if entry.task_class in ("SequenceClassification", "ImageClassification")
            else "decoder"
        )
        kinds[entry.model_type] = entry.task_class, architecture
    return kinds
