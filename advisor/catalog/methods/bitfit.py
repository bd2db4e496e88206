"""BitFit: only the biases are trained."""

from advisor.catalog.methods.builders import NOT_STUDIED, QUANTISED, flag, paper, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="bitfit",
    title="BitFit",
    says="trains the bias vectors only; where a layer has none, one is added at zero",
    family="selective",
    subfamily="biases",
    paper=paper("2106.10199"),
    year=2021,
    options={
        "add_missing": flag(
            True,
            paper("2106.10199", "made for models with biases; decoders without them get zero ones here, as BEFT adds"),
            "give a zero bias to linear layers of the blocks that have none",
        )
    },
    learning_rate=rate(
        1e-3, paper("2106.10199", "appendix: 1e-4 to 9e-4 on BERT, best mostly 4e-4 to 1e-3"), 1e-4, 1e-2
    ),
    attach="advisor.assembly.adapters.selective:attach_bitfit",
    trains_in_base_dtype=True,
    bases=QUANTISED,
    mergeable=True,
    inference_overhead="none where the model has biases; one addition a layer where they were added",
    serving="one adapter per loaded model; biases are small enough to swap",
    core=True,
    evidence_names=("bitfit",),
    failure_modes=(
        "collapses at 100 samples on BERT-base: 48.6 against 60.0 of full fine-tuning",
        "far behind on generation: XSum R-2 17.3 against 21.9 of full fine-tuning",
    ),
    forgetting=NOT_STUDIED,
)
