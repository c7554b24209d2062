"""How an answer is looked at, to and from a link: what is written is read back, and nothing else is."""

import json

import pytest

from density.search import EMPTY, LATTICE
from pages.parts.viewing import MOST_SWITCHES, read_switches, size_step, size_word

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
