"""From a user's string to a model that is ready to be explored, refusing early what would fail late."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from density.errors import BadInput, UnsupportedModel, shown
from density.families import FAMILIES, Family, family_for
from density.models.cache import sha256_of, sha256_of_all
from density.models.catalogue import CatalogueEntry, catalogue, state
from density.models.checkpoint import (
    OFFLOAD,
    all_files,
    count_described,
    load_weights,
    read_config,
    require_memory,
)
from density.models.convert import converted, is_converted
from density.models.errors import DamagedModel, UnknownModel
from density.models.fetch import fetch
from density.models.folder import INDEX, WEIGHTS
from density.models.hub import snapshot
from density.models.progress import Progress, unreported
from density.models.tokenizer import load_tokenizer
from density.names import PRECISIONS
from density.threads import use_cores

HUB_ID = re.compile(r"(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w./-]*))?", re.ASCII)
MOST_NAME = 500
DEVICES: dict[str, Callable[[], bool]] = {
    "cuda": torch.cuda.is_available,
    "mps": torch.backends.mps.is_available,
    "cpu": lambda: True,
}


@dataclass(frozen=True, slots=True)
class Model:
    """A model in memory, with what is needed to name it again.

    Attributes:
        name: What the user asked for.
        revision: Which weights these are: a hub model's commit, the SHA-256 of a GGUF file (for a catalogue
            model, of the one it was made from), or that of a folder: of its files' names and SHA-256s.
        family: The name of its family.
        decoder: Its family, bound to the weights.
        tokenizer: Its tokenizer, with its own defaults.
        device: ``"cuda"``, ``"mps"``, ``"cpu"`` or ``"offload"``.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    """

    name: str
    revision: str
    family: str
    decoder: Family
    tokenizer: Any
    device: str
    precision: str


def open_model(
    name: str,
    *,
    device: str = "auto",
    precision: str = "float32",
    progress: Progress | None = None,
    hub: bool = True,
    admit: Callable[[int], object] = lambda needed: None,
) -> Model:
    """Opens the model that ``name`` means (see `meaning`), making it ready first where need be.

    Args:
        device: ``"cuda"``, ``"mps"``, ``"cpu"``, or ``"auto"`` for the first of these that is there; or
            ``"offload"``, for a model larger than the memory: on a GPU, in memory and on disk, as it fits.
        precision: Of the weights: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        progress: Told of ``"download"``, ``"convert"`` and ``"load"``; what it raises ends the work.
        hub: Whether a hub id may contact the hub. Nothing else ever does.
        admit: Called with the bytes of its weights before they are downloaded from a hub, and before they are loaded;
            what it raises ends the work.

    Raises:
        BadInput: No such device or precision.
        UnknownModel: A name that means no model.
        TermsNotAccepted: A model of the catalogue whose terms have to be accepted first.
        UnsupportedModel: No family for it, or weights of a kind that is not read.
        DownloadFailed: It is not on this machine and did not arrive.
        WrongChecksum: What arrived is not what was expected.
        DamagedModel: Files missing, cut short, not readable, or contradicting each other.
        TooLarge: Not enough memory.
        CacheUnavailable: Disk full, or a cache folder that cannot be written to.
    """
    use_cores()
    progress = progress or unreported
    device, dtype = choose_device(device), dtype_named(precision)
    try:
        folder, revision = _locate(name, device, dtype, progress, hub, admit)
        config = read_config(folder)
        family = family_for(config)
        admit(count_described(config) * dtype.itemsize)
        tokenizer = load_tokenizer(folder, config)
        weights = load_weights(folder, config, family.attention_implementation, device, dtype, progress)
        # Only now: what is refused has not been read to its end.
        revision = revision or sha256_of_all(all_files(folder))
    except OSError as error:
        raise DamagedModel(f"{error.filename or name} cannot be read ({error.strerror}); check the file.") from error
    return Model(name, revision, family.name, family(weights), tokenizer, device, precision)


def open_tokenizer(name: str) -> tuple[Any, str]:
    """The tokenizer of a model on this machine, and the model's revision; its weights are not opened.

    Raises:
        UnknownModel: A name that means no model, or one of the catalogue that has not been fetched.
        DownloadFailed: A hub model that is not on this machine: nothing is fetched.
        UnsupportedModel: No family for it.
        DamagedModel: Files missing, or not readable.
    """
    if any(entry.name == name and state(entry) != "ready" for entry in catalogue()):
        raise UnknownModel(f"{name} is not on this machine; fetch it with: python -m density fetch {name}")
    try:
        folder, revision = _locate(name, "cpu", torch.float32, unreported, hub=False)
        tokenizer = load_tokenizer(folder, read_config(folder))
        return tokenizer, revision or sha256_of_all(all_files(folder))
    except OSError as error:
        raise DamagedModel(f"{error.filename or name} cannot be read ({error.strerror}); check the file.") from error


def choose_device(device: str) -> str:
    """The device of that name, or for ``"auto"`` the first there is of cuda, mps, cpu.

    Raises:
        BadInput: No such device, or not on this machine.
    """
    present = [name for name, available in DEVICES.items() if available()]
    if device == "auto":
        return present[0]
    if device not in (*DEVICES, OFFLOAD):
        raise BadInput(f"device {device!r} is not known; choose auto, {', '.join(DEVICES)} or {OFFLOAD}.")
    if device not in (*present, OFFLOAD):
        raise BadInput(f"there is no {device} device on this machine; what there is: {', '.join(present)}.")
    return device


def dtype_named(precision: str) -> torch.dtype:
    """The type of the weights in ``precision``.

    Raises:
        BadInput: No such precision.
    """
    if precision not in PRECISIONS:
        raise BadInput(f"precision {precision!r} is not known; choose {', '.join(PRECISIONS)}.")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def _locate(
    name: str,
    device: str,
    dtype: torch.dtype,
    progress: Progress,
    hub: bool,
    admit: Callable[[int], object] = lambda needed: None,
) -> tuple[Path, str | None]:
    """The folder that ``name`` means, fetched or converted where need be, and its revision; ``None`` for a folder's."""

    def examine(folder: Path) -> None:
        needed = count_described(read_config(folder)) * dtype.itemsize
        admit(needed)
        require_memory(needed, device, f"Loading {name}")

    match meaning(name):
        case CatalogueEntry(family=family, sha256=digest):
            if family not in FAMILIES:
                raise UnsupportedModel(f"{name} is of family {family}; supported: {', '.join(sorted(FAMILIES))}.")
            return fetch(name, progress), digest
        case GgufFile(path):
            return converted(path, progress), sha256_of(path)
        case Folder(path):
            return path, None
        case HubModel(repository, revision):
            return snapshot(repository, revision, online=hub, examine=examine, progress=progress)


def family_of(name: str) -> str | None:
    """The name of the family that reads a folder's model, by its config alone; ``None`` for what is no folder.

    Raises:
        UnknownModel: A name that means no model.
        UnsupportedModel: No family for it.
        DamagedModel: Files missing, not readable, or of a size that is not believed.
    """
    match meaning(name):
        case Folder(path):
            try:
                return family_for(read_config(path)).name
            except OSError as error:
                raise DamagedModel(f"{error.filename or name} cannot be read ({error.strerror}).") from error
        case _:
            return None


def is_here(name: str) -> bool:
    """Whether opening ``name`` writes nothing: not to be fetched nor converted first; raises as `meaning` does."""
    match meaning(name):
        case CatalogueEntry() as entry:
            return state(entry) == "ready"
        case GgufFile(path):
            return is_converted(path)
        case _:
            return True


@dataclass(frozen=True, slots=True)
class GgufFile:
    """A GGUF file on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder on this machine with config, safetensors and tokenizer, or what should be one."""

    path: Path


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hugging Face hub, at a branch, tag or commit; ``None`` for its main branch."""

    repository: str
    revision: str | None


def meaning(name: str) -> CatalogueEntry | GgufFile | Folder | HubModel:
    """What ``name`` stands for: the catalogue first, then what is on this machine, then a hub id.

    Raises:
        UnknownModel: Nothing of the kind; a path to nothing is never tried as a hub id.
        UnsupportedModel: A file that is not GGUF.
        DamagedModel: A folder with several GGUF files, one of which has to be named.
    """
    if len(name) > MOST_NAME:
        raise UnknownModel(f"a name of {len(name)} characters is no model; at most {MOST_NAME} are read.")
    if not name.isprintable() or not name.strip():
        raise UnknownModel(f"a model's name is printable text, not {shown(name)}; see: python -m density models")
    for entry in catalogue():
        if entry.name == name:
            return entry
    path = Path(os.path.expanduser(name)).absolute()
    if os.path.isdir(path):
        return _in_folder(path)
    if os.path.isfile(path):
        return _in_file(path)
    if _looks_like_a_path(name):
        raise UnknownModel(f"there is no file or folder {shown(name, 200)} (looked for {path}); check the path.")
    if found := HUB_ID.fullmatch(name):
        return HubModel(found["repository"], found["revision"])
    names = ", ".join(entry.name for entry in catalogue())
    raise UnknownModel(
        f"{shown(name, 200)} is no model: give a name of the catalogue ({names}), a hub id org/name[@revision], "
        "a folder, or a path to a .gguf file."
    )


def _looks_like_a_path(name: str) -> bool:
    starts, ends = ("~", "/", "."), (".gguf", ".safetensors")
    return (
        name.startswith(starts)
        or ".." in name
        or "\\" in name
        or name.lower().endswith(ends)
        or (name.partition("@")[0].count("/") > 1)
    )


def _in_folder(path: Path) -> GgufFile | Folder:
    ggufs = sorted(path.glob("*.[gG][gG][uU][fF]"))
    if not ggufs or (path / WEIGHTS).is_file() or (path / INDEX).is_file():
        return Folder(path)
    if len(ggufs) > 1:
        raise DamagedModel(f"{path} holds {len(ggufs)} GGUF files; name one of them, such as {ggufs[0]}.")
    return GgufFile(ggufs[0])


def _in_file(path: Path) -> GgufFile:
    if path.suffix.lower() == ".gguf":
        return GgufFile(path)
    hint = "give the folder it is in" if path.suffix == ".safetensors" else "safetensors or GGUF is needed"
    raise UnsupportedModel(f"{path} is not a .gguf file; {hint}.")
