"""The circuit's section of the explorer, without a browser: what it draws, shows of a pick, and switches."""

import json
import time

import pytest
from streamlit.testing.v1 import AppTest

from density.graph import Kind
from density.layout import beside
from density.serving import answers
from density.serving.question import Question
from density.switches import Switch

TEXT = "The capital of France is Paris, and the capital"
PATIENCE = 60.0


def section():
    import streamlit as st

    from pages.parts import circuit

    kept = st.session_state
    kept.shown = circuit.ask_most(kept.found)
    circuit.show(kept.service, kept.question, kept.shown)


@pytest.fixture(scope="module")
def question(tiny_folder):
    return Question(str(tiny_folder), TEXT, fidelity=0.6)


@pytest.fixture(scope="module")
def found(service, question):
    job = service.ask(question, answers.exploration, position=-1, edges=10**9, most=2000)
    assert job.wait(PATIENCE)
    return job.poll().results[0]


@pytest.fixture
def page(service, question, found):
    app = AppTest.from_function(section, default_timeout=PATIENCE)
    app.session_state["service"], app.session_state["question"] = service, question
    app.session_state["found"] = found
    return settle(app)


def settle(app):
    """Draws the section until nothing it asked is still to come."""
    deadline = time.monotonic() + PATIENCE
    while True:
        app.run()
        assert not app.exception
        jobs = [app.session_state[key][1] for key in ("circuit-state", "circuit-edge") if key in app.session_state]
        if all(job.poll().finished for job in jobs):
            return app.run()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def drawn(app):
    return json.loads(app.get("bidi_component")[0].proto.json)


def pick(app, what):
    question, found = app.session_state["question"], app.session_state["found"]
    about = [question.model, question.text, question.rule, found["position"]]
    app.session_state["circuit-picked"] = (about, what)
    return settle(app)


def edge_of(found, **wanted):
    """The first edge of the document that is as ``wanted``."""
    return next(edge for edge in found["circuit"]["edges"] if all(edge[key] == wanted[key] for key in wanted))


def test_the_first_edges_are_drawn_and_the_others_counted(page, found):
    shown = drawn(page)
    count = len(shown["drawing"]["edges"]["name"])
    assert 0 < count <= 400
    left = found["trace"]["edges"] - count
    assert left > 0
    assert shown["said"] == (
        f"The first {count:,} of the trace's {found['trace']['edges']:,} edges; {left:,} are left out."
    )
    assert shown["picked"] is None
    assert "Click a state or an edge" in page.caption[0].value


@pytest.mark.parametrize("most", [50, 1000, 2000])
def test_more_or_fewer_edges_are_drawn_as_chosen(page, found, most):
    page.select_slider[0].set_value(most)
    settle(page)
    names = drawn(page)["drawing"]["edges"]["name"]
    known = [edge["name"] for edge in found["circuit"]["edges"]]
    # At a boundary between two levels, so not always exactly as many.
    assert min(most, found["trace"]["edges"]) * 0.7 <= len(names) <= most
    shared = min(len(names), len(known))
    assert names[:shared] == known[:shared]
    # What is drawn is what is taken home.
    assert [edge["name"] for edge in page.session_state["shown"]["circuit"]["edges"]] == names


def test_an_empty_trace_is_said_to_be_empty(page, service, question):
    job = service.ask(question, answers.exploration, position=-1, edges=0, most=400)
    assert job.wait(PATIENCE)
    page.session_state["found"] = job.poll().results[0]
    page.run()
    assert drawn(page)["said"] == "The trace is empty: it has no edges."
    assert not page.exception


def test_a_state_shows_what_it_would_predict_in_both_runs(page, found):
    pick(page, {"state": {"depth": 3, "position": found["position"]}})
    assert drawn(page)["picked"] is not None
    words = [element.value for element in page.markdown]
    assert any("after layer 1's attention" in word.replace("\\", "") for word in words)
    assert {"Would predict now", "Strongest in", "Strongest out"} <= set(words)
    assert len(page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart")) == 1
    assert [list(table.value.columns) for table in page.dataframe] == [["", "token", "from", "to"]] * 2
    assert all(element.help for element in page.markdown if element.value in ("Would predict now", "Strongest in"))


def test_an_embedding_has_nothing_below_it(page, found):
    source = edge_of(found, write="residual_attention", layer=0)["source"]
    pick(page, {"state": source})
    assert any("no state below an embedding" in caption.value for caption in page.caption)
    assert not [button for button in page.button if button.label.startswith("Layer")]


def test_an_edge_in_a_list_is_picked_by_its_button(page, found):
    pick(page, {"state": {"depth": found["circuit"]["depths"], "position": found["position"]}})
    button = next(button for button in page.button if "MLP" in button.label and "skip" not in button.label)
    button.click()
    settle(page)
    assert "edge" in page.session_state["circuit-picked"][1]
    assert list(page.dataframe[0].value.columns) == ["neuron", "share of the write", "activation", "promotes"]
    assert [metric.label for metric in page.metric] == ["Importance", "Enters at"]
    assert all(metric.help for metric in page.metric)


def test_an_edge_of_several_between_two_states_shows_them_to_pick_from(page, found):
    edge = next(edge for edge in found["circuit"]["edges"][:400] if len(beside(found["circuit"], edge)) > 1)
    pick(page, {"edge": edge})
    offered = [button for button in page.button if button.key.startswith("circuit-Beside-")]
    assert any(f"{len(offered)} edges between these two states" == element.value for element in page.markdown)
    offered[-1].click()
    settle(page)
    assert page.session_state["circuit-picked"][1] == {"edge": beside(page.session_state["shown"]["circuit"], edge)[-1]}


def test_a_head_shows_its_attention_and_what_it_moves(page, found):
    edge = edge_of(found, kind="head")
    pick(page, {"edge": edge})
    assert any(element.value.startswith("\u2068Attention of the head") for element in page.markdown)
    assert [list(table.value.columns) for table in page.dataframe] == [["promotes", "logit"], ["suppresses", "logit"]]


def test_what_is_switched_off_is_kept_once_for_the_replay(page, found):
    edge = edge_of(found, kind="head")
    pick(page, {"edge": edge})
    name = "This edge"
    next(button for button in page.button if name in button.label).click()
    settle(page)
    (kept,) = page.session_state["switches"]
    switch = Switch(**{**kept, "kind": Kind(kept["kind"])})
    assert switch == Switch(edge["layer"], Kind.HEAD, edge["head"], edge["query"], edge["key"])
    assert next(button for button in page.button if name in button.label).disabled
    others = [button for button in page.button if "everywhere" in button.label]
    others[0].click()
    settle(page)
    assert len(page.session_state["switches"]) == 2
    # After all of its head was switched off, the edge can be put back.
    page.session_state["circuit-turn"] = "on"
    page.run()
    next(button for button in page.button if name in button.label).click()
    settle(page)
    assert page.session_state["switches"][1:] == [{**kept, "on": True}]


def test_a_pick_in_another_text_or_of_an_edge_that_is_not_drawn_is_not_shown(page, found):
    page.session_state["circuit-picked"] = (["another"], {"edge": found["circuit"]["edges"][0]})
    page.run()
    assert drawn(page)["picked"] is None
    page.select_slider[0].set_value(50)
    pick(page, {"edge": found["circuit"]["edges"][-1]})
    assert drawn(page)["picked"] is None
    assert not page.metric
