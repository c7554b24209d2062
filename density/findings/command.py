"""``python -m density findings``: what a corpus says of the papers' claims."""

from pathlib import Path
from typing import Annotated

import typer

from density import terminal
from density.errors import BadInput
from density.files import write_whole


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
    json: terminal.JsonPath = None,
) -> None:
    """The papers' claims as a corpus has them: supported, contradicted or not to be told, each with its interval.

    Example: density findings sweep-run search-run --out report.html --figures figures
    """
    # Read here: statistics and charts take more than a second, for which no other command should wait.
    from density.findings.document import find
    from density.findings.report import report, write_figures
    from density.findings.table import verdicts_table

    for path in (json, out):
        terminal.check_destination(path)
    if out == "-":
        raise BadInput("--out - is no file; name one, such as report.html.")
    if figures is not None and Path(figures).exists() and not Path(figures).is_dir():
        raise BadInput(f"--figures {figures} is a file; name a folder.")
    with terminal.progress_bar("reading the datasets"):
        found = find([Path(name) for name in datasets], language)
        if figures is not None:
            write_figures(found, Path(figures))
        if out is not None:
            write_whole(Path(out), report(found).encode())
    document = found.document()
    terminal.deliver(document, json, lambda: verdicts_table(document))
