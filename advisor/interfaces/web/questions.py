"""The forms of the page: their fields, described by the verbs' own arguments, and what a query string asks.

A question's whole state is its query string, so that an address can be shared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from advisor import store
from advisor.domain.plain_values import is_object
from advisor.domain.request.argument import Described, described
from advisor.domain.request.command_options import ModelOnGpus
from advisor.domain.request.typed_numbers import size_of
from advisor.domain.request.validation import check_names
from advisor.domain.request.verb_options import EstimateOptions, RecommendOptions
from advisor.errors import BadRequest

FormName = Literal["recommend", "recipe", "compare"]
FORMS: Final[dict[FormName, tuple[str, ...]]] = {
    "recommend": (
        *("model", "gpu", "samples", "task", "objective", "seq_len", "budget_usd"),
        *("deadline_hours", "task_type", "epochs", "policy", "method", "must_merge", "spot"),
    ),
    "recipe": (
        *("model", "gpu", "method", "batch_size", "seq_len", "rank", "samples", "epochs", "task", "objective"),
        *("gradient_accumulation", "base", "gradient_checkpointing", "optimizer", "dtype", "trainer", "usd_per_hour"),
    ),
    "compare": ("model", "gpu", "samples", "seq_len", "epochs", "task", "method", "rank", "batch_size", "base"),
}
"""What each form asks, in its order."""
OF_ONE_RECIPE: Final = ("method", "rank", "batch_size", "base")
"""What the two recipes of a comparison differ in; the second's names end in SECOND."""
SECOND: Final = "_2"
LABELS: Final = {
    "gpu": "GPU",
    "seq_len": "Length, tokens",
    "batch_size": "Micro-batch, samples",
    "budget_usd": "Budget, USD",
    "deadline_hours": "Deadline, hours",
    "usd_per_hour": "Price, USD an hour",
    "spot": "Spot prices",
    "task_type": "Kind of task",
    "dtype": "Weights in",
}
HELP: Final = {
    "model": "A Hub id, or a name or alias of the catalogue.",
    "gpu": "A GPU of the catalogue, or auto: that of the machine advisor runs on.",
    "method": "A method of the catalogue; of a choice several with commas.",
}
"""Of what the page takes otherwise than the command line: no folder of the machine it runs on."""
POLICIES: Final = ("balanced", "cheapest", "best-quality")
SLIDERS: Final[dict[str, tuple[float, ...]]] = {
    "batch_size": (1, 2, 4, 8, 16, 32, 64, 128),
    "seq_len": (128, 256, 512, 1024, 2048, 4096, 8192, 16384),
    "rank": (4, 8, 16, 32, 64, 128, 256),
    "budget_usd": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
}
"""Positions of the sliders; any other number can be typed."""
SUGGESTED: Final = ("model", "gpu", "method")
LONGEST: Final = 300
"""Characters of one value."""
FILES: Final = ("data", "columns", "length_file")
"""Arguments that read files of the machine on which advisor runs."""
_PATH: Final = re.compile(r"^[./~\\]|\\|\.\.|^[A-Za-z]:|/.*/")


@dataclass(frozen=True, slots=True)
class FormField:
    """One field as a form shows it: a number, a text, a choice, or a box to tick."""

    name: str
    label: str
    help: str
    kind: Literal["number", "text", "choice", "box"]
    value: str = ""
    choices: tuple[str, ...] = ()
    unsaid: str = ""
    """What is taken where nothing is said."""
    least: float | None = None
    most: float | None = None
    whole: bool = True
    marks: tuple[float, ...] = ()
    suggests: str = ""
    needed: bool = False


def fields_of(form: FormName, asked: Mapping[str, str]) -> list[FormField]:
    """The fields of a form with what was asked in them."""
    hints = _hints(form)
    made = [_field(name, described(hints[name]), asked.get(name, "")) for name in FORMS[form]]
    if form == "compare":
        made += [_field(name, described(hints[name]), asked.get(name + SECOND, ""), SECOND) for name in OF_ONE_RECIPE]
    return made


def arguments_of(form: FormName, asked: Mapping[str, str]) -> dict[str, Any]:
    """A query as keywords of the verb; what was left empty is left out.

    Raises:
        BadRequest: a parameter that the form does not have, a number that is none, a folder of this machine.
    """
    hints = _hints(form)
    check_names(asked, FORMS[form])
    given = {name: text.strip() for name, text in asked.items() if text.strip()}
    for name in ("model", "gpu"):
        if name not in given:
            raise BadRequest(f"--{name} is missing", hints=[f"to list what there is: advisor {name}s"], field=name)
    read = {name: _read(name, text, described(hints[name])) for name, text in given.items()}
    check_remote(read)
    return read


def two_recipes(asked: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The queries of a comparison's two recipes: what ends in SECOND belongs to the second alone."""
    common = {name: text for name, text in asked.items() if name not in OF_ONE_RECIPE and not name.endswith(SECOND)}
    first = {name: asked[name] for name in OF_ONE_RECIPE if name in asked}
    second = {name.removesuffix(SECOND): text for name, text in asked.items() if name.endswith(SECOND)}
    return {**common, **first}, {**common, **second}


def check_remote(arguments: Mapping[str, Any]) -> None:
    """Refuse arguments that would have files of this machine read for whoever asks.

    Raises:
        BadRequest: which one, and the verb's command line, which reads them.
    """
    for name in FILES:
        if arguments.get(name) is not None:
            raise BadRequest(
                f"{name} is a file of the machine that advisor runs on, and the page reads none",
                hints=["on that machine: the command line takes it"],
                field=name,
            )
    if isinstance(arguments.get("adapter_config"), str):
        raise BadRequest("adapter_config must be an object here, not the name of a file", field="adapter_config")
    for name in ("model", "gpu", "gpu_like"):
        value = arguments.get(name)
        if isinstance(value, str) and (_PATH.search(value) or (name == "model" and _is_there(value))):
            raise BadRequest(
                f"{name} {value[:LONGEST]!r} is a folder of the machine that advisor runs on, and the page reads none",
                hints=["a name of the catalogue, or a Hub id as OWNER/NAME"],
                field=name,
            )
    source: Any = arguments.get("source")
    if is_object(source):
        check_remote(source)
        for part in (source.get("workload"), source.get("facts")):
            if is_object(part):
                check_remote({"model": part.get("model") or part.get("model_asked")})


def _is_there(name: str) -> bool:
    try:
        return store.expanded(name).exists()
    except (OSError, ValueError):
        return False


@cache
def _hints(form: FormName) -> dict[str, Any]:
    options = RecommendOptions if form == "recommend" else EstimateOptions
    return {**get_type_hints(ModelOnGpus, include_extras=True), **get_type_hints(options, include_extras=True)}


def _read(name: str, text: str, what: Described) -> Any:
    if len(text) > LONGEST:
        raise BadRequest(f"--{name.replace('_', '-')} is too long: {len(text)} characters", field=name)
    flag = f"--{name.replace('_', '-')}"
    if what.kind is bool:
        if text.lower() not in _BOOLS:
            raise BadRequest(f"{flag} must be yes or no, not {text!r}", field=name)
        return _BOOLS[text.lower()]
    if what.kind is int:
        return size_of(text, flag)
    if what.kind is float:
        try:
            return float(text)
        except ValueError:
            raise BadRequest(f"{flag} must be a number, not {text!r}", field=name) from None
    return text


_BOOLS: Final = {
    "yes": True,
    "on": True,
    "true": True,
    "1": True,
    "no": False,
    "off": False,
    "false": False,
    "0": False,
}


def _field(name: str, what: Described, value: str, suffix: str = "") -> FormField:
    about = what.about
    label = LABELS.get(name, name.replace("_", " ").capitalize())
    helped = HELP.get(name, about.help)
    unsaid = what.detail.shown_default or about.shown_default
    common: dict[str, Any] = {
        "name": name + suffix,
        "label": label,
        "help": helped,
        "value": value,
        "unsaid": unsaid,
        "marks": SLIDERS.get(name, ()),
        "suggests": name if name in SUGGESTED else "",
        "needed": name in ("model", "gpu"),
    }
    if what.kind is bool:
        if about.switch:
            return FormField(kind="box", **common)
        return FormField(kind="choice", choices=("yes", "no"), **common)
    choices: Sequence[str] = get_args(what.kind) if get_origin(what.kind) is Literal else ()
    if name == "policy":
        choices = POLICIES
    if choices:
        return FormField(kind="choice", choices=tuple(choices), **common)
    if what.kind in (int, float) and not what.several:
        least = about.ge if about.ge is not None else about.gt
        return FormField(kind="number", least=least, most=about.le, whole=what.kind is int, **common)
    return FormField(kind="text", **common)
