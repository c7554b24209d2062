"""Corpora measured for pages: a dataset a request, in ``DENSITY_HOME/corpora``, taken up where it was left.

The same request always means the same folder, so that asking again goes on. A run holds its folder; another that wants
the same waits for its end, and finds the work done.
"""

import hashlib
import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from density.corpus.command import check_measure
from density.corpus.dataset import LOCK, Dataset, NotWritten, load_manifest, open_dataset, read_dataset, settings_of
from density.corpus.rows import Measure
from density.corpus.run import Meter, run_with
from density.corpus.sources import Text
from density.errors import BadInput, DensityError
from density.home import corpora_home
from density.limits import NotAllowed
from density.models import Model
from density.serving.jobs import ANYONE, Job, Visitor
from density.serving.question import Question
from density.serving.service import Service

PAUSE = 0.02
NAME = re.compile(r"[^A-Za-z0-9]+")
MOST_NAME = 40


@dataclass(frozen=True)
class Request:
    """A corpus that somebody wants measured.

    Attributes:
        source: Name of the file the texts are from, or ``sample``.
        texts: To be measured.
        models: With which.
        measure: What of each.
        column: Of the file, with the texts, if one was named.
        accepted: Those of the models whose terms are accepted, should they have to be fetched.
    """

    source: str
    texts: tuple[Text, ...]
    models: tuple[str, ...]
    measure: Measure
    column: str | None = None
    accepted: frozenset[str] = frozenset()

    @property
    def settings(self) -> dict[str, Any]:
        """Those of its dataset."""
        given = (self.texts, self.models, self.measure)
        return settings_of(*given, source=self.source, column=self.column, precision="float32")

    @property
    def name(self) -> str:
        """Of its folder: the file's, and a digest of the settings."""
        digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()
        return f"{NAME.sub('-', Path(self.source).stem)[:MOST_NAME].strip('-') or 'texts'}-{digest[:8]}"

    @property
    def folder(self) -> Path:
        """Where its dataset is, or will be."""
        return corpora_home() / self.name

    @property
    def questions(self) -> list[Question]:
        """One for each model."""
        return [Question(model, accept_terms=model in self.accepted) for model in self.models]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        name: Of the dataset.
        stage: What is being done.
        total: Texts to measure, once for each model.
        before: Those that were there.
        now: Texts finished by this run.
        rate: Texts a second; 0 before the first.
        left: Seconds to the end, at that rate; ``None`` before the first.
    """

    name: str
    stage: str
    total: int
    before: int
    now: int
    rate: float
    left: float | None

    @property
    def share(self) -> float:
        """Of the texts that are there."""
        return (self.before + self.now) / self.total if self.total else 1.0


def measure_corpus(service: Service, request: Request, visitor: Visitor = ANYONE) -> Job:
    """Measures what is missing of a request: the job's subject is its `Progress`.

    It rests between batches of replays, and keeps each text as soon as it is finished.

    Raises:
        BadInput: Nothing to measure, or a measure that makes no sense.
        NotAllowed: A server that writes nothing, or texts of more tokens than it reads.
    """
    check_measure(request.measure)
    if not request.models:
        raise BadInput("no model is chosen; choose one or more.")
    if service.limits.read_only:
        raise NotAllowed("this server writes nothing; use the command line on a machine of your own.")
    service.limits.check_tokens(request.measure.max_tokens)

    def work(job: Job, opened: Callable[[Question], AbstractContextManager[Model]]) -> None:
        wait_for(request.folder, job)
        try:
            with open_dataset(request.folder, request.texts, request.settings) as dataset:
                follow(job, dataset, request, opened, service.limits.check_length)
        except (BadInput, NotWritten) as error:
            # The dataset's own errors: a visitor knows it by its name, and where it is on this machine is not theirs.
            raise type(error)(str(error).replace(str(request.folder), request.name)) from error

    return service.work(request.questions, work, visitor)


def wait_for(folder: Path, job: Job) -> None:
    """Returns once no other run holds the dataset in ``folder``."""
    while folder.is_dir():
        try:
            with FileLock(folder / LOCK).acquire(timeout=0):
                return
        except Timeout:
            job.say("waiting for the same corpus, which is being measured")
            time.sleep(PAUSE)


def follow(
    job: Job,
    dataset: Dataset,
    request: Request,
    opened: Callable[[Question], AbstractContextManager[Model]],
    admit: Callable[[str], None],
) -> None:
    """Measures what is missing, of texts that ``admit`` lets pass, and tells how far it is."""
    total, before = len(dataset.texts) * len(dataset.models), len(dataset.done)

    def tell(meter: Meter) -> None:
        rate = meter.now / meter.seconds if meter.now else 0.0
        job.present(Progress(request.name, meter.stage, total, before, meter.now, rate, meter.left))
        if meter.left is not None:
            job.expect(meter.left)
        job.rest()

    meter = Meter(total, before, tell)
    tell(meter)
    questions = dict(zip(request.models, request.questions, strict=True))
    run_with(lambda name: opened(questions[name]), dataset, request.measure, meter, job.rest, admit)


def finished(request: Request) -> int:
    """Texts of a request that are there, once for each model."""
    try:
        load_manifest(request.folder)
        rows = read_dataset(request.folder, ("text_id", "model"))
    except (DensityError, OSError):
        return 0
    return len(rows.group_by(["text_id", "model"]).aggregate([]))
