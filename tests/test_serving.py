"""Questions survive links, estimates follow what was seen, and the service answers many with one model."""

import json
import pkgutil
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path

import pytest

import density
from density import document, importance, models, reading
from density.errors import BadInput
from density.models import checkpoint, loading
from density.names import PROFILE_SCHEMA, RULES
from density.profile import parse_positions, profile
from density.reading import REPLAY_BYTES
from density.recent import Recent
from density.search import check_fidelity
from density.serving.estimate import REPLAYS_AGAIN, REPLAYS_FRESH, Speed
from density.serving.jobs import Status
from density.serving.question import (
    DEFAULT_MODEL,
    FIDELITY_RANGE,
    LINK_CHARACTERS,
    POSITIONS,
    Question,
    from_link,
    to_link,
)
from density.serving.service import Service
from density.serving.shelf import Shelf
from tests.test_view import HOSTILE

PATIENCE = 60.0
TEXT = "The capital of France"


@pytest.fixture(scope="module")
def ask(tiny_folder):
    """A question about the tiny model."""
    return lambda text=TEXT, **changes: Question(str(tiny_folder), text, **changes)


def answer(service, question):
    """The job that answered, at its end."""
    return ended(service.profile(question))


def ended(job):
    """The job at its end; looked at meanwhile, as a page does, so that it is not taken for forgotten."""
    deadline = time.monotonic() + PATIENCE
    while not job.wait(1):
        job.poll()
        assert time.monotonic() < deadline
    return job.poll()


def densities(seen):
    """Of an answer, by position."""
    return [found["density"] for found in seen.subject.document(seen.results)["predictions"]]


def replays(seen):
    """Run for an answer."""
    return sum(found["replays"] for found in seen.results)


def loads_of(module, *names):
    """Which of ``names`` importing ``module`` loads, in a Python of its own."""
    code = f"import {module}, sys; print([name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def modules():
    """Every module of the package."""
    return [
        module.name for module in pkgutil.walk_packages(density.__path__, "density.") if "__main__" not in module.name
    ]


def test_the_engine_loads_no_streamlit():
    assert len(modules()) > 30
    assert loads_of(", ".join(modules()), "streamlit") == "[]"


def test_the_engine_loads_nothing_of_what_serves_it():
    below = [name for name in modules() if not name.startswith("density.serving")]
    assert loads_of(", ".join(below), "density.serving") == "[]"


def test_a_question_and_a_view_load_no_engine():
    light = "density.serving.question, density.view, density.serving.jobs, density.document"
    assert loads_of(light, "torch", "transformers") == "[]"


def test_what_is_offered_is_what_the_engine_takes():
    assert DEFAULT_MODEL == models.DEFAULT
    assert set(RULES) == set(importance.RULES)
    assert set(document.DEVICES) == {*loading.DEVICES, checkpoint.OFFLOAD}
    assert Question().max_tokens == reading.MAX_TOKENS
    assert [parse_positions(positions, 20) for positions in POSITIONS] == [
        list(range(20)),
        list(range(4, 20)),
        [19],
    ]
    for fidelity in FIDELITY_RANGE:
        check_fidelity(fidelity)


@pytest.mark.parametrize("text", ["plain", *HOSTILE])
def test_a_link_brings_the_question_back(text):
    question = Question("some/model@main", text, 0.93, "ifr", "3..9", sweep=True)
    found, complaints = from_link(to_link(question))
    assert Question(**found) == question
    assert complaints == []


@pytest.mark.parametrize("limit", [3, 512, 4096])
def test_a_link_brings_the_token_limit_back(limit):
    found, complaints = from_link(to_link(Question(max_tokens=limit)))
    assert (Question(**found).max_tokens, complaints) == (limit, [])


def test_a_long_or_blank_text_is_left_out_of_the_link():
    assert "text" in to_link(Question(text="a" * LINK_CHARACTERS))
    assert "text" not in to_link(Question(text="a" * (LINK_CHARACTERS + 1)))
    assert "text" not in to_link(Question(text=" \n"))


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("fidelity", "2", "fidelity '2' is not between 0.5 and 0.99"),
        ("fidelity", "nan", "fidelity 'nan' is not between"),
        ("fidelity", "", "fidelity '' is not between"),
        ("fidelity", "80%", "fidelity '80%' is not between"),
        ("rule", "l3", "rule 'l3' is not one of l1, l2, ifr, projection"),
        ("positions", "99", "positions '99' is not one of all, last:16, last, or a span such as 3..9"),
        ("search", "both", "search 'both' is not one of lattice, sweep"),
        ("max_tokens", "0", "token limit '0' is no number from 1 to 4096"),
        ("max_tokens", "4097", "token limit '4097' is no number from 1 to 4096"),
        ("max_tokens", "many", "token limit 'many' is no number from 1 to 4096"),
    ],
)
def test_what_a_link_cannot_mean_is_passed_over_and_said(name, value, complaint):
    found, complaints = from_link({name: value, "text": "kept", "unknown": "ignored"})
    assert found == {"text": "kept"}
    assert len(complaints) == 1 and complaint in complaints[0]


def test_terms_and_limit_do_not_change_what_is_asked():
    assert Question(accept_terms=True, max_tokens=7) == Question()
    assert Question(fidelity=0.9) != Question()


def test_the_least_recently_used_goes_first():
    recent = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.get("a")
    recent.put("c", 3)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def shelf(limit, most=9, **weights):
    """A shelf with things of those weights, none of them held."""
    found = Shelf(limit, most)
    for key, weight in weights.items():
        found.put(key, key.upper(), weight)
        found.release(key)
    return found


def made_room(found, weight):
    """Whether room could be made; it is not kept free."""
    made = found.reserve("somebody", weight)
    found.unreserve("somebody")
    return made


def kept(found, keys="abcdm"):
    """Which of ``keys`` are there."""
    return "".join(key for key in keys if key in found._kept)


def test_what_no_longer_fits_goes_the_least_recently_used_first():
    found = shelf(10, a=4, b=3, c=3)
    assert (found.weight, kept(found)) == (10, "abc")
    assert found.get("a") == "A"
    assert made_room(found, 4)
    assert kept(found) == "a"
    assert found.get("b") is None


def test_what_is_held_stays_and_goes_once_it_is_let_go_if_there_is_no_room():
    found = shelf(10, a=4, b=4)
    assert found.take("a") == "A" and found.take("a") == "A"
    assert not made_room(found, 7)
    assert kept(found) == "a"
    found.put("c", "C", 8)
    assert (kept(found), found.weight) == ("ac", 12)
    found.release("a")
    assert kept(found) == "ac"
    found.release("a")
    assert kept(found) == "c"


def test_what_belongs_to_a_model_goes_before_it_and_with_it():
    found = shelf(10, a=4, m=4)
    found.put("b", "B", 1, of="m")
    found.put("c", "C", 1, of="m")
    for key in "bc":
        found.release(key)
    assert found.get("a") and found.get("b")
    # "c" was used before "a", "m" with its "b" after.
    assert made_room(found, 1) and kept(found) == "abm"
    assert made_room(found, 2) and kept(found) == "bm"
    assert found.get("b") and made_room(found, 6) and kept(found) == "m"
    found.put("b", "B", 1, of="m")
    assert not made_room(found, 9) and kept(found) == "bm"
    found.release("b")
    assert made_room(found, 10) and kept(found) == ""


def test_room_that_is_reserved_is_not_given_to_another():
    found = shelf(10, a=4)
    assert found.reserve("one", 6) and kept(found) == "a"
    assert found.reserve("two", 4) and kept(found) == ""
    assert not found.reserve("three", 1) and found.weight == 10
    assert found.reserve("one", 3) and found.reserve("three", 3)
    found.unreserve("two")
    found.unreserve("two")
    assert found.weight == 6


def test_no_more_models_are_kept_than_asked_for_except_in_use():
    found = shelf(100, most=2, a=1, b=1, c=1)
    assert kept(found) == "bc"
    found.take("b")
    found.take("c")
    found.put("d", "D", 1)
    found.put("a", "A", 1, of="d")
    assert kept(found) == "abcd" and found.owners() == ["b", "c", "d"]
    found.release("c")
    assert kept(found) == "abd"


def test_seconds_are_those_of_the_rows():
    # Predictions at 0 and 2 replay 1 + 3 rows; 6 rounds of 0.5 s + 4 * 0.25 s each.
    assert Speed(0.5, 0.25).seconds([0, 2], 6) == pytest.approx(9)


def test_a_search_is_expected_to_take_what_it_took_on_the_examples():
    files = (Path(__file__).parents[1] / "assets" / "precomputed").glob("*.json")
    took = [found["replays"] for file in files for found in json.loads(file.read_bytes())["predictions"]]
    assert len(took) > 100 and pytest.approx(sum(took) / len(took), abs=0.3) == REPLAYS_FRESH


def test_an_estimate_moves_towards_what_was_seen():
    speed = Speed(0.5, 0.25)
    expected = speed.seconds([3, 4, 5])
    speed.learn([3, 4, 5], 3 * expected)
    assert speed.seconds([3, 4, 5]) == pytest.approx(2 * expected)
    speed.learn([3, 4, 5], expected)
    assert speed.seconds([3, 4, 5]) == pytest.approx(1.5 * expected)


def test_nothing_is_estimated_before_the_model_is_there(ask):
    assert Service().estimate(ask()) is None


def test_an_answer_is_the_exported_document(service, ask):
    seen = answer(service, ask())
    assert (seen.status, seen.error) == (Status.DONE, None)
    document = seen.subject.document(seen.results)
    assert document["schema"] == PROFILE_SCHEMA
    assert [found["position"] for found in document["predictions"]] == list(range(len(document["tokens"])))
    assert "".join(token["text"] for token in document["tokens"]) == TEXT
    assert all(found["total_variation"] <= 0.2 for found in document["predictions"])
    assert document["fidelity"] == 0.8
    assert json.loads(service.dumps(document)) == document


def test_the_same_question_again_needs_no_replay(service, ask):
    question = ask("a text asked twice")
    first, again = answer(service, question), answer(service, question)
    assert replays(first) > 0
    assert replays(again) == 0
    assert densities(first) == densities(again)


def test_another_fidelity_starts_from_what_is_known(service, ask):
    question = ask("a text at two fidelities")
    answer(service, question)
    higher = answer(service, ask(question.text, fidelity=0.9))
    fresh = answer(Service(), ask(question.text, fidelity=0.9))
    assert densities(higher) == densities(fresh)
    assert replays(higher) < replays(fresh)


def test_the_estimate_counts_tokens_and_expects_less_of_what_is_known(service, ask):
    question = ask("a text to estimate")
    answer(service, ask())
    before = service.estimate(question)
    assert not service.measured(question)
    answer(service, question)
    after = service.estimate(question)
    assert service.measured(question) and service.measured(ask(question.text, fidelity=0.9))
    assert before.tokens == before.predictions == after.tokens
    correction = service.loaded(question).speed.correction
    assert after.seconds == pytest.approx(service.loaded(question).speed.seconds(range(after.tokens), REPLAYS_AGAIN))
    assert correction > 0 and REPLAYS_AGAIN < REPLAYS_FRESH
    assert after.memory > REPLAY_BYTES


def test_a_sweep_is_answered_with_its_curve_and_another_fidelity_of_it_needs_no_replay(service, ask):
    question = ask("a text swept", sweep=True)
    assert service.estimate(question).seconds > service.estimate(ask("a text swept")).seconds
    seen = answer(service, question)
    document = seen.subject.document(seen.results)
    assert document["search"] == "sweep"
    assert all(found["curve"] and 0 <= found["auc_linear"] <= 1 for found in document["predictions"])
    assert service.measured(ask("a text swept", sweep=True, fidelity=0.6))
    assert replays(answer(service, ask("a text swept", sweep=True, fidelity=0.6))) == 0


def test_a_search_does_not_make_a_sweep_measured(service, ask):
    answer(service, ask("a text searched"))
    assert service.measured(ask("a text searched"))
    assert not service.measured(ask("a text searched", sweep=True))


def test_the_models_in_memory_are_named_as_they_were_asked_for(service, ask):
    answer(service, ask())
    assert ask().model in service.in_memory()


def test_only_the_last_predictions_are_answered_where_they_are_asked(service, ask):
    text = "one two three four five six seven eight nine"
    seen = answer(service, ask(text, positions="last:16"))
    tokens = len(seen.subject.empty["tokens"])
    assert tokens > 16
    assert sorted(found["position"] for found in seen.results) == list(range(tokens - 16, tokens))
    assert not service.measured(ask(text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty or blank"),
        (" \n\t", "empty or blank"),
        ("half \ud83d", r"half of a surrogate pair \(U\+D83D\)"),
        ("word " * 600, r"the text has \d+ tokens and the limit is 512"),
    ],
)
def test_a_bad_text_fails_with_its_reason_and_is_refused_by_the_estimate(service, ask, text, message):
    answer(service, ask())
    seen = answer(service, ask(text))
    assert seen.status is Status.FAILED
    with pytest.raises(BadInput, match=message) as refused:
        service.estimate(ask(text))
    assert seen.error == str(refused.value)


def test_the_token_limit_is_the_questions(service, ask):
    answer(service, ask())
    with pytest.raises(BadInput, match="the limit is 2"):
        service.estimate(ask(max_tokens=2))
    assert answer(service, ask("another text", max_tokens=2)).error.endswith("raise the limit.")


@pytest.mark.parametrize("text", ["x", *HOSTILE])
def test_any_other_text_is_answered_and_its_tokens_are_its_characters(service, ask, text):
    seen = answer(service, ask(text))
    assert (seen.status, seen.error) == (Status.DONE, None)
    assert "".join(token["text"] for token in seen.subject.empty["tokens"]) == text


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "\x00", "<script>", "."])
def test_an_unknown_model_fails_with_its_reason(service, name, own_home):
    seen = answer(service, Question(name, TEXT))
    assert seen.status is Status.FAILED
    assert "server's log" not in seen.error
    assert seen.subject is None


def test_the_model_goes_when_two_others_came(service, ask, tiny_folder):
    own = Service()
    alias = [str(tiny_folder), f"{tiny_folder}/", f"{tiny_folder}/."]
    for name in alias:
        answer(own, Question(name, TEXT))
    assert [own.loaded(Question(name)) is not None for name in alias] == [False, True, True]
    own.close()


def test_stopping_keeps_what_was_measured(service, ask, monkeypatch):
    question, own, submitted = ask("a text to be stopped before its second batch"), Service(), threading.Event()
    fresh = answer(service, question)

    def stopped(*args, check, **options):
        batches = count()

        def cancelling():
            assert submitted.wait(PATIENCE)
            if next(batches):
                job.cancel()
            check()

        return profile(*args, check=cancelling, **options)

    with monkeypatch.context() as patch:
        patch.setattr("density.serving.service.profile", stopped)
        job = own.profile(question)
        submitted.set()
        assert job.wait(PATIENCE)
    assert (job.poll().status, job.poll().results) == (Status.STOPPED, ())
    again = answer(own, question)
    # The tiny model's first batch is one replay of each prediction.
    assert replays(again) == replays(fresh) - len(fresh.results)
    assert densities(again) == densities(fresh)
    own.close()
