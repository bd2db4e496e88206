"""`advisor completion SHELL`: the lines that make a shell complete verbs, options and names."""

from __future__ import annotations

import rich_click as click
from click.shell_completion import get_completion_class

from advisor.domain.request.command_options import JsonAnswer
from advisor.interfaces.cli.click_options import options_of
from advisor.interfaces.cli.output import emit

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_ADVISOR_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@options_of(JsonAnswer)
def command(shell: str, as_json: bool) -> None:
    """Print what makes your shell complete verbs, options, and names of models, GPUs and methods.

    bash: add `eval "$(advisor completion bash)"` to ~/.bashrc. zsh: the same with zsh, to ~/.zshrc.
    fish: advisor completion fish > ~/.config/fish/completions/advisor.fish

    \b
    Examples:
      advisor completion bash
      advisor completion fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    script = kind(root, {}, "advisor", VARIABLE).source()
    emit({"shell": shell, "script": script}, as_json, table=lambda said: said["script"])
