"""LoRA whose vectors are mixed from one shared bank."""

from advisor.catalog.methods.builders import (
    NOT_STUDIED,
    SWITCHED,
    UNQUANTISED,
    comparison,
    dividing,
    dropout,
    keywords,
    library,
    number,
    paper,
    rank,
    rate,
    targets,
)
from advisor.catalog.methods.method import Method, Option

METHOD = Method(
    name="vblora",
    fewest_layers=6,
    title="VB-LoRA",
    says="LoRA whose vectors are mixed from one shared bank",
    family="reparameterised",
    subfamily="vector bank",
    paper=paper("2405.15179"),
    year=2024,
    options={
        "rank": rank(4, library("vblora/config.py, r"), 1, 64),
        "vectors": number(256, library("vblora/config.py, num_vectors"), 16, 4096, "vectors in the bank", True),
        "vector_length": Option(
            None,
            library("vblora/config.py, vector_length: 256"),
            "length of a vector (None: largest divisor of the widths up to 256)",
            1,
            4096,
            log=True,
        ),
        "topk": number(2, library("vblora/config.py, topk"), 1, 8, "vectors mixed for each part"),
        "dropout": dropout(0.0, library("vblora/config.py, vblora_dropout")),
        "target_modules": targets("attention-qv", comparison("vblora/llama-3.2-3B-default")),
    },
    learning_rate=rate(1e-3, paper("2405.15179", "bank 1e-3, logits 1e-2"), 1e-4, 1e-2),
    peft_type="VBLORA",
    peft_options=dividing("vector_length", 256, keywords({"vectors": "num_vectors", "dropout": "vblora_dropout"})),
    bases=UNQUANTISED,
    mergeable=True,
    identity_at_start=False,
    serving=SWITCHED,
    evidence_names=("vblora", "vb-lora"),
    failure_modes=("bank and logits want rates ten times apart", "vector_length must divide every width adapted"),
    forgetting=NOT_STUDIED,
)
