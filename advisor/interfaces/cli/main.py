"""`advisor`: the list of verbs, loaded one at a time, and the one place where errors become exit codes.

Exit codes: 0 answered · 2 wrong request · 3 nothing fits · 4 bad file · 130 interrupted. Anything else
is a bug: one line says so, its traceback goes to a file that is named, and the exit code is 1.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import rich_click as click
from click.exceptions import Abort, ClickException, Exit, NoSuchCommand, NoSuchOption

from advisor import __version__
from advisor.errors import OF_FILES, AdvisorError, BadFile, BadRequest, UnknownName
from advisor.interfaces.cli.output import clean, keep_quiet
from advisor.processes import interrupted_by_signals

VERBS: Final[dict[str, tuple[str, str]]] = {
    "recommend": (
        "advisor.interfaces.cli.recommend:command",
        "The method, batch, precision and settings to use, with reasons and what would change them.",
    ),
    "estimate": (
        "advisor.interfaces.cli.estimate:command",
        "Memory, time, money and quality of one recipe on one machine, or of many from a file.",
    ),
    "fit": (
        "advisor.interfaces.cli.fit:command",
        "What fits: the largest batch, length or model on a GPU, or the smallest and cheapest GPU for a recipe.",
    ),
    "tune": (
        "advisor.interfaces.cli.tune:command",
        "Search the settings on your data, from the recommendation on; keep the best adapter.",
    ),
    "probe": (
        "advisor.interfaces.cli.probe:command",
        "Train a little on your data: which method, go or no-go, how many more rows.",
    ),
    "plan": (
        "advisor.interfaces.cli.plan:command",
        "Which job runs on which machine and when, at what cost, with what chance of its deadline.",
    ),
    "export": (
        "advisor.interfaces.cli.export:command",
        "Write a recipe as a trainer's own config, or as a script, with every setting that decides memory.",
    ),
    "study": (
        "advisor.interfaces.cli.study:command",
        "Compare methods, data sizes and seeds on your data; keep the result as evidence.",
    ),
    "methods": ("advisor.interfaces.cli.methods:command", "List, filter, explain and compare fine-tuning methods."),
    "gpus": ("advisor.interfaces.cli.gpus:command", "List and search the GPUs of the catalogue, and add your own."),
    "prices": (
        "advisor.interfaces.cli.prices:command",
        "What a machine with a GPU costs an hour, on which day that was read, and how to read it anew.",
    ),
    "models": ("advisor.interfaces.cli.models:command", "List and search the models of the catalogue."),
    "evidence": ("advisor.interfaces.cli.evidence:command", "What published studies found, and what it predicts."),
    "profile": (
        "advisor.interfaces.cli.profile:command",
        "Measure real training steps on this machine: memory, time by phase, power; one process a run.",
    ),
    "calibrate": ("advisor.interfaces.cli.calibrate:command", "Fit the cost model to measured runs."),
    "audit": ("advisor.interfaces.cli.audit:command", "Score predictions on measured runs that the fit did not see."),
    "web": (
        "advisor.interfaces.cli.web:command",
        "A page of this machine to ask, compare and move sliders on, and the same verbs for programs.",
    ),
    "mcp": (
        "advisor.interfaces.cli.mcp:command",
        "Offer recommend, estimate and export to an agent, by the Model Context Protocol on stdin and stdout.",
    ),
    "schema": (
        "advisor.interfaces.cli.schema:command",
        "Print the JSON schema of what a verb takes or answers, or list them.",
    ),
    "doctor": (
        "advisor.interfaces.cli.doctor:command",
        "What is installed, which GPU and driver there are, what is out of date, and what to measure next.",
    ),
    "completion": (
        "advisor.interfaces.cli.completion:command",
        "Print what makes your shell complete verbs, options, and names of models, GPUs and methods.",
    ),
}
"""Verb -> ("module:attribute" of its command, its first help line, so that listing imports nothing)."""

QUIET: Final = "--quiet"
INTERRUPTED: Final = 130
BUG: Final = 1


class Verbs(click.RichGroup):
    """A group whose commands are imported when one is run or asked for its help, never to list them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> click.Command | None:
        """A stand-in that knows the name and the first line of help; `resolve_command` loads the real one."""
        if cmd_name not in VERBS:
            return None
        return click.RichCommand(name=cmd_name, help=VERBS[cmd_name][1])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, stand_in, rest = super().resolve_command(ctx, args)
        if stand_in is None or name is None:
            return name, stand_in, rest
        return name, load(name), rest


def load(verb: str) -> click.Command:
    """The command of a verb."""
    module, _, attribute = VERBS[verb][0].partition(":")
    return getattr(import_module(module), attribute)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="advisor")
@click.option("--quiet", "-q", is_flag=True, help="The answer alone: no progress, notes or hints. After the verb, too.")
def cli(quiet: bool) -> None:
    """Which fine-tuning method to use on your GPU, what it costs, how good it will be, and how sure that is.

    Results go to stdout, progress to stderr. With --json every verb prints one JSON document, errors
    included. Exit codes: 0 answered, 2 wrong request, 3 nothing fits, 4 bad file.

    \b
    Examples:
      advisor recommend --model meta-llama/Llama-3.1-8B --gpu H100 --samples 2000
      advisor estimate --model meta-llama/Llama-3.2-3B --gpu L40S --method lora --batch-size 4 --seq-len 683
    """
    if quiet:
        keep_quiet()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    _usable_streams()
    try:
        code = run(list(sys.argv[1:] if arguments is None else arguments))
    except Exception as error:
        # whatever is not an error of ours is a bug, and a screen of frames helps nobody to go on
        code = BUG
        click.echo(_told_of_bug(error), err=True)
    sys.exit(code)


def _told_of_bug(error: Exception) -> str:
    """What a person is told; the traceback lies in the file named, or follows where none can be written."""
    import traceback

    from advisor.bug_log import bug_told

    said, path = bug_told(error)
    what = clean(f"Error: advisor failed on this, which is a bug: {said}")
    if path is None:
        return f"{what}\n{''.join(traceback.format_exception(error))}"
    return f"{what}\n  its traceback: {path}"


def run(arguments: list[str]) -> int:
    """Run one command line and say its exit code; a bug's exception passes through with its traceback."""
    as_json = "--json" in arguments
    # one word of every verb, wherever it stands
    words = [QUIET, *(word for word in arguments if word != QUIET)] if QUIET in arguments else arguments
    # it warns of CPU kernels that no prediction needs
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        with interrupted_by_signals():
            code = cli.main(args=words or ["--help"], prog_name="advisor", standalone_mode=False, obj=list(arguments))
        return code if isinstance(code, int) else 0
    except AdvisorError as error:
        _report(error, as_json)
        return error.exit_code
    except ClickException as error:
        _report(_usage(error), as_json)
        return error.exit_code
    except Exit as ending:
        return ending.exit_code
    except SystemExit as ending:
        # click leaves so where the reader of the answer has left: `advisor prices | head -1` got what it wanted
        if isinstance(ending.__context__, BrokenPipeError):
            return 0
        raise
    except OSError as error:
        if error.errno not in OF_FILES:
            raise
        _report(_of_file(error), as_json)
        return BadFile.exit_code
    except (Abort, KeyboardInterrupt) as ending:
        # click puts its own error in the place of an interruption
        told = str(ending.__context__ if isinstance(ending, Abort) and ending.__context__ else ending)
        click.echo(told or "Interrupted. Nothing was left half-written; the same command starts again.", err=True)
        return INTERRUPTED


def _of_file(error: OSError) -> BadFile:
    """A file or folder that the system does not let us use, wherever that came out."""
    name = str(error.filename or "a file or folder")
    reason = error.strerror or str(error)
    hints = ["free some space, then run the same command again"] if error.errno in (errno.ENOSPC, errno.EDQUOT) else []
    return BadFile(f"{name} cannot be used: {reason}", hints=hints, path=name, reason=reason)


def _usable_streams() -> None:
    """Streams that take every character, whatever the terminal's encoding, and that exist where they were closed."""
    for name in ("stdout", "stderr", "stdin"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _report(error: AdvisorError, as_json: bool) -> None:
    """The error for a person on stderr; with --json its facts on stdout."""
    if as_json:
        click.echo(clean(json.dumps(error.facts(), ensure_ascii=False, indent=2, default=str)))
    else:
        click.echo(clean(f"Error: {error}"), err=True)


def _usage(error: ClickException) -> AdvisorError:
    """What click could not parse, told as any other wrong request."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "advisor"
    if isinstance(error, NoSuchCommand):
        return UnknownName.of("command", error.command_name, list(VERBS), list_with="advisor --help")
    if isinstance(error, NoSuchOption) and context is not None:
        from advisor.domain.request.unknown_keys import option_meant

        if meant := option_meant(error.option_name, _options(context.command), _options(load("estimate"))):
            return BadRequest(f"No such option '{error.option_name}'.", hints=[meant], option=error.option_name)
    return BadRequest(error.format_message(), hints=[f"to see the options: {path} --help"])


def _options(command: click.Command) -> list[str]:
    return [one for parameter in command.params if not getattr(parameter, "hidden", False) for one in parameter.opts]


if __name__ == "__main__":
    main()
