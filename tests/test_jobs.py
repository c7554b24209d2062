"""Jobs are done in order, stop when told or when nobody waits, and end in a sentence; time is a number we set."""

import logging
import threading

import pytest

from density.errors import BadInput, Cancelled
from density.serving.jobs import CROWDED, IDLE_SECONDS, Job, Snapshot, Status, Visitor, Worker

PATIENCE = 20.0


class Clock:
    """Seconds that pass only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def worker():
    worker = Worker("test")
    yield worker
    worker.close()


class Held:
    """Work that says when it has begun and goes on only when let: no test has to guess how long to wait."""

    def __init__(self):
        self.begun, self.let = threading.Event(), threading.Event()

    def __call__(self, job):
        self.begun.set()
        assert self.let.wait(PATIENCE)
        job.check()


def held(worker):
    """A job that is running, and its work."""
    work = Held()
    job = worker.submit(Job(work))
    assert work.begun.wait(PATIENCE)
    return job, work


def test_a_job_tells_what_it_does_and_finds():
    def work(job):
        job.say("reading", 2, 7)
        job.present("a text")
        job.add("first")
        job.add("second")

    job = Job(work)
    assert job.poll() == Snapshot(Status.QUEUED)
    job.run()
    seen = job.poll()
    assert (seen.status, seen.stage, seen.done, seen.total) == (Status.DONE, "reading", 2, 7)
    assert (seen.subject, seen.results, seen.error) == ("a text", ("first", "second"), None)
    assert seen.finished


def test_only_the_ends_are_finished():
    finished = {status: Snapshot(status).finished for status in Status}
    assert [status for status, at_end in finished.items() if not at_end] == [Status.QUEUED, Status.RUNNING]


def test_seconds_are_those_spent_running(clock):
    def work(job):
        clock.now += 3
        assert job.poll().seconds == 3
        clock.now += 2

    job = Job(work, clock=clock)
    clock.now += 8
    assert job.poll().seconds == 0
    job.run()
    clock.now += 100
    assert job.poll().seconds == 5


def test_a_cancelled_job_ends_at_its_next_check_and_keeps_what_it_found():
    def work(job):
        job.add("found")
        job.cancel()
        job.add("found before the check")
        job.check()
        job.add("never")

    job = Job(work)
    job.run()
    seen = job.poll()
    assert (seen.status, seen.results, seen.error) == (Status.STOPPED, ("found", "found before the check"), None)


def test_saying_something_checks(clock):
    job = Job(lambda job: None, clock=clock)
    job.cancel()
    with pytest.raises(Cancelled, match="stopped"):
        job.say("measuring")
    assert job.poll().stage == ""


def test_a_job_that_nobody_polls_stops_just_after_the_limit(clock):
    job = Job(lambda job: None, clock=clock)
    clock.now += IDLE_SECONDS
    job.check()
    clock.now += 0.001
    with pytest.raises(Cancelled, match="nobody was waiting"):
        job.check()
    job.poll()
    job.check()


def test_a_job_that_somebody_watches_goes_on_unpolled(clock):
    watching = [True]
    job = Job(lambda job: None, Visitor(here=lambda: watching[0]), clock=clock)
    clock.now += 100 * IDLE_SECONDS
    job.check()
    watching[0] = False
    with pytest.raises(Cancelled, match="nobody was waiting"):
        job.check()


def test_a_job_left_in_the_queue_too_long_never_starts(clock):
    job = Job(lambda job: pytest.fail("it ran"), clock=clock)
    clock.now += IDLE_SECONDS + 1
    job.run()
    assert job.poll().status is Status.STOPPED


def test_an_error_of_ours_is_shown_as_it_is():
    def work(job):
        job.add("found")
        raise BadInput("the text is empty.")

    job = Job(work)
    job.run()
    seen = job.poll()
    assert (seen.status, seen.error, seen.results) == (Status.FAILED, "the text is empty.", ("found",))


def test_any_other_error_is_logged_and_its_details_stay_there(caplog):
    def work(job):
        raise KeyError("a secret path")

    job = Job(work)
    with caplog.at_level(logging.ERROR):
        job.run()
    error = job.poll().error
    assert "KeyError" in error and "server's log" in error and "secret" not in error
    assert "a secret path" in caplog.text


def test_jobs_run_one_at_a_time_in_the_order_asked(worker):
    order, running = [], []

    def work(name):
        def run(job):
            running.append(name)
            assert len(running) == 1
            order.append(name)
            running.remove(name)

        return run

    first, gate = held(worker)
    jobs = [worker.submit(Job(work(name))) for name in "abc"]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (first, *jobs))
    assert order == ["a", "b", "c"]


def test_the_place_in_the_queue_counts_what_runs_and_forgets_what_was_cancelled(worker):
    running, gate = held(worker)
    second, third, fourth = [worker.submit(Job(lambda job: None)) for _ in range(3)]
    assert [job.poll().ahead for job in (running, second, third, fourth)] == [0, 1, 2, 3]
    third.cancel()
    assert third.poll().status is Status.STOPPED
    assert [job.poll().ahead for job in (second, third, fourth)] == [1, 0, 2]
    gate.let.set()
    assert fourth.wait(PATIENCE)
    assert fourth.poll().ahead == 0


def test_a_failed_job_does_not_stop_the_next(worker, caplog):
    def fail(job):
        raise RuntimeError

    failed, done = worker.submit(Job(fail)), worker.submit(Job(lambda job: None))
    assert done.wait(PATIENCE)
    assert (failed.poll().status, done.poll().status) == (Status.FAILED, Status.DONE)


def test_a_job_for_which_there_is_no_thread_has_failed_and_keeps_nobody_waiting(worker, monkeypatch):
    def crowded(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", crowded)
        job = worker.submit(Job(lambda job: pytest.fail("it ran")))
    seen = job.poll()
    assert (seen.status, seen.error, seen.ahead) == (Status.FAILED, CROWDED, 0)
    assert job.wait(0) and worker.count(job.owner) == 0
    after = worker.submit(Job(lambda job: None))
    assert after.wait(PATIENCE) and after.poll().status is Status.DONE


def test_closing_ends_what_runs_and_what_waits():
    worker = Worker("test")
    running, gate = held(worker)
    waiting = worker.submit(Job(lambda job: pytest.fail("it ran")))
    closing = threading.Thread(target=worker.close)
    closing.start()
    assert waiting.wait(PATIENCE)
    gate.let.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert (running.poll().status, waiting.poll().status) == (Status.STOPPED, Status.STOPPED)


def test_a_long_job_lets_a_short_one_take_its_turn(worker):
    order = []

    def long(job):
        order.append("long begins")
        while not short.poll().finished:
            job.rest()
        order.append("long ends")

    both = threading.Event()

    def wait_for_both(job):
        assert both.wait(PATIENCE)

    gate = worker.submit(Job(wait_for_both))
    first = worker.submit(Job(long))
    short = worker.submit(Job(lambda job: order.append("short")))
    both.set()
    assert gate.wait(PATIENCE) and first.wait(PATIENCE)
    assert order == ["long begins", "short", "long ends"]


def test_two_long_jobs_alternate_and_never_run_together(worker):
    order, inside = [], []

    def work(name):
        def run(job):
            for _ in range(3):
                inside.append(name)
                assert inside == [name]
                order.append(name)
                inside.clear()
                job.rest()

        return run

    running, gate = held(worker)
    jobs = [worker.submit(Job(work(name))) for name in "ab"]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (running, *jobs))
    assert order == ["a", "b"] * 3


def test_a_job_cancelled_while_another_has_the_turn_ends_when_its_own_comes(worker):
    resting, gate = threading.Event(), threading.Event()

    def long(job):
        resting.set()
        while True:
            job.rest()

    def other(job):
        assert resting.wait(PATIENCE) and gate.wait(PATIENCE)

    first = worker.submit(Job(long))
    assert resting.wait(PATIENCE)
    second = worker.submit(Job(other))
    first.cancel()
    gate.set()
    assert first.wait(PATIENCE) and second.wait(PATIENCE)
    assert (first.poll().status, second.poll().status) == (Status.STOPPED, Status.DONE)


def test_time_spent_waiting_for_a_turn_is_not_counted_as_work(worker, clock):
    counted = []

    def long(job):
        clock.now += 2
        job.rest()
        clock.now += 1
        counted.append(job.busy)

    def short(job):
        clock.now += 50

    running, gate = held(worker)
    jobs = [worker.submit(Job(work, Visitor(here=lambda: True), clock=clock)) for work in (long, short)]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (running, *jobs))
    assert counted == [3]


def turns(worker, jobs, rounds):
    """The order in which jobs have their turns: ``jobs`` are names, and the sessions they are of."""
    order = []

    def work(name):
        def run(job):
            for _ in range(rounds):
                order.append(name)
                job.rest()

        return run

    running, gate = held(worker)
    asked = [worker.submit(Job(work(name), Visitor(session))) for name, session in jobs.items()]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (running, *asked))
    return order


def test_turns_go_round_the_sessions_not_the_jobs(worker):
    order = turns(worker, {"a1": "a", "a2": "a", "a3": "a", "b": "b"}, 3)
    assert order[:6] == ["a1", "b", "a2", "b", "a3", "b"]
    assert order[6:] == ["a1", "a2", "a3"] * 2


def test_a_text_of_many_batches_does_not_starve_one_of_few(worker):
    order = []

    def work(name, batches):
        def run(job):
            for _ in range(batches):
                order.append(name)
                job.rest()

        return run

    running, gate = held(worker)
    jobs = [worker.submit(Job(work("long", 40), Visitor("a"))), worker.submit(Job(work("short", 4), Visitor("b")))]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (running, *jobs))
    assert order == ["long", "short"] * 4 + ["long"] * 36


def test_a_session_that_has_just_come_is_behind_those_that_wait(worker):
    order = []

    def noting(name):
        return Job(lambda job: order.append(name), Visitor(name))

    def comes_late(job):
        worker.submit(noting("late"))
        job.rest()
        order.append("running again")

    running, gate = held(worker)
    first = worker.submit(Job(comes_late, Visitor("first")))
    others = [worker.submit(noting(name)) for name in "ab"]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in (running, first, *others))
    assert order == ["a", "b", "late", "running again"]


def test_the_place_counts_the_turns_of_other_sessions(worker):
    _, gate = held(worker)
    jobs = [worker.submit(Job(lambda job: None, Visitor(session))) for session in "aab"]
    assert [job.poll().ahead for job in jobs] == [1, 2, 3]
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in jobs)


def test_what_was_told_to_end_has_the_next_turn(worker):
    order = []

    def work(name):
        def run(job):
            try:
                while True:
                    order.append(name)
                    job.rest()
            finally:
                order.append(f"{name} ends")

        return run

    def cancels(job):
        order.append("cancels")
        second.cancel()

    running, gate = held(worker)
    first, second, canceller = (
        *(worker.submit(Job(work(name), Visitor(name))) for name in "ab"),
        worker.submit(Job(cancels, Visitor("c"))),
    )
    gate.let.set()
    assert canceller.wait(PATIENCE) and second.wait(PATIENCE)
    first.cancel()
    assert first.wait(PATIENCE) and running.wait(PATIENCE)
    assert order[:4] == ["a", "b", "cancels", "b ends"]


def test_seconds_left_count_the_turns_of_the_others(worker):
    _, gate = held(worker)
    long, short, unsaid = [worker.submit(Job(lambda job: None)) for _ in range(3)]
    long.expect(30)
    short.expect(4)
    assert [job.poll().left for job in (long, short, unsaid)] == [34, 8, None]
    long.cancel()
    assert long.poll().left is None
    assert short.poll().left == 4
    gate.let.set()
    assert short.wait(PATIENCE)
    assert short.poll().left is None


def test_the_jobs_of_a_session_are_counted_until_they_are_told_to_end(worker):
    _, gate = held(worker)
    jobs = [worker.submit(Job(lambda job: None, Visitor(session))) for session in "aab"]
    assert [worker.count(owner) for owner in "abc"] == [2, 1, 0]
    jobs[0].cancel()
    assert worker.count("a") == 1
    gate.let.set()
    assert all(job.wait(PATIENCE) for job in jobs)


def test_a_worker_remembers_nothing_of_sessions_that_are_gone(worker):
    jobs = [worker.submit(Job(lambda job: job.rest(), Visitor(str(number)))) for number in range(20)]
    assert all(job.wait(PATIENCE) for job in jobs)
    last, gate = held(worker)
    waiting = worker.submit(Job(lambda job: None, Visitor("gone")))
    waiting.cancel()
    assert set(worker._turns) == {last.owner}
    gate.let.set()
