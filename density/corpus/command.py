"""``python -m density corpus``: texts in, a Parquet dataset out."""

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from density import models, terminal
from density.corpus.cluster import dask, run_on_cluster
from density.corpus.dataset import CORPUS_SCHEMA, Dataset, open_dataset, read_dataset, settings_of
from density.corpus.rows import Measure
from density.corpus.run import Meter, run_here
from density.corpus.sources import load_texts
from density.errors import BadInput, Cancelled
from density.importance import rule_named
from density.models.loading import choose_device, dtype_named, meaning
from density.reading import MAX_TOKENS
from density.search import check_fidelity
from density.tables import table_of

# Without a terminal, a line of progress so often.
SECONDS_BETWEEN_LINES = 10


def corpus_command(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A .txt, .tsv, .csv, .jsonl or .parquet file; or sample.")
    ],
    out: Annotated[str, typer.Option("--out", help="Folder of the dataset; run again to go on.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", help="As for the other commands; repeat for several.")
    ] = None,
    column: Annotated[str | None, typer.Option("--column", help="Column with the texts.")] = None,
    positions: Annotated[str, typer.Option(help="last, last:N or all.")] = "last",
    fidelity: Annotated[
        float, typer.Option(parser=terminal.number, help="1 - total variation to reach, in (0, 1].")
    ] = 0.8,
    sweep: Annotated[bool, typer.Option("--sweep", help="Measure the 27-size grid: curves and areas.")] = False,
    controls: Annotated[bool, typer.Option("--controls", help="With --sweep: both controls at every size.")] = False,
    limit: Annotated[
        int | None, typer.Option(parser=terminal.whole_number, help="So many texts, drawn with the seed.")
    ] = None,
    seed: terminal.Seed = 0,
    rule: terminal.Rule = "l1",
    device: terminal.Device = "auto",
    precision: terminal.Precision = "float32",
    max_tokens: terminal.MaxTokens = MAX_TOKENS,
    workers: Annotated[
        int | None, typer.Option(parser=terminal.whole_number, help="Processes on this machine; needs Dask.")
    ] = None,
    dask_address: Annotated[str | None, typer.Option("--dask", metavar="ADDRESS", help="A Dask scheduler.")] = None,
    json: terminal.JsonPath = None,
) -> None:
    """Measures many texts with one or more models into a Parquet dataset; stopped and run again, it goes on.

    Example: density corpus sample --out sample-run --model smollm2-135m --sweep --controls
    """
    names = model or [models.DEFAULT]
    measure = Measure(positions, fidelity, sweep, controls, seed, rule, max_tokens)
    terminal.check_destination(json)
    check_measure(measure)
    check_models(names, device, precision)
    check_workers(workers, dask_address)
    texts = load_texts(source, column=column, limit=limit, seed=seed)
    settings = settings_of(texts, names, measure, source=source, precision=precision, column=column)
    run: Callable[..., None] = run_here
    where: dict[str, Any] = {"device": device, "precision": precision}
    if workers is not None or dask_address is not None:
        run, where = run_on_cluster, {**where, "address": dask_address, "workers": workers or 1}
    with open_dataset(Path(out), texts, settings) as dataset:
        for name in dataset.damaged:
            say(f"{name} did not hold what was written and was removed; its texts are measured again.")
        with meter_for(dataset) as meter:
            try:
                run(dataset, measure, meter=meter, **where)
            except KeyboardInterrupt:
                raise Cancelled("stopped; what is finished is kept: run the same command again to go on.") from None
    document = summary(Path(out), settings, dataset, meter)
    terminal.deliver(document, json, lambda: summary_table(document))


def check_measure(measure: Measure) -> None:
    """Raises `BadInput` before any work if what is to be measured makes no sense."""
    check_fidelity(measure.fidelity)
    if not re.fullmatch(r"all|last(:0*[1-9][0-9]*)?", measure.positions):
        raise BadInput(f"positions {measure.positions!r}: write last, last:N or all; texts differ in length.")
    if measure.controls and not measure.sweep:
        raise BadInput("--controls are measured at the sizes of a sweep; add --sweep.")
    rule_named(measure.rule)
    if measure.max_tokens < 1:
        raise BadInput(f"--max-tokens is 1 or more, got {measure.max_tokens}.")


def check_models(names: list[str], device: str, precision: str) -> None:
    """Raises before any work if a name means no model, is there twice, or cannot run as asked."""
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"--model {name} is given twice; name every model once.")
        meaning(name)
    dtype_named(precision)
    choose_device(device)


def check_workers(workers: int | None, address: str | None) -> None:
    """Raises before any work if Dask is asked for and is not there, or asked for twice."""
    if workers is None and address is None:
        return
    if workers is not None and address is not None:
        raise BadInput("--workers starts a cluster here and --dask uses one that is there; give one of the two.")
    if workers is not None and workers < 1:
        raise BadInput(f"--workers is 1 or more, got {workers}.")
    dask()


def say(line: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"density: {line}\n")
    sys.stderr.flush()


@contextmanager
def meter_for(dataset: Dataset) -> Iterator[Meter]:
    """A meter that shows itself on standard error: a bar on a terminal, else a line now and then."""
    total, before = len(dataset.texts) * len(dataset.models), len(dataset.done)
    if before:
        say(f"{before} of {total} texts are there already.")
    if not terminal.notes.is_terminal:
        yield Meter(total, before, lines())
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"))
    with Progress(*columns, console=terminal.notes, transient=True) as bar:
        task = bar.add_task("starting", total=total, completed=before, pace="")
        yield Meter(
            *(total, before),
            lambda meter: bar.update(task, description=meter.stage, completed=before + meter.now, pace=pace(meter)),
        )


def lines() -> Callable[[Meter], None]:
    """A listener that writes a line when the stage changes, every few seconds, and at the end."""
    stage, written = "", 0.0

    def listen(meter: Meter) -> None:
        nonlocal stage, written
        at_end = meter.before + meter.now == meter.total
        if meter.stage != stage or time.monotonic() - written > SECONDS_BETWEEN_LINES or at_end:
            stage, written = meter.stage, time.monotonic()
            say(
                f"{meter.stage}: {meter.before + meter.now}/{meter.total} texts{', ' if meter.now else ''}{pace(meter)}"
            )

    return listen


def pace(meter: Meter) -> str:
    """Rate and time left, once there is a rate."""
    if meter.left is None:
        return ""
    return f"{meter.now / meter.seconds:.2g} texts/s, {timedelta(seconds=round(meter.left))} left"


def summary(folder: Path, settings: dict[str, Any], dataset: Dataset, meter: Meter) -> dict[str, Any]:
    """What the dataset holds and what this run did."""
    table = read_dataset(folder, ["model", "density", "error"])
    counts = table.group_by("model").aggregate([("density", "count"), ("error", "count"), ("density", "mean")])
    found = {row["model"]: row for row in counts.to_pylist()}
    return {
        **settings,
        "schema": CORPUS_SCHEMA,
        "out": str(folder),
        "finished_before": meter.before,
        "finished_now": meter.now,
        "seconds": meter.seconds,
        "damaged": dataset.damaged,
        "results": [
            {
                "model": name,
                "revision": dataset.opened[name].revision,
                "texts": len(dataset.texts),
                "predictions": found[name]["density_count"],
                "errors": found[name]["error_count"],
                "mean_density": found[name]["density_mean"],
            }
            for name in dataset.models
        ],
    }


def summary_table(document: dict[str, Any]) -> Table:
    """One row a model."""
    rows = [
        [
            *(item["model"], item["texts"], item["predictions"], item["errors"]),
            "" if item["mean_density"] is None else f"{item['mean_density']:.2%}",
        ]
        for item in document["results"]
    ]
    title = f"{document['out']}, at fidelity {document['fidelity']}"
    return table_of(title, ["model", "texts", "predictions", "errors", "mean density"], rows)
