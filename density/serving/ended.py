"""A profile's answer as a job has it, and jobs that have ended before they begin: kept, from a file, or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from density.errors import DensityError
from density.limits import NotAllowed
from density.serving.jobs import Job
from density.serving.question import Question


@dataclass(frozen=True, slots=True)
class Subject:
    """What a profile's job is about.

    Attributes:
        question: What was asked.
        wanted: Positions of the predictions asked for.
        empty: The answer's document, without its predictions.
        from_file: Whether it was opened from a file: what it names may not be what is on this machine, and nothing
            of it is fetched or opened unasked.
    """

    question: Question
    wanted: tuple[int, ...]
    empty: dict[str, Any]
    from_file: bool = False

    def document(self, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The answer, or what there is of it yet, in the schema ``density.profile/1``."""
        return {**self.empty, "predictions": sorted(found, key=lambda prediction: prediction["position"])}


def present(job: Job, question: Question, document: Mapping[str, Any], from_file: bool = False) -> None:
    """Makes a whole document the answer of ``job``."""
    found = document["predictions"]
    wanted = tuple(prediction["position"] for prediction in found)
    job.present(Subject(question, wanted, {**document, "predictions": []}, from_file))
    for prediction in found:
        job.add(prediction)


def reopened(question: Question, document: Mapping[str, Any], from_file: bool = False) -> Job:
    """A job that has already ended, with the answer in ``document``."""
    job = Job(lambda job: present(job, question, document, from_file))
    job.run()
    return job


def refused(error: DensityError) -> Job:
    """A job that has already ended, with ``error``."""

    def refuse(job: Job) -> None:
        raise error

    job = Job(refuse)
    job.run()
    return job


def turned_away(waiting: int) -> Job:
    """A job that has already ended, because its session has ``waiting`` others."""
    job = refused(
        NotAllowed(
            f"{waiting} of your questions wait or run, and this server takes no more of one visitor at a time; stop "
            "one of them, or wait for it."
        )
    )
    job.turned_away = True
    return job
