"""What is kept is there again, the least recently used goes, and a damaged file is never believed nor in the way."""

import json
import logging
import multiprocessing
import os
import sqlite3
import stat
from itertools import count

import pytest

from density.serving import keeping
from density.serving.estimate import Speed
from density.serving.jobs import Status, Visitor
from density.serving.question import LINK_CHARACTERS, Question, from_link, to_link
from density.serving.service import Service
from density.store import PROFILE, SCHEMA, TABLE, Store, text_key

PATIENCE = 60.0
TEXT = "The capital of France"
HOSTILE = "<script>\x00\N{RIGHT-TO-LEFT OVERRIDE}\N{ROCKET}' OR 1=1; DROP TABLE entries"


@pytest.fixture
def store(tmp_path):
    """An empty store, in a folder that is not there yet, with a clock that never stands still."""
    return Store(tmp_path / "new" / "results.sqlite3", clock=count().__next__)


def about(text=TEXT, **more):
    return {"text": text, "model": "tiny", **more}


def body(size=1000):
    """Data that takes about so many bytes, however it is compressed."""
    return {"noise": os.urandom(size).hex()}


@pytest.mark.parametrize("text", [TEXT, "", HOSTILE, "\ud83d", "long " * 10_000])
def test_what_was_put_is_there_for_another_store_of_the_same_file(store, text):
    store.put(PROFILE, about(text), {"answer": [1, 0.1, None, text]})
    again = Store(store.path)
    assert again.get(PROFILE, about(text)) == {"answer": [1, 0.1, None, text]}
    assert [entry.about for entry in again.entries(PROFILE)] == [about(text)]
    assert again.text(text_key(text)) == text


def test_everything_it_is_about_is_part_of_the_key(store):
    store.put(PROFILE, about(fidelity=0.8), {"answer": 1})
    assert store.get(PROFILE, about(fidelity=0.9)) is None
    assert store.get("points", about(fidelity=0.8)) is None
    assert store.get(PROFILE, about(fidelity=0.8)) == {"answer": 1}
    assert store.text(text_key("another")) is None


def test_the_least_recently_used_goes_first(tmp_path):
    store = Store(tmp_path / "results.sqlite3", limit=4000, clock=count().__next__)
    for name in "abc":
        store.put(PROFILE, about(name), body())
    assert store.get(PROFILE, about("a")) is not None
    before = store.total()
    store.put(PROFILE, about("d"), body())
    assert {entry.about["text"] for entry in store.entries(PROFILE)} <= {"a", "c", "d"}
    assert store.get(PROFILE, about("a")) and store.get(PROFILE, about("d"))
    assert store.total() <= 4000 and before <= 4000


def test_what_is_larger_than_everything_may_be_is_not_kept_and_takes_nothing_with_it(tmp_path):
    store = Store(tmp_path / "results.sqlite3", limit=3000)
    store.put(PROFILE, about("small"), {"answer": 1})
    store.put(PROFILE, about("large"), body(9000))
    assert [entry.about["text"] for entry in store.entries(PROFILE)] == ["small"]


def test_the_newest_are_listed_first_with_their_sizes(store):
    for name in "abc":
        store.put(PROFILE, about(name), body())
    entries = store.entries(PROFILE)
    assert [entry.about["text"] for entry in entries] == ["c", "b", "a"]
    assert sum(entry.bytes for entry in entries) == store.total() > 1500


def test_one_is_deleted_with_what_was_measured_for_it_and_no_other(store):
    for text, fidelity in (("a", 0.8), ("a", 0.9), ("b", 0.8)):
        store.put(PROFILE, about(text, fidelity=fidelity), {"answer": fidelity})
        store.put("points", about(text), {"points": []})
    first, second, third = reversed(store.entries(PROFILE))
    store.delete(first.id)
    assert store.get("points", about("a")) and store.get(PROFILE, second.about)
    store.delete(second.id)
    assert store.get("points", about("a")) is None
    assert store.get("points", about("b")) and store.get(PROFILE, third.about)
    store.delete("nothing")


def test_what_is_deleted_is_not_in_the_file_any_more_and_the_file_shrinks(store):
    store.put(PROFILE, about("a secret sentence"), body(100_000))
    whole = store.path.stat().st_size
    store.clear()
    assert (store.entries(PROFILE), store.total()) == ([], 0)
    assert store.path.stat().st_size < whole / 2
    files = list(store.path.parent.iterdir())
    assert not any(b"a secret sentence" in file.read_bytes() for file in files)


def test_the_file_is_its_owners_alone(store):
    store.put(PROFILE, about(), {"answer": 1})
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def emptied(path):
    path.write_bytes(b"")


def overwritten(path):
    path.write_bytes(b"no database at all" * 1000)


def flipped(path):
    data = bytearray(path.read_bytes())
    for at in range(100, len(data), 997):
        data[at] ^= 255
    path.write_bytes(data)


def of_another_version(path):
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    db.close()


def without_its_table(path):
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE entries")
    db.close()


def with_another_table(path):
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE entries")
        db.execute(TABLE.replace("seal", "stamp"))
    db.close()


DAMAGES = [truncated, emptied, overwritten, flipped, without_its_table, with_another_table]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_not_believed_and_begun_anew(store, damage, caplog):
    for name in range(20):
        store.put(PROFILE, about(str(name)), body())
    damage(store.path)
    with caplog.at_level(logging.WARNING):
        found = [store.get(PROFILE, about(str(name))) for name in range(20)]
        store.entries(PROFILE), store.total(), store.text(text_key("0"))
    assert found == [None] * 20
    assert damage is emptied or "results.sqlite3" in caplog.text
    store.put(PROFILE, about("new"), {"answer": 1})
    store.put(PROFILE, about("new"), {"answer": 1})
    assert store.get(PROFILE, about("new")) == {"answer": 1}


def test_a_file_of_another_version_is_left_as_it_is_and_said(store):
    store.put(PROFILE, about(), body())
    of_another_version(store.path)
    before = store.path.read_bytes()
    for one in (store, Store(store.path, read_only=True)):
        one.put(PROFILE, about(), {"answer": 1})
        assert (one.get(PROFILE, about()), one.entries(PROFILE)) == (None, [])
        assert "it is of another version (2, this is 1) and is left as it is; set DENSITY_HOME" in one.trouble
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("at", range(7))
def test_a_flipped_bit_anywhere_gives_what_was_written_or_nothing(store, at):
    noise = body(3000)
    store.put(PROFILE, about(), noise)
    whole = store.path.read_bytes()
    for place in range(at, len(whole), 509):
        data = bytearray(whole)
        data[place] ^= 1 << at
        store.path.write_bytes(data)
        assert store.get(PROFILE, about()) in (noise, None)
        for entry in store.entries(PROFILE):
            assert entry.about == about()
        store.path.unlink(missing_ok=True)


@pytest.mark.parametrize("column", ["body", "seal", "about"])
@pytest.mark.parametrize("value", [b"", b"{}", "text", 7, 1.5])
def test_an_entry_that_is_not_what_was_written_is_passed_over(store, column, value, caplog):
    store.put(PROFILE, about(), {"answer": 1})
    with sqlite3.connect(store.path) as db:
        db.execute(f"UPDATE entries SET {column} = ?", (value,))
    db.close()
    assert store.get(PROFILE, about()) == ({"answer": 1} if column == "about" else None)
    assert store.entries(PROFILE) == []
    assert store.text(text_key(TEXT)) is None


def test_a_file_that_another_process_has_locked_is_passed_by(store, caplog):
    store.put(PROFILE, about(), {"answer": 1})
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    store.put(PROFILE, about("b"), {"answer": 2})
    store.clear()
    assert "passed by" in caplog.text and "locked" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    assert store.get(PROFILE, about()) == {"answer": 1}
    assert store.get(PROFILE, about("b")) is None


def test_a_file_is_read_while_another_process_writes(store, caplog):
    store.put(PROFILE, about(), {"answer": 1})
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM entries")
    assert [entry.about for entry in store.entries(PROFILE)] == [about()]
    assert caplog.text == ""
    other.execute("ROLLBACK")
    other.close()


@pytest.mark.parametrize("there", ["a folder", "a file"])
def test_a_place_that_cannot_be_written_to_is_passed_by(tmp_path, there, caplog):
    if there == "a folder":
        (tmp_path / "results.sqlite3").mkdir()
        store = Store(tmp_path / "results.sqlite3")
    else:
        (tmp_path / "folder").write_text("no folder")
        store = Store(tmp_path / "folder" / "results.sqlite3")
    store.put(PROFILE, about(), {"answer": 1})
    assert (store.get(PROFILE, about()), store.entries(PROFILE), store.total()) == (None, [], 0)
    assert "passed by" in caplog.text


def put_many(path, name):
    for number in range(20):
        Store(path).put(PROFILE, about(f"{name}{number}"), {"answer": number})


def test_several_processes_write_at_once(store):
    started = multiprocessing.get_context("fork")
    processes = [started.Process(target=put_many, args=(store.path, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert len(store.entries(PROFILE)) == 60


@pytest.fixture(scope="module")
def ask(tiny_folder):
    """A question about the tiny model."""
    return lambda text="a b", **changes: Question(str(tiny_folder), text, **changes)


@pytest.fixture(scope="module")
def tiny_model(tiny_folder):
    from density.models import open_model

    return open_model(str(tiny_folder))


@pytest.fixture
def served(store, tiny_model, monkeypatch):
    """A function that answers with a service that has just been started, and has only the store."""
    # Opened once for all tests, and not timed: both take seconds.
    monkeypatch.setattr("density.serving.service.health.load", lambda name, **options: (tiny_model, None))
    monkeypatch.setattr("density.serving.service.calibrate", lambda model: Speed(1e-3, 1e-4))

    def answer(question, store=store):
        service = Service(store)
        job = service.profile(question, Visitor(here=lambda: True))
        assert job.wait(PATIENCE)
        service.close()
        return job.poll()

    return answer


def document(seen):
    """An answer without what was run for it."""
    found = seen.subject.document(seen.results)
    return {**found, "predictions": [{**one, "replays": 0} for one in found["predictions"]]}


def densities(seen):
    return [found["density"] for found in document(seen)["predictions"]]


def replays(seen):
    return sum(found["replays"] for found in seen.results)


@pytest.mark.parametrize("sweep", [False, True])
def test_a_question_answered_before_is_answered_without_a_replay(served, ask, sweep, monkeypatch):
    first = served(ask(sweep=sweep))
    assert (first.status, first.error) == (Status.DONE, None)
    monkeypatch.setattr("density.serving.service.read", None)
    again = served(ask(sweep=sweep))
    assert (again.status, again.error) == (Status.DONE, None)
    assert replays(first) > 0 == replays(again)
    assert document(again) == document(first)
    assert again.subject.wanted == first.subject.wanted and not again.subject.from_file
    assert document(first)["search"] == ("sweep" if sweep else "lattice")


def test_a_model_of_the_catalogue_is_not_opened_for_an_answer_that_is_kept(served, ask, store, monkeypatch):
    question = Question("smollm2-135m", "a b")
    found = document(served(ask()))
    keeping.keep(store, question, keeping.revision_of("smollm2-135m"), found)
    monkeypatch.setattr("density.serving.service.health", None)
    seen = served(question)
    assert (seen.status, document(seen)) == (Status.DONE, found)
    assert Service(store).measured(question)


def test_an_answer_that_is_kept_is_expected_to_take_nothing_whether_its_model_is_there_or_not(served, ask, store):
    question, found = Question("smollm2-135m", "a b"), document(served(ask()))
    keeping.keep(store, question, keeping.revision_of("smollm2-135m"), found)
    estimate = Service(store).estimate(question)
    assert (estimate.tokens, estimate.predictions) == (len(found["tokens"]), len(found["predictions"]))
    assert (estimate.seconds, estimate.memory) == (0, 0)
    assert Service(store).estimate(Question("smollm2-135m", "a b", fidelity=0.9)) is None


def test_another_revision_or_version_is_another_question(served, ask, store, monkeypatch):
    question, found = Question("smollm2-135m", "a b"), document(served(ask()))
    revision = keeping.revision_of("smollm2-135m")
    keeping.keep(store, question, "of another file", found)
    assert keeping.recall(store, question, revision) is None
    keeping.keep(store, question, revision, found)
    assert keeping.recall(store, question, revision) == found
    monkeypatch.setattr("density.export.__version__", "another")
    assert keeping.recall(store, question, revision) is None


def test_another_fidelity_starts_from_what_was_measured_by_another_run(served, ask):
    served(ask("two fidelities"))
    higher = served(ask("two fidelities", fidelity=0.9))
    fresh = served(ask("two fidelities", fidelity=0.9), store=None)
    assert densities(higher) == densities(fresh)
    assert replays(higher) < replays(fresh)


def test_a_longer_text_than_the_question_takes_is_not_answered_from_the_store(served, ask):
    served(ask())
    assert served(ask(max_tokens=2)).error.endswith("raise the limit.")


def test_a_damaged_store_never_breaks_a_profile(served, ask, store):
    first = served(ask())
    truncated(store.path)
    again = served(ask())
    assert again.status is Status.DONE and document(again) == document(first)


def test_a_long_text_is_in_a_link_by_its_key(store):
    text = "word " * LINK_CHARACTERS
    link = to_link(Question(text=text))
    assert "text" not in link and len(json.dumps(link)) < 300
    assert from_link(link)[1] == ["The link's text is long, and is not kept on this machine; paste it here."]
    store.put(PROFILE, about(text), {"answer": 1})
    found, complaints = from_link(link, store.text)
    assert (found["text"], complaints) == (text, [])
