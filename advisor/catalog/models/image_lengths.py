"""Pictures as a user asks for them, and lengths of samples that hold them: texts and the tokens of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.catalog.models.image_tokens import sample_images
from advisor.domain.model import ModelSpec
from advisor.domain.request.typed_numbers import picture_size
from advisor.domain.request.vocabulary import Objective, Task
from advisor.domain.workload import SampleImages
from advisor.errors import BadRequest


def images_asked(
    spec: ModelSpec, objective: Objective, task: Task, *, count: int | None, size: int | str | None
) -> SampleImages | None:
    """The pictures of one sample as a user asks for them; None where there are none.

    Raises:
        BadRequest, UnsupportedModel: as `sample_images`; pictures for a model of texts, a task or an objective whose
            step is not modelled with them.
    """
    if not count and spec.task_class != "ImageTextToText":
        return None
    found = sample_images(spec, count, picture_size(size)) if spec.task_class == "ImageTextToText" else None
    if found is None and not count:
        return None
    if found is None:
        raise BadRequest(
            f"--images {count} means nothing for {spec.name}, which is no vision-language model",
            hints=["leave it out", "to list models: advisor models"],
            model=spec.name,
        )
    if objective != "sft" or task != "causal-lm":
        asked = objective if objective != "sft" else task
        raise BadRequest(
            f"{asked} with pictures is not priced yet: supervised fine-tuning (sft, causal-lm) is",
            hints=["texts alone: --images 0"],
            objective=objective,
            task=task,
        )
    return found


def length_beside(
    images: SampleImages, spec: ModelSpec, seq_len: int | None, *, texts: int, measured: bool = False
) -> tuple[int, tuple[str, ...]]:
    """The longest sample in tokens, pictures among them, and what to say of it.

    Args:
        seq_len: as asked for; None: nobody says, and the texts are taken whole, within the context.
        texts: tokens of the longest text alone.
        measured: the texts are those of data, and a length asked for only cuts them.

    Raises:
        BadRequest: the pictures do not fit.
    """
    pictures = images.count * images.tokens
    context = spec.context_length
    most = min(n for n in (seq_len, context, pictures + texts) if n is not None)
    if most < pictures + images.count:
        # a token at least marks where each ends
        limit = f"--seq-len {seq_len}" if seq_len is not None else f"the context of {spec.name}, {context} tokens"
        fit = most // (images.tokens + 1)
        raise BadRequest(
            f"{images.in_words} are {pictures:,} tokens, {images.tokens:,} each, which {limit} does not hold",
            hints=[f"fewer: --images {fit}"] if fit else ["smaller pictures: --image-size"],
            tokens=pictures,
            seq_len=seq_len,
        )
    length = most if measured or seq_len is None else seq_len
    return length, (f"{images.in_words}: {images.tokens:,} tokens each, {pictures:,} of a sample's {length:,}",)


def with_images(
    fields: Mapping[str, Any],
    spec: ModelSpec,
    *,
    count: int | None,
    size: int | str | None,
    seq_len: int | None,
    measured: bool,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The fields of a workload that pictures change, and what to say of them.

    Args:
        fields: of the workload as it is without pictures, its task and objective among them.
        seq_len: as asked for: the longest sample, pictures counted.
        measured: the lengths are those of the texts of data, to which pictures add.

    Raises:
        BadRequest, UnsupportedModel: as `images_asked`; the pictures do not fit the length or the context.
    """
    images = images_asked(spec, fields["objective"], fields["task"], count=count, size=size)
    if images is None:
        return {}, ()
    texts: int = fields["seq_len"]
    length, said = length_beside(images, spec, seq_len, texts=texts, measured=measured)
    more = images.count * images.tokens
    changed: dict[str, Any] = {"images": images, "seq_len": length}
    if measured and fields.get("mean_seq_len") is not None:
        changed["mean_seq_len"] = min(float(length), fields["mean_seq_len"] + more)
    if measured:
        quantiles = fields.get("length_quantiles", ())
        changed["length_quantiles"] = tuple(min(length, one + more) for one in quantiles)
    return changed, said
