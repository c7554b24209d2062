"""``python -m density findings``: what a corpus says of the papers' claims; importing this registers the command."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from density import cli
from density.errors import BadInput
from density.findings.document import find
from density.findings.report import report, write_figures
from density.findings.verdicts import Unit, Verdict


@cli.app.command("findings")
def findings_command(
    datasets: Annotated[
        list[str], typer.Argument(metavar="DATASET...", help="Folders that the corpus command wrote, finished or not.")
    ],
    out: Annotated[str | None, typer.Option("--out", metavar="PATH", help="Write the report there, as HTML.")] = None,
    figures: Annotated[
        str | None, typer.Option("--figures", metavar="FOLDER", help="Write every figure there: SVG, PNG, CSV.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", help="Whose frequencies of tokens: en, or with weights en:3,de:1.")
    ] = "en",
    json: cli.JsonPath = None,
) -> None:
    """The papers' claims as a corpus has them: supported, contradicted or not to be told, each with its interval.

    Example: density findings sweep-run search-run --out report.html --figures figures
    """
    for path in (json, out):
        cli.check_destination(path)
    if out == "-":
        raise BadInput("--out - is no file; name one, such as report.html.")
    if figures is not None and Path(figures).exists() and not Path(figures).is_dir():
        raise BadInput(f"--figures {figures} is a file; name a folder.")
    with cli.progress_bar("reading the datasets"):
        found = find([Path(name) for name in datasets], language)
        if figures is not None:
            write_figures(found, Path(figures))
        if out is not None:
            Path(out).write_text(report(found), encoding="utf-8")
    document = found.document()
    cli.deliver(document, json, lambda: verdicts_table(document))


def verdicts_table(document: dict[str, Any]) -> Table:
    """One row a check."""
    rows = [
        [claim["name"], check["model"], check["what"], check["verdict"], *numbers(check)]
        for claim in document["claims"]
        for check in claim["checks"] or [{"model": "", "what": "", "verdict": Verdict.CANNOT_TELL.value}]
    ]
    made = cli.table_of("claims", ["claim", "model", "what", "this data", "number", "95% interval", "texts"], rows)
    for column in made.columns[:4]:
        column.justify = "left"
    return made


def numbers(check: dict[str, Any]) -> list[str]:
    """A check's number, its interval and how many texts it is of; empty where there is none."""
    if check.get("value") is None:
        return ["", "", ""]
    write = Unit(check["unit"]).write
    bounds = "" if check["low"] is None else f"{write(check['low'])} to {write(check['high'])}"
    return [write(check["value"]), bounds, f"{check['texts']:,}"]
