"""How an answer is looked at, to and from a link: what is written is read back, and nothing else is."""

import json

import pytest

from density.explore import DRAWN
from density.search import EMPTY, LATTICE
from pages.parts import viewing
from pages.parts.viewing import (
    MOST_DRAWN,
    MOST_SWITCHES,
    pick_linked,
    picked_word,
    read_picked,
    read_switches,
    size_step,
    size_word,
)

HEAD = [3, "head", 7, None, 4, None, False]
LAYER = [0, None, None, 5, None, None, True]


@pytest.mark.parametrize("step", [0, 1, 18, 60, 124, EMPTY])
def test_a_size_comes_back(step):
    assert size_step(size_word(step)) == step


@pytest.mark.parametrize("word", ["", "nan", "-0.1", "1.5", "inf", "x"])
def test_what_is_no_share_is_no_size(word):
    assert size_step(word) is None


def test_every_size_of_the_lattice_has_its_word():
    assert [size_step(size_word(step)) for step in range(len(LATTICE))] == list(range(len(LATTICE)))


def test_switches_come_back_in_their_order():
    first, second = read_switches(json.dumps([HEAD, LAYER]))
    assert first == {
        **{"layer": 3, "kind": "head", "head": 7, "query": None},
        **{"key": 4, "expert": None, "on": False},
    }
    assert (second["layer"], second["kind"], second["query"], second["on"]) == (0, None, 5, True)


@pytest.mark.parametrize(
    "rows",
    [
        *({}, 3, [3], [[]], [HEAD[:-1]], [[*HEAD, 1]], [HEAD] * (MOST_SWITCHES + 1)),
        *(
            [["3", *HEAD[1:]]],
            [[True, *HEAD[1:]]],
            [[-1, *HEAD[1:]]],
            [[3, "neuron", *HEAD[2:]]],
            [[3, ["head"], *HEAD[2:]]],
        ),
        *([[*HEAD[:-1], 1]], [[*HEAD[:2], 1e9, *HEAD[3:]]], [[*HEAD[:5], -2, False]]),
    ],
)
def test_what_is_no_switch_is_passed_over(rows):
    assert read_switches(json.dumps(rows)) is None


def test_what_is_no_json_is_passed_over():
    assert read_switches("[" * 100_000) is None and read_switches("x") is None


EDGE = {"write": "head", "layer": 3, "head": 7, "expert": None, "query": 4, "key": 1, "importance": 0.25}
CIRCUIT = {"edges": [{**EDGE, "head": 6}, EDGE]}


@pytest.mark.parametrize("pick", [{"state": {"depth": 5, "position": 4}}, {"edge": EDGE}])
def test_a_pick_in_the_circuit_is_picked_from_its_link(monkeypatch, pick):
    state = {"picked-linked": read_picked(picked_word(pick))}
    monkeypatch.setattr(viewing.st, "session_state", state)
    pick_linked(["about"], {"edges": []} if "edge" in pick else CIRCUIT)
    pick_linked(["about"], CIRCUIT)
    assert state == {"circuit-picked": (["about"], pick), "picked-linked": None}


def test_what_somebody_picked_is_not_picked_over_by_the_link(monkeypatch):
    state = {"picked-linked": [5, 4], "circuit-picked": (["about"], {"edge": EDGE})}
    monkeypatch.setattr(viewing.st, "session_state", state)
    pick_linked(["about"], CIRCUIT)
    assert state["circuit-picked"] == (["about"], {"edge": EDGE})


@pytest.mark.parametrize(
    "written", ["x", "[" * 100_000, "{}", "[]", "[1]", "[1.5,2]", "[true,2]", '["head",3,7,null,4,[]]']
)
def test_what_is_no_pick_is_passed_over(written):
    assert read_picked(written) is None


def test_as_many_edges_are_drawn_first_as_an_exploration_shows():
    assert MOST_DRAWN[0] == DRAWN
