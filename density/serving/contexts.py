"""What the context page asks of a text: its tokens as the model sees them coming, and one of them with its context cut.

An answer takes a text as studied, the question it belongs to and its job, as those of `density.serving.answers` do.
"""

from typing import Any

from density import context, export
from density.fidelity import entropy
from density.profile import resolve_position, top_tokens
from density.serving.answers import Documents
from density.serving.jobs import Job
from density.serving.question import Question
from density.view import TOOLTIP_TOKENS

ROWS = 16


def predicted(studied: Any, question: Question, job: Job) -> Documents:
    """The text's tokens, and the full model's predictions of them: one document; no replay is run.

    ``added`` is how many tokens at the start the tokenizer puts before any text.
    """
    reading = studied.reading
    found = []
    for first in range(0, len(reading.tokens), ROWS):
        job.rest()
        positions = range(first, min(first + ROWS, len(reading.tokens)))
        for position, row in zip(positions, reading.full_probabilities(positions), strict=True):
            coming = reading.tokens[position + 1 : position + 2]
            found.append(
                {
                    "position": position,
                    "entropy": float(entropy(row)),
                    "surprisal": float(-row[coming[0].id].log()) if coming else None,
                    "top_tokens": export.top_json(top_tokens(reading, row, TOOLTIP_TOKENS)),
                }
            )
    ids = reading.ids.tolist()
    tokens = [{"index": token.index, "id": token.id, "text": token.text} for token in reading.tokens]
    yield {"added": context.added(reading.model, ids), "tokens": tokens, "predictions": found}


def growing(studied: Any, question: Question, job: Job, position: int, by: str) -> Documents:
    """The prediction at ``position`` with more and more context, a document each, the shortest first.

    ``of`` is how many there will be, ``text`` the context kept, ``prediction`` as in ``density.profile/1`` but for its
    position, which is that in the whole text; ``distance`` see `density.context.Step`.
    """
    reading = studied.reading
    position = resolve_position(position, len(reading.tokens))
    wanted = context.lengths(reading, position, by)
    options: dict[str, Any] = {"fidelity": question.fidelity, "sweep": question.sweep, "check": job.rest}
    job.say("measuring", 0, len(wanted))
    for done, step in enumerate(context.grow(reading, position, wanted, **options), 1):
        kept = "".join(token.text for token in reading.tokens[step.start : position + 1])
        prediction = {**export.prediction_json(step.prediction), "position": position}
        yield {
            "of": len(wanted),
            "length": step.length,
            "start": step.start,
            "text": kept,
            "distance": step.distance,
            "prediction": prediction,
        }
        job.say("measuring", done, len(wanted))
