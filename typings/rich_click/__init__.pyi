"""What this project uses of rich_click, for the type checker.

rich_click ships types, but they name click's generic `ParamType` without its parameters, so that to pyright every
option is of a partly unknown type. At run time these are click's own decorators with rich_click's classes.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from click import Argument as Argument
from click import Choice as Choice
from click import Command as Command
from click import Context as Context
from click import Group as Group
from click import IntRange as IntRange
from click import Option as Option
from click import Parameter as Parameter
from click import Path as Path
from click import echo as echo
from click import get_current_context as get_current_context
from click import open_file as open_file

_Function = TypeVar("_Function", bound=Callable[..., Any] | Command)
_Group = TypeVar("_Group", bound=Group)

class RichCommand(Command): ...
class RichGroup(RichCommand, Group): ...

def argument(
    *param_decls: str, cls: type[Argument] | None = None, **attrs: Any
) -> Callable[[_Function], _Function]: ...
def option(*param_decls: str, cls: type[Option] | None = None, **attrs: Any) -> Callable[[_Function], _Function]: ...
def version_option(
    version: str | None = None,
    *param_decls: str,
    package_name: str | None = None,
    prog_name: str | None = None,
    message: str | None = None,
    **kwargs: Any,
) -> Callable[[_Function], _Function]: ...
def command(name: str | None = None, **attrs: Any) -> Callable[[Callable[..., Any]], RichCommand]: ...
@overload
def group(name: str | None = None, *, cls: type[_Group], **attrs: Any) -> Callable[[Callable[..., Any]], _Group]: ...
@overload
def group(name: str | None = None, *, cls: None = None, **attrs: Any) -> Callable[[Callable[..., Any]], RichGroup]: ...
