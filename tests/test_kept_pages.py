"""History lists, opens and deletes what is kept; Method opens; a saved file is shown without any model."""

import json
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from density.document import parse_profile
from density.errors import BadInput
from density.serving.question import Question
from density.store import PROFILE, Store
from pages.parts import reopening
from pages.parts.reopening import positions_of, question_of
from tests.test_view import HOSTILE

ROOT = Path(__file__).parents[1]
EXAMPLE = (ROOT / "assets" / "method" / "profile.json").read_bytes()
PATIENCE = 60


def about(document, **changes):
    """What the service keeps a document under."""
    names = ("model", "revision", "text", "rule", "precision", "device", "versions", "fidelity", "search")
    return {**{name: document[name] for name in names}, "positions": "all", **changes}


@pytest.fixture
def document():
    return parse_profile(EXAMPLE)


@pytest.fixture
def store(own_home):
    return Store()


def opened(page):
    """One page by its own address."""
    app = AppTest.from_file(str(ROOT / "pages" / f"{page}.py"), default_timeout=PATIENCE).run()
    assert not app.exception
    return app


def said(app):
    kinds = ("markdown", "caption", "text", "info", "error", "metric", "title", "header")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind))


def plain(text):
    return text.replace("\\", "").replace("\u2068", "").replace("\u2069", "")


def test_history_says_why_nothing_is_kept(store):
    store.path.mkdir(parents=True)
    app = opened("history")
    assert "could not be kept or read here" in plain(app.warning[0].value)


def test_an_empty_history_says_what_to_do(store):
    assert "Nothing is kept yet" in said(opened("history"))


def test_what_is_kept_is_listed_with_its_size(store, document):
    store.put(PROFILE, about(document), document)
    app = opened("history")
    shown = plain(said(app))
    assert "1 answer, " in shown and "kB" in shown
    for word in ("The capital of France is", "smollm2-135m", "fidelity 80%", "predictions: all", "sweep"):
        assert word in shown
    assert all(metric.help for metric in app.metric)


@pytest.mark.parametrize("text", [*HOSTILE, "[a](http://example.com)", "x" * 500])
def test_a_kept_text_is_shown_as_text(store, document, text):
    store.put(PROFILE, about(document, text=text, model=text), document)
    app = opened("history")
    assert app.text[0].value.replace("·", "").startswith(text[:2].strip() if text.isprintable() else "")
    assert text not in " ".join(element.value for element in app.markdown)


def test_one_is_deleted_and_then_all(store, document):
    for fidelity in (0.7, 0.8, 0.9):
        store.put(PROFILE, about(document, fidelity=fidelity), document)
    app = opened("history")
    assert "3 answers" in said(app)
    next(button for button in app.button if button.label == "Delete").click().run()
    assert "2 answers" in said(app)
    next(button for button in app.button if button.label == "Delete them").click().run()
    assert "Nothing is kept yet" in said(app)


def test_many_are_listed_a_page_at_a_time(store, document):
    for number in range(30):
        store.put(PROFILE, about(document, text=f"text {number}"), document)
    app = opened("history")
    assert "30 answers" in said(app)
    assert len([button for button in app.button if button.label == "Open"]) == 25


def test_a_damaged_answer_is_not_opened_and_says_so(store, document, monkeypatch):
    store.put(PROFILE, about(document), document)
    app = opened("history")
    monkeypatch.setattr(Store, "opened", lambda *args: None)
    next(button for button in app.button if button.label == "Open").click().run()
    assert "damaged and could not be opened" in said(app)


def test_opening_waits_on_the_explorer_even_where_the_list_of_pages_is_not_known(store, document):
    store.put(PROFILE, about(document), document)
    app = opened("history")
    next(button for button in app.button if button.label == "Open").click().run()
    assert not app.exception and "It is ready" in said(app)
    question, opening, from_file = app.session_state.opened
    assert question == question_of(document) and not from_file
    assert [found["replays"] for found in opening["predictions"]] == [0] * 5


def test_the_method_has_its_example_its_sources_and_its_limits():
    app = opened("method")
    shown = plain(said(app))
    for word in (
        "4,350 edges",
        "4,398",
        "·Paris” at 77.3%",
        "arXiv 2601.22795",
        "withdrew",
        "2605.27033",
        "2403.00824",
    ):
        assert word in shown
    assert [header.value for header in app.header] == [
        "Five tokens, worked out",
        "What the papers found",
        "What this does not show",
    ]
    assert len(app.get("vega_lite_chart")) == 1
    assert "density profile --model smollm2-135m" in app.code[0].value


def test_the_claims_on_the_method_page_name_the_pages_that_answer_them():
    table = next(one.value for one in opened("method").markdown if one.value.startswith("| what they report"))
    pages = set(re.findall(r'title="([^"]+)"', (ROOT / "app.py").read_text(encoding="utf-8"))) - {"History", "Method"}
    assert len(pages) == 6 and pages == set(re.findall(r"\*\*([^*]+)\*\*", table))


def test_the_counts_on_the_method_page_are_those_of_the_closed_form():
    assert 29 * (9 * 15 + 3 * 5) + 9 * 5 + 3 == 4398
    assert json.loads(EXAMPLE)["predictions"][-1]["edges_full"] == 4398


@pytest.mark.parametrize(
    ("positions", "length", "asked"),
    [([0, 1, 2], 3, "all"), ([2], 3, "last"), ([0], 1, "all"), ([1, 2], 4, "1..2"), ([1, 3], 5, "1..3")],
)
def test_positions_are_asked_for_by_their_names(positions, length, asked):
    tokens, predictions = [{}] * length, [{"position": position} for position in positions]
    assert positions_of({"tokens": tokens, "predictions": predictions}) == asked
    assert positions_of({"tokens": [{}] * 40, "predictions": [{"position": at} for at in range(24, 40)]}) == "last:16"


def test_a_profile_is_asked_for_again_as_it_was(document):
    wanted = Question("smollm2-135m", "The capital of France is", 0.8, "l1", "all", sweep=True)
    assert question_of(document) == wanted


def test_the_token_limit_of_what_is_asked_again_is_no_less_than_its_tokens(document):
    assert question_of(document).max_tokens == 512
    assert question_of({**document, "tokens": [{}] * 700}).max_tokens == 700


def uploader():
    """A page that has nothing but the place to open a file."""
    import streamlit as st

    from density.serving.question import Question
    from pages.parts.reopening import restore_uploaded

    restore_uploaded(st.session_state.get("service"), Question())


def test_a_saved_file_becomes_the_answer_and_no_model_is_opened(document):
    app = AppTest.from_function(uploader, default_timeout=PATIENCE)
    # Only whether it is there is looked at.
    app.session_state.service = object()
    app.run()
    app.file_uploader[0].upload("saved.json", EXAMPLE, "application/json").run()
    assert not app.exception and not app.error
    answer = app.session_state.answer
    assert answer.finished and answer.subject.from_file
    assert answer.subject.document(answer.results) == document
    assert app.session_state.asked == question_of(document) == answer.subject.question
    assert app.session_state.job.poll().finished
    assert app.session_state.link["text"] == document["text"]
    assert (app.session_state.run_link, app.session_state.chosen) == (False, None)


def test_a_file_that_is_none_is_refused_in_a_sentence_and_changes_nothing():
    app = AppTest.from_function(uploader, default_timeout=PATIENCE).run()
    app.file_uploader[0].upload("bad.json", b'{"schema": "![](http://example.com/x.png)"}', "application/json").run()
    assert plain(app.error[0].value).startswith("The file's schema is '![](http://example.com/x.png)'; wanted")
    assert "![" not in app.error[0].value
    assert "answer" not in app.session_state and "link" not in app.session_state


@pytest.mark.parametrize(
    ("schema", "told"),
    [("density.explore/1", "one prediction's trace and circuit"), ("density.trace/1", "traces of one prediction")],
)
def test_another_file_that_is_saved_here_is_told_what_it_is(schema, told):
    with pytest.raises(BadInput, match=f"the file is {told}.*; what can be opened is the JSON of 'Table and files'"):
        parse_profile(json.dumps({"schema": schema}).encode())


def test_the_view_that_was_saved_is_texts_and_nothing_else(document):
    view = {"tint": "entropy", "token": "2", "of another version": "x"}
    assert parse_profile(json.dumps({**document, "view": view}).encode()) == {**document, "view": view}
    for wrong in ([], {"token": 2}, None):
        with pytest.raises(BadInput, match="view"):
            parse_profile(json.dumps({**document, "view": wrong}).encode())


def test_what_is_opened_waits_for_the_engine(document):
    app = AppTest.from_function(uploader, default_timeout=PATIENCE).run()
    app.file_uploader[0].upload("saved.json", EXAMPLE, "application/json").run()
    assert "answer" not in app.session_state
    app.session_state.service = object()
    app.run()
    assert app.session_state.answer.subject.question == question_of(document)


def test_reopening_sets_the_link_that_the_widgets_are_set_from(monkeypatch, document):
    state = type("State", (dict,), {"__getattr__": dict.__getitem__, "__setattr__": dict.__setitem__})()
    monkeypatch.setattr(reopening.st, "session_state", state)
    long = {**document, "text": "word " * 1000}
    reopening.reopen(long, from_file=False)
    assert state.link["text"] == long["text"] and state.link["search"] == "sweep"
