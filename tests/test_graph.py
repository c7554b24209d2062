"""States and edges: where they are and what they are called, by hand."""

import pytest

from density.graph import Edge, Kind, depth_after, layer_of, writer_of


@pytest.mark.parametrize(
    ("edge", "name"),
    [
        (Edge(3, Kind.HEAD, 9, 4, head=7), "L3.H7  9 <- 4"),
        (Edge(3, Kind.MLP, 9, 9), "L3.MLP  9"),
        (Edge(3, Kind.MLP, 9, 9, expert=2), "L3.MLP.E2  9"),
        (Edge(3, Kind.MLP, 9, 9, expert=-1), "L3.MLP.shared  9"),
        (Edge(3, Kind.RESIDUAL_ATTENTION, 9, 9), "L3.skip attention  9"),
        (Edge(3, Kind.RESIDUAL_MLP, 9, 9), "L3.skip MLP  9"),
    ],
)
def test_edges_have_names_for_people(edge, name):
    assert str(edge) == name


@pytest.mark.parametrize(("parallel", "layers"), [(False, [None, 0, 0, 1, 1]), (True, [None, 0, 1])])
def test_depths_are_those_of_layers(parallel, layers):
    assert [layer_of(depth, parallel) for depth in range(len(layers))] == layers
    assert depth_after(0, parallel) == 0
    assert depth_after(2, parallel) == len(layers) - 1


def test_what_writes_a_state_is_said():
    assert [writer_of(depth, False) for depth in (5, 6)] == ["layer 2's attention", "layer 2's MLP"]
    assert writer_of(3, True) == "layer 2"
