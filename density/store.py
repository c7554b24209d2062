"""Results kept on disk, so that what was found out once is there at once: an SQLite file in the cache folder.

It only ever saves time, so it is never in the way: what cannot be read or written is said in the log and passed by, a
file that is damaged is begun anew, one of another version is left as it is, and an entry that is not what was written
is let go. Knows no model, and what it keeps is plain data.
"""

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from density.home import home

T = TypeVar("T")
About = Mapping[str, Any]

FILE = "results.sqlite3"
# The kind of entry that a person asked for, and sees listed.
PROFILE = "profile"
# A file that says another number is left alone: a version of the program that reads it may share the folder.
SCHEMA = 1
BYTES = 256 * 2**20
# Bytes of an index that SQLite keeps beside the file while it is open.
ROOM = 2**15
# Seconds that another process is waited for.
PATIENCE = 0.5
DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
TABLE = """
CREATE TABLE entries (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, text_key TEXT NOT NULL, about BLOB NOT NULL, body BLOB NOT NULL,
    seal TEXT NOT NULL, bytes INTEGER NOT NULL, made REAL NOT NULL, used REAL NOT NULL
)
"""
# Of the file, from its beginning: it shrinks, and is read while another process writes. Of each connection: what is
# deleted leaves nothing behind.
FILE_SETTINGS = ("auto_vacuum = FULL", "journal_mode = WAL")
SETTINGS = ("synchronous = NORMAL", "secure_delete = ON")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept under one key.

    Attributes:
        id: Its key.
        about: What it is the answer to.
        bytes: On disk.
        made: Seconds since 1970.
    """

    id: str
    about: dict[str, Any]
    bytes: int
    made: float


def text_key(text: str) -> str:
    """A short name for a text: the beginning of its SHA-256."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:24]


def written(value: Any) -> bytes:
    """Plain data as bytes, the same for equal data."""
    return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()


def key_of(kind: str, about: About) -> str:
    """The key of an entry: a digest of what it is about."""
    return hashlib.sha256(written({"kind": kind, **about})).hexdigest()


def seal(key: str, body: bytes) -> str:
    """A digest by which an entry is known to be what was written."""
    return hashlib.sha256(key.encode() + body).hexdigest()


class Store:
    """Entries by what they are about; the least recently used go when there are too many bytes.

    Safe to use from any thread and from several processes: a connection is opened for each use.

    Args:
        path: Of the file; ``None`` for the one in the cache folder, wherever that is when it is used.
        limit: Bytes of all entries.
        read_only: Whether what is there is looked at alone: nothing is put, changed or deleted, nor begun anew.
        clock: Seconds since 1970.

    Attributes:
        read_only: As above.
        trouble: Why something could not be kept or read; ``None`` once something is kept again.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        limit: int = BYTES,
        read_only: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._limit, self.read_only, self._clock = path, limit, read_only, clock
        self.trouble: str | None = None

    @property
    def path(self) -> Path:
        """Of the file, which is not necessarily there."""
        return self._path or home() / FILE

    def get(self, kind: str, about: About) -> Any:
        """What was put there, now the most recently used; ``None`` if it is not there or not whole."""
        return self.opened(kind, key_of(kind, about))

    def opened(self, kind: str, key: str) -> Any:
        """The same by key."""

        def work(db: sqlite3.Connection) -> Any:
            row = db.execute("SELECT body, seal FROM entries WHERE id = ? AND kind = ?", (key, kind)).fetchone()
            if row is None:
                return None
            body = unsealed(key, *row)
            if self.read_only:
                return body
            if body is None:
                log.warning("an entry of %s is not what was written; it is let go", self.path)
                db.execute("DELETE FROM entries WHERE id = ?", (key,))
                return None
            db.execute("UPDATE entries SET used = ? WHERE id = ?", (self._clock(), key))
            return body

        return self._use(work, None)

    def put(self, kind: str, about: About, body: Any) -> None:
        """Keeps ``body``, plain data, instead of what was there; ``about["text"]`` can be asked for by its key.

        What is larger than all entries may be together is not kept.
        """
        if self.read_only:
            return
        key, about_bytes = key_of(kind, about), written(dict(about))
        packed = zlib.compress(written(body))
        size, now = len(about_bytes) + len(packed), self._clock()
        if size > self._limit:
            log.info("a result of %d bytes is not kept: the limit is %d", size, self._limit)
            return
        row = (key, kind, text_key(about["text"]), about_bytes, packed, seal(key, packed), size, now, now)

        def work(db: sqlite3.Connection) -> bool:
            db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            excess = self._total(db) - self._limit
            for old, old_size in db.execute("SELECT id, bytes FROM entries ORDER BY used").fetchall():
                if excess <= 0:
                    break
                if old != key:
                    db.execute("DELETE FROM entries WHERE id = ?", (old,))
                    excess -= old_size
            return True

        if self._use(work, False):
            self.trouble = None

    def entries(self, kind: str) -> list[Entry]:
        """What there is of a kind, the newest first."""

        def work(db: sqlite3.Connection) -> list[Entry]:
            asked = "SELECT id, about, bytes, made FROM entries WHERE kind = ? ORDER BY made DESC"
            found = (entry(kind, *row) for row in db.execute(asked, (kind,)))
            return [one for one in found if one is not None]

        return self._use(work, [])

    def text(self, key: str) -> str | None:
        """The text with that `text_key`, of any entry; ``None`` if it is not there."""

        def work(db: sqlite3.Connection) -> str | None:
            asked = "SELECT kind, id, about, bytes, made FROM entries WHERE text_key = ?"
            for kind, *row in db.execute(asked, (key,)):
                found = entry(kind, *row)
                if found is not None and text_key(found.about["text"]) == key:
                    return found.about["text"]
            return None

        return self._use(work, None)

    def total(self) -> int:
        """Bytes of all entries."""
        return self._use(self._total, 0)

    def delete(self, key: str) -> None:
        """Lets one entry go, and what else is kept of its text when no other answer to it is left."""

        if self.read_only:
            return

        def work(db: sqlite3.Connection) -> None:
            row = db.execute("SELECT kind, text_key FROM entries WHERE id = ?", (key,)).fetchone()
            db.execute("DELETE FROM entries WHERE id = ?", (key,))
            if row is not None:
                left = db.execute("SELECT 1 FROM entries WHERE kind = ? AND text_key = ?", row).fetchone()
                if left is None:
                    db.execute("DELETE FROM entries WHERE text_key = ?", row[1:])

        self._use(work, None)

    def clear(self) -> None:
        """Lets everything go; on a full disk, where nothing can be written down, with the file."""
        if self.read_only:
            return
        if self._use(lambda db: db.execute("DELETE FROM entries"), None) is None and self._is_full():
            self._remove()

    @staticmethod
    def _total(db: sqlite3.Connection) -> int:
        return db.execute("SELECT COALESCE(SUM(bytes), 0) FROM entries").fetchone()[0]

    def _use(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """``work`` done in one transaction, or ``otherwise`` and a line in the log."""
        if self.read_only and not self.path.exists():
            return otherwise
        try:
            with self._looking() if self.read_only else self._connected() as db, db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            # The extended codes have the primary one in their last byte.
            if getattr(error, "sqlite_errorcode", -1) & 0xFF in DAMAGED and not self.read_only:
                log.warning("%s is damaged (%s); kept results begin anew", self.path, error)
                self._remove()
            else:
                # Without its path, which the log has.
                said = getattr(error, "strerror", None) or error
                why = f"{said}; its disk is full" if self._is_full() else said
                log.warning("kept results are passed by: %s: %s", self.path, why)
                self.trouble = str(why)
            return otherwise

    def _is_full(self) -> bool:
        """Whether its disk lacks the room that the file takes to be read, beside what it has."""
        try:
            return shutil.disk_usage(self.path.parent).free < ROOM
        except OSError:
            return False

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        # Texts are nobody else's: the file is its owner's alone from the beginning.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise other_version(version)
            for setting in (*(FILE_SETTINGS if version == 0 else ()), *SETTINGS):
                db.execute(f"PRAGMA {setting}")
            if version == 0:
                self._begin(db)
            yield db

    @contextmanager
    def _looking(self) -> Iterator[sqlite3.Connection]:
        """A connection that cannot write; in a folder that nobody here can write to, not even a lock beside it."""
        locks = "" if os.access(self.path.parent, os.W_OK) else "&immutable=1"
        with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro{locks}", uri=True, timeout=PATIENCE)) as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA:
                raise other_version(version)
            yield db

    @staticmethod
    def _begin(db: sqlite3.Connection) -> None:
        with db:
            db.execute("BEGIN IMMEDIATE")
            # Another process may have been first.
            if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                db.execute(TABLE)
                db.execute("CREATE INDEX by_text ON entries (text_key)")
                db.execute(f"PRAGMA user_version = {SCHEMA}")

    def _remove(self) -> None:
        try:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", self.path, error)


def other_version(version: int) -> sqlite3.DatabaseError:
    """The error of a file written by another version of this module."""
    return sqlite3.DatabaseError(
        f"it is of another version ({version}, this is {SCHEMA}) and is left as it is; "
        "set DENSITY_HOME to another folder to keep answers"
    )


def unsealed(key: str, body: object, found: object) -> Any:
    """The data in ``body`` if its seal is the one ``found``, else ``None``."""
    if not isinstance(body, bytes) or seal(key, body) != found:
        return None
    return json.loads(zlib.decompress(body))


def entry(kind: str, key: object, about: object, size: object, made: object) -> Entry | None:
    """A row as an entry; ``None`` if it is not what was written."""
    if not (isinstance(key, str) and isinstance(about, bytes) and isinstance(size, int) and isinstance(made, float)):
        return None
    try:
        known = json.loads(about)
        return Entry(key, known, size, made) if key_of(kind, known) == key else None
    except (ValueError, TypeError):
        return None
