"""A corpus measured on Dask: each worker holds one model and has one text at a time; this process alone writes.

Dask is imported by the functions that need it: without it everything else works.
"""

import importlib
import logging
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from density import export
from density.corpus.dataset import Dataset, Opened
from density.corpus.rows import Measure, Row, measure_text
from density.corpus.run import Meter
from density.corpus.sources import Text
from density.errors import BadInput, DensityError
from density.health import load
from density.models import Model

# How long without any worker until a run is given up.
PATIENCE_SECONDS = 60
CONNECT_SECONDS = 10
# On a worker: the model it holds, and who may use it.
held: dict[tuple[str, str, str], Model] = {}
one_at_a_time = threading.Lock()


def dask() -> Any:
    """The module ``distributed``; raises `DensityError` if it is not installed."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise DensityError(
            "--workers and --dask need Dask, which is not installed: pip install -r requirements-dask.txt"
        ) from None


@contextmanager
def connect(address: str | None, workers: int) -> Iterator[Any]:
    """A client of the cluster at ``address``; of ``None``, of ``workers`` processes started here.

    Raises:
        BadInput: Nothing answers at the address.
        DensityError: Dask is not installed.
    """
    distributed = dask()
    if address is None:
        options = {"processes": True, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        with (
            distributed.LocalCluster(n_workers=workers, silence_logs=logging.CRITICAL, **options) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise BadInput(
            f"no Dask scheduler answers at {address!r} ({error}); give an address such as tcp://host:8786."
        ) from None
    with client:
        yield client


def measure_there(
    name: str,
    device: str,
    precision: str,
    threads: int | None,
    versions: Mapping[str, str],
    text: Text,
    measure: Measure,
) -> tuple[Opened, list[Row]]:
    """On a worker: the rows of one text, with what the model's name means there.

    Raises:
        DensityError: Other versions than the dataset's, or a model that cannot be opened.
    """
    if (here := export.versions()) != versions:
        raise DensityError(f"a worker has {here} and the dataset is made with {dict(versions)}; install the same.")
    if threads is not None:
        torch.set_num_threads(threads)
    with one_at_a_time:
        if (name, device, precision) not in held:
            held.clear()
            held[name, device, precision], _ = load(name, device=device, precision=precision)
        model = held[name, device, precision]
        return Opened.of(model), measure_text(model, text, measure)


def run_on_cluster(
    dataset: Dataset,
    measure: Measure,
    *,
    device: str,
    precision: str,
    meter: Meter,
    address: str | None = None,
    workers: int = 1,
) -> None:
    """Measures what is missing on a cluster; the rows are those of `run_here`.

    Args:
        address: Of a Dask scheduler; ``None`` for a cluster of processes on this machine.
        workers: How many; they share this process's threads among them.

    Raises:
        DensityError: No Dask, no workers, workers that disagree, or any error of `run_here`; finished work is kept.
    """
    threads = max(1, torch.get_num_threads() // workers) if address is None else None
    left = {number: deque(dataset.remaining(number)) for number in range(len(dataset.models))}
    if not any(left.values()):
        return
    meter.say("starting workers" if address is None else f"connecting to {address}")
    with connect(address, workers) as client:

        def submit(worker: str, number: int, text: int) -> Any:
            given = (dataset.models[number], device, precision, threads, dataset.settings["versions"])
            return client.submit(
                *(measure_there, *given, dataset.texts[text], measure),
                workers=[worker],
                allow_other_workers=True,
                pure=False,
            )

        def finish(future: Any, number: int, text: int) -> None:
            name = dataset.models[number]
            try:
                opened, rows = future.result()
            except ModuleNotFoundError as error:
                raise DensityError(
                    f"a worker has no {error.name}; install this package and its models there."
                ) from None
            except dask().KilledWorker as error:
                raise DensityError(f"{name}, text {dataset.texts[text].id}: {error}") from None
            if dataset.opened.get(name) != opened:
                dataset.open_model(name, opened)
            dataset.add(number, text, rows)
            meter.finished(name, len(rows))

        hand_out(client, left, submit, finish)


def hand_out(client: Any, left: dict[int, deque[int]], submit: Any, finish: Any) -> None:
    """Gives every worker one text at a time, of the model it holds while there are any; workers may come and go.

    Args:
        left: Texts to measure, by model.
        submit: Called with a worker, a model and a text; returns a future.
        finish: Called with a future that is done, its model and its text.
    """
    wait = dask().wait
    holding: dict[str, int] = {}
    flying: dict[Any, tuple[str, int, int]] = {}
    try:
        while flying or any(left.values()):
            if not flying:
                wait_for_a_worker(client)
            busy = {worker for worker, _, _ in flying.values()}
            for worker in sorted(client.nthreads().keys() - busy):
                number = next_model(left, holding, worker)
                if number is not None:
                    holding[worker] = number
                    text = left[number].popleft()
                    flying[submit(worker, number, text)] = (worker, number, text)
            try:
                done = wait(list(flying), timeout=10, return_when="FIRST_COMPLETED").done if flying else ()
            except TimeoutError:
                continue
            for future in done:
                _, number, text = flying.pop(future)
                finish(future, number, text)
    finally:
        client.cancel(list(flying))


def wait_for_a_worker(client: Any) -> None:
    """Returns once there is a worker; raises `DensityError` if none comes."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
    except TimeoutError:
        raise DensityError(f"the cluster had no worker for {PATIENCE_SECONDS} s; start some, and run again.") from None


def next_model(left: Mapping[int, deque[int]], holding: Mapping[str, int], worker: str) -> int | None:
    """The model ``worker`` measures with next: the one it holds, else the one with most texts left per worker."""
    if left.get(holding.get(worker, -1)):
        return holding[worker]
    holders = Counter(number for other, number in holding.items() if other != worker)
    open_models = [number for number, texts in left.items() if texts]
    return max(open_models, key=lambda number: len(left[number]) / (1 + holders[number]), default=None)
