"""Trains only the decoder's attention over the encoder."""

from advisor.catalog.methods.builders import NOT_STUDIED, UNQUANTISED, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="cross-attention-tuning",
    title="cross-attention tuning",
    says="trains only the decoder's attention over the encoder",
    family="selective",
    subfamily="cross-attention",
    paper=paper("2104.08771"),
    year=2021,
    options={},
    learning_rate=rate(1e-4, paper("2104.08771", "no setting in our evidence: assumed"), 1e-5, 1e-3),
    attach="advisor.assembly.adapters.selective:attach_cross_attention",
    trains_in_base_dtype=True,
    architectures=frozenset({"encoder-decoder"}),
    tasks=frozenset({"seq2seq"}),
    bases=UNQUANTISED,
    mergeable=True,
    inference_overhead="none",
    serving="a copy of these layers per task",
    checkpoint="the cross-attention layers",
    evidence_names=("xattn_tuning",),
    failure_modes=("made for translation between new languages",),
    forgetting=NOT_STUDIED,
)
