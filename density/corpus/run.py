"""A corpus measured on this machine: a model after the other, a text after the other."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from density.corpus.dataset import Dataset, Opened
from density.corpus.rows import Measure, measure_text
from density.health import load
from density.models import Model


@dataclass
class Meter:
    """How far a run is.

    Attributes:
        total: Texts to measure, once for each model.
        before: Those finished by earlier runs.
        listener: Called after every text.
        stage: What is being done.
        now: Texts finished by this run.
        rows: Rows they have.
    """

    total: int
    before: int
    listener: Callable[["Meter"], None]
    stage: str = "starting"
    now: int = 0
    rows: int = 0
    started: float = field(default_factory=time.monotonic)

    def say(self, stage: str) -> None:
        """Something else is being done."""
        self.stage = stage
        self.listener(self)

    def finished(self, stage: str, rows: int) -> None:
        """A text is finished, and has so many rows."""
        self.now += 1
        self.rows += rows
        self.say(stage)

    @property
    def seconds(self) -> float:
        """Since the start of this run."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until the end, at this run's own rate; ``None`` before its first text."""
        return self.seconds / self.now * (self.total - self.before - self.now) if self.now else None


def run_here(dataset: Dataset, measure: Measure, *, device: str, precision: str, meter: Meter) -> None:
    """Measures what is missing; a model is opened only if it is needed, and one at a time.

    Raises:
        DensityError: A model that cannot be opened, a disk that is full; all finished work is kept.
    """

    @contextmanager
    def opened(name: str) -> Iterator[Model]:
        yield load(name, device=device, precision=precision)[0]

    run_with(opened, dataset, measure, meter)


def run_with(
    opened: Callable[[str], AbstractContextManager[Model]],
    dataset: Dataset,
    measure: Measure,
    meter: Meter,
    check: Callable[[], None] = lambda: None,
    admit: Callable[[str], None] = lambda text: None,
) -> None:
    """The same with models that ``opened`` holds open.

    Args:
        check: Called between batches of replays; raise `Cancelled` in it to stop.
        admit: Called with each text before its tokens are counted; raise in it to refuse that text.
    """
    for number, name in enumerate(dataset.models):
        remaining = dataset.remaining(number)
        if not remaining:
            continue
        meter.say(f"loading {name}")
        with opened(name) as model:
            dataset.open_model(name, Opened.of(model))
            for text in remaining:
                rows = measure_text(model, dataset.texts[text], measure, check, admit)
                dataset.add(number, text, rows)
                meter.finished(name, len(rows))
            del model
