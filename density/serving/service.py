"""Models and readings shared by everybody who asks, and the work done on them: one worker a device.

Models are opened on the worker, so that nobody who asks ever waits; what was read and measured stays at hand, so that
another fidelity, or another person with the same text, only measures what is lacking. What leaves here is plain data
in the schema ``density.profile/1``: no page keeps a model in memory.
"""

import copy
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from density import export, health, models
from density.errors import DensityError, TooLarge
from density.health import Health
from density.limits import Limits, NotAllowed
from density.memory import free_bytes
from density.models import CatalogueEntry, Model
from density.models.cache import readable
from density.models.loading import choose_device, is_here
from density.profile import parse_positions, profile
from density.reading import Reading, read, tokenise
from density.serving.ended import Subject, present, refused, reopened, turned_away
from density.serving.estimate import (
    REPLAYS_AGAIN,
    REPLAYS_FRESH,
    REPLAYS_SWEEP,
    Estimate,
    Speed,
    calibrate,
    memory,
    reading_bytes,
    seconds_left,
    weights_bytes,
)
from density.serving.jobs import ANYONE, Job, Visitor, Worker
from density.serving.keeping import keep, keep_points, recall, recall_points, revision_of, search_of
from density.serving.question import Question
from density.serving.sharing import Key, Sharing
from density.store import Store

# Seconds between two times that what is measured is kept, while more is.
KEEP_SECONDS = 5.0
# The share that is done of what has not ended, at most: replays are more than expected now and then.
MOST_DONE = 0.95


@dataclass(frozen=True, slots=True)
class Studied:
    """A text as a model read it.

    Attributes:
        reading: Of the text.
        health: How exactly the engine reproduces the model on it.
        swept: Predictions that have been swept.
        most_tokens: To which the text may be written on.
        read_only: Whether nothing may be written for whoever asks.
    """

    reading: Reading
    health: Health
    swept: set[int] = field(default_factory=set)
    most_tokens: int = sys.maxsize
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory.

    Attributes:
        model: For the worker alone.
        counter: The same with a tokenizer of its own, for whoever counts tokens meanwhile.
        speed: Its timing on this machine.
    """

    model: Model
    counter: Model
    speed: Speed


def model_key(question: Question) -> Key:
    """Under which the question's model is kept."""
    return question.model, choose_device(question.device), question.precision


def reading_key(question: Question) -> Key:
    """Under which its text is kept, as that model has read it."""
    return *model_key(question), question.text, question.rule


def replays_known(reading: Reading) -> int:
    """Replays run on a reading so far; what the empty trace predicts takes none."""
    return sum(edges > 0 for _, edges in list(reading.points))


class Service:
    """What pages ask; safe to use from any thread.

    Args:
        store: Where answers are kept, so that one given before needs no model; ``None`` for nowhere.
        limits: What is allowed; by default whatever this machine can do.
    """

    def __init__(self, store: Store | None = None, limits: Limits | None = None) -> None:
        self.store, self.limits = store, limits or Limits()
        self._sharing = Sharing(self.limits.memory_bytes, self.limits.models_kept)
        self._workers: dict[str, Worker] = {}
        self._lock = threading.Lock()

    def catalogue(self) -> dict[str, tuple[CatalogueEntry, str]]:
        """Every model that can be had here by name, with its state."""
        offered = (entry for entry in models.catalogue() if self.limits.allows_model(entry.name))
        return {entry.name: (entry, models.state(entry)) for entry in offered}

    def loaded(self, question: Question) -> Loaded | None:
        """The question's model, if it is in memory."""
        return self._sharing.kept.get(model_key(question))

    def in_memory(self) -> list[str]:
        """Names of the models in memory, as they were asked for."""
        return list(dict.fromkeys(key[0] for key in self._sharing.kept.owners()))

    def refusal(self, question: Question) -> str | None:
        """Why a question is not taken here, in a sentence; ``None`` if it is."""
        try:
            self._check(question)
        except NotAllowed as error:
            return str(error)
        return None

    def estimate(self, question: Question) -> Estimate | None:
        """What answering will take; nothing of an answer that is kept, and ``None`` while its model is not in memory.

        Raises:
            BadInput: A text or positions that cannot be worked with.
            NotAllowed: A model that is not offered here, or a text that is longer than is read here.
        """
        self._check(question)
        kept = self.kept(question)
        if kept is not None:
            return Estimate(len(kept["tokens"]), len(kept["predictions"]), 0.0, 0)
        loaded = self.loaded(question)
        if loaded is None:
            return None
        tokens = self._count(loaded.counter, question)
        wanted = parse_positions(question.positions, tokens)
        seconds = loaded.speed.seconds(wanted, self._replays(question))
        return Estimate(tokens, len(wanted), seconds, memory(loaded.model, tokens, len(wanted)))

    def measured(self, question: Question) -> bool:
        """Whether all it asks for has been measured at some fidelity, so that answering takes few replays or none.

        A sweep is measured once each of its predictions has been swept.
        """
        if self.kept(question) is not None:
            return True
        studied: Studied | None = self._sharing.kept.get(reading_key(question))
        if studied is None:
            return False
        known = {position for position, edges in list(studied.reading.points) if edges}
        if question.sweep:
            known &= studied.swept
        return known.issuperset(parse_positions(question.positions, len(studied.reading.tokens)))

    def load(self, question: Question, visitor: Visitor = ANYONE) -> Job:
        """Brings the question's model into memory."""

        def work(job: Job) -> None:
            with self._opened(question, job):
                pass

        return self._submit(replace(question, text=""), work, visitor)

    def profile(self, question: Question, visitor: Visitor = ANYONE) -> Job:
        """Answers ``question``: the job's subject is a `Subject`, its results are a document's predictions."""
        kept = None if self.refusal(question) else self.kept(question)
        if kept is not None:
            return reopened(question, kept)
        return self._submit(question, lambda job: self._profile(question, job), visitor)

    def kept(self, question: Question) -> dict[str, Any] | None:
        """The answer, if it was given before and the model's revision is known without opening it."""
        question = replace(question, max_tokens=min(question.max_tokens, self.limits.tokens))
        loaded = self.loaded(question)
        revision = loaded.model.revision if loaded else revision_of(question.model)
        return recall(self.store, question, revision) if self.store and revision else None

    def ask(
        self,
        question: Question,
        answer: Callable[..., Iterator[dict[str, Any]]],
        visitor: Visitor = ANYONE,
        **given: Any,
    ) -> Job:
        """Asks one of `density.serving.answers` of the question's text; the job's results are its documents."""

        def work(job: Job) -> None:
            with self._opened(question, job) as loaded, self._studied(loaded, question, job) as studied:
                for document in answer(studied, question, job, **given):
                    job.add(document)

        return self._submit(question, work, visitor)

    def work(
        self,
        questions: Sequence[Question],
        work: Callable[[Job, Callable[[Question], AbstractContextManager[Model]]], None],
        visitor: Visitor = ANYONE,
    ) -> Job:
        """Anything longer, with the models of ``questions``: called with its job, and with what opens one of them."""

        def run(job: Job) -> None:
            @contextmanager
            def opened(question: Question) -> Iterator[Model]:
                with self._opened(question, job) as loaded:
                    yield loaded.model

            for question in questions:
                self._check(question)
            work(job, opened)

        return self._submit(questions[0], run, visitor)

    def dumps(self, document: dict[str, Any]) -> str:
        """The document as it is exported."""
        return export.dumps(document)

    def close(self) -> None:
        """Cancels everything and ends the workers."""
        with self._lock:
            workers = list(self._workers.values())
            self._workers.clear()
        # Not under the lock: jobs take it as they end.
        for worker in workers:
            worker.close()

    def _replays(self, question: Question) -> float:
        """Replays a prediction is expected to take."""
        if question.sweep:
            return 0.0 if self.measured(question) else REPLAYS_SWEEP
        return REPLAYS_AGAIN if self.measured(question) else REPLAYS_FRESH

    def _check(self, question: Question) -> None:
        """Raises `NotAllowed` for a question that is not taken here, whoever asks it."""
        self.limits.check(question.model, question.text)
        if not self.limits.fetching and self.catalogue().get(question.model, (None, "ready"))[1] == "to fetch":
            raise NotAllowed(f"the model {question.model} is not on this machine, and this server fetches none.")

    def _count(self, model: Model, question: Question) -> int:
        """Tokens of the text; raises what `estimate` does."""
        own = question.max_tokens if question.max_tokens < self.limits.tokens else sys.maxsize
        count = len(tokenise(model, question.text, own))
        self.limits.check_tokens(count)
        return count

    def _submit(self, question: Question, work: Callable[[Job], None], visitor: Visitor) -> Job:
        """Puts the work in line; what is not allowed, or is one too many of its session, has ended at once.

        The new one is turned away, not an older one that has waited: nobody loses a place that they were given.
        """
        job = Job(work, visitor)
        try:
            self._check(question)
            device = choose_device(question.device)
            expected = self.estimate(question) if question.text else None
        except NotAllowed as error:
            return refused(error)
        except DensityError:
            # It is said in its turn.
            expected = None
        if expected is not None:
            job.expect(expected.seconds)
        with self._lock:
            if device not in self._workers:
                self._workers[device] = Worker(device)
            waiting = sum(worker.count(job.owner) for worker in self._workers.values())
            if waiting >= self.limits.queue:
                return turned_away(waiting)
            return self._workers[device].submit(job)

    # In a job from here on: one runs at a time, until it rests.

    @contextmanager
    def _opened(self, question: Question, job: Job) -> Iterator[Loaded]:
        """The model, loaded, checked and timed if it was not in memory; it stays there meanwhile."""
        key = model_key(question)
        _, device, precision = key

        def admit(needed: int) -> None:
            if needed > self.limits.memory_bytes:
                raise TooLarge(
                    f"{question.model} needs {readable(needed)} of memory and this server allows "
                    f"{readable(self.limits.memory_bytes)}; choose a smaller model."
                )
            self._sharing.make_room(needed, job)

        def load() -> tuple[Loaded, int]:
            job.say("opening the model")
            if self.limits.read_only and not is_here(question.model):
                raise NotAllowed(f"{question.model} would have to be converted, and this server writes nothing.")
            if question.accept_terms and self.limits.fetching:
                models.fetch(question.model, job.say, accept_terms=True)
            model, _ = health.load(
                question.model,
                device=device,
                precision=precision,
                progress=job.say,
                hub=self.limits.fetching,
                admit=admit,
            )
            job.say("timing the model")
            counter = replace(model, tokenizer=copy.deepcopy(model.tokenizer))
            return Loaded(model, counter, calibrate(model)), weights_bytes(model)

        with self._sharing.at_hand(key, load, job) as loaded:
            yield loaded

    @contextmanager
    def _studied(self, loaded: Loaded, question: Question, job: Job) -> Iterator[Studied]:
        """The text read, and the engine checked on its last prediction; it stays at hand meanwhile."""
        model = loaded.model

        def study() -> tuple[Studied, int]:
            job.say("reading the text")
            tokens = self._count(model, question)
            needed, most = reading_bytes(model, tokens, tokens), self.limits.memory_bytes - weights_bytes(model)
            self._sharing.make_room(min(needed, most), job)
            memory = min(most, free_bytes(model.decoder.device) // 2)
            reading = read(model, question.text, rule=question.rule, max_tokens=question.max_tokens, memory=memory)
            if self.store:
                recall_points(self.store, question, reading)
            found = health.check_reading(reading)
            limits = self.limits
            return Studied(reading, found, most_tokens=limits.tokens, read_only=limits.read_only), needed

        with self._sharing.at_hand(reading_key(question), study, job, model_key(question)) as studied:
            yield studied

    def _profile(self, question: Question, job: Job) -> None:
        with self._opened(question, job) as loaded:
            kept = self.kept(question)
            if kept is not None:
                present(job, question, kept)
                return
            fresh, expected = self._sharing.kept.get(reading_key(question)) is None, self._replays(question)
            with self._studied(loaded, question, job) as studied:
                self._measure(question, job, loaded, studied, expected, fresh)

    def _measure(
        self, question: Question, job: Job, loaded: Loaded, studied: Studied, expected: float, fresh: bool
    ) -> None:
        """Measures what is asked; ``expected`` replays a prediction, and learns their time from a ``fresh`` reading."""
        reading = studied.reading
        wanted = tuple(parse_positions(question.positions, len(reading.tokens)))
        empty = export.profile_json(reading, (), fidelity=question.fidelity, health=studied.health)
        subject = Subject(question, wanted, {**empty, "search": search_of(question)})
        job.present(subject)
        before, started = replays_known(reading), job.busy
        prior = loaded.speed.seconds(wanted, expected)
        found: list[dict[str, Any]] = []
        kept = time.monotonic()

        def check() -> None:
            nonlocal kept
            done, total = replays_known(reading) - before, expected * len(wanted)
            share = min(max(len(found) / len(wanted), done / total if total else 0.0), MOST_DONE)
            job.expect(seconds_left(prior, job.busy - started, share))
            if self.store and time.monotonic() - kept > KEEP_SECONDS:
                keep_points(self.store, question, reading)
                kept = time.monotonic()
            job.say("measuring", done, total)

        try:
            check()
            options: dict[str, Any] = {"fidelity": question.fidelity, "sweep": question.sweep, "check": check}
            for prediction in profile(reading, positions=wanted, **options):
                found.append(export.prediction_json(prediction))
                job.add(found[-1])
                if question.sweep:
                    studied.swept.add(prediction.position)
        finally:
            if self.store and replays_known(reading) > before:
                keep_points(self.store, question, reading)
        if self.store:
            keep(self.store, question, loaded.model.revision, subject.document(found))
        if fresh:
            loaded.speed.learn(wanted, job.busy - started, REPLAYS_SWEEP if question.sweep else REPLAYS_FRESH)
