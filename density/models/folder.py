"""The files of a model's folder: inside it, of a size that is believed, and JSON where that is wanted."""

import json
from pathlib import Path
from typing import Any

from density.errors import first_line
from density.models.errors import DamagedModel

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# All that is read of a model, beside its weights.
DESCRIPTIONS = ("*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt")
# Looked for by transformers below the folder.
BELOW = ("additional_chat_templates/*.jinja",)
# Bytes: twice those of the largest there are. A vocabulary has a few hundred thousand tokens, a config a page of text.
MOST_VOCABULARY, MOST_CONFIG, MOST_BYTES = 64_000_000, 1_000_000, 16_000_000
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")


def most_bytes(name: str) -> int:
    """Bytes that a file of that name may have."""
    if name == CONFIG:
        return MOST_CONFIG
    return MOST_VOCABULARY if name in VOCABULARIES else MOST_BYTES


def require_believable(folder: Path) -> None:
    """Raises `DamagedModel` for a file beside the weights that leads out of the folder, is no file, or is too large.

    Nothing is opened: a pipe would be waited for, and a device never ends.
    """
    for pattern in (*DESCRIPTIONS, *BELOW):
        for path in folder.glob(pattern):
            require_inside(path, folder)
            size, most = path.stat().st_size, most_bytes(path.name)
            if size > most:
                raise DamagedModel(f"{path} has {size} bytes, and no such file of a model has over {most}. Check it.")


def require_inside(path: Path, folder: Path) -> None:
    """Raises `DamagedModel` unless ``path`` is a file in ``folder``, or a link to one there.

    What the hub's cache keeps links into the model's own folder of that cache, which counts as inside.
    """
    root = folder.resolve()
    if root.parent.name == "snapshots":
        root = root.parents[1]
    target = path.resolve()
    if not target.is_relative_to(root):
        raise DamagedModel(f"{path} leads out of its folder, to {target}, and is not followed. Copy the file there.")
    if not target.is_file():
        raise DamagedModel(f"{path} is no file; download it again.")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DamagedModel: No such file, or not a JSON object.
    """
    try:
        if path.stat().st_size > most_bytes(path.name):
            raise ValueError(f"larger than {most_bytes(path.name)} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, not an object")
    except FileNotFoundError:
        raise DamagedModel(f"{path.parent} has no {path.name}; a model's folder needs one.") from None
    except (ValueError, RecursionError) as error:
        raise DamagedModel(f"{path} is not readable JSON ({first_line(error)}); download it again.") from error
    return content
