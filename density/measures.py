"""What tokens are tinted by: six measures on three scales, by token, by word or by sentence.

Shares, from 0 to 100%, are on the one scale of `density.colours`. Nats and frequencies are each on a scale of one hue
of its own, so that a colour never means two things; the ranges are fixed, so that a colour means the same on every
text. On the scale of frequencies darker is rarer.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from density.colours import SCALE, TICKS, blend, ink
from density.view import cells, percent

# Even steps of lightness at one hue (OKLCH, 5 degrees; 320 degrees).
NATS_SCALE = ("#ffe8ec", "#fec1cd", "#f59cb0", "#e47a95", "#ce5c7c", "#b34264", "#962b4e", "#761839", "#5a0026")
ZIPF_SCALE = ("#79268b", "#88369a", "#9745aa", "#a754ba", "#b763c9", "#c772da", "#d781ea", "#db9de9", "#dfb7e8")
MOST_NATS = 12.0
MOST_ZIPF = 8.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of one kind as colours.

    Attributes:
        colours: From 0 to ``most``.
        most: The number at its end; greater ones are held there.
        ticks: Numbers on it, with their labels.
        shown: A number in words.
    """

    colours: tuple[str, ...]
    most: float
    ticks: tuple[tuple[float, str], ...]
    shown: Callable[[float], str]


SHARES = Scale(SCALE, 1.0, tuple((share, f"{share:.0%}") for share in TICKS), percent)
NATS_TICKS = ((0, "0"), (3, "3"), (6, "6"), (9, "9"), (12, "12+"))
NATS = Scale(NATS_SCALE, MOST_NATS, NATS_TICKS, lambda value: f"{value:.2f} nats")
ZIPF_TICKS = ((0, "0, rare"), (2, "2"), (4, "4"), (6, "6"), (8, "8"))
ZIPF = Scale(ZIPF_SCALE, MOST_ZIPF, ZIPF_TICKS, lambda value: f"{value:.2f} Zipf")


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of a prediction, by its name in ``density.profile/1``; ``frequency`` is of the token itself.

    Attributes:
        label: In a list to choose from.
        title: Beside its scale.
        scale: What it is measured in.
        swept: Whether only a sweep measures it.
    """

    label: str
    title: str
    scale: Scale = SHARES
    swept: bool = False

    @property
    def nats(self) -> bool:
        """Whether it is in nats."""
        return self.scale is NATS

    def place(self, value: float) -> float:
        """Where ``value`` is on its scale, in [0, 1]; held at the ends."""
        return min(max(value / self.scale.most, 0.0), 1.0)

    def shown(self, value: float) -> str:
        """``value`` in words."""
        return self.scale.shown(value)

    def colour(self, value: float) -> str:
        """The colour of ``value``, as ``#rrggbb``."""
        return blend(self.scale.colours, self.place(value))

    def legend(self) -> dict[str, Any]:
        """Its scale as a strip of colours, and the ticks on it as shares of its length with their labels."""
        ticks = [[self.place(value), label] for value, label in self.scale.ticks]
        return {"title": self.title, "colours": list(self.scale.colours), "ticks": ticks}


FREQUENCY = "frequency"
MEASURES = {
    "density": Measure("density", "density of predicting the token"),
    "auc_linear": Measure("AUC-TV", "AUC-TV: area under total variation against size", swept=True),
    "auc_log10": Measure("AUC-TV, log size", "AUC-TV: area under total variation against log10 size", swept=True),
    "entropy": Measure("entropy", "entropy of the prediction of the token, in nats", NATS),
    "surprisal": Measure("surprisal", "surprisal of the token, in nats", NATS),
    FREQUENCY: Measure("frequency", "frequency of the token itself: Zipf, log10 of its share of 10^9 tokens", ZIPF),
}
UNITS = ("token", "word", "sentence")
# What may follow the sign that ends a sentence: closing quotes and brackets.
CLOSING = "[\"'\u201d\u2019\u00bb)\\]\u300d\u300f]*\\s*$"
# Characters that end a sentence and the space after it: longer than any.
LOOKED_BACK = 500
SENTENCE_END = re.compile("[.!?\u2026]" + CLOSING)
# Of scripts that put no space between sentences.
UNSPACED_END = re.compile("[\u3002\uff01\uff1f\u0964\u061f]" + CLOSING)


def units(texts: Sequence[str], unit: str) -> list[list[int]]:
    """The indices of tokens, by token, by word or by sentence; every token is in one of them, in order.

    A word begins at a space: punctuation belongs to the word it touches, and a text without spaces is one word. A
    sentence ends at a full stop, question or exclamation mark before a space, at their like in unspaced scripts, and at
    a line break. Spaces belong to what follows them, as does a token of a part of a character that adds nothing.
    """
    found: list[list[int]] = []
    held: list[int] = []
    before = ""
    for index, text in enumerate(texts):
        held.append(index)
        if unit == "token" or text.strip():
            if not found or unit == "token" or begins(text, before, unit):
                found.append([])
            found[-1] += held
            held = []
        before = (before + text)[-LOOKED_BACK:]
    if held:
        found = found or [[]]
        found[-1] += held
    return found


def begins(text: str, before: str, unit: str) -> bool:
    """Whether a new word or sentence begins with the token ``text``, after the end ``before`` of the current one."""
    spaced = text[:1].isspace() or before[-1:].isspace()
    if unit == "word":
        return spaced
    return "\n" in before[len(before.rstrip()) :] or bool(
        UNSPACED_END.search(before) or (spaced and SENTENCE_END.search(before))
    )


def tinted(
    document: Mapping[str, Any],
    pending: Collection[int] = (),
    measure: str = "density",
    unit: str = "token",
    groups: Sequence[Sequence[int]] | None = None,
    zipf: Mapping[int, float | None] | None = None,
) -> list[dict[str, Any]]:
    """The heatmap's cells, tinted by the mean of ``measure`` over their unit; ``share`` is its place on the scale.

    The mean is over the unit's predictions that have the measure; there is none while one of them is still to come. The
    frequency is of the tokens, not of predictions: of the one in the cell, after the last token of the likeliest.

    Args:
        document: A profile, whole or not.
        pending: Positions whose predictions are still to come.
        measure: One of `MEASURES`.
        unit: One of `UNITS`.
        groups: The indices of every unit's tokens; ``None`` for those of `units`.
        zipf: Frequencies by token id, ``None`` for tokens without one; they are known of none unless this is given.
    """
    found = {prediction["position"]: prediction for prediction in document["predictions"]}
    made = cells(document, pending)
    if groups is None:
        groups = units([token["text"] for token in document["tokens"]], unit)
    own = frequencies(document, made, zipf or {}) if measure == FREQUENCY else None
    # The last cell, after the last token, is a unit of its own.
    for group in [*groups, [len(made) - 1]]:
        members = [made[index] for index in group]
        if own is None:
            values = [found.get(cell["position"], {}).get(measure) for cell in members]
        else:
            values = [own[index] for index in group]
        known = [value for value in values if value is not None]
        waiting = own is None and any(cell["pending"] for cell in members)
        mean = None if waiting or not known else sum(known) / len(known)
        for place, cell in enumerate(members):
            cell.update(appearance(MEASURES[measure], mean), waiting=waiting)
            cell.update(joined=place > 0, continued=place < len(members) - 1)
            if mean is not None and unit != "token":
                fact = f"{MEASURES[measure].label} of its {unit}, mean of {len(known)}"
                cell["facts"].append([fact, MEASURES[measure].shown(mean)])
                cell["label"] += f", {fact} {MEASURES[measure].shown(mean)}"
    return made


def frequencies(
    document: Mapping[str, Any], made: Sequence[dict[str, Any]], zipf: Mapping[int, float | None]
) -> list[float | None]:
    """The frequency of each cell's token, which is also said among its facts, or that it has none."""
    last = [found for found in document["predictions"] if found["position"] == len(document["tokens"]) - 1]
    ids = [token["id"] for token in document["tokens"]] + [last[0]["top_tokens"][0]["id"] if last else None]
    values = [zipf.get(token) for token in ids]
    for cell, token, value in zip(made, ids, values, strict=True):
        if token in zipf:
            said = "not covered" if value is None else MEASURES[FREQUENCY].shown(value)
            cell["facts"].append([FREQUENCY, said])
            cell["label"] += f", {FREQUENCY} {said}"
    return values


def appearance(measure: Measure, value: float | None) -> dict[str, Any]:
    """A cell's place on the scale, its colour, and the colour to write on it; ``None`` without a value."""
    if value is None:
        return {"share": None, "tint": None, "ink": None}
    background = measure.colour(value)
    return {"share": measure.place(value), "tint": background, "ink": ink(background)}
