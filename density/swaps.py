"""One word of a text replaced by rarer or commoner ones, and what that does to the densities of its predictions."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import wordfreq

from density.agreement import average, by_token, placed, whole_text
from density.errors import BadInput
from density.frequency import WORDLIST, parse_languages
from density.unigrams import UNSPACED

WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
# Words offered are of so many letters or more.
SHORTEST = 3
NEAR = 0.1


@dataclass(frozen=True, slots=True)
class Word:
    """A word where it stands in a text: the characters from ``start`` to before ``end``."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Swapped:
    """A text with one word in its place, and what its profile measured.

    Attributes:
        word: The word.
        zipf: Of the word; ``None`` if it is not in the list.
        tokens: Indices of its tokens: those with one of its characters.
        density: Mean density of predicting its tokens; ``None`` if none is predicted.
        surprisal: Of the word, in nats: the sum over its tokens; ``None`` if one of them has none.
        next: Density of predicting the first token after the word; ``None`` if there is none.
        after: Mean density of predicting the tokens after the word, likewise.
        whole: Mean density of predicting the text's own tokens.
    """

    word: str
    zipf: float | None
    tokens: tuple[int, ...]
    density: float | None
    surprisal: float | None
    next: float | None
    after: float | None
    whole: float | None


def words_of(text: str) -> list[Word]:
    """The words of ``text``, in order: letters and digits, joined by apostrophes and hyphens."""
    return [Word(found.group(), *found.span()) for found in WORD.finditer(text)]


def parse_replacements(lines: str, word: str, most: int) -> list[str]:
    """The replacements in ``lines``, one a line, each once; empty lines, and ``word`` itself, are passed over.

    Raises:
        BadInput: More than ``most`` of them.
    """
    found = list(dict.fromkeys(line.strip() for line in lines.splitlines() if line.strip()))
    found = [line for line in found if line != word]
    if len(found) > most:
        raise BadInput(f"there are {len(found)} replacements and at most {most} are compared at once; take some away.")
    return found


def put(text: str, word: Word, replacement: str) -> str:
    """``text`` with ``replacement`` in the place of ``word``."""
    return text[: word.start] + replacement + text[word.end :]


def measure_swap(document: Mapping[str, Any], start: int, word: str, zipf: float | None) -> Swapped:
    """What a whole profile says of ``word``, which stands at character ``start`` of its text.

    Raises:
        NotAligned: The tokenizer changes the text, so that no token can be said to be of the word.
    """
    text, end = document["text"], start + len(word)
    where = placed(document)
    starts = where.starts
    ends = [*starts[1:], len(text)]
    mine = [i for i, (begin, over) in enumerate(zip(starts, ends, strict=True)) if begin < end and over > start]
    tokens = tuple(where.first + i for i in mine)
    later = [where.first + i for i in range(mine[-1] + 1 if mine else 0, len(starts))]
    densities, surprisals = by_token(document), by_token(document, "surprisal")
    known = [surprisals.get(index) for index in tokens]
    return Swapped(
        word=word,
        zipf=zipf,
        tokens=tokens,
        density=average(densities, tokens),
        surprisal=None if not known or None in known else sum(value for value in known if value is not None),
        next=densities.get(later[0]) if later else None,
        after=average(densities, later),
        whole=whole_text(document),
    )


def difference(one: float | None, other: float | None) -> float | None:
    """``other`` less ``one``; ``None`` if one of them is lacking."""
    return None if one is None or other is None else other - one


def zipf_of_word(word: str, language: str | Mapping[str, float]) -> float | None:
    """log10 of the occurrences of ``word`` in 10^9 words; ``None`` if no list has it, or it has a digit.

    Args:
        word: In any case; lists are in lower case.
        language: As `parse_languages` takes it.
    """
    form = word.casefold()
    weights = parse_languages(language)
    lists = {code: wordfreq.get_frequency_dict(code, WORDLIST) for code in weights}
    share = sum(weight * lists[code].get(form, 0.0) for code, weight in weights.items())
    return 9 + float(np.log10(share)) if share and not any(map(str.isdigit, form)) else None


def suggest(language: str, zipf: float, count: int, seed: int = 0) -> list[str]:
    """Words of a language's list whose Zipf value is within `NEAR` of ``zipf``: ``count`` at most, drawn with ``seed``.

    They are of letters alone, `SHORTEST` or more where words have spaces between. What kind of word each is, nobody
    has looked at.
    """
    (code, *_) = parse_languages(language)
    low, high = (10 ** (zipf + side - 9) for side in (-NEAR, NEAR))
    listed = wordfreq.get_frequency_dict(code, WORDLIST)
    near = [word for word, share in listed.items() if low <= share <= high and fits(word, code)]
    return sorted(random.Random(seed).sample(near, min(count, len(near))))


def fits(word: str, language: str) -> bool:
    """Whether a listed word can be offered."""
    return word.isalpha() and (language in UNSPACED or len(word) >= SHORTEST)


def aligned(
    one: Mapping[str, Any], other: Mapping[str, Any], start: int, words: tuple[str, str]
) -> list[tuple[int, int]]:
    """The tokens outside the word that are the same in two texts, by their indices.

    Args:
        one: Profile of the text with the first of ``words``.
        other: With the second in its place.
        start: The character both words begin at.
        words: The two.

    Raises:
        NotAligned: The tokenizer changes a text.
    """
    found = []
    for document, word in zip((one, other), words, strict=True):
        where, tokens = placed(document), document["tokens"]
        places = {}
        for index, at in enumerate(where.starts, where.first):
            if not start <= at < start + len(word):
                side = at < start
                places[side, at if side else at - start - len(word), tokens[index]["id"]] = index
        found.append(places)
    return sorted((index, found[1][place]) for place, index in found[0].items() if place in found[1])
