"""`advisor methods`: lists, filters, explains, draws and compares."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

import advisor
from advisor.catalog.methods import methods
from advisor.errors import BadRequest, IllegalRecipe, UnknownName
from advisor.interfaces.cli.methods import command


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


def test_the_tree_draws_every_family_and_says_why_some_are_not_trainable() -> None:
    shown = said("--tree")
    for part in ("additive", "selective", "reparameterised", "hybrid", "not trainable here", "houlsby"):
        assert part in shown
    assert set(told("--tree")) == {"full", "additive", "selective", "reparameterised", "hybrid"}


def test_a_comparison_prices_each_and_gives_reasons_for_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    class Priced:
        def model_dump(self, mode: str) -> dict[str, Any]:
            span = {"low": 1.0, "mid": 2.0**30, "high": 2.0**31}
            step = {"low": 0.1, "mid": 0.2, "high": 0.3}
            return {
                "trainable_parameters": 1234567,
                "memory": {"peak_device": span},
                "fits": True,
                "time": {"step": step},
                "quality": None,
            }

    def estimate(**case: Any) -> Priced:
        asked.append(case)
        if case["method"] == "alora":
            raise IllegalRecipe("alora cannot do this", cause="a reason")
        return Priced()

    monkeypatch.setattr(advisor, "estimate", estimate, raising=False)
    shown = said("lora", "alora", "qlora", "--model", "m", "--gpu", "g", "--batch-size", "2")
    assert "1,234,567" in shown
    assert "1.0 GiB" in shown
    assert "a reason" in shown
    assert [(c["method"], c["base"], c["batch_size"]) for c in asked] == [
        ("lora", "dtype", 2),
        ("alora", "dtype", 2),
        ("qlora", "nf4", 2),
    ]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("lorra",), UnknownName), (("lora", "--model", "m"), BadRequest), (("lora", "--gpu", "g"), BadRequest)],
)
def test_what_cannot_be_answered_is_refused(arguments: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        said(*arguments)
