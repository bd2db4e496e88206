"""Edits hidden states in a low-rank, orthonormal subspace at the first and last positions."""

from advisor.catalog.methods.builders import NOT_STUDIED, QUANTISED, SWITCHED, number, paper, rank, rate
from advisor.catalog.methods.method import Method

METHOD = Method(
    name="loreft",
    fewest_layers=6,
    title="LoReFT",
    says="edits hidden states in a low-rank, orthonormal subspace at the first and last positions",
    family="additive",
    subfamily="representation intervention",
    paper=paper("2404.03592"),
    year=2024,
    options={
        "rank": rank(8, paper("2404.03592", "table 6 on: rank 4 to 8, 5 to 7 first and last positions"), 1, 256),
        "first_positions": number(
            7,
            paper("2404.03592", "table 6 on: rank 4 to 8, 5 to 7 first and last positions"),
            0,
            64,
            "positions edited at the start",
        ),
        "last_positions": number(
            7,
            paper("2404.03592", "table 6 on: rank 4 to 8, 5 to 7 first and last positions"),
            0,
            64,
            "positions edited at the end",
        ),
    },
    learning_rate=rate(9e-4, paper("2404.03592", "9e-4 on Alpaca; grid 9e-5 to 3e-3"), 9e-5, 9e-3),
    attach="advisor.assembly.adapters.scaling:attach_loreft",
    bases=QUANTISED,
    inference_overhead="a small product a layer, on prompt positions only",
    serving=SWITCHED,
    evidence_names=("loreft",),
    failure_modes=(
        "padding on the left moves the first positions onto padding",
        "cannot be merged: it edits some positions only",
    ),
    forgetting=NOT_STUDIED,
)
