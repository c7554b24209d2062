"""Texts from a file: .txt, .tsv, .csv, .jsonl or Parquet, or the sample that is shipped."""

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from density.errors import BadInput, first_line, shown

SAMPLE = "sample"
SAMPLE_FILE = Path(__file__).with_name("sample.jsonl")
TEXT_COLUMNS = ("text", "context")
# Bytes of a file, and of what it unpacks to; texts of a file; rows unpacked at once; columns that a message names.
MOST_BYTES, MOST_TEXTS, BATCH, MOST_NAMED = 10**9, 10**6, 100, 50
BESIDE = ("id", "theme", "pair", "language")
# Each record's line or row in its file, from 1, and its cells by column; the texts are the column "text".
Records = Iterator[tuple[int, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Text:
    """One text of a corpus.

    Attributes:
        id: Its own, or the number of its line or row in the file, from 1.
        text: As it stands in the file.
        theme: What it is an example of, if the file says so.
        pair: What it shares with the other half of a minimal pair, if it is in one.
        language: What it is written in, if the file says so; ISO 639, ``zxx`` for no language.
    """

    id: str
    text: str
    theme: str | None = None
    pair: str | None = None
    language: str | None = None


def load_texts(source: str, *, column: str | None = None, limit: int | None = None, seed: int = 0) -> list[Text]:
    """The texts of a file, in its order.

    Args:
        source: A file whose name ends in .txt (one text a line, blank lines left out), .tsv, .csv, .jsonl or .parquet,
            or ``sample``. Columns ``id``, ``theme``, ``pair`` and ``language`` are used where there are any.
        column: The one with the texts. By default ``text`` or ``context``; in a .tsv or .csv whose first line has
            neither, there is no header and the texts are the first column.
        limit: So many of the texts, drawn with ``seed``; all of them if there are no more.
        seed: Of the draw.

    Raises:
        BadInput: No such file or column, not UTF-8, not of its format, no text or too many in it, an id twice, a
            limit below 1.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"--limit is 1 text or more, got {limit}.")
    path = SAMPLE_FILE if source == SAMPLE else Path(source)
    try:
        read = READERS[path.suffix.lower()]
    except KeyError:
        endings = ", ".join(READERS)
        raise BadInput(f"{source}: name a file that ends in {endings}, or '{SAMPLE}' for the shipped texts.") from None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(f"{source} has over {MOST_BYTES / 1e9:g} GB; divide it into several files.")
        if not path.is_file():
            raise BadInput(f"{source} is no file; name one that holds texts.")
        raw = path.read_bytes()
    except OSError as error:
        raise BadInput(f"cannot read {source}: {error.strerror}.") from None
    found = list(islice(as_texts(path.name, read(path.name, raw, column)), MOST_TEXTS + 1))
    if len(found) > MOST_TEXTS:
        raise BadInput(f"{path.name} holds more than {MOST_TEXTS:,} texts; divide it into several files.")
    if not found:
        raise BadInput(f"{path.name} holds no text; write at least one.")
    refuse_duplicates(path.name, found)
    if limit is None or limit >= len(found):
        return found
    return [found[index] for index in sorted(random.Random(seed).sample(range(len(found)), limit))]


def columns_of(source: str) -> list[str]:
    """Names of the columns that the texts of a file could be in; none of a .txt, or of what cannot be read.

    Of a .tsv or .csv, the cells of its first line, whether that is a header or not; of a .jsonl, of its first object.
    """
    path = Path(source)
    try:
        if path.suffix.lower() == ".parquet":
            return list(pq.read_schema(path).names)
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
        match path.suffix.lower():
            case ".csv" | ".tsv":
                return next(csv.reader([first], delimiter="\t" if path.suffix.lower() == ".tsv" else ","), [])
            case ".jsonl":
                record = json.loads(first)
                return list(record) if isinstance(record, dict) else []
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException):
        pass
    return []


def digest(texts: Iterable[Text]) -> str:
    """The SHA-256 of the texts with all that is said of each, see `Text`, in their order."""
    lines = (json.dumps(astuple(text)) for text in texts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def as_texts(name: str, records: Records) -> Iterator[Text]:
    """Texts of records, nothing where there is none; raises `BadInput` for what is no text."""
    for number, record in records:
        text = "" if record["text"] is None else record["text"]
        if not isinstance(text, str):
            raise BadInput(f"{name}, text {number}: a text is wanted, got {shown(text)}.")
        given = {key: str(record[key]) for key in BESIDE if record.get(key) not in (None, "")}
        yield Text(given.get("id", str(number)), text, given.get("theme"), given.get("pair"), given.get("language"))


def refuse_duplicates(name: str, texts: Sequence[Text]) -> None:
    """Raises `BadInput` if two texts have one id: their rows could not be told apart."""
    seen: dict[str, int] = {}
    for number, text in enumerate(texts, 1):
        if text.id in seen:
            raise BadInput(
                f"{name}: texts {seen[text.id]} and {number} both have the id {shown(text.id)}; make ids unique."
            )
        seen[text.id] = number


def decode(name: str, raw: bytes) -> str:
    """UTF-8, with or without a byte order mark; raises `BadInput` with the line and the byte where it is not."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Its place is told without the mark.
        start = error.start + len(raw) - len(error.object)
        line = raw.count(b"\n", 0, start) + 1
        raise BadInput(
            f"{name} is not UTF-8: line {line}, byte {start} of the file is 0x{raw[start]:02X}; "
            "convert the file to UTF-8."
        ) from None


def choose(name: str, columns: Sequence[str], column: str | None) -> str:
    """The column with the texts; raises `BadInput`, with the columns there are, if it cannot be told."""
    wanted = TEXT_COLUMNS if column is None else (column,)
    for candidate in wanted:
        if candidate in columns:
            return candidate
    there = ", ".join([*map(shown, columns[:MOST_NAMED]), *(["..."] if len(columns) > MOST_NAMED else [])]) or "none"
    raise BadInput(f"{name} has no column {' or '.join(map(shown, wanted))}; there are: {there}. Say which: --column.")


def read_lines(name: str, raw: bytes, column: str | None) -> Records:
    """One text a line."""
    if column is not None:
        raise BadInput(f"{name} has one text a line and no columns; leave --column out.")
    for number, line in enumerate(decode(name, raw).replace("\r\n", "\n").split("\n"), 1):
        if line.strip():
            yield number, {"text": line}


def read_table(name: str, raw: bytes, column: str | None, **style: Any) -> Records:
    """Lines of cells; the first is the header if it names the column wanted, or any in which texts are looked for."""
    # A long text is refused, if it is, where its tokens are counted, and alone.
    csv.field_size_limit(MOST_BYTES)
    reader = csv.reader(io.StringIO(decode(name, raw), newline=""), strict=True, **style)
    try:
        first = next(reader, [])
        if column is None and not set(TEXT_COLUMNS) & set(first):
            places = {"text": 0}
            if first:
                yield 1, {"text": first[0]}
        else:
            places = {key: first.index(key) for key in BESIDE if key in first}
            places["text"] = first.index(choose(name, first, column))
        for cells in reader:
            if cells:
                yield reader.line_num, {key: cells[at] if at < len(cells) else "" for key, at in places.items()}
    except csv.Error as error:
        raise BadInput(f"{name}, line {reader.line_num}: {error}; check its quotes.") from None


def read_tsv(name: str, raw: bytes, column: str | None) -> Records:
    """Cells between tabs; quotes are part of the text."""
    return read_table(name, raw, column, delimiter="\t", quoting=csv.QUOTE_NONE)


def read_jsonl(name: str, raw: bytes, column: str | None) -> Records:
    """One JSON object a line."""
    for number, line in enumerate(decode(name, raw).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{name}, line {number} is not JSON: {error}.") from None
        if not isinstance(record, dict):
            raise BadInput(
                f'{name}, line {number}: an object such as {{"text": "..."}} is wanted, got {shown(record)}.'
            )
        yield number, {**record, "text": record[choose(f"{name}, line {number},", list(record), column)]}


def read_parquet(name: str, raw: bytes, column: str | None) -> Records:
    """One text a row."""
    try:
        file = pq.ParquetFile(pa.BufferReader(raw))
        chosen = choose(name, file.schema_arrow.names, column)
        beside = [key for key in BESIDE if key in file.schema_arrow.names and key != chosen]
        for number, record in enumerate(rows(name, file, [chosen, *beside]), 1):
            yield number, {**record, "text": record[chosen]}
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{name} is no Parquet file that can be read: {first_line(error)}.") from None


def rows(name: str, file: pq.ParquetFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, some at a time; raises `BadInput` where they are more than any corpus.

    A short file can hold one text a billion times.
    """
    size = 0
    for batch in file.iter_batches(BATCH, columns=columns, use_threads=False):
        size += batch.nbytes
        if size > MOST_BYTES:
            raise BadInput(f"{name} unpacks to more than {MOST_BYTES / 1e9:g} GB; divide it into several files.")
        yield from batch.to_pylist()


READERS: dict[str, Callable[[str, bytes, str | None], Records]] = {
    ".txt": read_lines,
    ".tsv": read_tsv,
    ".csv": read_table,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
}
