"""A language's words, counted as a tokenizer's tokens: a unigram probability for each token that they tell about.

Every word, as it is written inside a text (after a space, where the language has spaces), is cut by the tokenizer, and
its frequency is added to each of its tokens; the sums are divided by their total. What the list does not tell has no
number:

- It has numbers by their shape (``00`` is any number of two digits): what holds a digit is left out.
- It has no punctuation, white space or special tokens, and emoji without a word: tokens without a letter are not
  counted, though a few are inside words. A piece of a letter's bytes counts as one.
- A word that begins a line, or follows a quotation mark, has no space before it: its first token is often one that is
  never inside a word, and then has no number.
- It is in lower case. A token that begins a word and has a capital takes the probability of its lower-case form: of
  that token, if it is one that was counted, else of the word. These come on top of the sum of 1.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from tokenizers import Tokenizer

from density.errors import BadInput

# Languages written without spaces between words.
UNSPACED = frozenset({"zh", "ja"})
# Tokenizers read the beginning of a text in ways of their own; after a line break they read as inside one.
BREAK = "\n"
PIECE = "\N{REPLACEMENT CHARACTER}"
BATCH = 20_000
DIGIT = re.compile(r"\d")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Table:
    """One tokenizer's tokens in one language.

    Attributes:
        listed: By token, its share of the tokens of the listed words, summing to 1; 0 for one that was not counted.
        lowered: By token without one, the probability of its lower-case form; 0 where there is none.
        left_out: Share of the listed words' frequencies that was not counted.
    """

    listed: np.ndarray
    lowered: np.ndarray
    left_out: float


def count(
    tokenizer: Tokenizer, words: Mapping[str, float], language: str, check: Callable[[], None] = lambda: None
) -> Table:
    """Counts a list of words, by their frequencies; ``check`` is called between batches, what it raises stops it.

    Raises:
        BadInput: None of the words can be counted.
    """
    # Not the one that a model uses: this one never cuts a text short, and adds nothing to fill one up.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    texts = texts_of(tokenizer)
    gap = "" if language in UNSPACED else " "
    wanted = {word: frequency for word, frequency in words.items() if lettered(word) and not DIGIT.search(word)}
    counts, counted = np.zeros(len(texts)), 0.0
    for some in batches(list(wanted)):
        check()
        made = list(cut(tokenizer, [gap + word for word in some]))
        weights = np.array([wanted[word] for word in some])
        lengths = [len(ids) for ids in made]
        ids = np.fromiter(chain.from_iterable(made), int)
        counts += np.bincount(ids, np.repeat(weights, lengths), len(counts))
        counted += float(weights[np.array(lengths) > 0].sum())
    counts[[not lettered(text) for text in texts]] = 0.0
    total = counts.sum()
    if not total:
        raise BadInput(f"the tokenizer reads none of the words of language {language!r}; choose another language.")
    lowered = lower(tokenizer, texts, counts, wanted, gap)
    return Table(counts / total, lowered / total, 1 - counted / sum(words.values()))


def texts_of(tokenizer: Tokenizer) -> list[str]:
    """What each token adds to a text, in its middle."""
    before = tokenizer.encode(BREAK, add_special_tokens=False).ids
    start = len(tokenizer.decode(before, skip_special_tokens=False))
    tokens = range(max(tokenizer.get_vocab().values()) + 1)
    texts: list[str] = []
    for some in batches(tokens):
        texts += tokenizer.decode_batch([[*before, token] for token in some], skip_special_tokens=False)
    return [text[start:] for text in texts]


def lettered(text: str) -> bool:
    """Whether ``text`` has a letter, a sign that is written on one, or a piece of its bytes."""
    return any(unicodedata.category(character)[0] in "LM" or character == PIECE for character in text)


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """``items`` in order, `BATCH` at a time."""
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def cut(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[int]]:
    """The tokens of each text as it is cut after a line break; none where it is not cut at the break."""
    before = tokenizer.encode(BREAK, add_special_tokens=False).ids
    for made in tokenizer.encode_batch_fast([BREAK + text for text in texts], add_special_tokens=False):
        ids = made.ids
        yield ids[len(before) :] if ids[: len(before)] == before else []


def lower(
    tokenizer: Tokenizer, texts: Sequence[str], counts: np.ndarray, words: Mapping[str, float], gap: str
) -> np.ndarray:
    """What tokens that were not counted take from their lower-case forms, in the unit of ``counts``."""
    found = np.zeros_like(counts)
    forms = {
        token: texts[token].casefold() for token in np.flatnonzero(counts == 0).tolist() if texts[token].startswith(gap)
    }
    forms = {token: form for token, form in forms.items() if form != texts[token]}
    for token, ids in zip(forms, cut(tokenizer, list(forms.values())), strict=True):
        whole = counts[ids[0]] if len(ids) == 1 else 0.0
        found[token] = whole or words.get(forms[token][len(gap) :], 0.0)
    return found
