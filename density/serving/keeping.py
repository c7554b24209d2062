"""What the service keeps between runs: answers, and what was measured for them, by everything they depend on."""

from typing import Any

from density import export
from density.models import catalogue
from density.models.loading import choose_device
from density.reading import Reading
from density.serving.question import Question
from density.store import PROFILE, Store

POINTS = "points"


def revision_of(model: str) -> str | None:
    """The revision that a model of the catalogue has, or would have; ``None`` for others: they have to be opened."""
    return next((entry.sha256 for entry in catalogue() if entry.name == model), None)


def about_reading(question: Question, revision: str) -> dict[str, Any]:
    """What a reading's numbers depend on."""
    return {
        "model": question.model,
        "revision": revision,
        "text": question.text,
        "rule": question.rule,
        "precision": question.precision,
        "device": choose_device(question.device),
        "versions": export.versions(),
    }


def about_answer(question: Question, revision: str) -> dict[str, Any]:
    """What an answer depends on."""
    return {
        **about_reading(question, revision),
        "fidelity": question.fidelity,
        "positions": question.positions,
        "search": search_of(question),
    }


def search_of(question: Question) -> str:
    """How its densities are searched, as documents name it."""
    return "sweep" if question.sweep else "lattice"


def recall(store: Store, question: Question, revision: str) -> dict[str, Any] | None:
    """The answer as it was kept, for which no replay was run now; ``None`` if it is not there."""
    document = store.get(PROFILE, about_answer(question, revision))
    if document is None or len(document["tokens"]) > question.max_tokens:
        return None
    return {**document, "predictions": [{**found, "replays": 0} for found in document["predictions"]]}


def keep(store: Store, question: Question, revision: str, document: dict[str, Any]) -> None:
    """Keeps a whole answer."""
    store.put(PROFILE, about_answer(question, revision), document)


def keep_points(store: Store, question: Question, reading: Reading) -> None:
    """Keeps what was measured on a reading: position, edges, total variation."""
    points = [[*key, point.total_variation] for key, point in sorted(reading.points.items()) if point.trace.edges]
    if points:
        store.put(POINTS, about_reading(question, reading.model.revision), {"points": points})


def recall_points(store: Store, question: Question, reading: Reading) -> None:
    """Gives a reading back what was measured on an earlier one of the same text.

    What has no trace of exactly that many edges now, which another order of rounding can cause, is passed over.
    """
    kept = store.get(POINTS, about_reading(question, reading.model.revision))
    if kept is None:
        return
    positions, edges, distances = zip(*kept["points"], strict=True)
    traces = reading.traces(positions).largest(positions, edges)
    for trace, wanted, distance in zip(traces, edges, distances, strict=True):
        if trace.edges == wanted:
            reading.record(trace, distance)
