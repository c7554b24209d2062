"""Heatmap cells of other numbers than one profile's: what is to be predicted, and differences.

The cells are those of `density.view.cells`. Differences are on a scale of their own, from blue over grey to orange, so
that a colour never means two things; its range is fixed, so that a colour means the same in every comparison.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from density.agreement import by_token
from density.colours import blend, ink
from density.measures import MEASURES
from density.view import marked, percent, top_shown, visible

Document = Mapping[str, Any]
Cell = dict[str, Any]

DIFFERENCE_SCALE = (
    *("#0b3c5d", "#2f6a92", "#74a0c0", "#b9d0df", "#efeeec"),
    *("#eecbb0", "#d9976a", "#b0612f", "#703510"),
)
MOST_DIFFERENCE = 0.4
DIFFERENCE_TICKS = (-0.4, -0.2, 0.0, 0.2, 0.4)


def points(difference: float) -> str:
    """A difference of two shares, in percentage points."""
    return f"{100 * difference:+.1f} points"


def difference_place(difference: float) -> float:
    """Where a difference of shares is on its scale, in [0, 1]; held at the ends."""
    return min(max((difference / MOST_DIFFERENCE + 1) / 2, 0.0), 1.0)


def difference_legend(title: str) -> dict[str, Any]:
    """The scale of differences as a strip of colours, and its ticks."""
    ends = {DIFFERENCE_TICKS[0]: "≤ ", DIFFERENCE_TICKS[-1]: "≥ "}
    ticks = [[difference_place(at), f"{ends.get(at, '')}{100 * at:+.0f}" if at else "0"] for at in DIFFERENCE_TICKS]
    return {"title": title, "colours": list(DIFFERENCE_SCALE), "ticks": ticks}


def tile(
    text: str,
    position: int,
    facts: Sequence[tuple[str, str]],
    place: float | None = None,
    scale: Sequence[str] = (),
    **more: Any,
) -> Cell:
    """One cell.

    Args:
        text: Of its token.
        position: Of the prediction of it; -1 for the first token.
        facts: Its numbers by name, in words.
        place: Where it is on ``scale``, in [0, 1]; ``None`` for a cell without a colour.
        scale: Colours.
        more: What else the heatmap takes of a cell, in place of what is here.
    """
    colour = None if place is None else blend(scale, place)
    return {
        "pieces": [list(piece) for piece in marked(text)],
        "breaks": text.count("\n"),
        "starts": text[:1].isspace(),
        "position": position,
        "following": False,
        "pending": False,
        "waiting": False,
        "found": place is not None,
        "reason": "",
        "seen": "",
        "label": f"{visible(text)}: " + ", ".join(f"{fact} {value}" for fact, value in facts),
        "facts": [list(fact) for fact in facts],
        "top": [],
        "joined": False,
        "continued": False,
        "share": place,
        "tint": colour,
        "ink": colour and ink(colour),
        **more,
    }


def targets(document: Mapping[str, Any]) -> list[Cell]:
    """The tokens of a text, each tinted by the surprisal of the prediction of it; the last cell is what comes next.

    Args:
        document: As `density.serving.contexts.predicted` yields it.
    """
    surprisal = MEASURES["surprisal"]
    tokens, made = document["tokens"], []
    by_position = {prediction["position"]: prediction for prediction in document["predictions"]}
    for token in tokens:
        position = token["index"] - 1
        prediction = by_position.get(position)
        if prediction is None or position < document["added"]:
            why = "has no context: nothing of the text stands before it"
            reason = f"{visible(token['text'])} {why}; choose a later token."
            made.append(tile(token["text"], position, [("context", "none")], reason=reason))
            continue
        value = prediction["surprisal"]
        facts = [("surprisal", surprisal.shown(value)), ("entropy", surprisal.shown(prediction["entropy"]))]
        place = surprisal.place(value)
        made.append(
            tile(token["text"], position, facts, place, surprisal.legend()["colours"], top=top_shown(prediction))
        )
    last = by_position[len(tokens) - 1]
    facts = [("entropy", surprisal.shown(last["entropy"]))]
    text = last["top_tokens"][0]["text"]
    following = tile(text, len(tokens) - 1, facts, breaks=0, following=True, found=True, top=top_shown(last))
    return [*made, {**following, "label": f"next, likely {following['label']}"}]


def differences(one: Document, other: Document, aligned: Sequence[tuple[int, int]], second: bool) -> list[Cell]:
    """The tokens of one of two texts, tinted by the density of predicting them in the second less in the first.

    Args:
        one: The first text's profile.
        other: The second's.
        aligned: Tokens that are the same in both, by their indices; the others have no colour.
        second: Whether the cells are of the second text.
    """
    document = other if second else one
    values, partner = (by_token(one), by_token(other)), {pair[second]: pair for pair in aligned}
    made = []
    for token in document["tokens"]:
        index = token["index"]
        here = values[second].get(index)
        facts = [("density here", "none" if here is None else percent(here))]
        place, reason = None, ""
        if index not in partner:
            facts.append(("in the other text", "not aligned"))
            reason = f"{visible(token['text'])} has no counterpart in the other text."
        else:
            first, last = (column.get(at) for column, at in zip(values, partner[index], strict=True))
            if first is None or last is None:
                facts.append(("difference", "none: a first token is not predicted"))
            else:
                facts = [("first text", percent(first)), ("second text", percent(last))]
                facts.append(("second less first", points(last - first)))
                place = difference_place(last - first)
        made.append(tile(token["text"], index - 1, facts, place, DIFFERENCE_SCALE, reason=reason))
    return made
