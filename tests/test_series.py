"""Questions asked one after another: never two at once, and what one failed at does not end the others."""

import threading

from density.errors import BadInput
from density.serving.jobs import Job, Status, Worker
from density.serving.question import Question
from density.serving.series import Series

QUESTIONS = [Question("m", text) for text in ("one", "two", "three")]
PATIENCE = 30.0


def until_finished(series):
    while not series.finished:
        series.poll()
        series.wait(0.01)
    return series.poll()


def test_each_is_asked_when_the_one_before_has_ended():
    worker, asked, going = Worker("test"), [], threading.Event()

    def ask(question):
        asked.append(question.text)
        return worker.submit(Job(lambda job: going.wait(PATIENCE)))

    series = Series(QUESTIONS, ask)
    found = series.poll()
    assert asked == ["one"]
    assert [one.question for one in found] == QUESTIONS
    assert not series.finished
    assert all(one.document is None and one.pending == set() for one in found)
    going.set()
    assert [one.seen.status for one in until_finished(series)] == [Status.DONE] * 3
    assert asked == ["one", "two", "three"]


def test_what_fails_does_not_end_the_others():
    def ask(question):
        if question.text == "one":
            raise BadInput("not this one.")
        job = Job(lambda job: None if question.text == "three" else 1 / 0)
        job.run()
        return job

    found = until_finished(Series(QUESTIONS, ask))
    assert [one.seen.status for one in found] == [Status.FAILED, Status.FAILED, Status.DONE]
    assert found[0].seen.error == "not this one."


def test_what_is_stopped_is_not_asked_for_any_more():
    worker, asked = Worker("test"), []

    def work(job):
        while True:
            job.check()

    def ask(question):
        asked.append(question)
        return worker.submit(Job(work))

    series = Series(QUESTIONS, ask)
    series.poll()
    series.cancel()
    found = until_finished(series)
    assert [one.seen.status for one in found] == [Status.STOPPED] * 3
    assert len(asked) == 1
