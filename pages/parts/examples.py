"""The examples, and what was measured on some of them beforehand: there before any model, and before the engine."""

import json
import shlex
from functools import cache
from typing import Any

from density.serving.question import Question
from density.view import percent
from pages.parts.page import ASSETS

EXAMPLES: list[dict[str, str]] = json.loads((ASSETS / "examples.json").read_text(encoding="utf-8"))


@cache
def precomputed(text: str) -> dict[str, Any] | None:
    """The profile of an example, as the command line wrote it; ``None`` for any other text. Not to be changed."""
    for example in EXAMPLES:
        if example["text"] == text and "precomputed" in example:
            path = ASSETS / "precomputed" / example["precomputed"]
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return None


def answers(document: dict[str, Any], question: Question) -> bool:
    """Whether a precomputed profile is just what is asked."""
    same = ("model", "text", "fidelity", "rule", "precision")
    return (
        all(document[name] == getattr(question, name) for name in same)
        and question.positions == "all"
        and question.sweep == (document["search"] == "sweep")
    )


def origin(document: dict[str, Any]) -> str:
    """What a precomputed profile was measured with."""
    versions = document["versions"]
    return (
        f"with {document['model']} at fidelity {percent(document['fidelity'])}, by density {versions['density']} and "
        f"torch {versions['torch']}"
    )


def command(document: dict[str, Any]) -> str:
    """The command that wrote it."""
    return f"python -m density profile --model {document['model']} --text {shlex.quote(document['text'])} --json PATH"
