"""Numbers as people type them at an option."""

from __future__ import annotations

import pytest

from advisor.domain.request.typed_numbers import whole_of
from advisor.errors import AdvisorError
from advisor.interfaces.cli.main import load


def typed(verb: str, *options: str) -> dict:
    return load(verb).make_context(verb, list(options)).params


@pytest.mark.parametrize(("text", "samples"), [("2000", 2000), ("2K", 2000), ("2e3", 2000), ("1.5M", 1_500_000)])
def test_a_count_is_read_alike_in_every_verb(text: str, samples: int) -> None:
    for verb in ("estimate", "recommend", "methods", "evidence"):
        assert typed(verb, "--samples", text)["samples"] == samples


def test_several_values_are_separated_by_commas_or_said_again() -> None:
    for options in (["--batch-size", "1,4"], ["--batch-size", "1", "--batch-size", "4"]):
        assert typed("profile", *options)["batch_size"] == (1, 4)
    assert typed("profile", "--gradient-checkpointing", "both")["gradient_checkpointing"] == (False, True)
    assert typed("recommend", "--method", "lora, dora", "--method", "full")["method"] == ("lora", "dora", "full")


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("recommend", ["--method", ","]),
        ("recommend", ["--samples", ""]),
        ("recommend", ["--samples", "0"]),
        ("estimate", ["--rank", "0"]),
        ("profile", ["--batch-size", "1,0"]),
        ("profile", ["--batch-size", "1.5"]),
        ("profile", ["--gradient-checkpointing", "maybe"]),
        ("evidence", ["--limit", "0"]),
    ],
)
def test_what_is_no_value_is_refused_by_the_options_name(verb: str, options: list[str]) -> None:
    with pytest.raises(AdvisorError, match=options[0]) as refused:
        typed(verb, *options)
    assert refused.value.exit_code == 2


def test_a_whole_number_is_digits_alone() -> None:
    assert whole_of("12", "--size") == 12
