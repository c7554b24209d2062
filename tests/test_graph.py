"""States and edges: their names, by hand."""

import pytest

from density.graph import Edge, Kind


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
