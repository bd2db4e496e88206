"""One signature a verb: function, request, command line and JSON schema speak of the same arguments."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import pytest
from pydantic import BaseModel

import advisor
from advisor.domain.request.argument import Described, described
from advisor.domain.request.catalogue_options import EvidenceCommand, GpusCommand, MethodsCommand, PricesCommand
from advisor.domain.request.command_options import (
    EstimateCommand,
    ExportCommand,
    FitCommand,
    JsonAnswer,
    PlanCommand,
    RecommendCommand,
    TuneCommand,
    WebCommand,
)
from advisor.domain.request.measuring_options import (
    AuditCommand,
    CalibrateCommand,
    ProbeCommand,
    ProbeOptions,
    ProfileCommand,
    StudyCommand,
)
from advisor.domain.request.plan_options import PlanOptions
from advisor.domain.request.tune_options import SearchOptions
from advisor.domain.request.validation import RENAMED
from advisor.domain.request.verb_options import EstimateOptions, RecommendOptions
from advisor.errors import BadRequest
from advisor.estimator.estimate_request import EstimateRequest
from advisor.experiments.probe_query import ProbeQuery
from advisor.interfaces.cli.main import VERBS as VERB_COMMANDS
from advisor.interfaces.cli.main import load
from advisor.planner.plan_request import PlanRequest
from advisor.recommender.recommend_request import RecommendRequest
from advisor.tuner.tune_query import SETTINGS, TuneQuery
from advisor.tuner.tune_request import TuneRequest

VERBS: list[tuple[str, type, type[BaseModel], set[str]]] = [
    ("estimate", EstimateOptions, EstimateRequest, {"model", "gpu"}),
    ("recommend", RecommendOptions, RecommendRequest, {"model", "gpu"}),
    ("tune", SearchOptions, TuneQuery, set()),
    ("plan", PlanOptions, PlanRequest, {"jobs", "fleet"}),
    ("probe", ProbeOptions, ProbeQuery, {"model", "data"}),
]
COMMANDS: dict[str, type] = {
    "estimate": EstimateCommand,
    "fit": FitCommand,
    "recommend": RecommendCommand,
    "tune": TuneCommand,
    "probe": ProbeCommand,
    "plan": PlanCommand,
    "export": ExportCommand,
    "study": StudyCommand,
    "methods": MethodsCommand,
    "gpus": GpusCommand,
    "prices": PricesCommand,
    "models": JsonAnswer,
    "evidence": EvidenceCommand,
    "profile": ProfileCommand,
    "calibrate": CalibrateCommand,
    "audit": AuditCommand,
    "web": WebCommand,
    "mcp": JsonAnswer,
    "doctor": JsonAnswer,
    "schema": JsonAnswer,
    "completion": JsonAnswer,
}
"""Every verb -> its command line."""
CLI = Path(advisor.__file__).parent / "interfaces" / "cli"
TWO_MEANINGS = {"--search": "settings that a search varies, and a text that the catalogue's methods are searched for"}
"""Options that people type in two senses, which neither verb can give up."""


def takes(hint: Any) -> set[Any]:
    """The kinds of value a hint admits, roughly: names, mappings and sequences of names each as one kind."""
    origin = get_origin(hint)
    if origin is Annotated:
        return takes(get_args(hint)[0])
    if origin in (Union, UnionType):
        return set[Any]().union(*(takes(part) for part in get_args(hint) if part is not NoneType))
    if origin in (tuple, list, Sequence):
        return {str, tuple}
    if origin is Literal:
        return {str}
    return {hint if origin is None else dict}


@pytest.mark.parametrize(("verb", "options", "request_", "named"), VERBS, ids=[v[0] for v in VERBS])
def test_a_request_holds_the_arguments_of_its_function_and_no_others(verb, options, request_, named):
    assert set(get_type_hints(options)) | named == set(request_.model_fields)
    keywords = inspect.signature(getattr(advisor, verb)).parameters
    assert keywords["options"].kind is inspect.Parameter.VAR_KEYWORD
    typed = get_type_hints(getattr(advisor, verb), include_extras=True)["options"]
    assert get_args(typed) == (options,)


@pytest.mark.parametrize(("verb", "options", "request_", "named"), VERBS, ids=[v[0] for v in VERBS])
def test_each_argument_has_one_type_in_both(verb, options, request_, named):
    hints = get_type_hints(options, include_extras=True)
    fields = get_type_hints(request_, include_extras=True)
    for name, hint in hints.items():
        narrower = takes(fields[name])
        assert takes(hint) - narrower <= {tuple}, (verb, name)
        assert narrower - takes(hint) <= {tuple}, (verb, name)


@pytest.mark.parametrize("verb", VERB_COMMANDS)
def test_a_command_line_is_made_of_described_arguments_alone(verb):
    hints = get_type_hints(COMMANDS[verb], include_extras=True)
    # earlier spellings are options of their own that nobody is shown
    shown = [p for p in load(verb).params if "Earlier name" not in (getattr(p, "help", "") or "")]
    options = {p.name: p for p in shown if isinstance(p, click.Option) and p.name != "help"}
    assert list(options) == list(hints)
    for name, option in options.items():
        what = described(hints[name])
        assert (what.about.flag or f"--{name.replace('_', '-')}") in option.opts
        assert option.help == what.text
        assert option.multiple == (what.several or what.about.repeated)
        assert not option.default or option.multiple or option.default.__class__.__name__ == "Sentinel"


@pytest.mark.parametrize("path", sorted(CLI.glob("*.py")), ids=lambda path: path.stem)
def test_no_verb_declares_an_option_by_hand(path):
    made = {"option", "Option", "RichOption", "version_option", "password_option", "confirmation_option"}
    by_hand = [
        f"{node.lineno}: {ast.unparse(node.func)}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in made
    ]
    allowed = {"click_options": 2, "main": 2}  # the one maker, with earlier spellings; --version, --quiet
    assert len(by_hand) == allowed.get(path.stem, 0), by_hand


def every_option() -> list[tuple[str, str, Described]]:
    """Verb, flag and description of every option."""
    return [
        (verb, what.about.flag or f"--{name.replace('_', '-')}", what)
        for verb, command in COMMANDS.items()
        for name, hint in get_type_hints(command, include_extras=True).items()
        for what in [described(hint)]
    ]


def test_one_option_has_one_description_and_one_type_in_every_verb():
    """How many values, which default and what a verb does with it may differ; what it is may not."""
    seen: dict[str, set[tuple[str, str]]] = {}
    for _, flag, what in every_option():
        seen.setdefault(flag, set()).add((str(what.kind), str(what.about)))
    assert {flag for flag, told in seen.items() if len(told) > 1} == set(TWO_MEANINGS)


def test_every_text_has_a_placeholder_and_every_closed_set_is_told():
    for verb, flag, what in every_option():
        if what.kind not in (int, float, bool):
            assert what.about.metavar, (verb, flag)
        if get_origin(what.kind) is Literal and "..." not in what.about.help:
            missing = [name for name in get_args(what.kind) if name not in what.text]
            assert not missing, (verb, flag, missing)


@pytest.mark.parametrize(("verb", "options", "request_", "named"), VERBS, ids=[v[0] for v in VERBS])
def test_every_argument_is_explained_and_a_schema_that_does_so_says_the_same(verb, options, request_, named):
    properties = request_.model_json_schema()["properties"]
    for name, hint in get_type_hints(options, include_extras=True).items():
        about = described(hint).about
        assert about.help, name
        told = str(properties[name])
        assert "description" not in told or about.help in told, name


@pytest.mark.parametrize(
    ("field", "wrong"), [("rank", 0), ("dropout", 1.0), ("headroom", -0.1), ("epochs", 0), ("seq_len", 10**8)]
)
def test_bounds_written_once_hold_in_the_request(field, wrong):
    with pytest.raises(BadRequest):
        advisor.estimate("meta-llama/Llama-3.2-1B", "L4", method="lora", **{field: wrong})


def test_a_number_that_the_help_shows_as_default_is_within_its_bounds():
    wrong, asked = [], 0
    for verb, options in COMMANDS.items():
        for name, hint in get_type_hints(options, include_extras=True).items():
            about = described(hint).about
            shown = about.shown_default.removesuffix(".") or "-"
            if shown.replace(".", "", 1).isdigit():
                asked += 1
                wrong += [(verb, name, said)] if (said := about.refusal(float(shown))) else []
    assert asked > 40
    assert wrong == []


@pytest.mark.parametrize(("earlier", "now"), sorted(RENAMED.items()))
def test_an_earlier_name_is_refused_with_the_new_one(earlier, now):
    verb = advisor.recommend if now in RecommendRequest.model_fields else advisor.tune
    with pytest.raises(BadRequest) as refused:
        verb("meta-llama/Llama-3.2-1B", "L4", **{earlier: "x"})
    assert now in refused.value.fields["near"]


def test_settings_of_a_search_are_fields_of_the_stored_request():
    assert set(SETTINGS) <= set(TuneRequest.model_fields) & set(TuneQuery.model_fields)
    assert {"seeds", "finalists", "retrain", "report_to"} <= set(SETTINGS)


EARLIER = {
    "recommend": {"--usd": "--budget-usd", "--tolerance": "--tolerance-points"},
    "tune": {"--usd": "--budget-usd", "--eval": "--eval-data", "--test": "--test-data", "--objective": "--objectives"},
    "study": {"--eval": "--eval-data", "--test": "--test-data", "--time-budget": "--hours"},
    "calibrate": {"--into": "--out"},
    "profile": {"--store": "--out"},
}


@pytest.mark.parametrize(("verb", "was", "now"), [(v, a, b) for v, names in EARLIER.items() for a, b in names.items()])
def test_an_earlier_spelling_works_is_hidden_and_says_the_new_one(verb, was, now, capsys):
    command = load(verb)
    (option,) = [p for p in command.params if now in p.opts]
    value = "3" if option.type.name in ("float", "integer") else "x"
    typed = command.make_context(verb, [was, value]).params[option.name]
    assert f"{was} is now called {now}" in capsys.readouterr().err
    assert typed == command.make_context(verb, [now, value]).params[option.name]
    assert was not in option.opts
    assert capsys.readouterr().err == ""


def test_the_arguments_load_no_pydantic_so_that_help_comes_at_once():
    code = "import sys, advisor.domain.request.command_options; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
