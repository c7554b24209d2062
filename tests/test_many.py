"""Many people share one service: what is in use stays, what is not allowed is refused, nobody takes all the turns."""

import threading
import time
from collections import Counter
from dataclasses import replace

import pytest

from density.errors import Cancelled
from density.limits import Limits, NotAllowed
from density.reading import Reading
from density.serving import answers
from density.serving.estimate import reading_bytes, seconds_left, weights_bytes
from density.serving.jobs import Job, Status, Visitor
from density.serving.question import Question
from density.serving.service import Service
from density.store import Store
from tests.test_serving import PATIENCE, TEXT, answer, ended

LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.fixture(scope="module")
def names(tiny_folder):
    """One folder by three names, each of which is a model of its own to the service."""
    return [str(tiny_folder), f"{tiny_folder}/", f"{tiny_folder}/."]


@pytest.fixture(scope="module")
def weights(names):
    """Bytes of its weights, and of a reading of `TEXT`."""
    service = Service()
    seen = answer(service, Question(names[0], TEXT))
    model, tokens = service.loaded(Question(names[0])).model, len(seen.subject.empty["tokens"])
    service.close()
    return weights_bytes(model), reading_bytes(model, tokens, tokens)


@pytest.fixture
def served():
    """Services with limits; closed at the end."""
    services = []

    def begin(store=None, **limits):
        services.append(Service(store, Limits(**limits)))
        return services[-1]

    yield begin
    for service in services:
        service.close()


class Lasting:
    """An answer that goes on until it is let: its job rests meanwhile, and uses its model."""

    def __init__(self):
        self.begun, self.let = threading.Event(), threading.Event()

    def __call__(self, studied, question, job):
        self.begun.set()
        while not self.let.wait(1e-3):
            job.rest()
        yield {"tokens": len(studied.reading.tokens)}


HERE = Visitor(here=lambda: True)


def test_a_model_in_use_stays_though_others_come_and_goes_when_it_is_not_in_use(served, names):
    service, lasting = served(models_kept=1), Lasting()
    job = service.ask(Question(names[0], TEXT), lasting, HERE)
    assert lasting.begun.wait(PATIENCE)
    assert answer(service, Question(names[1], TEXT)).status is Status.DONE
    assert service.in_memory() == [names[0]]
    lasting.let.set()
    seen = ended(job)
    assert (seen.status, len(seen.results)) == (Status.DONE, 1)
    answer(service, Question(names[1], TEXT))
    assert service.in_memory() == [names[1]]


def test_closing_ends_a_job_that_uses_a_model(names):
    service, lasting = Service(), Lasting()
    job = service.ask(Question(names[0], TEXT), lasting, HERE)
    assert lasting.begun.wait(PATIENCE)
    closing = threading.Thread(target=service.close, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive() and job.poll().status is Status.STOPPED


def test_a_model_waits_for_memory_that_another_is_using_and_then_takes_its_place(served, names, weights):
    service, lasting = served(memory=int(1.5 * weights[0]) + weights[1], models_kept=9), Lasting()
    first = service.ask(Question(names[0], TEXT), lasting, HERE)
    assert lasting.begun.wait(PATIENCE)
    second = service.profile(Question(names[1], TEXT), HERE)
    deadline = time.monotonic() + PATIENCE
    while second.poll().stage != "waiting for memory that others are using":
        assert time.monotonic() < deadline and not second.poll().finished
        time.sleep(0.01)
    assert service.in_memory() == [names[0]]
    # Who asks of the model that is there is answered meanwhile.
    assert answer(service, Question(names[0], "another text")).status is Status.DONE
    lasting.let.set()
    assert (ended(first).status, ended(second).status) == (Status.DONE, Status.DONE)
    assert service.in_memory() == [names[1]]
    assert service._sharing.kept.weight <= service.limits.memory_bytes


def test_readings_are_let_go_before_the_memory_is_over_its_budget(served, names, weights):
    service = served(memory=weights[0] + 3 * weights[1])
    for number in range(6):
        assert answer(service, Question(names[0], f"{TEXT} {number}", positions="last")).status is Status.DONE
        assert service._sharing.kept.weight <= service.limits.memory_bytes
    assert 2 <= len(service._sharing.kept) <= 4
    known = [service.measured(Question(names[0], f"{TEXT} {number}", positions="last")) for number in (0, 5)]
    assert known == [False, True]


def test_jobs_that_use_something_and_wait_for_each_other_go_ahead(served):
    service = served(memory=100)
    other, job = Job(lambda job: None, HERE), Job(lambda job: None, HERE)
    service._sharing.kept.put(("held",), None, 100)
    service._sharing._using = Counter({other: 1})
    job.cancel()
    with pytest.raises(Cancelled):
        service._sharing.make_room(10, job)
    service._sharing._stuck.add(other)
    service._sharing.make_room(10, job)
    assert service._sharing._stuck == {other}


def test_two_models_that_leave_no_room_for_a_text_are_both_answered(served, names, weights):
    service = served(memory=2 * weights[0] + 1)
    jobs = [service.profile(Question(name, TEXT), HERE) for name in names[:2]]
    assert [ended(job).status for job in jobs] == [Status.DONE, Status.DONE]


def test_a_model_or_a_text_larger_than_the_budget_is_refused_with_both_numbers(served, names, weights):
    seen = answer(served(memory=10**4), Question(names[0], TEXT))
    assert seen.status is Status.FAILED
    assert seen.error.endswith("of memory and this server allows 0.01 MB; choose a smaller model.")
    seen = answer(served(memory=weights[0] + weights[1] // 2), Question(names[0], TEXT))
    assert "the importances of" in seen.error and "may be used; shorten the text" in seen.error


@pytest.mark.parametrize(
    ("limits", "question", "message"),
    [
        ({"models": ("smollm2-135m",)}, {}, "does not offer the model"),
        ({"tokens": 2}, {}, "tokens and this server reads 2 at most; shorten it."),
        ({"tokens": 2}, {"text": "x" * 129}, "129 characters and this server reads 128 at most"),
        ({"hub": False}, {"model": "smollm2-135m"}, "the model smollm2-135m is not on this machine"),
        ({"read_only": True}, {"model": "smollm2-135m"}, "the model smollm2-135m is not on this machine"),
    ],
)
def test_what_is_not_allowed_is_refused_whoever_asks_and_however(served, names, own_home, limits, question, message):
    service, asked = served(**limits), replace(Question(names[0], TEXT, max_tokens=10**6), **question)
    for job in (service.profile(asked), service.ask(asked, answers.known, position=-1)):
        seen = ended(job)
        assert seen.status is Status.FAILED and message in seen.error
    if not limits.get("tokens"):
        assert message in ended(service.load(asked)).error
        assert message in service.refusal(asked)
        with pytest.raises(NotAllowed, match=message):
            service.estimate(asked)


def test_the_servers_tokens_outrank_the_questions_and_an_answer_kept_from_before(served, names, tmp_path):
    store = Store(tmp_path / "results.sqlite3")
    wide, narrow = served(store), served(store, tokens=3)
    assert answer(wide, Question(names[0], TEXT)).status is Status.DONE
    assert answer(narrow, Question(names[0], "abc")).status is Status.DONE
    assert "reads 3 at most" in answer(narrow, Question(names[0], TEXT)).error
    with pytest.raises(NotAllowed, match="reads 3 at most"):
        narrow.estimate(Question(names[0], TEXT, max_tokens=600))


def test_a_text_is_written_on_up_to_the_servers_tokens(served, names):
    service, question = served(tokens=6), Question(names[0], "abc d")
    there = answer(service, question)
    room = 6 - len(there.subject.empty["tokens"])
    assert room > 0
    seen = ended(service.ask(question, answers.generated, count=50, temperature=0.0, seed=0))
    assert len(seen.results) <= room
    full = served(tokens=6 - room)
    seen = ended(full.ask(question, answers.generated, count=50, temperature=0.0, seed=0))
    assert "as many as this server reads: it cannot be written on" in seen.error


def test_only_the_catalogue_that_is_offered_is_listed(served):
    assert list(served(models=("gemma3-270m",)).catalogue()) == ["gemma3-270m"]
    assert len(served().catalogue()) >= 2


@pytest.mark.parametrize(
    ("limits", "asked"), [({}, True), ({"hub": False}, False), ({"read_only": True, "hub": True}, False)]
)
def test_a_hub_is_asked_only_where_that_is_allowed(served, names, monkeypatch, limits, asked):
    given = []

    def load(name, **options):
        given.append(options["hub"])
        raise NotAllowed("far enough.")

    monkeypatch.setattr("density.serving.service.health.load", load)
    assert ended(served(**limits).profile(Question("org/name", TEXT))).error == "far enough."
    assert given == [asked]


def test_a_read_only_server_converts_nothing(served, monkeypatch):
    monkeypatch.setattr("density.serving.service.is_here", lambda name: False)
    monkeypatch.setattr("density.serving.service.health.load", None)
    seen = answer(served(read_only=True), Question("a.gguf", TEXT))
    assert seen.error == "a.gguf would have to be converted, and this server writes nothing."


def test_a_read_only_store_is_looked_at_alone(served, names, tmp_path):
    path = tmp_path / "results.sqlite3"
    first = answer(served(Store(path)), Question(names[0], TEXT))
    before = path.read_bytes()
    store = Store(path, read_only=True)
    seen = answer(served(store, read_only=True), Question(names[0], TEXT, fidelity=0.9))
    assert seen.status is Status.DONE and sum(found["replays"] for found in first.results) > 0
    entries = store.entries("profile")
    assert [entry.about["fidelity"] for entry in entries] == [0.8]
    store.delete(entries[0].id)
    store.clear()
    assert store.entries("profile") == entries and store.opened("profile", entries[0].id) is not None
    assert path.read_bytes() == before
    missing = Store(tmp_path / "nothing" / "results.sqlite3", read_only=True)
    assert (missing.entries("profile"), missing.total(), missing.text("x")) == ([], 0, None)
    assert not missing.path.parent.exists()
    path.write_bytes(b"not a database" * 100)
    assert store.entries("profile") == [] and path.read_bytes() == b"not a database" * 100


def test_one_session_may_have_so_many_questions_and_the_one_too_many_is_turned_away(served, names):
    service, lasting = served(queue=2), Lasting()
    mine, theirs = Visitor("mine", lambda: True), Visitor("theirs", lambda: True)
    first, second = [service.ask(Question(names[0], f"{TEXT} {word}"), lasting, mine) for word in "ab"]
    third = service.profile(Question(names[0], TEXT), mine)
    assert third.turned_away and third.poll().status is Status.FAILED
    assert third.poll().error.startswith("2 of your questions wait or run, and this server takes no more")
    other = service.profile(Question(names[0], TEXT), theirs)
    assert not other.turned_away and ended(other).status is Status.DONE
    first.cancel()
    again = service.profile(Question(names[0], TEXT), mine)
    assert not again.turned_away
    # Before the others are let: work that is over before it looks whether it was told to end is done, not stopped.
    assert ended(first).status is Status.STOPPED
    lasting.let.set()
    assert [ended(job).status for job in (second, again)] == [Status.DONE, Status.DONE]


def test_a_job_that_is_stopped_replays_no_other_batch(served, names, monkeypatch):
    batches, replayed = [], Reading.replayed_probabilities

    def counted(reading, traces):
        batches.append(len(traces))
        if len(batches) == 5:
            job.cancel()
        return replayed(reading, traces)

    service, submitted = served(), Question(names[0], LONG, sweep=True)
    service.profile(replace(submitted, sweep=False, positions="last"), HERE).wait(PATIENCE)
    monkeypatch.setattr(Reading, "replayed_probabilities", counted)
    let = threading.Event()
    monkeypatch.setattr("density.serving.service.parse_positions", held_back(let))
    job = service.profile(submitted, HERE)
    let.set()
    assert ended(job).status is Status.STOPPED
    assert len(batches) == 5


def held_back(let):
    """`parse_positions`, once that is let on threads other than this."""
    from density.profile import parse_positions

    asking = threading.current_thread()

    def parse(*args):
        assert threading.current_thread() is asking or let.wait(PATIENCE)
        return parse_positions(*args)

    return parse


def test_two_texts_take_turns_by_batches_and_the_short_one_is_done_first(served, names, monkeypatch):
    turns, replayed = [], Reading.replayed_probabilities

    def noted(reading, traces):
        turns.append(len(reading.tokens))
        return replayed(reading, traces)

    service = served()
    lasting = Lasting()
    gate = service.ask(Question(names[0], TEXT), lasting, HERE)
    assert lasting.begun.wait(PATIENCE)
    for text in (LONG, "abc"):
        answer(service, Question(names[0], text, positions="last"))
    monkeypatch.setattr(Reading, "replayed_probabilities", noted)
    long = service.profile(Question(names[0], LONG, sweep=True), Visitor("a", lambda: True))
    short = service.profile(Question(names[0], "abc"), Visitor("b", lambda: True))
    lasting.let.set()
    assert ended(gate).status is Status.DONE
    assert (ended(short).status, ended(long).status) == (Status.DONE, Status.DONE)
    assert turns[-1] > turns[turns.index(min(turns))]
    last_short = max(place for place, tokens in enumerate(turns) if tokens == min(turns))
    assert last_short < len(turns) // 2


def test_a_question_in_line_says_how_long_it_will_take(served, names):
    service, lasting = served(), Lasting()
    answer(service, Question(names[0], TEXT))
    gate = service.ask(Question(names[0], TEXT), lasting, HERE)
    assert lasting.begun.wait(PATIENCE)
    expected = service.estimate(Question(names[0], LONG)).seconds
    job = service.profile(Question(names[0], LONG), HERE)
    assert expected > 0 and job.expected is not None
    lasting.let.set()
    assert ended(gate).status is Status.DONE
    assert ended(job).left is None


@pytest.mark.parametrize(
    ("prior", "spent", "share", "left"),
    [(8, 0, 0, 8), (8, 4, 0.5, 4), (8, 8, 0.5, 6), (8, 2, 0.5, 3), (8, 1, 0.25, 5.25)],
)
def test_seconds_left_follow_what_was_seen(prior, spent, share, left):
    # At a half, half of the mean of 8 s and what the first half says: 8, 16 and 4 s of all.
    assert seconds_left(prior, spent, share) == pytest.approx(left)
