"""The command line: ``python -m density COMMAND``; results as tables, or as JSON with ``--json PATH|-``.

Only results go to standard output; progress and errors go to standard error. A failed command leaves one line
there and exits with 2 for a wrong call, 1 for anything else.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from density import export, models
from density.corpus.command import corpus_command
from density.errors import BadInput, DensityError
from density.examine import examine, traces_asked
from density.findings.command import findings_command
from density.health import check as check_model
from density.health import check_reading, require_sound
from density.health import load as load_model
from density.profile import parse_positions, profile, resolve_position
from density.reading import MAX_TOKENS, Reading, read
from density.search import check_fidelity
from density.tables import check_table, models_table, profile_table, trace_table
from density.terminal import (
    Device,
    JsonPath,
    MaxTokens,
    Precision,
    Rule,
    Seed,
    check_destination,
    deliver,
    notes,
    number,
    progress_bar,
    whole_number,
)

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="How much of a language model does this prediction take? Density, traces and checks from the command line.",
)
ModelName = Annotated[
    str, typer.Option("--model", help="Catalogue name, hub id org/name[@revision], folder, or path to a .gguf file.")
]
TextGiven = Annotated[str | None, typer.Option("--text", help="The text itself.")]
FileGiven = Annotated[str | None, typer.Option("--file", help="A UTF-8 file with the text; - for standard input.")]
Position = Annotated[
    int, typer.Option(parser=whole_number, help="Last token the prediction sees; negative counts from the end.")
]
FidelityWanted = Annotated[
    float | None, typer.Option(parser=number, help="The smallest trace found that reaches this.")
]


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
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


app.command("corpus")(corpus_command)
app.command("findings")(findings_command)
