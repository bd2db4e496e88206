"""Options made from the arguments of the verbs, so that a flag, a Python keyword and a key of a file are one word."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_type_hints

import rich_click as click

from advisor.domain.request.argument import Described, Reading, described
from advisor.domain.request.typed_numbers import bytes_of, seconds_of, size_of, whole_of
from advisor.domain.request.verb_options import names_in
from advisor.errors import BadRequest

Function = TypeVar("Function", bound=Callable[..., Any])
CATALOGUED: Final = ("model", "gpu", "method")
"""Options whose values a shell completes."""
BOTH: Final = {"off": (False,), "on": (True,), "both": (False, True)}
"""A bool that may be asked for both ways."""


def options_of(group: type) -> Callable[[Function], Function]:
    """Every argument of a verb as an option, in the order of its TypedDict. No option is made in any other way."""
    made = [_option(name, described(hint)) for name, hint in get_type_hints(group, include_extras=True).items()]

    def decorate(function: Function) -> Function:
        for one in reversed(made):
            function = one(function)
        return function

    return decorate


def _option(name: str, what: Described) -> Callable[[Function], Function]:
    """The click option of one argument."""
    about = what.about
    flag = about.flag or f"--{name.replace('_', '-')}"
    settings: dict[str, Any] = {"help": what.text, "hidden": about.hidden, "default": None}
    if what.kind is bool and not what.several:
        if about.switch:
            settings |= {"is_flag": True, "default": None if what.may_be_unsaid else False}
        else:
            flag += f"/--no-{flag.removeprefix('--')}"
    else:
        settings |= {"metavar": what.metavar, "multiple": about.repeated or what.several}
        if name in CATALOGUED:
            settings["shell_complete"] = _beginning(name)
        if what.kind in (int, float) and not what.several and not about.reads:
            settings["type"] = what.kind
    spelt = (flag, about.short) if about.short else (flag,)
    return _named(spelt, name, what.detail.earlier or about.earlier, _reader(flag, name, what), **settings)


def _reader(flag: str, name: str, what: Described) -> Callable[[Any], Any]:
    """From what was typed to the argument's value: several split at commas, numbers with units, bounds checked."""

    def read(typed: Any) -> Any:
        if typed is None or typed == ():
            return typed
        if not what.several:
            return within(_number(what.about.reads, flag, typed))
        names = names_in(typed)
        if not names:
            raise BadRequest(f"{flag} names nothing", hints=[f"for example: {flag} {what.metavar}"], field=name)
        if what.kind is bool:
            return tuple(dict.fromkeys(value for one in names for value in _both(flag, one)))
        return tuple(within(whole_of(one, flag)) for one in names) if what.kind is int else names

    def within(value: Any) -> Any:
        said = what.about.refusal(value) if isinstance(value, int | float) else ""
        if said:
            raise BadRequest(
                f"{flag} {value!r} cannot be",
                cause=f"{flag} must be {said}",
                hints=["what each option takes: --help"],
                field=name,
                value=value,
            )
        return value

    return read


def _number(reads: Reading, flag: str, typed: Any) -> Any:
    """A text with a unit as a number; whatever is none as it is."""
    if reads == "time":
        return seconds_of(typed)
    if reads == "size":
        return bytes_of(typed)
    if reads == "count":
        count = size_of(typed, flag)
        if count is None:
            raise BadRequest(
                f"{flag} must be a number, not {typed!r}",
                hints=[f"for example: {flag} 2000, or 8e9, or 8B"],
                option=flag,
            )
        return count
    return typed


def _both(flag: str, typed: str) -> tuple[bool, ...]:
    from advisor.domain.request.validation import check_choice

    check_choice(flag, typed, BOTH)
    return BOTH[typed]


def _named(
    spelt: Sequence[str], name: str, earlier: Sequence[str], read: Callable[[Any], Any], **settings: Any
) -> Callable[[Function], Function]:
    """A click option, whose earlier spellings still work, are shown nowhere, and say the present one.

    Args:
        spelt: how it is typed, the long form first.
        name: of the parameter.
        read: makes the value of what was typed.
        settings: as `click.option` takes them.
    """
    key = f"{__name__}.{name}"

    def remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if _said(value):
            click.echo(f"{parameter.opts[0]} is now called {spelt[0]}", err=True)
            context.meta[key] = value

    def taken(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        return read(value if _said(value) else context.meta.get(key, value))

    def decorate(function: Function) -> Function:
        for spelling in earlier:
            old: dict[str, Any] = {**settings, "hidden": True, "help": f"Earlier name of {spelt[0]}."}
            # eager: read before the option that takes its value
            function = click.option(
                spelling, spelling.strip("-").replace("-", "_"), is_eager=True, expose_value=False,
                callback=remember, **old,
            )(function)  # fmt: skip
        return click.option(*spelt, name, callback=taken, **settings)(function)

    return decorate


def _said(value: Any) -> bool:
    """Whether an option was typed."""
    return value is not None and value != () and value is not False


def given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were typed: what is None or an empty repeated option takes its default behind the verb."""
    return {name: value for name, value in arguments.items() if value is not None and value != ()}


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


def _beginning(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Names of the catalogue that begin with what was typed, for a shell that completes."""

    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        before, comma, last = typed.rpartition(",")
        return [f"{before}{comma}{name}" for name in _names(kind) if name.lower().startswith(last.lower())]

    return complete


def _names(kind: str) -> list[str]:
    import advisor

    if kind == "model":
        return [name for one in advisor.models() for name in (one.id, *one.aliases)]
    return [one.name for one in (advisor.gpus() if kind == "gpu" else advisor.methods())]
