"""Files that are there whole or not at all, whatever happens meanwhile."""

import os
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path``, through a file beside it that takes its place once it is on the disk.

    Until then what was there before stays; a process that is killed may leave ``_NAME.PID.partial``. What is no file,
    such as a pipe, is written to as it stands, and a link's target is replaced, not the link.

    Raises:
        OSError: Disk full, or a place that cannot be written to; nothing is left behind.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    path = path.resolve()
    partial = path.with_name(f"_{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Has a file's content, or the names in a folder, on the disk before anything that comes after."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
