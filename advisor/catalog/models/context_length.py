"""How long a sample may be for a model."""

from __future__ import annotations

from advisor.domain.model import ModelSpec
from advisor.errors import BadRequest


def check_lengths(spec: ModelSpec, **lengths: int | None) -> None:
    """Refuse lengths in tokens (`seq_len`, `target_len`) that the model has no positions for.

    Raises:
        BadRequest: with the longest possible.
    """
    context = spec.context_length
    for field, length in lengths.items():
        if context is not None and length is not None and length > context:
            raise BadRequest(
                f"{field} {length} is longer than the context of {spec.name}, {context} tokens",
                hints=[f"longest possible: --{field.replace('_', '-')} {context}"],
                context_length=context,
                field=field,
                length=length,
            )
