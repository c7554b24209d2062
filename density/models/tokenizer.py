"""A tokenizer that came in a file: looked at for what it would do to a text before it is used, its panics our errors.

The library that runs it is fast and trusts it: a short file can have a letter become a gigabyte, and what the library
did not foresee is a panic, which is no `Exception` and would end the thread that asked.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from density.errors import first_line
from density.models.errors import DamagedModel
from density.models.progress import quiet

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
# How many times longer a text may become on its way in or out, in how many steps, and characters of a token: several
# times what there is.
MOST_GROWTH, MOST_STEPS, MOST_CHARACTERS = 1000, 100, 10_000
PARTS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
NESTED = ("normalizers", "pretokenizers", "processors", "decoders")
# The most bytes that one byte becomes, by the type of the step; what is not here is refused.
GROWTH = {
    **dict.fromkeys(("NFC", "NFD", "Lowercase", "BertNormalizer", "Metaspace"), 3),
    **dict.fromkeys(("NFKC", "NFKD"), 18),
    "ByteLevel": 2,
    **dict.fromkeys(("Nmt", "Strip", "StripAccents", "Sequence"), 1),
    **dict.fromkeys(("BertPreTokenizer", "CharDelimiterSplit", "Digits", "FixedLength", "Punctuation", "Split"), 1),
    **dict.fromkeys(("UnicodeScripts", "Whitespace", "WhitespaceSplit", "BertProcessing", "RobertaProcessing"), 1),
    **dict.fromkeys(("BPEDecoder", "ByteFallback", "CTC", "Fuse", "WordPiece"), 1),
}


class Tokenizer:
    """A tokenizer of transformers, whose panics are raised as `DamagedModel`; otherwise the same."""

    def __init__(self, inner: PreTrainedTokenizerFast, source: str) -> None:
        self._inner, self._source = inner, source

    def __call__(self, text: str, **options: Any) -> Any:
        with panics_explained(self._source):
            return self._inner(text, **options)

    def decode(self, ids: Any, **options: Any) -> Any:
        """The text of ``ids``."""
        with panics_explained(self._source):
            return self._inner.decode(ids, **options)

    def __getattr__(self, name: str) -> Any:
        # While it is being copied it has no attributes yet.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)


def load_tokenizer(folder: Path, config: PreTrainedConfig) -> Tokenizer:
    """The tokenizer of ``folder``, with its own defaults.

    Raises:
        DamagedModel: None, for which transformers would make up an empty one, or one that cannot be read or used.
    """
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise DamagedModel(f"{folder} has no tokenizer: none of {', '.join(TOKENIZERS)}. Download it again.")
    with unread_explained(folder), quiet():
        loaded = AutoTokenizer.from_pretrained(folder, config=config, local_files_only=True, trust_remote_code=False)
    return used_safely(loaded, str(folder))


@contextmanager
def unread_explained(folder: Path) -> Iterator[None]:
    """Turns whatever reading a tokenizer raises into our error."""
    try:
        with panics_explained(str(folder)):
            yield
    except DamagedModel:
        raise
    except Exception as error:
        raise DamagedModel(
            f"the tokenizer in {folder} cannot be read ({first_line(error)}); download it again."
        ) from error


@contextmanager
def panics_explained(source: str) -> Iterator[None]:
    """Turns what the tokenizers library raises into our error: bare exceptions, and panics, which are none."""
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and type(error).__name__ != "PanicException":
            raise
        raise DamagedModel(
            f"the tokenizer in {source} does not work on this text ({first_line(error)}); use another model."
        ) from None


def used_safely(tokenizer: Any, source: str) -> Tokenizer:
    """``tokenizer`` ready to be used, after what it does to a text has been looked at.

    Raises:
        DamagedModel: It would make a text much longer, in too many steps or in one that nobody has looked at.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise DamagedModel(f"the tokenizer in {source} is of a kind that is not read; a tokenizer.json is.")
    for name in PARTS:
        part = getattr(backend, name)
        if part is not None:
            require_small(name, json.loads(part.__getstate__()), source)
    longest = max(map(len, backend.get_vocab()), default=0)
    if longest > MOST_CHARACTERS:
        raise DamagedModel(f"the tokenizer in {source} has a token of {longest} characters. Check the file.")
    return Tokenizer(tokenizer, source)


def require_small(name: str, part: dict[str, Any], source: str) -> None:
    """Raises `DamagedModel` if one of the `PARTS`, as its own state says it, has too many steps or too much growth."""
    growth, count = 1, 0
    for step in steps(part):
        if step["type"] not in (*GROWTH, "Replace", "Prepend", "Precompiled", "TemplateProcessing"):
            raise DamagedModel(f"the tokenizer in {source} has a step nobody has looked at: {step['type'][:40]}.")
        growth, count = growth * growth_of(step), count + 1
        if growth > MOST_GROWTH or count > MOST_STEPS:
            raise DamagedModel(
                f"the {name} of the tokenizer in {source} would make a text over {MOST_GROWTH} times longer, or takes "
                f"over {MOST_STEPS} steps, and no such tokenizer is known. Check the file."
            )


def steps(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a part, those within a sequence after it."""
    yield part
    for name in NESTED:
        for inner in part.get(name, ()):
            yield from steps(inner)


def growth_of(step: dict[str, Any]) -> int:
    """The most bytes that one byte becomes in ``step``."""
    match step:
        case {"type": "Replace", "content": content, "pattern": {"String": str(pattern)}} if pattern:
            return max(1, -(-len(content.encode()) // len(pattern.encode())))
        case {"type": "Replace", "content": content}:
            return 1 + len(content.encode())
        case {"type": "Prepend", "prepend": content}:
            return 1 + len(content.encode())
        case {"type": "Precompiled", "precompiled_charsmap": charsmap}:
            return longest_replacement(charsmap)
        case {"type": "TemplateProcessing", "single": pieces, "special_tokens": known}:
            special = [piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece]
            return 1 + sum(len(known[token]["ids"]) for token in special if token in known) + len(pieces) - len(special)
        case _:
            return GROWTH[step["type"]]


def longest_replacement(charsmap: str | list[int] | None) -> int:
    """Bytes of the longest text in a map of characters: the size of its index, the index, then texts ending in 0."""
    try:
        blob = base64.b64decode(charsmap) if isinstance(charsmap, str) else bytes(charsmap or ())
    except (binascii.Error, ValueError):
        return 1
    texts = blob[4 + int.from_bytes(blob[:4], "little") :]
    return max(1, *map(len, texts.split(b"\0")))
