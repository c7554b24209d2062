"""The rules by hand on two-dimensional writes, and factorised against materialised on random models."""

import math

import pytest
import torch

from density.errors import BadInput, NotFinite
from density.families.parts import Norm
from density.importance import RULES, HeadWrites, Incoming, run_block, run_whole, shares
from tests.tiny import CASES, random_ids, tiny

SEEN = torch.tensor([[True, False], [True, True]])


def two_tokens():
    """The skip and one head; the head's vectors are (1, 0) from token 0 and (0, 2) from token 1."""
    heads = HeadWrites(
        pattern=torch.tensor([[[1.0, 0.0], [0.25, 0.75]]]),
        values=torch.tensor([[[1.0], [1.0]]]),
        output=torch.tensor([[[1.0, 0.0]]]),
        norms=(),
        scale=torch.ones(2),
    )
    skip = torch.tensor([[[3.0, -4.0], [0.0, 2.0]]])
    state = skip[0] + torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    return Incoming(skip, heads, torch.zeros(2, 2), state)


@pytest.mark.parametrize(
    ("rule", "skip", "head"),
    [
        # Token 0: skip (3, -4), head (1, 0). Token 1: skip (0, 2), head 0.25 (1, 0) and 0.75 (1, 0); state (1, 2).
        ("l1", [7 / 8, 2 / 3], [[1 / 8, -math.inf], [0.25 / 3, 0.75 / 3]]),
        ("l2", [5 / 6, 2 / 3], [[1 / 6, -math.inf], [0.25 / 3, 0.75 / 3]]),
        # state 0 is (4, -4): skip . state = 28, head . state = 4. Token 1: 4, 0.25, 0.75.
        ("projection", [28 / 32, 4 / 5], [[4 / 32, -math.inf], [0.25 / 5, 0.75 / 5]]),
        # |state 0| = 8; without the skip |(1, 0)| = 1 leaves 7, without the head |(3, -4)| = 7 leaves 1.
        ("ifr", [7 / 8, 2 / 3], [[1 / 8, -math.inf], [0.25 / 3, 0.75 / 3]]),
    ],
)
def test_each_rule_by_hand(rule, skip, head):
    direct, heads = shares(two_tokens(), SEEN, RULES[rule])
    assert direct[0].tolist() == pytest.approx(skip)
    assert heads[0].flatten().tolist() == pytest.approx([x for row in head for x in row])


def test_a_write_that_opposes_the_state_has_no_proximity_and_no_projection():
    # State (2, 0). Without the second write 3 is left, farther from nothing than 2: no proximity; the first one's is 1.
    writes = torch.tensor([[[3.0, 0.0]], [[-1.0, 0.0]]])
    incoming = Incoming(writes, None, torch.zeros(1, 2), writes.sum(0))
    own = torch.ones(1, 1, dtype=torch.bool)
    for rule in ("ifr", "projection"):
        direct, _ = shares(incoming, own, RULES[rule])
        assert direct.flatten().tolist() == [1.0, 0.0]


def test_nothing_over_nothing_is_no_importance():
    incoming = Incoming(torch.zeros(2, 1, 3), None, torch.zeros(1, 3), torch.zeros(1, 3))
    direct, _ = shares(incoming, torch.ones(1, 1, dtype=torch.bool), RULES["l1"])
    assert direct.flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("centred", [False, True])
def test_a_linearised_norm_is_additive_and_equals_the_norm_on_the_whole(centred):
    torch.manual_seed(0)
    parts, weight, bias = torch.randn(3, 5, 7), torch.randn(7), torch.randn(7)
    norm = Norm(weight, 1e-5, bias if centred else None, centred)
    whole = norm.linearised(parts, parts.sum(0)).sum(0) + (bias if centred else 0)
    assert torch.allclose(whole, norm(parts.sum(0)), atol=1e-5)


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.family}: {case.settings}")
def test_factorised_strengths_equal_those_of_every_write_made_whole(case, rule):
    family, ids = tiny(case, dtype=torch.float64), random_ids(7)
    measured = run_whole(family, ids, rule).importances
    state = family.embed(ids)
    for layer in range(family.layers):
        final = family.final_norm() if layer == family.layers - 1 else None
        nodes, _, state = run_block(family.block(layer, len(ids)), state, final)
        given = nodes[0].heads
        vectors = torch.cat([chunk for _, chunk in given.chunks()])
        writes = (given.pattern * given.scale[:, None])[..., None] * vectors[:, None]
        every = torch.cat((nodes[0].direct[:, :, None], writes.permute(0, 2, 1, 3).flatten(0, 1)[:, :, None]))[:, :, 0]
        strengths = RULES[rule].direct(every, nodes[0].state)
        expected = strengths / strengths.sum(0)
        assert torch.allclose(measured.residual_attention[layer], expected[0], atol=1e-9)
        heads = measured.heads[layer].clamp(min=0).permute(0, 2, 1).flatten(0, 1)
        assert torch.allclose(heads, expected[len(nodes[0].direct) :], atol=1e-9)


def test_importances_do_not_depend_on_what_comes_later():
    family, ids = tiny(), random_ids(11)
    whole, part = run_whole(family, ids).importances, run_whole(family, ids[:6]).importances
    assert torch.allclose(whole.heads[:, :, :6, :6], part.heads, atol=1e-6)
    assert torch.allclose(whole.residual_mlp[:, :6], part.residual_mlp, atol=1e-6)


def test_an_unknown_rule_is_refused():
    with pytest.raises(BadInput, match="no importance rule 'l3'; choose one of l1, l2, ifr, projection"):
        run_whole(tiny(), random_ids(3), "l3")


def test_a_state_that_overflows_is_refused_with_its_layer_and_token():
    family = tiny()
    family.model.model.embed_tokens.weight[5] = float("inf")
    with pytest.raises(NotFinite, match="the embedding at token 2 is not finite"):
        run_whole(family, torch.tensor([3, 4, 5, 6]))
