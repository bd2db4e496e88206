"""The arguments of `advisor fit`: those of `advisor estimate`, and which of them is looked for."""

from __future__ import annotations

from typing import Annotated

from advisor.domain.request.argument import Argument
from advisor.domain.request.verb_options import EstimateOptions
from advisor.domain.request.vocabulary import Varied

Vary = Annotated[
    Varied,
    Argument(
        "What is looked for: the largest batch, length or model on a GPU, or the gpu that holds a recipe.",
        metavar="WHAT",
        shown_default="length",
    ),
]


class FitOptions(EstimateOptions, total=False):
    """The arguments of `advisor.fit` beside model and gpu."""

    vary: Vary | None
