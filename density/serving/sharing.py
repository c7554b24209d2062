"""What jobs share: made by one of them, at hand for all, and as much at once as fits in memory."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from density.serving.jobs import Job
from density.serving.shelf import Shelf

V = TypeVar("V")
# Name, device and precision of a model; of a text it has read, its text and rule besides.
Key = tuple[str, ...]
# Seconds between two looks at whether there is memory now.
PAUSE = 0.01


class Sharing:
    """Models, and what belongs to each: the texts that it has read.

    Only a job that has its turn calls `at_hand` and `make_room`: both may rest.

    Attributes:
        kept: What is at hand; may be looked at from any thread.

    Args:
        memory: Bytes that all of it may have.
        most: Models at hand, of those not in use.
    """

    def __init__(self, memory: float, most: int) -> None:
        self.kept: Shelf[Key, Any] = Shelf(memory, most)
        self._lock = threading.Lock()
        # What some job is at; another that wants the same rests until it is there.
        self._underway: set[Key] = set()
        # Jobs by how many things each is using or making, and those of them that wait for another.
        self._using: Counter[Job] = Counter()
        self._stuck: set[Job] = set()

    @contextmanager
    def at_hand(self, key: Key, make: Callable[[], tuple[V, int]], job: Job, of: Key | None = None) -> Iterator[V]:
        """What is kept under ``key``, and stays meanwhile; made, with its bytes, if it is not, by one job at a time.

        Args:
            of: Key of what it belongs to, see `Shelf`.
        """
        with self._lock:
            self._using[job] += 1
        try:
            with self._waiting(job):
                while key in self._underway:
                    job.rest()
            found = self.kept.take(key)
            if found is None:
                found = self._made(key, make, job, of)
            try:
                yield found
            finally:
                self.kept.release(key)
        finally:
            with self._lock:
                self._using -= Counter([job])

    def make_room(self, needed: int, job: Job) -> None:
        """Waits until ``needed`` bytes fit beside what others are using; if all of those wait too, goes ahead."""
        with self._waiting(job):
            while not self.kept.reserve(job, needed) and self._others_work():
                job.say("waiting for memory that others are using")
                time.sleep(PAUSE)

    def _made(self, key: Key, make: Callable[[], tuple[V, int]], job: Job, of: Key | None) -> V:
        """What ``make`` makes, kept and held."""
        self._underway.add(key)
        try:
            found, weight = make()
            self.kept.unreserve(job)
            self.kept.put(key, found, weight, of)
            return found
        finally:
            self.kept.unreserve(job)
            self._underway.discard(key)

    def _others_work(self) -> bool:
        """Whether a job that uses or makes something does not wait itself, and so will end."""
        with self._lock:
            return bool(self._using.keys() - self._stuck)

    @contextmanager
    def _waiting(self, job: Job) -> Iterator[None]:
        """Meanwhile ``job`` waits for others, so that none of them need wait for it."""
        with self._lock:
            self._stuck.add(job)
        try:
            yield
        finally:
            with self._lock:
                self._stuck.discard(job)
