"""Long work, taking turns on a device, watched from pages that come and go.

A page submits a `Job` to a `Worker` and polls it; the work calls ``job.rest()`` between its steps, which ends it when
it was cancelled or nobody watches it any more, and lets other jobs take their turns. Nothing here knows what the work
is.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from density.errors import Cancelled, DensityError

IDLE_SECONDS = 10.0
CROWDED = "the machine has no thread left for this; ask again when others have ended."

log = logging.getLogger(__name__)


class Status(StrEnum):
    """Where a job is in its life; the last three are its ends."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a poll sees of a job.

    Attributes:
        status: Where it is.
        ahead: Jobs that will be done before it; 0 unless it is queued.
        stage: What it is doing, in a word or two; empty before it says.
        done: How much of the stage is done.
        total: How much there is; 0 if that is not known.
        subject: What its results are about, once it has said; e.g. the text as the model read it.
        results: What it has found so far, in the order found.
        error: One sentence, if it failed.
        seconds: Time spent running.
        left: Seconds to its end, waiting included, as far as its work and that of the others have said; else ``None``.
    """

    status: Status = Status.QUEUED
    ahead: int = 0
    stage: str = ""
    done: float = 0
    total: float = 0
    subject: Any = None
    results: tuple[Any, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    left: float | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.status not in (Status.QUEUED, Status.RUNNING)


def nobody() -> bool:
    """The answer of nobody: whether somebody still waits is told from the polls alone."""
    return False


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a job is for.

    Attributes:
        session: Whose jobs share their turns, and are counted together; ``None`` for a job of its own.
        here: Whether they still wait for it, though it is not polled: a tab in the background polls seldom.
    """

    session: str | None = None
    here: Callable[[], bool] = nobody


ANYONE = Visitor()


class Job:
    """One piece of work: asked for on one thread, done on another, looked at from any.

    Args:
        work: Called with the job, on the worker's thread.
        visitor: Whom it is for.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        work: Callable[["Job"], None],
        visitor: Visitor = ANYONE,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work, self._here, self._clock = work, visitor.here, clock
        self.owner: Hashable = self if visitor.session is None else visitor.session
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._ended = threading.Event()
        self._seen = Snapshot()
        self._polled = self._started = clock()
        self._rested = 0.0
        self._expected: float | None = None
        self.worker: Worker | None = None
        # Whether there was no place for it in line: it may be asked for again.
        self.turned_away = False

    # For whoever waits.

    def poll(self) -> Snapshot:
        """What there is now; also says that somebody is still waiting."""
        ahead, left = (self.worker.ahead(self), self.worker.left(self)) if self.worker else (0, self._expected)
        with self._lock:
            self._polled = now = self._clock()
            running = self._seen.status is Status.RUNNING
            seconds = now - self._started if running else self._seen.seconds
            return replace(self._seen, ahead=ahead, seconds=seconds, left=None if self._seen.finished else left)

    def cancel(self) -> None:
        """Ends it: at its next `check` if it runs, at once if it still waits."""
        self._stop.set()
        if self.worker and self.worker.withdraw(self):
            self.run()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for its end; whether it came."""
        return self._ended.wait(timeout)

    @property
    def cancelled(self) -> bool:
        """Whether it was told to end."""
        return self._stop.is_set()

    # For the work.

    def check(self) -> None:
        """Raises `Cancelled` if it was cancelled, or was not polled for `IDLE_SECONDS` and its visitor is not here."""
        with self._lock:
            idle = self._clock() - self._polled
        if self._stop.is_set():
            raise Cancelled("stopped.")
        if idle > IDLE_SECONDS and not self._here():
            raise Cancelled("stopped: nobody was waiting for it any more.")

    def rest(self) -> None:
        """Checks, and lets every other job on the device take a turn before it goes on."""
        self.check()
        if self.worker is not None:
            began = self._clock()
            self.worker.pass_turn(self)
            self._rested += self._clock() - began
            self.check()

    @property
    def busy(self) -> float:
        """Seconds spent working, without those spent waiting for a turn."""
        return self._clock() - self._started - self._rested

    @property
    def expected(self) -> float | None:
        """Seconds of work it still has to do, if that was said."""
        return self._expected

    def expect(self, seconds: float) -> None:
        """Tells how many seconds of work are left, from now on."""
        self._expected = seconds

    def say(self, stage: str, done: float = 0, total: float = 0) -> None:
        """Tells what is being done, and rests."""
        self.check()
        self._change(stage=stage, done=done, total=total)
        self.rest()

    def present(self, subject: Any) -> None:
        """Tells what the results will be about."""
        self._change(subject=subject)

    def add(self, result: Any) -> None:
        """Hands over one result."""
        self._change(results=(*self._seen.results, result))

    # For the worker.

    def run(self) -> None:
        """Does the work; whatever it raises ends up in `Snapshot.status` and `Snapshot.error`, never in the thread."""
        status, error = Status.DONE, None
        self._started = self._clock()
        try:
            self.check()
            self._change(status=Status.RUNNING)
            self._work(self)
        except Cancelled:
            status = Status.STOPPED
        except DensityError as raised:
            status, error = Status.FAILED, str(raised)
        except Exception as raised:
            log.exception("a job failed")
            status, error = Status.FAILED, unexpected(raised)
        self._end(status, error)

    def fail(self, error: str) -> None:
        """Ends it before it has begun, with one sentence."""
        self._end(Status.FAILED, error)

    def _end(self, status: Status, error: str | None) -> None:
        self._change(status=status, error=error, seconds=self._clock() - self._started)
        self._ended.set()

    def _change(self, **changes: Any) -> None:
        with self._lock:
            self._seen = replace(self._seen, **changes)


def unexpected(error: Exception) -> str:
    """One sentence about an error that is nobody's choice; its details are for the log alone."""
    return f"something went wrong that should not have ({type(error).__name__}); the server's log has the details."


class Worker:
    """A device that jobs take turns on: one runs at a time, until it rests or ends.

    The next turn is that of the session whose last turn is longest ago, and in it of the job that has waited longest;
    a session that has just come is behind all that wait. So neither a long job nor a session with many of them starves
    another. What was cancelled has its turn first: it ends with it. Each job has a thread of its own.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._line: deque[Job] = deque()
        self._begun: set[Job] = set()
        self._running: Job | None = None
        # The number of the last turn, and of each owner's last.
        self._turn = 0
        self._turns: dict[Hashable, int] = {}
        self._changed = threading.Condition()

    def submit(self, job: Job) -> Job:
        """Puts ``job`` into the line; it has failed if the machine has no thread for it."""
        job.worker = self
        with self._changed:
            self._turns.setdefault(job.owner, self._turn - 1)
            self._line.append(job)
        thread = threading.Thread(target=self._serve, args=(job,), name=f"density-{self._name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Left in line, it would keep the device for a turn that it never takes.
            self.withdraw(job)
            job.fail(CROWDED)
        return job

    def ahead(self, job: Job) -> int:
        """How many jobs have a turn before ``job`` begins; 0 if it has begun."""
        with self._changed:
            if job in self._begun or job not in self._line:
                return 0
            return sorted(self._line, key=self._rank).index(job) + (self._running is not None)

    def left(self, job: Job) -> float | None:
        """Seconds to the end of ``job``, turns being equally long; ``None`` if it has not said what it expects."""
        with self._changed:
            own = job.expected
            if own is None:
                return None
            others = {*self._line, *self._begun} - {job}
            return own + sum(min(other.expected or 0.0, own) for other in others if not other.cancelled)

    def count(self, owner: Hashable) -> int:
        """How many jobs of ``owner`` wait or run, without those told to end."""
        with self._changed:
            own = {job for job in (*self._line, *self._begun) if job.owner == owner}
        return sum(not (job.cancelled or job.wait(0)) for job in own)

    def withdraw(self, job: Job) -> bool:
        """Takes ``job`` out of the line unless it has begun; whether it did."""
        with self._changed:
            # Whoever waits looks again: a job that was told to end is before it now.
            self._changed.notify_all()
            if job in self._begun or job not in self._line:
                return False
            self._line.remove(job)
            self._forget(job.owner)
            return True

    def pass_turn(self, job: Job) -> None:
        """Puts ``job``, which is running, behind the others that wait, and waits for its next turn."""
        with self._changed:
            if self._running is job and self._line:
                self._running = None
                self._line.append(job)
                self._changed.notify_all()
                self._take_turn(job)

    def close(self) -> None:
        """Cancels everything and waits for its end."""
        with self._changed:
            jobs = {*self._line, *self._begun}
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.wait()

    def _rank(self, job: Job) -> tuple[bool, int]:
        """By which the next in line is the least, and of equals the first."""
        return not job.cancelled, self._turns[job.owner]

    def _forget(self, owner: Hashable) -> None:
        """Lets go of the turns of an owner that has no job any more."""
        if not any(job.owner == owner for job in (*self._line, *self._begun)):
            del self._turns[owner]

    def _take_turn(self, job: Job) -> bool:
        """Waits until ``job`` is next and nobody runs; ``False`` if it was withdrawn meanwhile."""

        def mine() -> bool:
            return job not in self._line or (self._running is None and min(self._line, key=self._rank) is job)

        self._changed.wait_for(mine)
        if job not in self._line:
            return False
        self._line.remove(job)
        self._running = job
        self._turn += 1
        self._turns[job.owner] = self._turn
        return True

    def _serve(self, job: Job) -> None:
        with self._changed:
            if not self._take_turn(job):
                return
            self._begun.add(job)
        job.run()
        with self._changed:
            self._begun.discard(job)
            self._forget(job.owner)
            self._running = None
            self._changed.notify_all()
