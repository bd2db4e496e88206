"""Reading a `config.json` without transformers: is it whole, what kind of model is it, how long may its input be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.domain.model import Architecture, ModelSource, ModelSpec, TaskClass
from advisor.errors import UnsupportedModel

ENCODERS = frozenset(
    """albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra ernie esm eurobert
    flaubert funnel ibert layoutlm longformer luke megatron-bert mobilebert modernbert mpnet mra nezha nomic_bert
    nystromformer qdqbert rembert roberta roberta-prelayernorm roformer splinter squeezebert xlm xlm-roberta
    xlm-roberta-xl xmod yoso""".split()  # noqa: SIM905
)
"""transformers' model types whose `AutoModelForSequenceClassification` reads in both directions."""

VISION_ENCODERS = frozenset(["beit", "deit", "dinov2", "swin", "swinv2", "vit", "vit_msn"])
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
    return spec


def kind_of(config: Mapping[str, Any], name: str = "", where: str = "") -> Kind:
    """Task class and architecture, from the model type first and the class name it was saved as second.

    Raises:
        UnsupportedModel: neither tells.
    """
    model_type = str(config.get("model_type", ""))
    saved_as = config.get("architectures")
    classes = [str(c) for c in saved_as] if isinstance(saved_as, list) else []
    if model_type in SPEECH:
        return "SpeechSeq2Seq", "encoder-decoder"
    if model_type in ENCODER_DECODERS or config.get("is_encoder_decoder") is True:
        return "Seq2SeqLM", "encoder-decoder"
    if model_type in VISION_ENCODERS:
        return "ImageClassification", "encoder"
    if model_type in ENCODERS:
        return ("CausalLM", "decoder") if config.get("is_decoder") is True else ("SequenceClassification", "encoder")
    if isinstance(config.get("text_config"), dict) and isinstance(config.get("vision_config"), dict):
        return "ImageTextToText", "decoder"
    if any(c.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")) for c in classes):
        return "CausalLM", "decoder"
    if any(c.endswith("ForMaskedLM") for c in classes):
        return "SequenceClassification", "encoder"
    known = _catalogued().get(model_type)
    if known is None:
        raise _lacking(name, where, "architectures", f"its class; the model type {model_type!r} is not one we know")
    return known


def context_of(config: Mapping[str, Any]) -> int | None:
    """The longest input in tokens that the definition allows; None where positions set no limit or none is said."""
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    for field in ("max_position_embeddings", "n_positions", "max_source_positions", "seq_length", "max_seq_len"):
        value = text.get(field)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            # RoBERTa numbers positions from pad_token_id + 1, so that many rows are never reached.
            skipped = 2 if "roberta" in str(config.get("model_type")) or config.get("model_type") == "camembert" else 0
            return value - skipped
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
