"""Things kept at hand within a budget: the least recently used are let go first, and never one that is in use."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class Entry(Generic[K, V]):
    """What is kept under one key.

    Attributes:
        value: The thing.
        weight: Of it.
        of: Key of what it belongs to; ``None`` for a thing of its own.
        held: How many are using it.
    """

    value: V
    weight: float
    of: K | None
    held: int = 0


class Shelf(Generic[K, V]):
    """A mapping that keeps what was used last; safe to use from several threads.

    A thing may belong to another, as a text that was read belongs to its model: using it uses the other, and it goes
    when the other goes.

    Args:
        limit: What all weights may add up to.
        most: How many things of their own are kept, of those not in use.
    """

    def __init__(self, limit: float, most: int) -> None:
        self._limit, self._most = limit, most
        self._kept: OrderedDict[K, Entry[K, V]] = OrderedDict()
        # Weight that is on its way, by who brings it.
        self._coming: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """The value, now the most recently used; ``None`` if it is not there."""
        with self._lock:
            return self._used(key)

    def take(self, key: K) -> V | None:
        """The same, held from now on: whatever the limits, it stays until `release`."""
        with self._lock:
            found = self._used(key)
            if found is not None:
                self._kept[key].held += 1
            return found

    def put(self, key: K, value: V, weight: float, of: K | None = None) -> None:
        """Keeps ``value``, held as by `take`."""
        with self._lock:
            self._kept[key] = Entry(value, weight, of, held=1)
            self._used(key)
            self._fit(0)

    def release(self, key: K) -> None:
        """Ends one `take` or `put`."""
        with self._lock:
            self._kept[key].held -= 1
            self._fit(0)

    def reserve(self, owner: Hashable, weight: float) -> bool:
        """Lets go of what is not held until ``weight`` more fits, and keeps it free for ``owner``; whether it does.

        It is free until `unreserve`, and instead of what was reserved for the same owner before.
        """
        with self._lock:
            self._coming.pop(owner, None)
            fits = self._fit(weight)
            if fits:
                self._coming[owner] = weight
            return fits

    def unreserve(self, owner: Hashable) -> None:
        """Ends a `reserve`, if there is one."""
        with self._lock:
            self._coming.pop(owner, None)

    def owners(self) -> list[K]:
        """Things of their own, the least recently used first."""
        with self._lock:
            return self._owners()

    @property
    def weight(self) -> float:
        """Of all that is kept, or on its way."""
        with self._lock:
            return self._weight()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    def _owners(self) -> list[K]:
        return [key for key, entry in self._kept.items() if entry.of is None]

    def _weight(self) -> float:
        return sum(entry.weight for entry in self._kept.values()) + sum(self._coming.values())

    def _used(self, key: K) -> V | None:
        if key not in self._kept:
            return None
        entry = self._kept[key]
        self._kept.move_to_end(key)
        if entry.of is not None:
            self._kept.move_to_end(entry.of)
        return entry.value

    def _fit(self, more: float) -> bool:
        """Lets go, the least recently used first, until both limits are kept with ``more`` weight; whether it is."""
        while len(owners := self._owners()) > self._most and self._let_go(owners):
            pass
        while self._weight() + more > self._limit:
            if not self._let_go(list(self._kept)):
                return False
        return True

    def _let_go(self, keys: list[K]) -> bool:
        """Lets go of the first of ``keys`` that nobody holds, with what belongs to it; whether there was one."""
        for key in keys:
            both = [one for one, entry in self._kept.items() if one == key or entry.of == key]
            if not any(self._kept[one].held for one in both):
                for one in both:
                    del self._kept[one]
                return True
        return False
