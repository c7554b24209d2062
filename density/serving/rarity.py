"""How often the tokens of a text, or of a corpus, occur in a language: counted with the model's own tokenizer.

An answer takes a text as studied, the question it belongs to and its job, as those of `density.serving.answers` do.
"""

from collections.abc import Sequence
from typing import Any

from density.errors import BadInput
from density.frequency import frequencies
from density.serving.answers import Documents
from density.serving.jobs import Job
from density.serving.question import Question


def token_frequencies(
    studied: Any, question: Question, job: Job, ids: Sequence[int], language: str, revision: str
) -> Documents:
    """The frequencies of the tokens ``ids``, in one document.

    ``zipf`` and ``kind`` are in the order of ``ids``, see `density.frequency.Frequencies`; ``None`` for a token that is
    not covered. ``covered`` is the share of the vocabulary that is, ``left_out`` that of the listed words' frequencies
    that was not counted.

    Raises:
        BadInput: Another language than there is, or the model at hand is not of ``revision``, whose tokens these are.
    """
    model = studied.reading.model
    if model.revision != revision:
        raise BadInput(
            f"this was measured with revision {revision[:12]} of {question.model} and here is {model.revision[:12]}: "
            "their tokens need not be the same; measure it again."
        )
    job.say("counting the language's words as tokens")
    found = frequencies(model.tokenizer, language, check=job.rest, read_only=studied.read_only)
    yield {
        "languages": dict(found.languages),
        "covered": found.covered,
        "left_out": found.table.left_out,
        "zipf": [found.zipf(token) for token in ids],
        "kind": [found.kind(token) for token in ids],
    }
