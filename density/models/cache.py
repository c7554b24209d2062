"""The cache folder: model folders written whole or not at all, and what is said when the disk cannot take them.

models/<key>/             a finished folder, with a manifest.json of what it must hold
models/<key>.*.partial/   being written; whatever an interrupted run left is removed by the next
models/<key>.lock         held by the one process that writes
digests.json              SHA-256 of files that have not changed since they were read
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from density.files import sync, write_whole
from density.home import home
from density.models.errors import CacheUnavailable
from density.models.progress import Progress

log = logging.getLogger(__name__)

# Part of every manifest: folders written by another version of the conversion are written again.
CONVERTER = 1
MANIFEST, DIGESTS = "manifest.json", "digests.json"
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
# A digest is remembered once a file has been left alone for so long, for so many files.
SETTLED_NS, REMEMBERED = 2_000_000_000, 1000

# What could not be written down, for as long as this process lives.
_unwritten: dict[str, list[Any]] = {}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a finished folder was made from and holds.

    Attributes:
        source: SHA-256 of the GGUF it was made from.
        converter: Version of the conversion.
        files: SHA-256 of every file, by name.
    """

    source: str
    converter: int
    files: dict[str, str]


def folder_of(key: str) -> Path:
    """Where the finished folder ``key`` is, or would be."""
    return home() / "models" / key


def is_whole(key: str, source: str) -> bool:
    """Whether the folder ``key`` was made from ``source`` by this version, and holds what was written, unchanged."""
    folder = folder_of(key)
    try:
        manifest = Manifest(**json.loads((folder / MANIFEST).read_text()))
        return (
            (manifest.source, manifest.converter) == (source, CONVERTER)
            and {path.name for path in folder.iterdir()} == {MANIFEST, *manifest.files}
            and all(sha256_of(folder / name) == digest for name, digest in manifest.files.items())
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def kept(key: str, source: str, write: Callable[[Path, Path], None], *, disk: int, progress: Progress) -> Path:
    """The finished folder ``key`` made from ``source``; unless it is there and whole, ``write`` makes it.

    Args:
        write: Called with an empty folder for what is only needed meanwhile, and the folder to fill. One
            process at a time calls it; the others wait and find the work done.
        disk: Bytes that ``write`` needs.

    Raises:
        CacheUnavailable: Too little room, or a cache folder that cannot be written to.
    """
    folder = folder_of(key)
    if is_whole(key, source):
        return folder
    with writing():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder, progress):
            if not is_whole(key, source):
                if folder.exists():
                    log.warning("%s is not what this version would write of its model; it is made again", folder)
                _rebuild(folder, source, write, disk)
    return folder


def _rebuild(folder: Path, source: str, write: Callable[[Path, Path], None], disk: int) -> None:
    for left in folder.parent.glob(f"{folder.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)
    require_disk(disk, folder, f"Making {folder.name} ready")
    partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        scratch, target = partial / "scratch", partial / "model"
        scratch.mkdir()
        target.mkdir()
        write(scratch, target)
        files = {path.name: sha256_of(path) for path in sorted(target.iterdir())}
        (target / MANIFEST).write_text(json.dumps(asdict(Manifest(source, CONVERTER, files)), indent=1))
        for path in target.iterdir():
            sync(path)
        _remove(folder)
        target.replace(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove(path: Path) -> None:
    """Removes what is at ``path``, if anything: a folder, or a file that stands where one should be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path, progress: Progress) -> Iterator[None]:
    """Holds the lock of ``folder``; while another process has it, says so and can be cancelled."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            progress("waiting for another process", 0, 0)
    try:
        yield
    finally:
        lock.release()


def readable(count: int) -> str:
    """A number of bytes for people: ``540 MB``, ``1.07 GB``."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def require_disk(needed: int, folder: Path, purpose: str, setting: str = "DENSITY_HOME") -> None:
    """Raises `CacheUnavailable` if the disk of ``folder``, not necessarily there yet, has too little room.

    Args:
        setting: The environment variable that moves the folder to another disk.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CacheUnavailable(
            f"{purpose} needs {readable(needed)} of disk and {readable(free)} are free at {there}. "
            f"Free some space, or set {setting} to a folder on another disk."
        )


def disk_full(folder: Path, setting: str = "DENSITY_HOME") -> CacheUnavailable:
    """The error of a disk that filled up while ``folder`` was written to, which ``setting`` moves."""
    return CacheUnavailable(
        f"the disk of {folder} is full. Free some space, or set {setting} to a folder on another disk."
    )


@contextmanager
def writing() -> Iterator[None]:
    """Turns refusals to write to the cache folder, the system's own or as a library words them, into our error."""
    try:
        yield
    except CacheUnavailable:
        raise
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in FULL or os.strerror(errno.ENOSPC) in str(error):
            raise disk_full(home()) from error
        if number in CLOSED:
            raise CacheUnavailable(
                f"the cache folder {home()} cannot be written to ({os.strerror(number)}). "
                "Set DENSITY_HOME to a folder that can."
            ) from error
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal.

    A file whose inode, size and times of change (with the kernel's own, which no program can set) are as they
    were is not read again, so that gigabytes are not read at every start. One that changed in the last two
    seconds always is: another change within the same tick of the clock would not show.
    """
    stat = path.stat()
    key, stamp = f"{stat.st_dev}-{stat.st_ino}", [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    known = _remembered().get(key)
    if known is not None and known[:-1] == stamp:
        return known[-1]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS:
        _remember(key, [*stamp, digest])
    return digest


def sha256_of_all(files: Iterable[Path]) -> str:
    """One SHA-256 for files of a folder: over the name and SHA-256 of each, in the order of the names."""
    lines = [f"{path.name} {sha256_of(path)}\n" for path in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _remembered() -> dict[str, list[Any]]:
    """What is remembered; of a file that cannot be read or is not what was written, nothing: it only saves time."""
    try:
        known = json.loads((home() / DIGESTS).read_text())
        written = known["digests"] if known["seal"] == _seal(known["digests"]) else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        written = {}
    return {**written, **_unwritten}


def _seal(digests: dict[str, list[Any]]) -> str:
    """A digest of digests, by which they are known to be what was written."""
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _remember(key: str, value: list[Any]) -> None:
    """Adds one digest; of two processes at once one may be lost, and of a read-only cache only this one knows it."""
    memory = home() / DIGESTS
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        known = dict(list({**_remembered(), key: value}.items())[-REMEMBERED:])
        write_whole(memory, json.dumps({"digests": known, "seal": _seal(known)}).encode())
        _unwritten.pop(key, None)
    except OSError:
        _unwritten[key] = value
