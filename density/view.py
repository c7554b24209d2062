"""A profile as people see it: the cells of the heatmap, the rows of the table, and marks for what cannot be seen.

Everything is made from a document in the schema ``density.profile/1``, the one that is exported.
"""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

TOOLTIP_TOKENS = 5
MARKS = {"\n": "↵", "\t": "⇥", "\r": "␍", " ": "·"}
NOTHING = "⋯"
# Why a token has no numbers, and what to do about it.
PENDING, FIRST, ABSENT = "not found yet", "first token, nothing predicts it", "not measured"
ADVICE = {
    PENDING: "; choose it once it has its colour",
    FIRST: "",
    ABSENT: "; ask for all predictions, or mark some with a click and a shift-click, and press Run",
}
# Characters that are drawn as nothing, though their categories are those of letters, marks and symbols.
UNDRAWN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Spaces that would not be noticed: several, at the end, or nothing else.
UNSEEN_SPACES = re.compile(r" {2,}| +$")


def marked(text: str) -> list[tuple[str, str | None]]:
    """``text`` in pieces, each with the mark to show for it; ``None`` for what can be seen as it is.

    Marked are line breaks, tabs, spaces that would not be noticed, and characters without a shape of their own:
    controls, other spaces, zero-width, bidirectional and undrawn ones. An empty text is one piece, marked.
    """
    if not text:
        return [("", NOTHING)]
    unseen = {at for run in UNSEEN_SPACES.finditer(text) for at in range(*run.span())}
    pieces: list[tuple[str, str | None]] = []
    for at, character in enumerate(text):
        mark = mark_of(character) if character != " " or at in unseen else None
        if mark is None and pieces and pieces[-1][1] is None:
            pieces[-1] = (pieces[-1][0] + character, None)
        else:
            pieces.append((character, mark))
    return pieces


def mark_of(character: str) -> str | None:
    """The mark of a character without a shape; ``None`` if it has one."""
    if character in MARKS:
        return MARKS[character]
    shapeless = character in UNDRAWN or unicodedata.category(character) in ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp", "Zs")
    return f"U+{ord(character):04X}" if shapeless else None


def visible(text: str) -> str:
    """``text`` on one line, every space and shapeless character as its mark."""
    return "".join(mark if mark is not None else piece.replace(" ", "·") for piece, mark in marked(text))


def percent(share: float) -> str:
    """A share in percent, to three figures."""
    return f"{100 * share:.3g}%"


def bracket(prediction: Mapping[str, Any]) -> str:
    """The other end of the density's bracket, in words."""
    below = prediction["below"]
    return "nothing smaller exists" if below is None else f"{percent(below['size'])} is not enough"


def cells(document: Mapping[str, Any], pending: Collection[int] = ()) -> list[dict[str, Any]]:
    """The heatmap's cells: a token each, with the prediction *of* it, then the prediction after the last.

    `density.measures.tinted` gives them their colours.

    Args:
        document: A profile, whole or not.
        pending: Positions whose predictions are still to come.
    """
    found = {prediction["position"]: prediction for prediction in document["predictions"]}
    tokens, made = document["tokens"], []
    for token in tokens:
        position = token["index"] - 1
        made.append(cell(token["text"], position, found.get(position), position in pending))
    last = found.get(len(tokens) - 1)
    text = last["top_tokens"][0]["text"] if last else ""
    made.append(cell(text, len(tokens) - 1, last, len(tokens) - 1 in pending, following=True))
    return made


def cell(
    text: str, position: int, prediction: Mapping[str, Any] | None, pending: bool, following: bool = False
) -> dict[str, Any]:
    """One cell; ``found`` is whether its prediction has been.

    Args:
        text: The token's; after the last token, the likeliest one's.
        position: Of the prediction of it; -1 for the first token.
        prediction: What was found.
        pending: Whether that is still to come.
        following: Whether it is the cell after the last token.
    """
    name = visible(text)
    if following:
        name = f"next, likely {name}" if prediction else "next"
    if prediction is None:
        why = PENDING if pending else FIRST if position < 0 else ABSENT
        facts: list[tuple[str, str]] = [("density", why)]
    else:
        why = ""
        facts = list_facts(prediction)
    return {
        "pieces": [] if following and prediction is None else [list(piece) for piece in marked(text)],
        "breaks": 0 if following else text.count("\n"),
        "starts": text[:1].isspace(),
        "position": position,
        "following": following,
        "pending": pending and prediction is None,
        "found": prediction is not None,
        "reason": why and f"{name}: {why}{ADVICE[why]}.",
        "seen": "" if prediction is None else visible(prediction["context_token"]),
        "label": f"{name}: " + ", ".join(f"{fact} {value}" for fact, value in facts),
        "facts": [list(fact) for fact in facts],
        "top": [] if prediction is None else top_shown(prediction),
    }


def list_facts(prediction: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A prediction's numbers by name, as its tooltip shows them."""
    facts = [
        ("density", f"{percent(prediction['density'])} ({bracket(prediction)})"),
        ("total variation", f"{prediction['total_variation']:.3f}"),
        ("entropy", f"{prediction['entropy']:.2f} nats"),
    ]
    if prediction["surprisal"] is not None:
        facts.append(("surprisal", f"{prediction['surprisal']:.2f} nats"))
    if "auc_linear" in prediction:
        facts.append(("AUC-TV", percent(prediction["auc_linear"])))
        facts.append(("AUC-TV, log size", percent(prediction["auc_log10"])))
    return facts


def likeliest(tokens: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The ``count`` tokens likeliest in the ``full`` model or in the ``trace``, in the order given."""
    ranked = sorted(tokens, key=lambda token: -max(token["full"], token["trace"]))
    kept = {token["id"] for token in ranked[:count]}
    return [token for token in tokens if token["id"] in kept]


def top_shown(prediction: Mapping[str, Any]) -> list[list[Any]]:
    """The likeliest tokens: what to show, the share, and the share in words."""
    best = prediction["top_tokens"][:TOOLTIP_TOKENS]
    return [[visible(token["text"]), token["probability"], percent(token["probability"])] for token in best]


def table(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same as rows, one a prediction; texts as JSON strings, so that a space or line break is seen in any program.

    (It also keeps a token such as ``=1+1`` from being run by a spreadsheet.) The areas only after a sweep.
    """
    areas = ("auc_linear", "auc_log10") if document["search"] == "sweep" else ()
    return [
        {
            "position": prediction["position"],
            "context_token": quoted(prediction["context_token"]),
            "next_token": None if prediction["next_token"] is None else quoted(prediction["next_token"]),
            "density": prediction["density"],
            "below": prediction["below"] and prediction["below"]["size"],
            "total_variation": prediction["total_variation"],
            "entropy": prediction["entropy"],
            "surprisal": prediction["surprisal"],
            "top_token": quoted(prediction["top_tokens"][0]["text"]),
            "top_probability": prediction["top_tokens"][0]["probability"],
            "edges_trace": prediction["edges_trace"],
            "edges_full": prediction["edges_full"],
            "threshold": prediction["threshold"],
            "replays": prediction["replays"],
            **{name: prediction[name] for name in areas},
        }
        for prediction in document["predictions"]
    ]


def quoted(text: str) -> str:
    """``text`` as a JSON string."""
    return json.dumps(text, ensure_ascii=False)


def table_csv(document: Mapping[str, Any]) -> str:
    """`table` as CSV, every row with what it takes to repeat it."""
    names = ("schema", "model", "revision", "rule", "fidelity", "search", "precision", "device", "seed")
    origin = {name: document[name] for name in names}
    versions = {f"{name}_version": version for name, version in document["versions"].items()}
    return rows_csv([{**row, **origin, **versions} for row in table(document)])


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same columns as CSV; no rows, no header."""
    out = io.StringIO()
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return out.getvalue()
