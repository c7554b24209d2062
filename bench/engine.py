"""The engine's speed on SmolLM2-135M, as ratios within one run: prints one table."""

import argparse
import math
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import networkx as nx
import psutil
import torch
from rich.console import Console
from rich.table import Table

from density.importance import run_whole
from density.models import DEFAULT, Model, open_model
from density.profile import profile
from density.reading import Reading, read, tokenise
from density.traces import Traces
from tests import reference

PASSAGE = (Path(__file__).parent / "passage.txt").read_text(encoding="utf-8")
FIDELITY = 0.8
LENGTHS, LAST = (16, 32, 64, 128, 256), 8
EXTRACTION_BAR, REPLAYS_BAR, RATE_BAR, MEMORY_BAR = 1.6, 5, 0.9, 1.5e9
SECONDS_AIM = {12: 1.5, 48: 10}


def seconds(work: Callable[[], object]) -> float:
    """How long ``work()`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(*works: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each of ``works``, run in turn so that a slow moment of the machine hits them alike."""
    for work in works:
        work()
    taken = [[seconds(work) for work in works] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def passage_of(model: Model, length: int) -> str:
    """The beginning of the passage that has ``length`` tokens."""
    ids = model.tokenizer(PASSAGE)["input_ids"][:length]
    text = model.tokenizer.decode(ids)
    assert len(tokenise(model, text)) == length
    return text


def ids_of(model: Model, length: int) -> torch.Tensor:
    """The first ``length`` tokens of the passage."""
    return torch.tensor(tokenise(model, passage_of(model, length)))


def extraction(model: Model, length: int, rounds: int) -> tuple[float, float, float]:
    """Seconds of a plain forward pass; of importances, widest paths and edge counts of all predictions; their ratio."""
    ids = ids_of(model, length)

    def extract() -> None:
        traces = Traces(run_whole(model.decoder, ids).importances, range(length))
        assert len(traces.edges_full) == length

    with torch.no_grad():
        plain, all_predictions = medians(lambda: model.decoder.model(ids[None]), extract, rounds=rounds)
    return plain, all_predictions, all_predictions / plain


class Stopwatch:
    """Counts replays, the seconds they take, and those that as many plain products would at the same moments.

    A plain product is a float32 linear from ``d_model`` to ``d_neuron`` on a batch's rows, none of them skipped, as
    often as it takes to be as much work as the model's blocks; timed right after the batch, since machines change
    their pace.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.seconds = self.product_seconds = 0.0
        self.rows: list[int] = []
        self.replays = 0
        self.real = Reading.replayed_probabilities

    def __enter__(self) -> "Stopwatch":
        watch = self

        def timed(reading, traces):
            started = time.perf_counter()
            found = watch.real(reading, traces)
            watch.seconds += time.perf_counter() - started
            watch.replays += len(traces)
            watch.rows.append(sum(trace.position + 1 for trace in traces))
            watch.product_seconds += product_seconds(watch.model, watch.rows[-1])
            return found

        self.patch = mock.patch.object(Reading, "replayed_probabilities", timed)
        self.patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.stop()


def product_seconds(model: Model, rows: int) -> float:
    """Seconds of the work that the model's blocks are on ``rows`` rows, as plain linears from d_model to d_neuron."""
    decoder = model.decoder
    body = model.decoder.model.model
    weights = sum(weight.numel() for weight in body.parameters()) - body.embed_tokens.weight.numel()
    x, weight = torch.randn(rows, decoder.d_model), torch.randn(decoder.d_neuron, decoder.d_model)
    (taken,) = medians(lambda: torch.nn.functional.linear(x, weight), rounds=9)
    return taken * weights / weight.numel()


def profiled(model: Model, length: int) -> dict[str, float]:
    """A profile of all predictions: its seconds, replays a prediction, and their rate as a share of plain products'."""
    text = passage_of(model, length)
    taken = seconds(lambda: list(profile(read(model, text), fidelity=FIDELITY)))
    with Stopwatch(model) as watch:
        assert list(profile(read(model, text), fidelity=FIDELITY))
    rate, rows = watch.product_seconds / watch.seconds, round(statistics.mean(watch.rows))
    return {"seconds": taken, "replays": watch.replays / length, "rate": rate, "rows": rows}


def reference_seconds(model: Model, length: int) -> float:
    """Seconds the reference takes for the graph and the order of edges of one prediction."""
    ids = ids_of(model, length).tolist()

    def build() -> nx.MultiDiGraph:
        graph = reference.build_graph(model.decoder.model, ids, length - 1)
        reference.grow(graph, graph.graph["output"])
        return graph

    return seconds(build)


@dataclass(frozen=True, slots=True)
class Long:
    """The last predictions of a text profiled in a process of their own.

    Attributes:
        length: Tokens of the text.
        seconds: From the text to the last density.
        peak: The process's largest resident memory, in bytes.
        loaded: Its resident memory before it read the text, after a short one.
        weights: The model's weights.
    """

    length: int
    seconds: float
    peak: int
    loaded: int
    weights: int


def profiled_alone(length: int) -> Long:
    """Profiles the last predictions of a text of ``length`` tokens in a fresh process."""
    command = [sys.executable, "-m", "bench.engine", "--long", str(length)]
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(answer.stderr)
    taken, *memory = answer.stdout.split()[-4:]
    return Long(length, float(taken), *map(int, memory))


def profile_long(length: int) -> None:
    """What `profiled_alone` runs; prints its seconds, peak, memory before and the weights' bytes."""
    model = open_model(DEFAULT, device="cpu")
    text = passage_of(model, length)
    # Weights are in memory once they have been used.
    assert list(profile(read(model, passage_of(model, 4)), fidelity=FIDELITY))
    loaded = psutil.Process().memory_info().rss

    def work() -> None:
        assert len(list(profile(read(model, text), fidelity=FIDELITY, positions=f"last:{LAST}"))) == LAST

    taken = seconds(work)
    weights = sum(weight.numel() * weight.element_size() for weight in model.decoder.model.parameters())
    print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, loaded, weights)


def exponent(lengths: Sequence[int], measured: Sequence[float]) -> float:
    """The power of the length that ``measured`` grows with: the least-squares slope of their logarithms."""
    return statistics.linear_regression([*map(math.log, lengths)], [*map(math.log, measured)]).slope


def main() -> None:
    """Measures everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11, help="repetitions of the short measurements")
    parser.add_argument("--long", type=int, metavar="TOKENS", help="only the last predictions of a text this long")
    chosen = parser.parse_args()
    if chosen.long:
        profile_long(chosen.long)
        return
    model = open_model(DEFAULT, device="cpu")
    table = Table(title=f"{DEFAULT}, CPU float32, {torch.get_num_threads()} threads", title_justify="left", box=None)
    for name, justify in (("what", "left"), ("measured", "right"), ("bar", "right")):
        table.add_column(name, justify=justify)
    plain, extracting, ratio = extraction(model, 48, chosen.rounds)
    table.add_row("48 tokens: plain forward", f"{1e3 * plain:.0f} ms", "")
    table.add_row("importances, widest paths, edge counts, all predictions", f"{1e3 * extracting:.0f} ms", "")
    table.add_row("... over plain forward", f"{ratio:.2f}", f"{EXTRACTION_BAR} at most")
    for length in (12, 24, 48):
        found = profiled(model, length)
        aim = f"{SECONDS_AIM[length]} s, on idle cores" if length in SECONDS_AIM else ""
        table.add_row(f"profile of {length} tokens at fidelity {FIDELITY}", f"{found['seconds']:.1f} s", aim)
        table.add_row("... replays a prediction", f"{found['replays']:.2f}", f"{REPLAYS_BAR} at most")
        bar = f"{RATE_BAR:.0%} or better" if length == 48 else ""
        table.add_row(f"... rate over a linear's, {found['rows']} rows a batch", f"{found['rate']:.0%}", bar)
    alone = reference_seconds(model, 48)
    table.add_row("reference: graph and order, one prediction", f"{alone:.1f} s", "")
    table.add_row("... over all predictions by the engine", f"{alone / extracting:.0f}x", "10x or more")
    alone_each = [profiled_alone(length) for length in LENGTHS]
    for long in alone_each:
        name = f"last {LAST} predictions of {long.length} tokens"
        table.add_row(name, f"{long.seconds:.1f} s, {(long.peak - long.loaded) / 1e6:.0f} MB", "")
    taken = exponent(LENGTHS, [long.seconds for long in alone_each])
    memory = exponent(LENGTHS, [long.peak - long.loaded for long in alone_each])
    table.add_row("... grow with the length to the power", f"{taken:.2f}, {memory:.2f}", "")
    longest = alone_each[-1]
    table.add_row(f"peak memory, {longest.length} tokens", f"{longest.peak / 1e9:.2f} GB", "")
    above = (longest.peak - longest.weights) / 1e9
    table.add_row("... above the weights", f"{above:.2f} GB", f"{MEMORY_BAR / 1e9} GB at most")
    Console().print(table)


if __name__ == "__main__":
    main()
