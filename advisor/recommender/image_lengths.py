"""Lengths of samples that hold pictures: those of their texts, and the tokens of the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from advisor.catalog.models.image_tokens import images_asked, length_beside
from advisor.domain.model import ModelSpec


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
    length, said = length_beside(images, spec, None if measured else seq_len, texts=texts)
    if measured and seq_len is not None:
        length = min(length, length_beside(images, spec, seq_len, texts=texts)[0])
    more = images.count * images.tokens
    changed: dict[str, Any] = {"images": images, "seq_len": length}
    if measured and fields.get("mean_seq_len") is not None:
        changed["mean_seq_len"] = min(float(length), fields["mean_seq_len"] + more)
    if measured:
        quantiles = fields.get("length_quantiles", ())
        changed["length_quantiles"] = tuple(min(length, one + more) for one in quantiles)
    return changed, said
