"""Do models agree about a text? The densities of its words, and of whole texts, by each of several models.

Everything is made from documents in the schema ``density.profile/1``, or from the rows of a corpus.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from density.align import Placed, Unit, place, words
from density.observations import group_of, sees_text
from density.statistics import Estimate, spearman

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shared:
    """One word, or one text, by several models.

    Attributes:
        name: What it is.
        text: Number of the text it is of.
        values: Of each model; ``None`` where one has none.
        group: What intervals draw whole; ``None`` for its text.
    """

    name: str
    text: int
    values: tuple[float | None, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike two models order the same words or texts.

    Attributes:
        one: Number of a model.
        other: Of another.
        rho: Spearman's, over those that both have a value of.
    """

    one: int
    other: int
    rho: Estimate


def placed(document: Document) -> Placed:
    """The places of a document's tokens in its text; raises `density.align.NotAligned`."""
    return place([token["text"] for token in document["tokens"]], document["text"], document["model"])


def by_token(document: Document, measure: str = "density") -> dict[int, float]:
    """A measure of the prediction *of* each token, by the token's index; without what there is no prediction of."""
    last = len(document["tokens"])
    found = {prediction["position"] + 1: prediction.get(measure) for prediction in document["predictions"]}
    return {index: value for index, value in found.items() if value is not None and index < last}


def average(values: Mapping[int, float], indices: Sequence[int]) -> float | None:
    """The mean over those of ``indices`` that have a value; ``None`` if none has."""
    known = [values[index] for index in indices if index in values]
    return sum(known) / len(known) if known else None


def shared_words(documents: Sequence[Document], measure: str = "density", text: int = 0) -> list[Shared]:
    """The words of one text with the mean of ``measure`` over their tokens, by each model.

    Raises:
        NotAligned: A model's tokens do not spell the text.
    """
    units = words(documents[0]["text"], [placed(document) for document in documents])
    columns = [by_token(document, measure) for document in documents]
    return [Shared(unit.text, text, tuple(map(average, columns, unit.tokens))) for unit in units]


def units_of(document: Document, units: Sequence[Unit], number: int) -> list[list[int]]:
    """The tokens of one reading by unit; those that belong to none are units of their own."""
    groups = [list(unit.tokens[number]) for unit in units if unit.tokens[number]]
    taken = {index for group in groups for index in group}
    return sorted([*groups, *([index] for index in range(len(document["tokens"])) if index not in taken)])


def whole_text(document: Document, measure: str = "density") -> float | None:
    """The mean of ``measure`` over the predictions of a text's own tokens."""
    return average(by_token(document, measure), range(len(document["tokens"])))


def shared_texts(by_text: Sequence[Sequence[Document | None]], measure: str = "density") -> list[Shared]:
    """Texts with the mean of ``measure`` over their tokens, by each model; ``None`` stands for what is not there."""
    return [
        Shared(
            next((document["text"] for document in documents if document), ""),
            number,
            tuple(None if document is None else whole_text(document, measure) for document in documents),
        )
        for number, documents in enumerate(by_text)
    ]


def shared_rows(rows: Sequence[Mapping[str, Any]], models: Sequence[str], measure: str = "density") -> list[Shared]:
    """The texts of a corpus dataset, joined by their ids, with the mean of ``measure`` over the rows of each model.

    Predictions that see nothing of their text are left out: a tokenizer that adds a token has one a text.
    """
    found: dict[str, dict[str, list[float]]] = {}
    groups: dict[str, str] = {}
    for row in rows:
        by_model = found.setdefault(row["text_id"], {})
        groups[row["text_id"]] = group_of(row)
        if row[measure] is not None and sees_text(row):
            by_model.setdefault(row["model"], []).append(row[measure])

    def value(by_model: Mapping[str, list[float]], model: str) -> float | None:
        values = by_model.get(model)
        return sum(values) / len(values) if values else None

    return [
        Shared(name, number, tuple(value(by_model, model) for model in models), groups[name])
        for number, (name, by_model) in enumerate(found.items())
    ]


def both(shared: Sequence[Shared], one: int, other: int) -> list[tuple[Shared, float, float]]:
    """Those that two models have a value of, with both."""
    found = []
    for unit in shared:
        first, second = unit.values[one], unit.values[other]
        if first is not None and second is not None:
            found.append((unit, first, second))
    return found


def agreements(shared: Sequence[Shared]) -> list[Agreement]:
    """How alike each two models order words or texts.

    Intervals draw whole texts, a minimal pair as one, where there are several, and words where there is one text.
    """
    found = []
    for one, other in combinations(range(len(shared[0].values) if shared else 0), 2):
        known = both(shared, one, other)
        whole = [unit.text if unit.group is None else unit.group for unit, _, _ in known]
        groups = whole if len(set(whole)) > 1 else None
        found.append(
            Agreement(
                one, other, spearman([first for _, first, _ in known], [second for _, _, second in known], groups)
            )
        )
    return found
