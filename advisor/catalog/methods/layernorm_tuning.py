"""LayerNorm tuning: only the normalisation layers are trained."""

from advisor.catalog.methods.builders import MIXED, NOT_STUDIED, QUANTISED, comparison, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="layernorm-tuning",
    title="LayerNorm tuning",
    says="trains the gains (and biases) of the normalisation layers only",
    family="selective",
    subfamily="normalisation layers",
    paper=paper("2312.11420"),
    year=2023,
    options={},
    learning_rate=rate(1e-3, comparison("ln_tuning: 1e-4 learnt nothing (0.000); ten times more assumed"), 1e-4, 1e-2),
    peft_type="LN_TUNING",
    trains_in_base_dtype=True,
    peft_options=lambda spec, options: {"target_modules": "all-norms"},
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none",
    serving=MIXED,
    core=True,
    evidence_names=("ln_tuning", "layernorm_tuning"),
    failure_modes=("1e-4 with AdamW learnt nothing in peft's comparison: needs a high rate", "very low capacity"),
    forgetting=NOT_STUDIED,
)
