"""Do rare tokens cost more? Density against how often tokens occur, how surprising they are, how unsure the model was.

A prediction has two tokens, and so two frequencies, which are kept apart: that of the token that *came*, and that of
the token *predicted*, the likeliest. Everything is made of a frame of predictions, of one text or of many.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from density.errors import BadInput
from density.measures import MEASURES, NATS, ZIPF, Scale
from density.observations import groups_of, sees_text
from density.statistics import Estimate, Trend, spearman, trend

MEASURED = ("density", "auc_linear", "auc_log10")
CAME, PREDICTED = "came", "predicted"
COLUMNS = (
    *(
        "text_id",
        "pair",
        "text",
        "language",
        "position",
        "context_token",
        "next_token",
        "next_id",
        "top_token",
        "top_id",
    ),
    *("entropy", "surprisal", *MEASURED),
)
# Of a corpus dataset, what a frame is made of.
STORED = (
    *("text_id", "pair", "text", "language", "model", "position", "added", "context_token", "next_token", "next_id"),
    *("top_tokens", "top_ids", "entropy", "surprisal", *MEASURED, "error"),
)
AROUND = 5


@dataclass(frozen=True, slots=True)
class Predictor:
    """What density may go with.

    Attributes:
        label: In a list to choose from.
        title: Of an axis.
        scale: What it is measured in.
    """

    label: str
    title: str
    scale: Scale


PREDICTORS = {
    CAME: Predictor("frequency, token that came", "frequency of the token that came, Zipf", ZIPF),
    PREDICTED: Predictor("frequency, token predicted", "frequency of the likeliest token, Zipf", ZIPF),
    "surprisal": Predictor("surprisal", "surprisal of the token that came, nats", NATS),
    "entropy": Predictor("entropy", "entropy of the prediction, nats", NATS),
}


@dataclass(frozen=True, slots=True)
class Relation:
    """How a measure goes with a predictor, over the predictions that have both.

    Attributes:
        rho: Spearman's rank correlation.
        partial: The same, controlled for the position in the text.
        trend: The Theil-Sen line, of the measure on the predictor.
        left_out: Predictions that lack one of the two.
    """

    rho: Estimate
    partial: Estimate
    trend: Trend | None
    left_out: int


def of_profile(document: Mapping[str, Any]) -> pd.DataFrame:
    """The predictions of a profile, in the columns `COLUMNS`."""
    rows = [
        {
            **prediction,
            "text_id": "",
            "text": document["text"],
            "top_token": prediction["top_tokens"][0]["text"],
            "top_id": prediction["top_tokens"][0]["id"],
        }
        for prediction in document["predictions"]
    ]
    return tidy(pd.DataFrame(rows, columns=list(COLUMNS)))


def of_dataset(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """The predictions of one model in a corpus dataset, given in the columns `STORED`.

    Rows of errors are left out, and predictions that see nothing of their text.

    Raises:
        BadInput: There are none of that model.
    """
    mine = rows[(rows["model"] == model) & rows["error"].isna() & sees_text(rows)].copy()
    if mine.empty:
        raise BadInput(f"the dataset has no prediction by {model}; measure some, or choose another model.")
    mine["top_token"] = [tokens[0] for tokens in mine["top_tokens"]]
    mine["top_id"] = [ids[0] for ids in mine["top_ids"]]
    return tidy(mine[list(COLUMNS)])


def tidy(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, lacking ones as NaN or NA; in the order of texts and positions."""
    numbers = frame.astype({name: "float64" for name in ("entropy", "surprisal", *MEASURED)})
    numbers = numbers.astype({name: "Int64" for name in ("position", "next_id", "top_id")})
    texts = {text: number for number, text in enumerate(dict.fromkeys(numbers["text_id"]))}
    order = numbers.assign(order=numbers["text_id"].map(texts)).sort_values(["order", "position"])
    return order.drop(columns="order").reset_index(drop=True)


def spoken(frame: pd.DataFrame, languages: Collection[str]) -> pd.DataFrame:
    """The predictions of texts in these languages, and of texts that do not say what theirs is."""
    return frame[frame["language"].isna() | frame["language"].isin(languages)].reset_index(drop=True)


def token_ids(frame: pd.DataFrame) -> list[int]:
    """The ids of all tokens that came or were predicted, each once, ascending."""
    return sorted({int(token) for name in ("next_id", "top_id") for token in frame[name].dropna()})


def with_frequencies(frame: pd.DataFrame, zipf: Mapping[int, float | None]) -> pd.DataFrame:
    """The frame with the Zipf values of both tokens as columns ``came`` and ``predicted``, NaN where there is none."""
    known = {token: value for token, value in zipf.items() if value is not None}
    came, predicted = (frame[name].map(known, na_action="ignore").astype("float64") for name in ("next_id", "top_id"))
    return frame.assign(**{CAME: came, PREDICTED: predicted})


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many tokens of a frame have a frequency.

    Attributes:
        tokens: All of them.
        covered: Those that have one.
        lowered: Those of them that have that of their lower-case form.
        without: Tokens that have none, with how many there are of each, the commonest first.
    """

    tokens: int
    covered: int
    lowered: int
    without: tuple[tuple[str, int], ...]


def coverage(frame: pd.DataFrame, sense: str, lowered: Collection[int]) -> Coverage:
    """The coverage of the tokens that came, or were predicted.

    Args:
        frame: With frequencies.
        sense: ``came`` or ``predicted``.
        lowered: Ids of tokens whose frequency is that of their lower-case form.
    """
    name = {CAME: "next", PREDICTED: "top"}[sense]
    there = frame.dropna(subset=[f"{name}_id"])
    known = there.dropna(subset=[sense])
    without = there[there[sense].isna()][f"{name}_token"].value_counts()
    return Coverage(
        tokens=len(there),
        covered=len(known),
        lowered=int(known[f"{name}_id"].isin(list(lowered)).sum()),
        without=tuple((str(token), int(number)) for token, number in without.items()),
    )


def measures_of(frame: pd.DataFrame) -> dict[str, str]:
    """The measures that some prediction has, by name, with their labels."""
    return {name: MEASURES[name].label for name in MEASURED if frame[name].notna().any()}


def complete(frame: pd.DataFrame, predictor: str, measure: str) -> pd.DataFrame:
    """The predictions that have both."""
    return frame.dropna(subset=[predictor, measure])


def relate(frame: pd.DataFrame, predictor: str, measure: str) -> Relation:
    """How ``measure`` goes with ``predictor``, one of `PREDICTORS`.

    Intervals draw whole texts, a minimal pair as one, where there are several, and predictions, as if they did not
    depend on each other, where there is one.
    """
    known = complete(frame, predictor, measure)
    x, y, position = (known[name].to_numpy(float) for name in (predictor, measure, "position"))
    texts = list(groups_of(known))
    groups = texts if len(set(texts)) > 1 else None
    return Relation(
        rho=spearman(x, y, groups),
        partial=spearman(x, y, groups, given=[position]),
        trend=trend(x, y),
        left_out=len(frame) - len(known),
    )


def lacking(frame: pd.DataFrame, predictor: str, measure: str) -> str:
    """Why no prediction has both ``predictor`` and ``measure``, in a sentence; empty if one does."""
    if len(complete(frame, predictor, measure)):
        return ""
    if predictor in (CAME, "surprisal") and frame["next_id"].isna().all():
        return (
            "There is nothing to draw: all of these predictions are at the ends of their texts, where no token came. "
            "A corpus has the others with --positions all."
        )
    return (
        f"There is nothing to draw: no prediction has both {MEASURES[measure].label} and {PREDICTORS[predictor].label}."
    )


def in_words(relation: Relation, predictor: str, measure: str) -> str:
    """What the interval of a correlation supports, and no more: of the partial one, where there is one."""
    held = relation.partial.value is not None
    rho, given = (relation.partial, "Position held fixed, the") if held else (relation.rho, "The")
    what = f"{MEASURES[measure].label} and {PREDICTORS[predictor].label}"
    if rho.value is None:
        return f"Too few predictions, or one of the two is constant: nothing can be said of {what}."
    if rho.low is None:
        drawn = "predictions" if rho.n == rho.groups else "texts"
        return f"{rho.groups} {drawn} are too few for an interval: nothing can be said beyond them."
    if not rho.excludes(0):
        return f"{given} interval holds 0: these predictions do not tell whether {what} go together."
    side = "above" if rho.value > 0 else "below"
    return f"{given} interval is {side} 0: in these predictions, {DIRECTION[predictor, rho.value > 0]}."


DIRECTION = {
    (CAME, True): "the commoner the token that came, the denser its prediction",
    (CAME, False): "the rarer the token that came, the denser its prediction",
    (PREDICTED, True): "the commoner the likeliest token, the denser the prediction",
    (PREDICTED, False): "the rarer the likeliest token, the denser the prediction",
    ("surprisal", True): "the more surprising the token that came, the denser its prediction",
    ("surprisal", False): "the less surprising the token that came, the denser its prediction",
    ("entropy", True): "the less sure the model, the denser the prediction",
    ("entropy", False): "the surer the model, the denser the prediction",
}


def extremes(frame: pd.DataFrame, by: str, count: int, largest: bool) -> pd.DataFrame:
    """The ``count`` predictions with the largest, or smallest, values of ``by``; ties in the order of the texts."""
    return frame.dropna(subset=[by]).sort_values(by, ascending=not largest, kind="stable").head(count)


def tokens_by_place(frame: pd.DataFrame) -> dict[tuple[str, int], str]:
    """The tokens that the predictions tell of, by text and index."""
    found: dict[tuple[str, int], str] = {}
    names = ("text_id", "position", "context_token", "next_token")
    columns = zip(*(frame[name].tolist() for name in names), strict=True)
    for text_id, position, context, following in columns:
        found[text_id, position] = context
        if isinstance(following, str):
            found[text_id, position + 1] = following
    return found


def in_context(places: Mapping[tuple[str, int], str], text_id: str, position: int) -> tuple[str, str]:
    """What stands before and after the token that the prediction at ``position`` is of: `AROUND` tokens at most.

    Args:
        places: As `tokens_by_place` has them; a side ends at the first token that is not known.
        text_id: Of the prediction's text.
        position: Of the prediction.
    """
    index, before, after = position + 1, "", ""
    for at in range(index - 1, index - 1 - AROUND, -1):
        if (text_id, at) not in places:
            break
        before = places[text_id, at] + before
    for at in range(index + 1, index + 1 + AROUND):
        if (text_id, at) not in places:
            break
        after += places[text_id, at]
    return before, after
