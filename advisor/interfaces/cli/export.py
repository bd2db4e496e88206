"""`advisor export`: a recipe as the files of a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

import advisor
from advisor.domain.request.command_options import ExportCommand
from advisor.interfaces.cli.click_options import given, options_of
from advisor.interfaces.cli.output import clean, emit, waiting

if TYPE_CHECKING:
    from advisor.exporters.export_job import Export


@click.command("export")
@click.argument("source", type=click.Path(), metavar="SOURCE")
@options_of(ExportCommand)
def command(source: str, out: str | None, force: bool, as_json: bool, **arguments: Any) -> None:
    """Write a recipe as a trainer's own config, or as a script, with every setting that decides memory.

    SOURCE is what `advisor recommend --json` or `advisor estimate --json` printed, a case as `advisor estimate --from`
    takes it, or the folder of a finished `advisor tune`. What the trainer cannot do is refused, with those that can;
    what it does otherwise is said on stderr.

    \b
    Examples:
      advisor export recommendation.json --to trl -o trl.yaml
      advisor export case.json --to hf --data train.jsonl -o run/ --launch slurm
      advisor export advisor-tune/qwen-train --to axolotl
    """
    with waiting("reading what is exported, and pricing it where it is a case"):
        found = advisor.export(source, **given(arguments))
    deliver(found, out, force=force, as_json=as_json)


def deliver(found: Export, out: str | None, *, force: bool, as_json: bool) -> None:
    """Write an export to its files or to stdout, and tell a person on stderr what to know of it."""
    if out is not None:
        from advisor.exporters.write_files import placed_at, write_export

        found = placed_at(found, out)
        for path in write_export(found, out, force=force):
            click.echo(clean(f"wrote {path}"), err=True)
    if as_json:
        emit(found, as_json)
        return
    if out is None:
        for file in found.files:
            if len(found.files) > 1:
                click.echo(f"# {file.name}")
            click.echo(file.text)
    for note in found.notes:
        click.echo(clean(f"note    {note}"), err=True)
    click.echo(clean(f"run     {found.launch or found.command}"), err=True)
