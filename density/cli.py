"""The command line: ``python -m density COMMAND``; results as tables, or as JSON with ``--json PATH|-``.

Only results go to standard output; progress and errors go to standard error. A failed command leaves one line
there and exits with 2 for a wrong call, 1 for anything else.
"""

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
from rich.text import Text

from density import export, models
from density.errors import BadInput, DensityError
from density.examine import examine, traces_asked
from density.files import write_whole
from density.health import check as check_model
from density.health import check_reading, require_sound
from density.health import load as load_model
from density.profile import parse_positions, profile, resolve_position
from density.reading import MAX_TOKENS, Reading, read
from density.search import check_fidelity

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="How much of a language model does this prediction take? Density, traces and checks from the command line.",
)
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


ModelName = Annotated[
    str, typer.Option("--model", help="Catalogue name, hub id org/name[@revision], folder, or path to a .gguf file.")
]
TextGiven = Annotated[str | None, typer.Option("--text", help="The text itself.")]
FileGiven = Annotated[str | None, typer.Option("--file", help="A UTF-8 file with the text; - for standard input.")]
Rule = Annotated[str, typer.Option("--rule", help="Importance rule: l1, l2, ifr or projection.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, mps; offload for what is larger than memory.")]
Precision = Annotated[str, typer.Option("--precision", help="float32, bfloat16 or float16.")]
MaxTokens = Annotated[int, typer.Option("--max-tokens", parser=whole_number, help="Longest text taken, in tokens.")]
Seed = Annotated[int, typer.Option("--seed", parser=whole_number, help="Seed of the random control.")]
Position = Annotated[
    int, typer.Option(parser=whole_number, help="Last token the prediction sees; negative counts from the end.")
]
FidelityWanted = Annotated[
    float | None, typer.Option(parser=number, help="The smallest trace found that reaches this.")
]
JsonPath = Annotated[
    str | None, typer.Option("--json", metavar="PATH|-", help="Write JSON there; - for standard output.")
]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    import density.corpus.command
    import density.findings.command  # noqa: F401 -- they register their commands, and need this module

    try:
        given = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
        return typer.main.get_command(app).main(given, prog_name="density", standalone_mode=False) or 0
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        asked = context.command_path if context else "density"
        return complain(f"{error.format_message()} See '{asked} --help'.", 2)
    except BadInput as error:
        return complain(str(error), 2)
    except (DensityError, OSError) as error:
        return complain(str(error), 1)
    except (KeyboardInterrupt, typer.Abort):
        return complain("stopped.", 1)


def complain(message: str, code: int) -> int:
    """One line on standard error."""
    sys.stderr.write(f"density: {' '.join(message.split())}\n")
    return code


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error; what it yields takes a stage, what is done, and the total."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    # Where nobody watches, a bar that is taken away again would leave an empty line.
    quiet = not notes.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=notes, transient=True, disable=quiet) as bar:
        task = bar.add_task(title, total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


def given_text(text: str | None, file: str | None) -> str:
    """The text of ``--text`` or ``--file``; raises `BadInput` unless exactly one was given and is UTF-8."""
    if (text is None) == (file is None):
        raise BadInput("give the text with --text or with --file, one of the two.")
    if text is not None:
        return text
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file or "").read_bytes()
        return raw.decode()
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 at byte {error.start}; convert it first.") from None


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


def open_reading(model: str, text: str, rule: str, device: str, precision: str, max_tokens: int) -> Reading:
    """Loads and checks the model, then reads the text."""
    with progress_bar(f"loading {model}") as progress:
        loaded, _ = load_model(model, device=device, precision=precision, progress=progress)
    return read(loaded, text, rule=rule, max_tokens=max_tokens)


@app.command("profile")
def profile_command(
    model: ModelName = models.DEFAULT,
    text: TextGiven = None,
    file: FileGiven = None,
    fidelity: Annotated[float, typer.Option(parser=number, help="1 - total variation to reach, in (0, 1].")] = 0.8,
    positions: Annotated[str, typer.Option(help="all, last, last:N, or numbers such as 3,7,-1 or 3..9.")] = "all",
    sweep: Annotated[bool, typer.Option("--sweep", help="Measure the 27-size grid: curve and both areas.")] = False,
    rule: Rule = "l1",
    device: Device = "auto",
    precision: Precision = "float32",
    max_tokens: MaxTokens = MAX_TOKENS,
    seed: Seed = 0,
    json: JsonPath = None,
) -> None:
    """The density of the predictions of a text: the share of the model's computation graph that reaches a fidelity.

    Example: density profile --text "The capital of France is" --fidelity 0.8 --json -
    """
    check_destination(json)
    check_fidelity(fidelity)
    reading = open_reading(model, given_text(text, file), rule, device, precision, max_tokens)
    wanted = parse_positions(positions, len(reading.tokens))
    found = []
    with progress_bar("measuring") as progress:
        for prediction in profile(reading, fidelity=fidelity, positions=wanted, sweep=sweep):
            found.append(prediction)
            progress("measuring", len(found), len(wanted))
    health = check_reading(reading, wanted[-1])
    document = export.profile_json(reading, found, fidelity=fidelity, health=health, seed=seed)
    deliver(document, json, lambda: profile_table(document))


@app.command("trace")
def trace_command(
    position: Position,
    model: ModelName = models.DEFAULT,
    text: TextGiven = None,
    file: FileGiven = None,
    fidelity: FidelityWanted = None,
    sizes: Annotated[str | None, typer.Option(help="Shares of the graph's edges, such as 0.05,0.2.")] = None,
    thresholds: Annotated[str | None, typer.Option(help="Importances to cut at, such as 1e-4,1e-3.")] = None,
    controls: Annotated[bool, typer.Option("--controls", help="Replay random edges and the complement too.")] = False,
    edges: Annotated[int, typer.Option(parser=whole_number, help="List this many edges, the first to enter.")] = 0,
    rule: Rule = "l1",
    device: Device = "auto",
    precision: Precision = "float32",
    max_tokens: MaxTokens = MAX_TOKENS,
    seed: Seed = 0,
    json: JsonPath = None,
) -> None:
    """Traces of one prediction: what they predict, what they are made of, and how their controls do.

    Example: density trace --text "The capital of France is" --position -1 --sizes 0.05,0.2 --controls --edges 20
    """
    check_destination(json)
    if fidelity is not None:
        check_fidelity(fidelity)
    by_size, by_threshold = numbers("--sizes", sizes), numbers("--thresholds", thresholds)
    reading = open_reading(model, given_text(text, file), rule, device, precision, max_tokens)
    position = resolve_position(position, len(reading.tokens))
    with progress_bar("tracing") as progress:
        asked = traces_asked(reading, position, fidelity=fidelity, sizes=by_size, thresholds=by_threshold)
        results = []
        for trace, size in asked:
            results.append(examine(reading, trace, size=size, controls=controls, edges=edges, seed=seed))
            progress("tracing", len(results), len(asked))
    health = check_reading(reading, position)
    document = export.trace_json(reading, position, results, health=health, seed=seed)
    deliver(document, json, lambda: trace_table(document))


def numbers(option: str, given: str | None) -> list[float]:
    """Comma-separated numbers; raises `BadInput` for anything else."""
    try:
        return [number(part) for part in given.split(",")] if given is not None else []
    except BadInput:
        raise BadInput(f"{option} {given!r}: write numbers separated by commas, such as 0.05,0.2.") from None


@app.command("models")
def models_command(json: JsonPath = None) -> None:
    """The catalogue: what can be fetched by name, its licence and size, and whether it is ready here."""
    check_destination(json)
    document = export.models_json(models.catalogue())
    deliver(document, json, lambda: models_table(document))


@app.command("fetch")
def fetch_command(
    name: Annotated[str, typer.Argument(help="A catalogue name; see 'density models'.")],
    accept_terms: Annotated[bool, typer.Option("--accept-terms", help="Accept the model's terms of use.")] = False,
) -> None:
    """Makes a catalogue model ready: downloads, checks and converts it, once."""
    with progress_bar(f"fetching {name}") as progress:
        folder = models.fetch(name, progress=progress, accept_terms=accept_terms)
    notes.print(Text(f"{name} is ready in {folder}"))


@app.command("check")
def check_command(
    model: Annotated[str, typer.Argument(help="Catalogue name, hub id, folder, or path to a .gguf file.")],
    device: Device = "auto",
    precision: Precision = "float32",
    json: JsonPath = None,
) -> None:
    """Loads a model and checks that the engine reproduces it: writes add up, the full graph's replay is the model."""
    check_destination(json)
    with progress_bar(f"loading {model}") as progress:
        loaded = models.open_model(model, device=device, precision=precision, progress=progress)
    health = check_model(loaded)
    document = export.check_json(loaded, health)
    deliver(document, json, lambda: check_table(document))
    require_sound(loaded, health)


WORDS = {"predicts", "model", "what", "family", "licence", "state", "source"}


def table_of(title: str, columns: list[str], rows: list[list[Any]], note: str | None = None) -> Table:
    """A plain table, words to the left and figures to the right; nothing in a cell is markup."""
    caption = None if note is None else Text(note)
    table = Table(
        title=Text(title), caption=caption, title_justify="left", caption_justify="left", box=None, pad_edge=False
    )
    for name in columns:
        table.add_column(name, justify="left" if name in WORDS else "right")
    for row in rows:
        table.add_row(*(Text(cell if isinstance(cell, str) else format(cell, ".4g")) for cell in row))
    return table


def exactness(document: dict[str, Any]) -> str:
    """How exactly the engine is the model on this text, in a line."""
    health = document["health"]
    return (
        f"{document['precision']}; full replay {health['full_replay_tv']:.1e} TV from the model, "
        f"states within {health['max_state_error']:.1e}"
    )


def profile_table(document: dict[str, Any]) -> Table:
    """One row a prediction."""
    rows = []
    for item in document["predictions"]:
        came = item["next_token"]
        likely = item["top_tokens"][0]
        rows.append(
            [
                item["position"],
                repr(came) if came is not None else f"next: {likely['text']!r} {likely['probability']:.2f}",
                f"{item['density']:.2%}",
                item["total_variation"],
                item["entropy"],
                "" if item["surprisal"] is None else item["surprisal"],
                item["replays"],
            ]
        )
    title = f"{document['model']}, density at fidelity {document['fidelity']} of predicting each token"
    return table_of(
        title, ["sees up to", "predicts", "density", "TV", "entropy", "surprisal", "replays"], rows, exactness(document)
    )


def trace_table(document: dict[str, Any]) -> Table:
    """One row a trace."""
    rows = []
    for item in document["traces"]:
        likely = item["top_tokens"][0]
        controls = [item[name]["total_variation"] if name in item else "" for name in ("random", "complement")]
        row = [f"{item['size']:.3%}", item["edges"], item["threshold"], item["total_variation"], *controls]
        rows.append([*row, f"{likely['text']!r} {likely['probability']:.2f}"])
    columns = ["size", "edges", "threshold", "TV", "TV of random", "TV of complement", "predicts"]
    title = f"{document['model']}, prediction at {document['position']}"
    return table_of(title, columns, rows, exactness(document))


def models_table(document: dict[str, Any]) -> Table:
    """One row a model."""
    rows = [
        [
            *(m["name"], m["family"], f"{m['parameters'] / 1e6:.0f} M", m["licence"]),
            *(f"{m['download_bytes'] / 1e6:.0f} MB", m["state"], m["source"]),
        ]
        for m in document["models"]
    ]
    return table_of("catalogue", ["model", "family", "weights", "licence", "download", "state", "source"], rows)


def check_table(document: dict[str, Any]) -> Table:
    """One row a figure."""
    rows = [[name, value] for name, value in document["health"].items()]
    title = f"{document['model']} ({document['family']}): {'passed' if document['passed'] else 'FAILED'}"
    return table_of(title, ["what", "measured"], rows)
