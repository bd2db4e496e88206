"""Options made from the arguments of the verbs, so that a flag, a Python keyword and a key of a file are one word."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import rich_click as click

from advisor.domain.request import verb_options as arguments
from advisor.domain.request.verb_options import Argument, names_in
from advisor.errors import BadRequest

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """`--json`, as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def options_of(group: type, *, without: Sequence[str] = ()) -> Callable[[Function], Function]:
    """Every argument of a verb as an option, in the order of its TypedDict."""
    hints = get_type_hints(group, include_extras=True)
    made = [option(name, hint) for name, hint in hints.items() if name not in without]

    def decorate(function: Function) -> Function:
        for one in reversed(made):
            function = one(function)
        return function

    return decorate


def option(name: str, hint: Any) -> Callable[[Function], Function]:
    """The click option of one argument, whose hint is `Annotated[type, Argument(...)]`, perhaps with `| None`."""
    kind, about = _taken_apart(hint)
    flag = about.flag or f"--{name.replace('_', '-')}"
    text = about.help + (f"  [default: {about.shown_default}]" if about.shown_default else "")
    more: dict[str, Any] = {"help": text, "hidden": about.hidden, "default": None}
    if kind is bool:
        if about.switch:
            return named(flag, name, about.earlier, is_flag=True, **more)
        return click.option(f"{flag}/--no-{flag.removeprefix('--')}", name, **more)
    if kind in (int, float):
        more["type"] = kind
    if about.metavar:
        more["metavar"] = about.metavar
    return named(flag, name, about.earlier, multiple=about.repeated, **more)


def named(flag: str, name: str, earlier: Sequence[str] = (), **settings: Any) -> Callable[[Function], Function]:
    """A click option, whose earlier spellings still work, are shown nowhere, and say the present one.

    Args:
        name: of the parameter.
        settings: as `click.option` takes them.
    """
    if not earlier:
        return click.option(flag, name, **settings)
    key = f"{__name__}.{name}"

    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None and value != () and value is not False:
            click.echo(f"{parameter.opts[0]} is now called {flag}", err=True)
            context.meta[key] = value

    def taken(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        return context.meta.get(key, value) if value is None or value == () or value is False else value

    def decorate(function: Function) -> Function:
        for spelling in earlier:
            old: dict[str, Any] = {**settings, "hidden": True, "help": f"Earlier name of {flag}."}
            # eager: read before the option that takes its value
            function = click.option(
                spelling, spelling.strip("-").replace("-", "_"), is_eager=True, expose_value=False,
                callback=remember, **old,
            )(function)  # fmt: skip
        return click.option(flag, name, callback=taken, **settings)(function)

    return decorate


def _taken_apart(hint: Any) -> tuple[Any, Argument]:
    """The plain type and the Argument of a hint."""
    if get_origin(hint) in (Union, UnionType):
        (hint,) = [part for part in get_args(hint) if part is not NoneType]
    assert get_origin(hint) is Annotated, hint
    kind, about = get_args(hint)
    return (str if get_origin(kind) is Literal else kind), about


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed: what is None or an empty repeated option takes its default behind the verb."""
    return {name: value for name, value in arguments.items() if value is not None and value != ()}


def split_names(asked: dict[str, Any], *names: str) -> dict[str, Any]:
    """The same, with repeated options of names as one tuple each."""
    return {key: names_in(value) if key in names else value for key, value in asked.items()}


def pair(text: str) -> tuple[str, Any]:
    """`name=value` with the value read as JSON where it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise BadRequest(f"--option {text!r} is not NAME=VALUE", hints=["for example: --option block_size=32"])
    try:
        return name.strip(), json.loads(value)
    except (ValueError, RecursionError):
        return name.strip(), value


def required(asked: Mapping[str, Any], *names: str) -> None:
    """Refuse a question without one of these options.

    Raises:
        BadRequest: the first that is missing, and the command that lists what it may be.
    """
    lists = {"model": "advisor models", "gpu": "advisor gpus"}
    for name in names:
        if name not in asked and not (name == "gpu" and "gpu_like" in asked):
            hint = f"to list what there is: {lists[name]}" if name in lists else "to see all options: --help"
            raise BadRequest(f"--{name.replace('_', '-')} is missing", hints=[hint])


model_option = option("model", arguments.Model)
gpu_option = option("gpu", arguments.Gpu)
task_option = option("task", arguments.TaskName)
metric_option = option("metric", arguments.MetricName)
seq_len_option = option("seq_len", arguments.SeqLen)
columns_option = option("columns", arguments.ColumnsNamed)
rows_option = option("data", arguments.TrainingRows)
weights_option = option("model", arguments.WeightsFolder)
