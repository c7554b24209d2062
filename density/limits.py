"""What whoever runs the pages for others allows, in one place; loads no engine.

Each limit is a line of a TOML file, which ``DENSITY_LIMITS`` names, or an environment variable of its own, which
outranks the file: ``tokens = 512`` or ``DENSITY_LIMIT_TOKENS=512``. What is said of neither has its default, which
suits one person on their own machine. A value that cannot be meant, or a limit that does not exist, is refused: a
server never opens wider than was written down. The command line has no limits: it is for whoever has the machine.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from density.errors import BadInput, DensityError
from density.store import BYTES

FILE = "DENSITY_LIMITS"
PREFIX = "DENSITY_LIMIT_"
ANY = "any"
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SIZE = re.compile(r"(\d+(?:\.\d+)?) *([A-Za-z]*)")
SWITCH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# A share of the machine's memory, for want of a budget.
SHARE = 0.5
# A text with more characters than so many for each token allowed is refused untokenised: that alone can take minutes.
CHARACTERS_A_TOKEN = 64


class NotAllowed(DensityError):
    """What the machine could do, and whoever runs the server does not want done."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server allows.

    Attributes:
        tokens: Of the longest text that anyone may ask for, or have written on.
        models: Names that may be asked for, exactly as they are typed; one that ends in ``/`` is a folder, and
            allows every model in it. ``None`` for any.
        hub: Whether anything may be fetched for a visitor: a hub id from the hub, a model of the catalogue from the
            package index.
        queue: Questions that one session may have waiting or running; the panels of one page ask up to a dozen.
        memory: Bytes of all models and texts at hand; of those not in use the least recently used go. ``None`` for
            half of the machine's.
        models_kept: Models at hand, used or not.
        disk: Bytes of the answers kept.
        read_only: Whether nothing is written for a visitor and nothing deleted: no answer is kept, no model fetched
            or converted. A saved profile can still be opened: it stays in the visitor's own session.
    """

    tokens: int = 4096
    models: tuple[str, ...] | None = None
    hub: bool = True
    queue: int = 16
    memory: int | None = None
    models_kept: int = 2
    disk: int = BYTES
    read_only: bool = False

    @property
    def fetching(self) -> bool:
        """Whether a model that is not on this machine may be fetched, which also writes it."""
        return self.hub and not self.read_only

    @property
    def memory_bytes(self) -> int:
        """The budget of memory as a number."""
        return int(SHARE * psutil.virtual_memory().total) if self.memory is None else self.memory

    @property
    def named(self) -> tuple[str, ...]:
        """The models that are allowed by name."""
        return tuple(name for name in self.models or () if not name.endswith("/"))

    @property
    def free_names(self) -> bool:
        """Whether a name that is on no list may be typed."""
        return self.models is None or len(self.named) < len(self.models)

    @property
    def notes(self) -> list[str]:
        """What a visitor should know beforehand, a sentence for each limit that was set."""
        said = []
        if self.read_only:
            said.append("This is a read-only demonstration: answers are not kept, and no model is fetched.")
        elif not self.hub:
            said.append("This server fetches no model: those on its machine can be used.")
        if self.models is not None:
            said.append("This server offers the models in the list" + (", and a folder." if self.free_names else "."))
        if self.tokens != Limits().tokens:
            said.append(f"This server reads texts of up to {self.tokens:,} tokens, so that everybody has a turn.")
        return said

    def default_model(self, usual: str) -> str:
        """``usual``, or the first model named if that is not offered."""
        return usual if self.allows_model(usual) else next(iter(self.named), usual)

    def allows_model(self, name: str) -> bool:
        """Whether ``name`` may be asked for; in a folder, it is where links lead that counts."""
        if self.models is None or name in self.named:
            return True
        folders = [os.path.realpath(os.path.expanduser(one)) for one in self.models if one.endswith("/")]
        if not folders or not name.isprintable() or not os.path.isabs(os.path.expanduser(name)):
            return False
        place = os.path.realpath(os.path.expanduser(name))
        return any(os.path.commonpath([folder, place]) == folder for folder in folders)

    def check(self, model: str, text: str) -> None:
        """Raises `NotAllowed` for a model or a text that is not taken here, before anything is opened or counted."""
        if not self.allows_model(model):
            listed = ", ".join(self.models or ())
            raise NotAllowed(f"this server does not offer the model {model!r}; it offers: {listed or 'none'}.")
        self.check_length(text)

    def check_length(self, text: str) -> None:
        """Raises `NotAllowed` for a text of more characters than are read here, before its tokens are counted."""
        most = CHARACTERS_A_TOKEN * self.tokens
        if len(text) > most:
            raise NotAllowed(
                f"the text has {len(text):,} characters and this server reads {most:,} at most, in {self.tokens:,} "
                "tokens; shorten it."
            )

    def check_tokens(self, count: int) -> None:
        """Raises `NotAllowed` for a text of more tokens than are read here."""
        if count > self.tokens:
            raise NotAllowed(f"the text has {count} tokens and this server reads {self.tokens} at most; shorten it.")


@cache
def limits() -> Limits:
    """The limits of this process, read once.

    Raises:
        BadInput: A file that cannot be read, a limit that does not exist, or a value that cannot be meant.
    """
    return read_limits(os.environ)


def read_limits(environment: Mapping[str, str]) -> Limits:
    """The limits that an environment sets, and the file it names; raises as `limits` does."""
    given = {}
    if environment.get(FILE):
        given = {("", name): value for name, value in read_file(Path(environment[FILE]).expanduser()).items()}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            given[PREFIX, name.removeprefix(PREFIX).lower()] = value
    known = {one.name for one in fields(Limits)}
    found: dict[str, Any] = {}
    for (prefix, name), value in given.items():
        said = f"{prefix}{name.upper()}" if prefix else f"{name} in {environment[FILE]}"
        if name not in known:
            raise BadInput(f"there is no limit {said}; there are: {', '.join(sorted(known))}.")
        found[name] = READERS[name](said, value)
    return replace(Limits(), **found)


def read_file(path: Path) -> dict[str, Any]:
    """What a TOML file says; raises `BadInput` if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{FILE} names {path}, which cannot be read ({error.strerror}); check the path.") from None
    except ValueError as error:
        raise BadInput(f"{path}, which {FILE} names, is not TOML: {error}.") from None


def whole(said: str, value: object) -> int:
    """A number of things, 1 or more."""
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{said} is {value!r}; wanted is a whole number, 1 or more.")
    return int(text)


def size(said: str, value: object) -> int:
    """Bytes: a whole number of them, or a number with its unit, such as ``"1.5 GB"``."""
    found = SIZE.fullmatch(str(value).strip())
    if isinstance(value, bool) or found is None or found[2] not in UNITS or (not found[2] and "." in found[1]):
        units = ", ".join(list(UNITS)[2:])
        raise BadInput(f"{said} is {value!r}; wanted are bytes, or a number with a unit ({units}), such as '2 GB'.")
    return int(float(found[1]) * UNITS[found[2]]) if found[2] else int(found[1])


def memory(said: str, value: object) -> int:
    """Bytes, more than none."""
    found = size(said, value)
    if not found:
        raise BadInput(f"{said} is {value!r}: without memory no model can be opened.")
    return found


def switch(said: str, value: object) -> bool:
    """Yes or no."""
    found = SWITCH.get(str(value).strip().lower())
    if found is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
        raise BadInput(f"{said} is {value!r}; wanted is true or false.")
    return found


def names(said: str, value: object) -> tuple[str, ...] | None:
    """Names of models, as a list or with commas between; ``"any"`` for no restriction."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value.strip() != ANY else ANY
    if value == ANY:
        return None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one.strip() for one in value):
        raise BadInput(f"{said} is {value!r}; wanted are names of models, or 'any'.")
    relative = [one for one in value if one.endswith("/") and not os.path.isabs(os.path.expanduser(one))]
    if relative:
        raise BadInput(f"{said} has the folder {relative[0]!r}; name it from the root, such as '/srv/models/'.")
    return tuple(value)


READERS: dict[str, Callable[[str, object], Any]] = {
    "tokens": whole,
    "models": names,
    "hub": switch,
    "queue": whole,
    "memory": memory,
    "models_kept": whole,
    "disk": size,
    "read_only": switch,
}
assert set(READERS) == {one.name for one in fields(Limits)}
