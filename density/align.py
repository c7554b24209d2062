"""Where tokens lie in a text, so that models with different tokenizers, and two texts, can be laid side by side.

Everything is by characters of the text as it was typed. A token begins where the first of its characters does that is
not a space; one that holds only part of a character, and adds nothing to the decoded text, begins with the token that
completes it. What a tokenizer puts before or after the text, such as a token for its beginning, has no place in it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from density.errors import BadInput

NEAR = 12


@dataclass(frozen=True, slots=True)
class Placed:
    """A text's tokens in their places.

    Attributes:
        first: Index of the first token that is of the text.
        starts: The character of the text each of its tokens begins at, ascending.
    """

    first: int
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """A stretch of a text, and its tokens in each reading of it.

    Attributes:
        text: Without the spaces around it.
        tokens: For each reading, the indices of its tokens.
    """

    text: str
    tokens: tuple[tuple[int, ...], ...]


class NotAligned(BadInput):
    """Tokens that do not spell the text they were made of."""


def place(texts: Sequence[str], text: str, model: str) -> Placed:
    """The places in ``text`` of the tokens that ``model``'s tokenizer made of it.

    Args:
        texts: What each token adds to the decoded text.
        text: As it was typed; a tokenizer may leave out or add spaces at its ends.
        model: For the message.

    Raises:
        NotAligned: The tokens spell something else: the tokenizer changes what is typed.
    """
    decoded, wanted = "".join(texts), text.strip()
    at = decoded.find(wanted)
    if at < 0:
        raise NotAligned(changed(decoded, wanted, model))
    shift = len(text) - len(text.lstrip()) - at
    first, starts, end = None, [], 0
    for index, token in enumerate(texts):
        start, end = end, end + len(token)
        if start >= at + len(wanted) or (start < at and end <= at):
            continue
        first = index if first is None else first
        starts.append(next_letter(text, max(start + shift, 0)))
    return Placed(first or 0, tuple(starts))


def changed(decoded: str, wanted: str, model: str) -> str:
    """What a tokenizer made of a text, in one sentence."""
    match = SequenceMatcher(None, decoded, wanted, autojunk=False).find_longest_match()
    at = match.b + match.size if match.b == 0 else 0
    theirs = match.a + match.size if match.b == 0 else 0
    there, here = decoded[theirs : theirs + NEAR], wanted[at : at + NEAR]
    return (
        f"{model} cannot be aligned by characters: its tokenizer changes the text, at character {at} it reads "
        f"{there!r} where {here!r} was typed. Type the text as that model reads it, or compare whole texts."
    )


def next_letter(text: str, at: int) -> int:
    """The first character of ``text`` at or after ``at`` that is not a space; its length if there is none."""
    return len(text) - len(text[at:].lstrip())


def words(text: str, readings: Sequence[Placed]) -> list[Unit]:
    """The words of a text; those that some reading does not keep apart are one.

    A word begins at a space: punctuation belongs to the word it touches, and a text without spaces is one word.
    """
    begins = {at for at in range(len(text)) if not text[at].isspace() and (at == 0 or text[at - 1].isspace())}
    return cut(text, readings, begins)


def pieces(text: str, readings: Sequence[Placed]) -> list[Unit]:
    """The shortest stretches that every reading has whole tokens for."""
    return cut(text, readings, range(len(text)))


def cut(text: str, readings: Sequence[Placed], begins: Collection[int]) -> list[Unit]:
    """The text cut at those of ``begins`` where a token begins in every reading; nothing of a blank text."""
    common = sorted(set(begins).intersection(*(reading.starts for reading in readings)))
    ends = [*common[1:], len(text)]
    return [
        Unit(text[start:end].strip(), tuple(inside(reading, start, end) for reading in readings))
        for start, end in zip(common, ends, strict=True)
    ]


def inside(reading: Placed, start: int, end: int) -> tuple[int, ...]:
    """Tokens that begin at a character from ``start`` and before ``end``."""
    return tuple(reading.first + index for index, at in enumerate(reading.starts) if start <= at < end)


def pairs(one: Sequence[int], other: Sequence[int]) -> list[tuple[int, int]]:
    """Indices of tokens that are the same in both, in order, as a longest-block match finds them (Ratcliff, Obershelp).

    Args:
        one: Token ids of a text.
        other: Of another, by the same tokenizer.
    """
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks()
    return [(block.a + step, block.b + step) for block in blocks for step in range(block.size)]
