"""The precomputed examples of the explorer, written anew by the command line: ``python -m bench.examples``."""

import json
import sys
from pathlib import Path

from density.cli import main
from density.models import DEFAULT

ASSETS = Path(__file__).parents[1] / "assets"


def write() -> int:
    """Profiles every example that names a file, with the default model; returns the first exit code that is not 0."""
    for example in json.loads((ASSETS / "examples.json").read_text(encoding="utf-8")):
        if "precomputed" in example:
            path = ASSETS / "precomputed" / example["precomputed"]
            code = main(["profile", "--model", DEFAULT, "--text", example["text"], "--json", str(path)])
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(write())
