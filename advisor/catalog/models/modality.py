"""What a model reads, and the sizes of one sample that follow from it: pictures by pixels, sound by seconds.

Sources: transformers 5.23, the models' own embeddings: `ViTEmbeddings` and its kin put one class token before the
patches, DeiT two, SigLIP none; Swin and ConvNeXt have no such tokens. `WhisperFeatureExtractor` pads or cuts every
recording to 30 seconds, 3,000 frames, of which the encoder's convolutions leave every second one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from advisor.catalog.models.checkpoint import head_outputs
from advisor.catalog.models.denoisers.latent_size import cached_note, check_divides, entry_of, latent_side
from advisor.catalog.models.tasks import not_used
from advisor.domain.model import ModelSpec
from advisor.domain.request.typed_numbers import picture_size
from advisor.domain.request.vocabulary import Task
from advisor.domain.workload import Workload
from advisor.errors import BadRequest

Modality = Literal["text", "image", "audio"]

CLASS_TOKENS: Final = {
    "vit": 1, "vit_msn": 1, "beit": 1, "dinov2": 1, "deit": 2, "clip": 1, "clip_vision_model": 1,
    "siglip": 0, "siglip_vision_model": 0,
}  # fmt: skip
"""Tokens before a picture's patches, by model type."""
WINDOW_SECONDS: Final = 30.0
"""Of sound that Whisper's encoder hears at a time; shorter recordings are padded to it."""
USUAL_PIXELS: Final = 224
"""A picture's side where a definition names none, as ConvNeXt's: that of its published checkpoints."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Positions of one sample, its target's, a picture's side in pixels and a recording's seconds; and what to say."""

    seq_len: int
    target_len: int | None = None
    image_size: int | None = None
    audio_seconds: float | None = None
    says: str = ""
    notes: tuple[str, ...] = ()


def modality_of(spec: ModelSpec) -> Modality:
    """What one sample of a model is; pictures beside texts are tokens of one sequence with them."""
    if spec.task_class in ("ImageClassification", "Denoising"):
        return "image"
    return "audio" if spec.task_class == "SpeechSeq2Seq" else "text"


def sample_size(
    spec: ModelSpec,
    *,
    seq_len: int | None,
    target_len: int | None,
    image_size: int | str | None,
    audio_seconds: float | None,
    lengths_told: bool = False,
) -> SampleSize | None:
    """The size of one sample of a model of pictures or sound; None for one whose lengths are asked in tokens.

    Args:
        lengths_told: a mean length or a file of lengths was given besides.
    Raises:
        BadRequest: a size in another kind's unit, or one that the model cannot have; with the nearest possible.
    """
    kind = modality_of(spec)
    sides = picture_size(image_size)
    if kind != "image" and sides is not None and spec.task_class != "ImageTextToText":
        raise _other_unit(spec, "--image-size", image_size)
    if kind != "audio" and audio_seconds is not None:
        raise _other_unit(spec, "--audio-seconds", audio_seconds)
    if kind == "text":
        return None
    if spec.task_class == "Denoising":
        size = _latents(spec, _one_side(spec, sides))
    else:
        size = (
            _picture(spec, _one_side(spec, sides)) if kind == "image" else _recording(spec, target_len, audio_seconds)
        )
    if lengths_told or (seq_len is not None and seq_len != size.seq_len):
        given = f"--seq-len {seq_len}" if seq_len is not None else "a length of texts"
        unit = "--image-size" if kind == "image" else "--audio-seconds"
        raise BadRequest(
            f"{spec.name} reads no texts, and {given} would mean nothing: {size.says}",
            hints=[f"leave it out; its size is told by {unit}"],
            model=spec.name,
            seq_len=seq_len,
        )
    if kind == "image" and target_len is not None:
        raise _other_unit(spec, "--target-len", target_len)
    return size


def _other_unit(spec: ModelSpec, option: str, value: object) -> BadRequest:
    if spec.task_class == "ImageTextToText":
        reads, unit = "texts with pictures", "--seq-len, --images and --image-size"
    else:
        reads = {"text": "texts", "image": "pictures", "audio": "sound"}[modality_of(spec)]
        unit = {"text": "--seq-len", "image": "--image-size", "audio": "--audio-seconds"}[modality_of(spec)]
    return BadRequest(
        f"{option} {value} means nothing for {spec.name}, which reads {reads}",
        hints=[f"its size is told by {unit}"],
        model=spec.name,
    )


def _one_side(spec: ModelSpec, sides: tuple[int, int] | None) -> int | None:
    """The side of a picture classifier's picture, which is square."""
    if sides is None or sides[0] == sides[1]:
        return sides and sides[0]
    raise BadRequest(
        f"{spec.name} reads square pictures, not {sides[0]} x {sides[1]} pixels",
        hints=[f"pictures are resized: --image-size {min(sides)}"],
        model=spec.name,
    )


def _picture(spec: ModelSpec, asked: int | None) -> SampleSize:
    config = spec.text_config
    own, patch = config.get("image_size"), config.get("patch_size")
    side = asked or (own if isinstance(own, int) else USUAL_PIXELS)
    step = patch if isinstance(patch, int) else 1
    step *= 8 * int(config.get("window_size") or 7) if spec.model_type.startswith("swin") else 1
    # a model's own size is right as it is: SigLIP's towers of 384 pixels drop what 27 patches of 14 leave over
    if side != own:
        check_divides(spec, side, step)
    shown = f"{side} x {side} pixels"
    notes: list[str] = []
    if asked is not None and isinstance(own, int) and asked != own:
        notes.append(f"pictures of {shown}: its position embeddings, made for {own} x {own}, are resized to that")
    before = CLASS_TOKENS.get(spec.model_type)
    if before is None or not isinstance(patch, int):
        says = f"a picture of {shown}"
        return SampleSize(1, image_size=side, says=says, notes=tuple(notes))
    tokens = (side // patch) ** 2 + before
    says = f"a picture of {shown} is {tokens:,} tokens, in patches of {patch}"
    return SampleSize(tokens, image_size=side, says=says, notes=tuple(notes))


def _latents(spec: ModelSpec, asked: int | None) -> SampleSize:
    """A picture as a diffusion model reads it: latent positions, and a text's embeddings as its target."""
    side, positions, notes = latent_side(spec, asked)
    texts = entry_of(spec).text_tokens
    says = f"a picture of {side} x {side} pixels is {positions**2:,} latent positions, its text {texts} embeddings"
    return SampleSize(positions**2, texts, image_size=side, says=says, notes=(*notes, cached_note(spec)))


def _recording(spec: ModelSpec, target_len: int | None, asked: float | None) -> SampleSize:
    config = spec.config
    frames = int(config.get("max_source_positions") or 1500)
    most = config.get("max_target_positions")
    if asked is not None and asked > WINDOW_SECONDS:
        raise BadRequest(
            f"{spec.name} hears {WINDOW_SECONDS:g} seconds at a time, and a sample of {asked:g} does not fit",
            hints=[f"cut the recordings: --audio-seconds {WINDOW_SECONDS:g}"],
            model=spec.name,
            audio_seconds=asked,
        )
    if isinstance(most, int) and target_len is not None and target_len > most:
        raise BadRequest(
            f"target_len {target_len} is longer than what {spec.name} can write, {most} tokens",
            hints=[f"longest possible: --target-len {most}"],
            model=spec.name,
            target_len=target_len,
        )
    says = f"{WINDOW_SECONDS:g} seconds of sound are {frames:,} positions"
    notes: list[str] = []
    if asked is not None and asked < WINDOW_SECONDS:
        notes.append(f"recordings of {asked:g} s are padded to {WINDOW_SECONDS:g} s and cost the same")
    if target_len is None and isinstance(most, int):
        notes.append(f"no target length was given: {most} tokens, the most that {spec.name} can write, are assumed")
    wanted = target_len or (most if isinstance(most, int) else None)
    return SampleSize(frames, wanted, audio_seconds=asked or WINDOW_SECONDS, says=says, notes=tuple(notes))


def sized_workload(
    spec: ModelSpec, task: Task, size: SampleSize, num_labels: int | None, settings: Mapping[str, Any]
) -> tuple[Workload, list[str]]:
    """The workload of a model of pictures or sound, whose samples are all of one size, and what is said of it.

    Args:
        settings: further fields of the workload, None where nobody said.
    """
    labels = num_labels or head_outputs(spec)
    fields = {
        **settings,
        "model": spec.name,
        "task": task,
        "task_type": settings.get("task_type") or ("vision" if size.image_size else None),
        "seq_len": size.seq_len,
        "target_len": size.target_len,
        "image_size": size.image_size,
        "audio_seconds": size.audio_seconds,
        "lengths": size.says,
        **({"num_labels": labels} if labels is not None and task == "sequence-classification" else {}),
    }
    unused = not_used(spec, task, target_len=None, num_labels=num_labels)
    return Workload.model_validate(fields), [size.says, *size.notes, *unused]
