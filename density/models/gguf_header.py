"""What a GGUF file says about itself, read without its weights and without trusting its counts.

Layout (GGUF specification, versions 2 and 3, little-endian): magic, version, number of tensors, number of
settings; the settings; for every tensor its name, shape, type and offset; the weights, from the next multiple
of the alignment.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES

from density.errors import first_line, shown
from density.models.errors import DamagedModel

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
# Several times what there is: items of all arrays (a vocabulary's tokens, merges and scores), settings, tensors, and
# bytes before the weights and after them. The library that reads the file next makes an object of each.
MOST_ITEMS, MOST_SETTINGS, MOST_TENSORS, MOST_HEADER, MOST_AFTER = 2_000_000, 10_000, 100_000, 2**28, 2**20


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A GGUF file's settings and tensors.

    Attributes:
        settings: Every setting that is a number, a truth value or a text; arrays are left out.
        shapes: Shape of every tensor, by name.
        items: In all arrays together.
    """

    settings: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    items: int

    @property
    def elements(self) -> int:
        """Numbers in all tensors together."""
        return sum(map(prod, self.shapes.values()))


def read_header(path: Path) -> GgufHeader:
    """The header of the GGUF file at ``path``, checked against the file's length.

    Raises:
        DamagedModel: Not a GGUF file, or one that ends before its header or its weights do.
    """
    size = path.stat().st_size
    if size == 0:
        raise DamagedModel(f"{path} is empty; download it again.")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] != b"GGUF":
            raise DamagedModel(f"{path} is not a GGUF file: it begins with {content[:4]!r}, not b'GGUF'.")
        try:
            header, end = _Cursor(content).header()
        except (struct.error, ValueError, KeyError, TypeError, ArithmeticError) as error:
            said = first_line(error)
            raise DamagedModel(f"the header of {path} cannot be read ({said}); download the file again.") from error
    if end + MOST_AFTER < size:
        raise DamagedModel(f"{path} has {size} bytes, of which its header knows {end}; download it again.")
    if end > size:
        raise DamagedModel(f"{path} is cut short: {size} bytes of {end}; download it again.")
    return header


def require(sound: bool, otherwise: str) -> None:
    """Raises `ValueError` unless the header is ``sound``, with what it says instead."""
    if not sound:
        raise ValueError(otherwise)


class _Cursor:
    """Reads one value after another; every length is checked against what is left before it is believed."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.position = 4
        self.items = 0

    def header(self) -> tuple[GgufHeader, int]:
        """The header, and where the last tensor ends."""
        version = self.scalar("I")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version}; 2 and 3 are known")
        tensors, count = self.scalar("Q"), self.scalar("Q")
        require(count <= MOST_SETTINGS and tensors <= MOST_TENSORS, f"{count} settings and {tensors} tensors")
        settings = dict(self.setting() for _ in range(count))
        table = [self.tensor() for _ in range(tensors)]
        require(len(settings) == count, "two settings of one name")
        require(len({name for name, *_ in table}) == tensors, "two tensors of one name")
        alignment = settings.get("general.alignment", 32)
        require(type(alignment) is int and alignment > 0, f"an alignment of {shown(alignment)}")
        start = -(-self.position // alignment) * alignment
        header = GgufHeader(
            settings={name: value for name, value in settings.items() if value is not None},
            shapes={name: shape for name, shape, _ in table},
            items=self.items,
        )
        return header, start + max((end for *_, end in table), default=0)

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.content, self.position)
        self.position += struct.calcsize(f"<{code}")
        return value

    def skip(self, count: int) -> int:
        """Moves on by ``count`` bytes; where it was."""
        here = self.position
        require(count <= len(self.content) - here, f"{count} bytes at {here} are beyond the end")
        require(here + count <= MOST_HEADER, f"it goes on after {MOST_HEADER} bytes")
        self.position += count
        return here

    def text(self) -> str:
        here = self.skip(self.scalar("Q"))
        return self.content[here : self.position].decode()

    def setting(self) -> tuple[str, Any]:
        return self.text(), self.value(self.scalar("I"))

    def value(self, kind: int) -> Any:
        """One setting's value; ``None`` for an array, which is passed over."""
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self.scalar(SCALARS[kind])
        item, count = self.scalar("I"), self.scalar("Q")
        self.items += count
        require(count <= len(self.content), f"{count} items are beyond the end")
        require(self.items <= MOST_ITEMS, f"{self.items} items in arrays, and no file has over {MOST_ITEMS}")
        if item in SCALARS:
            self.skip(count * struct.calcsize(SCALARS[item]))
        elif item == STRING:
            for _ in range(count):
                self.skip(self.scalar("Q"))
        else:
            raise ValueError(f"an array of type {item}")
        return None

    def tensor(self) -> tuple[str, tuple[int, ...], int]:
        """A tensor's name, its shape (slowest axis first), and where it ends, from where weights start."""
        name, axes = self.text(), self.scalar("I")
        require(axes <= 8, f"{shown(name)} has {axes} axes")
        shape = tuple(self.scalar("Q") for _ in range(axes))[::-1]
        kind, offset = self.scalar("I"), self.scalar("Q")
        numbers, length = GGML_QUANT_SIZES[kind]
        return name, shape, offset + prod(shape) // numbers * length
