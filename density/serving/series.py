"""Questions asked one after another, so that of several models never more are in memory than the service keeps.

Jobs on one device take turns, and each holds its model until it ends: ten questions to ten models asked at once would
hold ten models.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from density.errors import DensityError
from density.serving.jobs import Job, Snapshot, Status
from density.serving.question import Question


@dataclass(frozen=True, slots=True)
class Answered:
    """One question of a series, as far as its answer is there.

    Attributes:
        question: What is asked.
        seen: Its job as it stands; queued before it is asked.
    """

    question: Question
    seen: Snapshot

    @property
    def document(self) -> dict[str, Any] | None:
        """The answer, or what there is of it; ``None`` before the text has been read."""
        return None if self.seen.subject is None else self.seen.subject.document(self.seen.results)

    @property
    def whole(self) -> dict[str, Any] | None:
        """The answer, once nothing of it is lacking."""
        return self.document if self.seen.status is Status.DONE else None

    @property
    def pending(self) -> set[int]:
        """Positions whose predictions are still to come."""
        if self.seen.subject is None or self.seen.finished:
            return set()
        return set(self.seen.subject.wanted) - {found["position"] for found in self.seen.results}


class Series:
    """Questions and their answers; each is asked when the one before it has ended, which `poll` looks after.

    Args:
        questions: Those of one model together, so that each model is opened once.
        ask: Submits one.
    """

    def __init__(self, questions: Sequence[Question], ask: Callable[[Question], Job]) -> None:
        self.questions = tuple(questions)
        self._ask = ask
        self._ended: list[Snapshot] = []
        self._job: Job | None = None
        self._stopped = False

    def poll(self) -> list[Answered]:
        """What there is now, in the order asked."""
        while len(self._ended) < len(self.questions):
            seen = self._current()
            if not seen.finished:
                break
            self._ended.append(seen)
            self._job = None
        running = [self._job.poll()] if self._job else []
        waiting = len(self.questions) - len(self._ended) - len(running)
        every = [*self._ended, *running, *(Snapshot() for _ in range(waiting))]
        return [Answered(question, seen) for question, seen in zip(self.questions, every, strict=True)]

    def cancel(self) -> None:
        """Ends what runs, and asks nothing more; what is answered stays."""
        self._stopped = True
        if self._job:
            self._job.cancel()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come, as of the last poll."""
        return len(self._ended) == len(self.questions)

    def wait(self, seconds: float) -> None:
        """Gives what is answered at once the time to be, before the first poll."""
        self.poll()
        if self._job:
            self._job.wait(seconds)

    def _current(self) -> Snapshot:
        """The question whose turn it is, asked if it was not."""
        if self._job is None:
            if self._stopped:
                return Snapshot(Status.STOPPED)
            try:
                self._job = self._ask(self.questions[len(self._ended)])
            except DensityError as error:
                return Snapshot(Status.FAILED, error=str(error))
        return self._job.poll()
