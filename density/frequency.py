"""How often a token occurs in a language: its unigram probability, from lists of words counted in real corpora.

The words and their frequencies are wordfreq's (Speer 2022); `density.unigrams` counts them as tokens, and says what
they do not tell. A token's probability is its share of the tokens of a text made of the listed words.
"""

import hashlib
import io
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import wordfreq
from tokenizers import Tokenizer

from density.errors import BadInput, UnsupportedModel
from density.files import write_whole
from density.home import home
from density.recent import Recent
from density.unigrams import Table, count

# Part of the name of what is kept on disk: what was counted in another way is counted anew.
METHOD = 1
WORDLIST = "best"
# Looked up once: see `density.export.LIBRARIES`.
WORDFREQ = version("wordfreq")
KEPT = 8
# Languages that are mixed at most: each takes seconds.
MOST_LANGUAGES = 8
# Seconds that another who counts is waited for at once.
PAUSE = 0.05
LISTED, LOWERED = "listed", "lower case"
LANGUAGE = re.compile(r"\s*(?P<code>[a-zA-Z-]+)\s*(:\s*(?P<weight>[0-9.]+)\s*)?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Frequencies:
    """Unigram probabilities of a tokenizer's tokens, of those that have one.

    Attributes:
        languages: Their weights, by code, summing to 1.
        table: Of these languages together.
    """

    languages: Mapping[str, float]
    table: Table

    def probability(self, token: int) -> float | None:
        """The probability of ``token``, in (0, 1]; ``None`` if it has none."""
        kind = self.kind(token)
        if kind is None:
            return None
        return float((self.table.listed if kind == LISTED else self.table.lowered)[token])

    def zipf(self, token: int) -> float | None:
        """log10 of the occurrences of ``token`` in 10^9 tokens, 9 at most; ``None`` without a probability."""
        probability = self.probability(token)
        return None if probability is None else 9 + float(np.log10(probability))

    def kind(self, token: int) -> str | None:
        """Where its probability is from: ``listed`` words' tokens, or its ``lower case``; ``None`` if it has none."""
        if not 0 <= token < len(self.table.listed):
            return None
        if self.table.listed[token] > 0:
            return LISTED
        return LOWERED if self.table.lowered[token] > 0 else None

    @property
    def covered(self) -> float:
        """Share of the vocabulary that has a probability."""
        return float(np.mean((self.table.listed > 0) | (self.table.lowered > 0)))


def languages() -> list[str]:
    """Codes of the languages there are, in order."""
    return sorted(wordfreq.available_languages(WORDLIST))


def parse_languages(given: str | Mapping[str, float]) -> dict[str, float]:
    """Languages with weights that sum to 1: of ``en``, ``en,de``, ``en:3,de:1``, or a mapping from codes to weights.

    Raises:
        BadInput: Not of that form, a language there is no list of, weights that are not positive, or over
            `MOST_LANGUAGES`.
    """
    if isinstance(given, str):
        found = [(part, LANGUAGE.fullmatch(part)) for part in given.split(",")]
        weights: dict[str, float] = {}
        for part, match in found:
            if match is None:
                raise BadInput(f"{part.strip()!r} is no language; write en, en,de or en:3,de:1.")
            weights[match["code"].lower()] = number(match["weight"] or "1")
    else:
        weights = dict(given)
    for code, weight in weights.items():
        if code not in languages():
            raise BadInput(f"there is no list of words for language {code!r}; choose from {', '.join(languages())}.")
        if not 0 < weight < float("inf"):
            raise BadInput(f"language {code} has weight {weight}; a weight is a positive number.")
    if not weights:
        raise BadInput("no language was named; en is English.")
    if len(weights) > MOST_LANGUAGES:
        raise BadInput(f"{len(weights)} languages were named; {MOST_LANGUAGES} are mixed at most.")
    total = sum(weights.values())
    return {code: weights[code] / total for code in sorted(weights)}


def number(text: str) -> float:
    """``text`` as a number; raises `BadInput` if it is none."""
    try:
        return float(text)
    except ValueError:
        raise BadInput(f"{text!r} is no weight of a language; write a number, as in en:3,de:1.") from None


def frequencies(
    tokenizer: Any,
    language: str | Mapping[str, float] = "en",
    *,
    check: Callable[[], None] = lambda: None,
    read_only: bool = False,
) -> Frequencies:
    """The probabilities of a tokenizer's tokens in a language, or in several.

    A language takes some ten seconds to count; what was counted is kept in memory and in ``DENSITY_HOME``, by the
    tokenizer's content.

    Args:
        tokenizer: A fast one of `transformers`, or one of `tokenizers`.
        language: As `parse_languages` takes it.
        check: Called between batches of words; what it raises stops the work.
        read_only: Whether nothing is written.

    Raises:
        BadInput: See `parse_languages`.
        UnsupportedModel: A tokenizer that is not written in the ``tokenizers`` library.
    """
    weights = parse_languages(language)
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not isinstance(backend, Tokenizer):
        raise UnsupportedModel(
            f"frequencies are counted with a fast tokenizer, and this is a {type(tokenizer).__name__}; "
            "add the model's tokenizer.json."
        )
    content = backend.to_str()
    tables = [(weight, table_of(content, code, check, read_only)) for code, weight in weights.items()]
    return Frequencies(
        weights,
        Table(
            sum((weight * table.listed for weight, table in tables), np.zeros(1)),
            sum((weight * table.lowered for weight, table in tables), np.zeros(1)),
            sum(weight * table.left_out for weight, table in tables),
        ),
    )


_tables: Recent[tuple[str, str], Table] = Recent(KEPT)
# One counts; whoever wants the same meanwhile waits and finds it.
_counting = threading.Lock()


@contextmanager
def alone(check: Callable[[], None]) -> Iterator[None]:
    """Holds `_counting`; who has it may be resting, so that it is waited for in pauses, with ``check`` between them."""
    while not _counting.acquire(timeout=PAUSE):
        check()
    try:
        yield
    finally:
        _counting.release()


def table_of(content: str, language: str, check: Callable[[], None], read_only: bool) -> Table:
    """The table of a tokenizer, given as its JSON; from memory, from disk, or counted now."""
    about = f"{METHOD} {WORDLIST} {WORDFREQ} {content}"
    key = (hashlib.sha256(about.encode()).hexdigest()[:24], language)
    with alone(check):
        found = _tables.get(key)
        if found is None:
            path = home() / "frequencies" / f"{language}-{key[0]}.npz"
            found = recall(path)
            if found is None:
                words = wordfreq.get_frequency_dict(language, WORDLIST)
                found = count(Tokenizer.from_str(content), words, language, check)
                if not read_only:
                    keep(path, found)
            _tables.put(key, found)
    return found


def recall(path: Path) -> Table | None:
    """The table kept at ``path``; ``None`` if there is none, or none that is whole."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            table = Table(kept["listed"], kept["lowered"], float(kept["left_out"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        log.warning("%s cannot be read and is counted anew: %s", path, error)
        return None
    whole = table.listed.ndim == 1 and table.listed.shape == table.lowered.shape
    return table if whole and abs(table.listed.sum() - 1) < 1e-6 else None


def keep(path: Path, table: Table) -> None:
    """Writes a table, whole or not at all; where that cannot be, it is counted anew the next time."""
    out = io.BytesIO()
    np.savez_compressed(out, listed=table.listed, lowered=table.lowered, left_out=table.left_out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, out.getvalue())
    except OSError as error:
        log.warning("frequencies are not kept: %s", error)
