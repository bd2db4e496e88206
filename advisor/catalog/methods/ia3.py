"""(IA)3: learned vectors rescale keys, values and the feed-forward's inner activations."""

from advisor.catalog.methods.builders import MIXED, QUANTISED, keywords, paper, rate, targets
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="ia3",
    title="(IA)3",
    says="rescales keys, values and feed-forward activations by learned vectors; merges into the weights",
    family="additive",
    subfamily="scaling vectors",
    paper=paper("2205.05638", "section 3.3"),
    year=2022,
    options={
        "target_modules": targets("keys-values-mlp", paper("2205.05638", "section 3.3: keys, values, feed-forward")),
    },
    learning_rate=rate(
        5e-3, paper("2205.05638", "section 3.3: 3e-3; 5e-3 best of three in peft's comparison"), 5e-4, 5e-2
    ),
    peft_type="IA3",
    peft_options=keywords(_rescale_inputs=True),
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none once merged; peft does not merge into an 8- or 4-bit base",
    serving=MIXED,
    core=True,
    evidence_names=("ia3", "(ia)3"),
    failure_modes=("at LoRA's rate it barely learns: 0.311 at 1e-4, 0.398 at 1e-3, 0.455 at 5e-3 on GSM8K",),
    forgetting="0.314 in peft's comparison at rate 5e-3, six times LoRA's: the high rate it needs costs old skills",
)
