"""The conservative entry for a method that the installed peft has and this catalogue does not describe yet."""

from __future__ import annotations

from advisor.catalog.methods.builders import NOT_STUDIED, keywords, rate
from advisor.catalog.methods.method import Method, MethodSource, Option


def generic_method(peft_type: str) -> Method:
    """A Method for a PeftType without a file: nothing is claimed but that peft can attach it."""
    source = MethodSource(address="installed peft", where=f"PeftType.{peft_type}")
    return Method(
        name=peft_type.lower().replace("_", "-"),
        title=peft_type,
        says="known to the installed peft, not yet described here: peft's own defaults, no evidence, wide intervals",
        family="reparameterised",
        subfamily="unknown (not yet described)",
        paper=source,
        year=None,
        options={"target_modules": Option(None, source, "layers adapted (None: peft's default for the model)")},
        learning_rate=rate(
            1e-4, MethodSource(address="installed peft", where="no setting known: assumed, search it"), 1e-6, 1e-1
        ),
        peft_type=peft_type,
        peft_options=keywords(),
        mergeable=False,
        inference_overhead="unknown",
        serving="unknown",
        unrolls=False,
        failure_modes=("a new method of peft: read its documentation before trusting any figure",),
        forgetting=NOT_STUDIED,
        notice=f"{peft_type} is new in the installed peft and not yet described here: peft's own defaults were taken",
    )
