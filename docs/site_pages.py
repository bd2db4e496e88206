"""Pages of the site that nobody writes twice: one a verb, from what `--help` is made of, and the files at the root.

A hook of mkdocs (`hooks:` in mkdocs.yml), which needs advisor installed. Only `on_files` and `on_config` need mkdocs;
the rest is tested without.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
WHOLE: Final = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page -> the file at the root that it is."""
_LINK: Final = re.compile(r"(!?\[[^\]]*\])\((?!https?:|#)([^)\s]+)\)")


def verbs() -> dict[str, str]:
    """Every verb of the command line and its first line of help."""
    from advisor.interfaces.cli.main import VERBS

    return {name: says for name, (_, says) in VERBS.items()}


def verb_page(verb: str) -> str:
    """One verb: what it does, examples, every option with its default, in the words of `--help`."""
    import click

    from advisor.interfaces.cli.main import load

    command = load(verb)
    text = inspect.cleandoc(command.help or "")
    says, _, examples = text.partition("\b\n")
    lines = [f"# advisor {verb}", "", _plain(says).strip(), ""]
    typed = re.findall(r"^\s*(advisor .+)$", examples, re.MULTILINE)
    if typed:
        lines += ["```bash", *typed, "```", ""]
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    if arguments:
        lines += ["Takes " + ", ".join(f"`{one.human_readable_name}`" for one in arguments) + ".", ""]
    lines += ["| option | value | what it is |", "|---|---|---|"]
    for one in command.params:
        if isinstance(one, click.Option) and not one.hidden and one.name != "help":
            flags = ", ".join(f"`{flag}`" for flag in (*one.opts, *one.secondary_opts))
            lines.append(f"| {flags} | {_cell(_value(one))} | {_cell(one.help or '')} |")
    function = _function(verb)
    if function:
        lines += ["", f"In Python: `advisor.{function}`, with the same arguments by the same names."]
    return "\n".join([*lines, ""])


def index_of_verbs() -> str:
    """The list of all verbs."""
    rows = [f"| [`advisor {name}`]({name}.md) | {_cell(says)} |" for name, says in verbs().items()]
    top = ["# Commands", "", "Every command answers `--help`, and `--json` with one JSON document.", ""]
    return "\n".join([*top, "| command | what it does |", "|---|---|", *rows, ""])


def whole_page(page: str) -> str:
    """A file at the root as a page, its links to other documents kept alive."""
    text = (ROOT / WHOLE[page]).read_text(encoding="utf-8")
    pages = {name: made for made, name in WHOLE.items()}

    def moved(found: re.Match[str]) -> str:
        target, hash_, anchor = found[2].partition("#")
        if target.startswith("docs/"):
            target = target.removeprefix("docs/")
        elif target in pages:
            target = pages[target]
        else:
            return f"{found[1].strip('![]')}"
        return f"{found[1]}({target}{hash_}{anchor})"

    return _LINK.sub(moved, text)


def made_pages() -> dict[str, str]:
    """Address of each page that is made -> its text."""
    pages = {page: whole_page(page) for page in WHOLE}
    pages["verbs/index.md"] = index_of_verbs()
    return pages | {f"verbs/{verb}.md": verb_page(verb) for verb in verbs()}


def on_config(config: Any) -> Any:
    """mkdocs: the pages of verbs in the order of `advisor --help`."""
    listed: list[Any] = ["verbs/index.md", *(f"verbs/{verb}.md" for verb in verbs())]
    config["nav"] = [{"Commands": listed} if entry == {"Commands": "verbs/"} else entry for entry in config["nav"]]
    return config


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: the made pages beside those that lie in the folder."""
    from mkdocs.structure.files import File

    for address, text in made_pages().items():
        files.append(File.generated(config, address, content=text))
    return files


def _function(verb: str) -> str:
    import advisor

    return verb if verb in advisor.VERBS else ""


def _value(option: Any) -> str:
    """What an option takes: its placeholder; nothing of a switch."""
    return "" if option.is_flag else f"`{option.metavar or option.type.name.upper()}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _plain(text: str) -> str:
    return text.replace("\b", "").replace("<", "&lt;")
