"""`advisor methods`: lists, filters, explains, draws and compares."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import advisor
from advisor.catalog.methods import methods
from advisor.errors import BadRequest, UnknownName
from advisor.interfaces.cli.methods import command
from advisor.recommender.compare import Priced


def said(*arguments: str) -> str:
    done = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(*arguments: str) -> Any:
    return json.loads(said(*arguments, "--json"))


def test_without_arguments_every_method_is_listed() -> None:
    assert [m["name"] for m in told()] == [m.name for m in methods()]
    assert f"{len(methods())} of {len(methods())} methods" in said()


@pytest.mark.parametrize(
    ("arguments", "holds"),
    [
        (("--family", "selective"), lambda m: m["family"] == "selective"),
        (("--mergeable",), lambda m: m["mergeable"]),
        (("--base", "nf4"), lambda m: "nf4" in m["bases"]),
        (("--architecture", "encoder-decoder"), lambda m: "encoder-decoder" in m["architectures"]),
        (("--core",), lambda m: m["core"]),
        (("--search", "kronecker"), lambda m: "kronecker" in json.dumps(m).lower()),
    ],
)
def test_a_filter_keeps_what_meets_it_and_nothing_else(arguments: tuple[str, ...], holds: Any) -> None:
    kept = {m["name"] for m in told(*arguments)}
    assert kept == {m["name"] for m in told() if holds(m)}
    assert kept


def test_one_name_explains_the_method_with_sources() -> None:
    shown = said("dora")
    for part in ("DoRA", "2402.09353", "all-linear", "watch:", "learning_rate"):
        assert part in shown
    assert told("adapter_houlsby")["name"] == "adapter-houlsby"


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_a_list_breaks_texts_at_blanks_only_and_says_which_columns_a_narrow_terminal_lacks(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = said()
    lines = shown.splitlines()
    headings = ("method", "merges", "what it does", "family", "kind", "bases")
    missing = [name for name in headings if name not in lines[1]]
    told = [line for line in lines if line.startswith("narrow")]
    assert set(missing) == (set(told[0].removeprefix("narrow  ").partition(":")[0].split(", ")) if told else set())
    assert set(missing) <= {"family", "kind", "bases"}
    words = set(shown.split())
    for method in methods():
        assert method.name in words
        assert set(method.says.split()) <= words
        assert "family" in missing or method.family in words
    assert max(len(line) for line in lines if not line.startswith(("narrow", "notice"))) <= width


def test_an_option_without_a_default_number_says_none() -> None:
    row = next(line for line in said("dora").splitlines() if line.startswith(" alpha"))
    assert "None" in row.split()


def test_the_tree_draws_every_family_and_says_why_some_are_not_trainable() -> None:
    shown = said("--tree")
    for part in ("additive", "selective", "reparameterised", "hybrid", "not trainable here", "houlsby"):
        assert part in shown
    assert set(told("--tree")) == {"full", "additive", "selective", "reparameterised", "hybrid"}


@pytest.fixture(scope="module")
def candidate() -> Any:
    return advisor.estimate(model="meta-llama/Llama-3.2-1B", gpu="L4", method="bitfit", seq_len=256)


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch, candidate: Any) -> list[tuple[Any, ...]]:
    """The comparison with a canned candidate for all but aLoRA, and how it was asked."""
    asked: list[tuple[Any, ...]] = []

    def compare(model: str, gpu: str, names: list[str], *, on_progress: Any, **sizes: Any) -> list[Priced]:
        asked.append((model, gpu, tuple(names), sizes))
        on_progress(0, len(names), names[0])
        refusal = {"error": "IllegalRecipe", "message": "alora cannot do this", "cause": "a reason", "hints": []}
        return [
            Priced(method=name, refusal=refusal) if name == "alora" else Priced(method=name, candidate=candidate)
            for name in names
        ]

    monkeypatch.setattr("advisor.recommender.compare.compare", compare)
    return asked


def test_a_comparison_prices_each_and_gives_reasons_for_refusals(priced: list[tuple[Any, ...]], candidate: Any) -> None:
    shown = said("lora", "alora", "qlora", "--model", "m", "--gpu", "g", "--batch-size", "2")
    ((model, gpu, names, sizes),) = priced
    assert (model, gpu, names) == ("m", "g", ("lora", "alora", "qlora"))
    assert {name: value for name, value in sizes.items() if value is not None} == {"batch_size": 2}
    assert f"{candidate.trainable_parameters:,}" in shown
    assert f"{candidate.memory.peak_device.mid / 2**30:.1f} GiB" in shown
    assert "alora cannot do this: a reason" in shown
    assert shown.index("lora") < shown.index("qlora") < shown.index("a reason")
    facts = told("lora", "alora", "--model", "m", "--gpu", "g")
    assert facts[0]["candidate"]["trainable_parameters"] == candidate.trainable_parameters
    assert facts[1]["cause"] == "a reason"


def test_a_comparison_without_names_is_of_all_that_the_filters_keep(priced: list[tuple[Any, ...]]) -> None:
    said("--model", "m", "--gpu", "g")
    assert priced[-1][2] == tuple(m.name for m in methods())
    said("--model", "m", "--gpu", "g", "--mergeable", "--base", "nf4")
    assert priced[-1][2] == tuple(m.name for m in methods() if m.mergeable and "nf4" in m.bases)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("lorra",), UnknownName), (("lora", "--model", "m"), BadRequest), (("lora", "--gpu", "g"), BadRequest)],
)
def test_what_cannot_be_answered_is_refused(arguments: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        said(*arguments)
