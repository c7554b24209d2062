"""A number that is infinite or none stops the run that it is in, with its layer and its token."""

import pytest
import torch

from density.errors import NotFinite
from density.fidelity import probabilities
from density.importance import run_whole
from density.reading import read
from tests.tiny import CASES, LLAMA, lettered, random_ids, tiny

NEOX = next(case for case in CASES if case.family == "gpt_neox")


def test_the_full_run_names_the_layer_and_the_token():
    family = tiny(LLAMA)
    ids = random_ids(7)
    with torch.no_grad():
        family.model.model.layers[1].mlp.down_proj.weight[0] = torch.inf
    with pytest.raises(NotFinite, match="the state after layer 1 at token 0 is not finite; half precision"):
        run_whole(family, ids)


def test_writes_too_strong_to_be_added_up_are_named():
    family = tiny(LLAMA)
    with torch.no_grad():
        family.model.model.layers[2].self_attn.o_proj.weight.mul_(1e38)
    with pytest.raises(NotFinite, match=r"of layer 2 at token|after layer 2 at token"):
        run_whole(family, random_ids(7))


@pytest.mark.parametrize(
    ("case", "break_it", "where"),
    [
        (LLAMA, lambda model: model.model.layers[1].mlp.down_proj, "layer 1's MLP"),
        (LLAMA, lambda model: model.model.layers[2].self_attn.o_proj, "layer 2's attention"),
        (NEOX, lambda model: model.gpt_neox.layers[1].mlp.dense_4h_to_h, "layer 1"),
    ],
    ids=["an MLP", "attention", "a parallel block"],
)
def test_a_replay_names_the_layer_and_the_token_where_it_began(case, break_it, where):
    model = lettered(case)
    reading = read(model, "abcdefg")
    with torch.no_grad():
        break_it(model.decoder.model).weight[0] = torch.nan
    (trace,) = reading.of_sizes([(5, 0.9)])
    with pytest.raises(NotFinite, match=rf"the state of a replay after {where} at token [0-5] is not finite"):
        reading.replayed_probabilities([trace])


def test_a_token_alone_is_named_by_its_place_in_the_text():
    model = lettered(LLAMA)
    reading = read(model, "abcdefg")
    with torch.no_grad():
        model.decoder.model.model.embed_tokens.weight[reading.ids[3]] = torch.inf
    traces = reading.of_sizes([(2, 0.9), (5, 0.9)])
    with pytest.raises(NotFinite, match="the embedding of a replay at token 3 is not finite"):
        reading.replayed_probabilities(traces)


def test_logits_that_overflow_are_named_by_their_token():
    model = lettered(LLAMA)
    reading = read(model, "abcdefg")
    with torch.no_grad():
        model.decoder.model.lm_head.weight[0] = torch.inf
    with pytest.raises(NotFinite, match="the logits after the last layer at token 4 are not finite"):
        reading.full_probabilities([4])
    with pytest.raises(NotFinite, match="the logits after the last layer at token 5 are not finite"):
        reading.replayed_probabilities(reading.of_sizes([(5, 0.9)]))
    with pytest.raises(NotFinite, match="at row 1 are not finite"):
        probabilities(torch.tensor([[0.0, 1.0], [0.0, torch.inf]]))
    assert probabilities(torch.tensor([0.0, -torch.inf])).tolist() == [1.0, 0.0]
