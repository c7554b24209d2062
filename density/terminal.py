"""What the commands share: their options, what is said meanwhile, and where a result goes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from density import export
from density.errors import BadInput, DensityError
from density.files import write_whole

notes = Console(stderr=True, highlight=False)


class NotDelivered(DensityError):
    """A result that cannot be written where it was to go."""


def number(given: str | float) -> float:
    """``given``, by a user or as a default, as a number; raises `BadInput` if it is none."""
    try:
        return float(given)
    except ValueError:
        raise BadInput(f"{given!r} is no number; write one such as 0.8.") from None


def whole_number(given: str | int) -> int:
    """``given``, by a user or as a default, as a whole number; raises `BadInput` if it is none."""
    try:
        return int(given)
    except ValueError:
        raise BadInput(f"{given!r} is no whole number; write one such as 5 or -1.") from None


Rule = Annotated[str, typer.Option("--rule", help="Importance rule: l1, l2, ifr or projection.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps; offload for what is larger than memory.")]
Precision = Annotated[str, typer.Option("--precision", help="float32, bfloat16 or float16.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", parser=whole_number, help="Longest text taken, in tokens.")]
Seed = Annotated[int, typer.Option("--seed", parser=whole_number, help="Seed of the random control.")]
JsonPath = Annotated[
    str | None, typer.Option("--json", metavar="PATH|-", help="Write JSON there; - for standard output.")
]


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error; what it yields takes a stage, what is done, and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    # Where nobody watches, a bar that is taken away again would leave an empty line.
    quiet = not notes.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True, disable=quiet) as bar:
        task = bar.add_task(title, total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


def check_destination(path: str | None) -> None:
    """Raises `BadInput` before any work if ``--json`` names a place that cannot be written."""
    if path in (None, "-"):
        return
    target = Path(path)
    # A file is replaced by one written beside it; a pipe or a device is not.
    places = {target} if target.exists() else set()
    if target.is_file() or not target.exists():
        places.add(target.resolve().parent)
    if target.is_dir() or not all(os.access(place, os.W_OK) for place in places):
        raise BadInput(f"cannot write {path}: name a file in a folder that exists and can be written to.")


def deliver(document: dict[str, Any], path: str | None, show: Callable[[], Table]) -> None:
    """Writes ``document`` where ``--json`` says, whole or not at all, or shows the table.

    Raises:
        NotDelivered: Disk full, a pipe that was closed, a place that cannot be written to.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        # JSON is UTF-8 whatever the locale; of a table, what the locale has no letter for is replaced.
        sys.stdout.reconfigure(encoding="utf-8" if path == "-" else None, errors="replace" if path is None else None)
    try:
        if path is None:
            Console().print(show())
        elif path == "-":
            sys.stdout.write(export.dumps(document) + "\n")
        else:
            write_whole(Path(path), (export.dumps(document) + "\n").encode())
            return
        sys.stdout.flush()
    except OSError as error:
        if path in (None, "-"):
            # What is left in the buffer would be tried again, and fail again, when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        place = "standard output" if path in (None, "-") else path
        raise NotDelivered(
            f"the result cannot be written to {place} ({error.strerror}); name another place with --json."
        ) from error
