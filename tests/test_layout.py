"""The drawing of a circuit: worked out by hand; no edge lies on another, and no click is believed."""

import json

import pytest

from density.graph import Kind
from density.layout import (
    GAP,
    around,
    bends,
    beside,
    find,
    first,
    lay_out,
    picked,
    signature,
    state_name,
    switches_for,
)
from density.switches import Switch
from tests.test_view import HOSTILE

TOKENS = ["The", " cat", " sat", " on", " the"]


def edge(kind, layer, query, key=None, importance=0.5, entry=0.5, **given):
    """An edge of a model whose blocks are sequential, as documents have it."""
    write = {"skip": "residual_attention", "skip mlp": "residual_mlp"}.get(kind, kind)
    key = query if key is None else key
    depth = 2 * layer + (kind in ("mlp", "skip mlp"))
    return {
        "kind": "residual" if kind.startswith("skip") else kind,
        "write": write,
        "name": f"{write} {layer} {query} {key} {given}",
        "layer": layer,
        "head": None,
        "expert": None,
        "query": query,
        "key": key,
        "source": {"depth": depth, "position": key},
        "target": {"depth": depth + 1, "position": query},
        "importance": importance,
        "entry": entry,
        **given,
    }


def circuit(*edges, depths=2, position=4, left=0, parallel=False):
    output = {"depth": depths, "position": position}
    return {
        **{"depths": depths, "parallel": parallel, "output": output},
        **{"edges_left_out": left, "edges": list(edges)},
    }


ONE_LAYER = circuit(
    edge("skip mlp", 0, 4, importance=0.6),
    edge("mlp", 0, 4, importance=0.4),
    edge("skip", 0, 4, importance=0.5),
    edge("head", 0, 4, 1, head=2, importance=0.3),
    edge("head", 0, 4, 1, head=0, importance=0.1),
    left=7,
)


def test_a_circuit_is_laid_out_on_tokens_and_depths():
    laid = lay_out(ONE_LAYER, TOKENS)
    # The output, the state below it, and two embeddings, the left one first.
    places = [(state["depth"], state["position"], state["x"], state["y"]) for state in laid["states"]]
    assert places == [(2, 4, 1 + GAP, 2), (1, 4, 1 + GAP, 1), (0, 1, 0.0, 0), (0, 4, 1 + GAP, 0)]
    assert [(column["token"], column["skipped"]) for column in laid["columns"]] == [("·cat", 1), ("·the", 2)]
    assert laid["output"] == 0
    assert laid["edges"]["source"] == [1, 1, 3, 2, 2]
    assert laid["edges"]["target"] == [0, 0, 1, 1, 1]
    assert laid["edges"]["bend"] == [0, 1, 0, 0, 1]
    assert laid["ticks"] == [[2, "0"]]


def test_neighbours_in_the_text_are_one_apart():
    laid = lay_out(circuit(edge("head", 0, 4, 3, head=0), edge("head", 0, 4, 2, head=0)), TOKENS)
    assert [column["x"] for column in laid["columns"]] == [0, 1, 2]


def test_a_circuit_without_edges_is_its_output():
    laid = lay_out(circuit(), TOKENS)
    assert [(state["depth"], state["position"]) for state in laid["states"]] == [(2, 4)]
    assert all(values == [] for values in laid["edges"].values())


def test_edges_between_the_same_states_never_lie_on_each_other():
    edges = [
        *(edge("head", 0, 4, 1, head=head) for head in range(5)),
        *(edge("head", 0, 4, 4, head=head) for head in range(3)),
        *(edge("mlp", 0, 4, expert=expert) for expert in (-1, 0, 3)),
        edge("skip", 0, 4),
        edge("skip mlp", 0, 4),
    ]
    found = bends(edges)
    assert found == [0, 1, -1, 2, -2, -1, -2, -3, 1, 2, 3, 0, 0]
    drawn = [(*one["source"].values(), *one["target"].values(), bend) for one, bend in zip(edges, found, strict=True)]
    assert len(set(drawn)) == len(drawn)


@pytest.mark.parametrize("token", HOSTILE)
def test_a_drawing_is_strict_json_and_shows_every_character(token):
    laid = lay_out(ONE_LAYER, ["a", token, "b", "c", token])
    again = json.loads(json.dumps(laid, allow_nan=False))
    assert again == laid
    assert signature(again) == signature(laid)
    names = laid["columns"][0]["token"] + laid["states"][0]["name"]
    assert not set("\u202e\u200b\u200d\x00\x1b") & set(names)


def test_another_drawing_has_another_signature():
    fewer = first(ONE_LAYER, 3)
    assert signature(lay_out(fewer, TOKENS)) != signature(lay_out(ONE_LAYER, TOKENS))


def test_the_first_edges_end_where_a_level_ends():
    entries = [0.9, 0.5, 0.5, 0.5, 0.2]
    whole = circuit(*(edge("skip", 0, at, entry=entry) for at, entry in enumerate(entries)), left=7)
    counts = {most: len(first(whole, most)["edges"]) for most in (1, 2, 3, 4, 5, 6)}
    assert counts == {1: 1, 2: 1, 3: 1, 4: 4, 5: 5, 6: 5}
    assert first(whole, 3)["edges_left_out"] == 7 + 4
    assert first(whole, 6) == whole


def test_a_first_level_that_is_too_large_is_cut():
    whole = circuit(*(edge("skip", 0, at, entry=0.5) for at in range(4)))
    assert len(first(whole, 3)["edges"]) == 3


def test_states_are_named_by_token_and_layer():
    assert state_name(0, 1, False, TOKENS).endswith(" (token 1), embedding")
    assert state_name(5, 1, False, TOKENS).endswith("“·cat”\u2069 (token 1) after layer 2's attention")
    assert state_name(6, 1, False, TOKENS).endswith(" after layer 2's MLP")
    assert state_name(3, 1, True, TOKENS).endswith(" after layer 2")


def test_the_strongest_edges_around_a_state_come_first():
    into, out = around(ONE_LAYER, 1, 4, 2)
    assert [one["importance"] for one in into] == [0.5, 0.3]
    assert [one["importance"] for one in out] == [0.6, 0.4]
    assert around(ONE_LAYER, 2, 4, 5)[1] == []


def test_edges_summed_to_one_are_found_by_any_of_them():
    one, other = ONE_LAYER["edges"][3:]
    assert beside(ONE_LAYER, other) == [one, other]
    assert beside(ONE_LAYER, ONE_LAYER["edges"][1]) == [ONE_LAYER["edges"][1]]


LAID = lay_out(ONE_LAYER, TOKENS)


def test_what_is_clicked_comes_out_of_the_circuit_itself():
    found = picked({"circuit": "name", "edge": 3, "layer": 99}, "name", LAID, ONE_LAYER)
    assert found == {"edge": ONE_LAYER["edges"][3]}
    assert find(found, LAID, ONE_LAYER) == {"edge": 3}
    found = picked({"circuit": "name", "state": 1}, "name", LAID, ONE_LAYER)
    assert found == {"state": {"depth": 1, "position": 4}}
    assert find(found, LAID, ONE_LAYER) == {"state": 1}


@pytest.mark.parametrize(
    "given",
    [
        *(None, 1, "name", [], {}, {"state": 0}, {"circuit": "another", "state": 0}, {"circuit": "name"}),
        *({"circuit": "name", "state": wrong} for wrong in (-1, 4, 10**30, True, 1.0, "1", None, [0], {})),
        *({"circuit": "name", "edge": wrong} for wrong in (-1, 5, 10**30, False, 0.0, "0", None, [0], {})),
    ],
)
def test_a_click_that_is_none_is_not_taken(given):
    assert picked(given, "name", LAID, ONE_LAYER) is None


def test_a_pick_is_not_found_in_a_drawing_without_it():
    fewer = first(ONE_LAYER, 2)
    less = circuit(*ONE_LAYER["edges"][:2])
    assert find({"edge": ONE_LAYER["edges"][4]}, lay_out(less, TOKENS), less) is None
    assert find({"state": {"depth": 0, "position": 1}}, lay_out(less, TOKENS), less) is None
    assert find(None, lay_out(fewer, TOKENS), fewer) is None


@pytest.mark.parametrize(
    ("pick", "names"),
    [
        ({"edge": edge("head", 3, 4, 1, head=2)}, ["L3.H2 4 <- 1", "L3.H2 4", "L3.H2", "L3.layer"]),
        ({"edge": edge("mlp", 3, 4)}, ["L3.MLP 4", "L3.MLP", "L3.layer"]),
        ({"edge": edge("mlp", 3, 4, expert=-1)}, ["L3.MLP.shared 4", "L3.MLP.shared", "L3.layer"]),
        ({"edge": edge("skip", 3, 4)}, ["L3.skip 4"]),
        ({"state": {"depth": 7, "position": 4}}, ["L3.layer 4", "L3.layer"]),
        ({"state": {"depth": 0, "position": 4}}, []),
    ],
)
def test_what_can_be_switched_off_is_a_switch_of_the_engine(pick, names):
    offered = switches_for(pick, parallel=False)
    switches = [Switch(**{**given, "kind": given["kind"] and Kind(given["kind"])}) for given in offered.values()]
    assert [" ".join(str(one).split()) for one in switches] == [f"{name} off" for name in names]
    assert all(json.loads(json.dumps(given)) == given for given in offered.values())
