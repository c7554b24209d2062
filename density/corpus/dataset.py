"""A dataset on disk: shards written whole or not at all, each text's rows kept from the moment they are measured.

NN-MMMMM-DIGEST.parquet   the rows of `SHARD_TEXTS` texts and one model; DIGEST is of its content
_pending/                 the rows of one text and one model each, until their shard is complete
_manifest.json            the settings all of it was made with
_lock                     held by the one run that writes

Readers of Parquet folders skip names that begin with an underscore, so the folder can be read at any moment. What is in
a shard depends on texts and settings alone: however often a run was stopped, the shards are the same, byte for byte.
"""

import errno
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from filelock import FileLock, Timeout

from density import files
from density.corpus.rows import SCHEMA, Measure, Row
from density.corpus.sources import Text, digest
from density.errors import BadInput, DensityError, shown
from density.export import versions
from density.models import Model

CORPUS_SCHEMA = "density.corpus/2"
MANIFEST, LOCK, PENDING = "_manifest.json", "_lock", "_pending"
SHARD_TEXTS = 100
# Bytes of a manifest, several times what there is; settings that a message names.
MOST_MANIFEST, MOST_NAMED = 10_000_000, 10
FILE = re.compile(r"(?P<model>\d+)-(?P<number>\d+)-[0-9a-f]{16}\.parquet")


class NotWritten(DensityError):
    """The dataset cannot be written to; what is finished is kept."""


class OtherSettings(BadInput):
    """A folder that holds a dataset made with other settings, or by another version."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Which weights a model's name meant, and how they were run; the same throughout a dataset."""

    revision: str
    family: str
    device: str
    precision: str

    @classmethod
    def of(cls, model: Model) -> "Opened":
        """Those of a model in memory."""
        return cls(model.revision, model.family, model.device, model.precision)


def settings_of(
    texts: Sequence[Text],
    models: Sequence[str],
    measure: Measure,
    *,
    source: str,
    precision: str,
    column: str | None = None,
) -> dict[str, Any]:
    """All that decides what is in a dataset, as plain data; with the column of ``source``, if one was named."""
    return {
        "schema": CORPUS_SCHEMA,
        "models": list(models),
        **asdict(measure),
        "precision": precision,
        "source": Path(source).name,
        "column": column,
        "texts": len(texts),
        "texts_sha256": digest(texts),
        "shard_texts": SHARD_TEXTS,
        "versions": versions(),
    }


class Dataset:
    """A dataset that is being made, see `open_dataset`.

    Attributes:
        folder: Where it is.
        texts: All of the texts, in their order.
        settings: See `settings_of`.
        opened: What each model's name has meant so far.
        done: The (model, text) whose rows are kept, by their numbers from 0.
        damaged: Names of the files that did not hold what was written and were removed.
    """

    def __init__(self, folder: Path, texts: Sequence[Text], settings: dict[str, Any]) -> None:
        self.folder, self.texts, self.settings = folder, texts, settings
        self.models: list[str] = settings["models"]
        self.opened: dict[str, Opened] = {}
        self.done: set[tuple[int, int]] = set()
        self.pending: dict[tuple[int, int], Path] = {}
        self.damaged: list[str] = []

    def open_model(self, name: str, opened: Opened) -> None:
        """Notes which weights ``name`` means; raises `OtherSettings` if finished rows were made with others."""
        before = self.opened.setdefault(name, opened)
        if before != opened:
            refuse(self.folder, asdict(before), asdict(opened), f"{name}: ")
        self.write_manifest()

    def write_manifest(self) -> None:
        """Writes the settings; models in the order they were named, whichever was opened first."""
        opened = {name: asdict(self.opened[name]) for name in self.models if name in self.opened}
        document = {**self.settings, "opened": opened}
        write_whole(self.folder / MANIFEST, json.dumps(document, indent=1, ensure_ascii=False).encode())

    def remaining(self, model: int) -> list[int]:
        """The texts that have no rows of that model yet."""
        return [text for text in range(len(self.texts)) if (model, text) not in self.done]

    def add(self, model: int, text: int, rows: Sequence[Row]) -> None:
        """Keeps the rows of one text; once this returns they outlive the process. Completes the shard if it can be.

        Raises:
            NotWritten: Disk full, or a folder that cannot be written to.
        """
        if (model, text) in self.done:
            return
        content = serialise(pa.Table.from_pylist(list(rows), self.schema(model)))
        self.pending[model, text] = write_whole(self.folder / PENDING / part_name(model, text, content), content)
        self.done.add((model, text))
        self.complete(model, text // self.settings["shard_texts"])

    def complete(self, model: int, shard: int) -> None:
        """Turns a shard's pending parts into the shard, once they are all there."""
        texts = self.texts_of(shard)
        parts = [self.pending.get((model, text)) for text in texts]
        if None in parts:
            return
        schema = self.schema(model)
        table = pa.concat_tables([pq.ParquetFile(part).read() for part in parts])
        content = serialise(table.replace_schema_metadata(schema.metadata))
        write_whole(self.folder / shard_name(model, shard, content), content)
        for text in texts:
            self.pending.pop((model, text)).unlink()

    def texts_of(self, shard: int) -> range:
        """The numbers of the texts in a shard."""
        size = self.settings["shard_texts"]
        return range(shard * size, min((shard + 1) * size, len(self.texts)))

    def schema(self, model: int) -> pa.Schema:
        """The columns, with the settings and the model as metadata under ``density``."""
        name = self.models[model]
        metadata = {**self.settings, "model": name, **asdict(self.opened[name])}
        return SCHEMA.with_metadata({"density": json.dumps(metadata, ensure_ascii=False)})

    def take_up(self) -> None:
        """Finds what is done, removes what is damaged, and finishes what a stopped run had begun to write."""
        if (self.folder / MANIFEST).exists():
            self.opened = read_manifest(self.folder, self.settings)
        else:
            self.write_manifest()
        (self.folder / PENDING).mkdir(exist_ok=True)
        for leftover in (*self.folder.glob("_*.partial"), *(self.folder / PENDING).glob("_*.partial")):
            leftover.unlink()
        shards, parts = files_by_key(self.folder), files_by_key(self.folder / PENDING)
        for model, name in enumerate(self.models):
            if name not in self.opened:
                continue
            for shard in range(-(-len(self.texts) // self.settings["shard_texts"])):
                texts = self.texts_of(shard)
                if self.whole(shards.pop((model, shard), []), model):
                    self.done |= {(model, text) for text in texts}
            for text in range(len(self.texts)):
                if (model, text) not in self.done and (part := self.whole(parts.pop((model, text), []), model)):
                    self.pending[model, text] = part
                    self.done.add((model, text))
        for path in (path for left in (*shards.values(), *parts.values()) for path in left):
            path.unlink()
        for model, shard in {(model, text // self.settings["shard_texts"]) for model, text in self.pending}:
            self.complete(model, shard)

    def whole(self, paths: Sequence[Path], model: int) -> Path | None:
        """The file of ``paths`` that holds what was written, if one does; the others are removed."""
        found = None
        for path in sorted(paths):
            if found is None and is_whole(path, self.schema(model)):
                found = path
                continue
            if found is None:
                self.damaged.append(path.name)
            path.unlink()
        return found

    def close(self) -> None:
        """Removes the folder of pending parts, if it is empty."""
        with suppress(OSError):
            (self.folder / PENDING).rmdir()


@contextmanager
def open_dataset(folder: Path, texts: Sequence[Text], settings: dict[str, Any]) -> Iterator[Dataset]:
    """The dataset in ``folder``, new or taken up, held by this process alone.

    Raises:
        OtherSettings: It was made with other settings, which are named, or by another version.
        BadInput: The folder holds something else.
        NotWritten: Another run writes to it, or it cannot be written to.
    """
    with writing(folder):
        check_place(folder)
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    with writing(folder):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise NotWritten(f"another run is writing to {folder}; wait for it, or name another folder.") from None
    with lock:
        dataset = Dataset(folder, texts, settings)
        with writing(folder):
            dataset.take_up()
        yield dataset
        dataset.close()


def check_place(folder: Path) -> None:
    """Raises `BadInput` if what is at ``folder`` is neither a dataset nor empty."""
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder} is a file; name a folder for the dataset.")
    if folder.is_dir() and not (folder / MANIFEST).exists():
        others = [path.name for path in folder.iterdir() if path.name != LOCK and not path.name.endswith(".partial")]
        if others:
            raise BadInput(f"{folder} holds {min(others)!r} and no dataset; name a new or an empty folder.")


def read_manifest(folder: Path, settings: dict[str, Any]) -> dict[str, Opened]:
    """What the models' names meant; raises `OtherSettings` unless the dataset was made with ``settings``."""
    document = load_manifest(folder)
    opened = document.pop("opened")
    refuse(folder, document, json.loads(json.dumps(settings)))
    try:
        return {name: Opened(**values) for name, values in opened.items()}
    except TypeError:
        raise damaged(folder) from None


def load_manifest(folder: Path) -> dict[str, Any]:
    """The settings a dataset was made with, and ``opened``, what its models' names meant.

    Raises:
        BadInput: No dataset, one whose manifest cannot be read, or one of another schema version.
    """
    try:
        if (folder / MANIFEST).stat().st_size > MOST_MANIFEST:
            raise ValueError
        document = json.loads((folder / MANIFEST).read_bytes())
        schema = document["schema"]
        if schema == CORPUS_SCHEMA and not isinstance(document["opened"], dict):
            raise TypeError
    except FileNotFoundError:
        raise BadInput(f"{folder} is no dataset: it has no {MANIFEST}.") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged(folder) from None
    if schema != CORPUS_SCHEMA:
        raise OtherSettings(
            f"{folder} is a dataset of schema {shown(schema)}, and this version reads and writes {CORPUS_SCHEMA}; "
            "use the version that made it, or another folder."
        )
    return document


def damaged(folder: Path) -> BadInput:
    """The error of a manifest that is not what was written."""
    return BadInput(f"{folder / MANIFEST} is damaged; restore it, or name another folder.")


def read_dataset(folder: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """What is finished of a dataset, pending parts and all; every column unless ``columns`` are named.

    Raises:
        BadInput: No dataset, or one of another schema version.
    """
    load_manifest(folder)
    paths = [*sorted(folder.glob("*.parquet")), *sorted((folder / PENDING).glob("*.parquet"))]
    schema = SCHEMA if columns is None else pa.schema([SCHEMA.field(name) for name in columns])
    tables = [pq.ParquetFile(path).read(columns).replace_schema_metadata() for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables])


def refuse(folder: Path, there: dict[str, Any], asked: dict[str, Any], about: str = "") -> None:
    """Raises `OtherSettings`, saying what differs, unless both are the same."""
    differ = [key for key in {**there, **asked} if there.get(key) != asked.get(key)]
    if differ:
        named = [f"{key} is {shown(there.get(key))} there and {shown(asked.get(key))} here" for key in differ]
        said = "; ".join([*named[:MOST_NAMED], *(["..."] if len(named) > MOST_NAMED else [])])
        raise OtherSettings(f"{folder} was made with other settings: {about}{said}. Use the same, or another folder.")


def serialise(table: pa.Table) -> bytes:
    """A table as a Parquet file; the same table always gives the same bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def shard_name(model: int, shard: int, content: bytes) -> str:
    """The name of a shard: its model, its number and a digest of its content."""
    return f"{model:02d}-{shard:05d}-{content_digest(content)}.parquet"


def part_name(model: int, text: int, content: bytes) -> str:
    """The name of one text's pending rows, likewise."""
    return f"{model:02d}-{text:07d}-{content_digest(content)}.parquet"


def content_digest(content: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def files_by_key(folder: Path) -> dict[tuple[int, int], list[Path]]:
    """The Parquet files of a folder by the two numbers in their names; raises `BadInput` for any other."""
    found: dict[tuple[int, int], list[Path]] = {}
    for path in folder.glob("*.parquet"):
        named = FILE.fullmatch(path.name)
        if named is None:
            raise BadInput(f"{path} is no part of the dataset, and readers would take it for one; move it away.")
        found.setdefault((int(named["model"]), int(named["number"])), []).append(path)
    return found


def is_whole(path: Path, schema: pa.Schema) -> bool:
    """Whether a file's content has the digest in its name, and its footer these columns and settings."""
    content = path.read_bytes()
    if not path.name.endswith(f"-{content_digest(content)}.parquet"):
        return False
    try:
        footer = pq.read_schema(pa.BufferReader(content))
        return footer.equals(schema) and footer.metadata == schema.metadata
    except pa.ArrowException:
        return False


def write_whole(path: Path, content: bytes) -> Path:
    """Writes a file that is there whole or not at all, whatever happens; returns ``path``.

    Raises:
        NotWritten: Disk full, or a folder that cannot be written to.
    """
    with writing(path.parent):
        files.write_whole(path, content)
    return path


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns the system's refusals to write into our error."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "free some space" if full else "make it writable, or name another folder"
        raise NotWritten(
            f"{folder} cannot be written to ({error.strerror or error}). All finished work is kept: {advice}, and run "
            "the same command again."
        ) from error
