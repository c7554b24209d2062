"""Circuits planted by hand: models in which the only path that matters is known, and one that needs nearly everything.

The planted model: Llama, two layers, two heads, d_model 8, d_head 4, every weight 0 but those set here. Token A
carries the answer in dimension 0. Head 1 of layer 0 takes it from A to B, head 0 of layer 1 from B to C, the last
token; the head reads dimension 0. A query that finds nothing it looks for attends to the sink, which carries nothing.
"""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from density.controls import KeepEdges
from density.edges import strongest
from density.families import family_for
from density.fidelity import probabilities, total_variation
from density.graph import Edge, Kind
from density.importance import run_whole
from density.models import Model
from density.profile import profile
from density.reading import read
from density.replay import KeepTraces, replay
from density.search import LATTICE
from density.traces import Traces
from tests.tiny import random_ids, tiny

A, B, C, FILLER, YES, SINK = range(6)
ANSWER, MARK_A, MARK_B, MARK_C, ARRIVED, MARK_SINK, ONE = range(7)


@pytest.fixture(scope="module")
def planted():
    config = LlamaConfig(
        vocab_size=6,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        rms_norm_eps=1e-12,
        rope_parameters={"rope_type": "default", "rope_theta": 1e8},
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.fill_(1.0 if "norm" in name else 0.0)
    embedding = model.model.embed_tokens.weight
    embedding[A, [ANSWER, MARK_A, ONE]] = 10.0
    embedding[SINK, [MARK_SINK, ONE]] = 10.0
    # What the others embed is tiny beside what arrives, and the norms make it whole where it is read.
    for token, mark in ((B, MARK_B), (C, MARK_C), (FILLER, ONE)):
        embedding[token, [mark, ONE]] = 1e-3
    first, second = (layer.self_attn for layer in model.model.layers)
    plant_head(first, head=1, looks=MARK_B, looks_for=MARK_A)
    first.o_proj.weight[ARRIVED, 4] = 10.0
    plant_head(second, head=0, looks=MARK_C, looks_for=ARRIVED)
    model.lm_head.weight[YES, ANSWER] = 4.0
    return family_for(config)(model)


def plant_head(attention, head, looks, looks_for):
    """A head that moves ANSWER to whoever has mark ``looks`` from whoever has ``looks_for``, to others from the sink.

    Dimensions 1 and 3 of a head are its slowest rotary pair: with this base, positions hardly matter.
    """
    first = 4 * head
    attention.q_proj.weight[first + 1, ONE] = 5.0
    attention.k_proj.weight[first + 1, MARK_SINK] = 5.0
    attention.q_proj.weight[first + 3, looks] = 20.0
    attention.k_proj.weight[first + 3, looks_for] = 20.0
    attention.v_proj.weight[first, ANSWER] = 10.0
    attention.o_proj.weight[ANSWER, first] = 10.0


TEXT = torch.tensor([SINK, A, FILLER, B, FILLER, C])
LAST = 5
PATH = {
    Edge(1, Kind.RESIDUAL_MLP, LAST, LAST),
    Edge(1, Kind.HEAD, LAST, 3, head=0),
    Edge(0, Kind.RESIDUAL_MLP, 3, 3),
    Edge(0, Kind.HEAD, 3, 1, head=1),
}


def smallest_meeting(family, ids, position, fidelity):
    """The smallest lattice trace from which on up every size meets ``fidelity``, by measuring them all."""
    traces = Traces(run_whole(family, ids).importances, [position])
    every = [traces.of_size(position, size) for size in LATTICE]
    logits = torch.cat([replay(family, ids, KeepTraces(traces, [trace])) for trace in every])
    distances = total_variation(probabilities(logits), probabilities(logits[:1]))
    failing = int((distances > 1 - fidelity).nonzero()[0])
    return traces, every[failing - 1]


def test_the_planted_path_and_nothing_else_is_the_trace_at_fidelity_099(planted):
    traces, trace = smallest_meeting(planted, TEXT, LAST, 0.99)
    assert {ranked.edge for ranked in strongest(traces, LAST, trace.edges)} == PATH


class Symbols:
    """A tokenizer of one letter a token: A, B, C, Filler, Yes, Sink."""

    LETTERS = "ABCFYS"

    def __call__(self, text, **_):
        return {"input_ids": [self.LETTERS.index(letter) for letter in text]}

    def decode(self, ids, **_):
        return "".join(self.LETTERS[token] for token in ids)


def test_a_profile_finds_the_planted_path_and_nothing_else(planted):
    model = Model("planted", "", "llama", planted, Symbols(), "cpu", "float32")
    reading = read(model, "SAFBFC")
    assert torch.equal(reading.ids, TEXT)
    (prediction,) = profile(reading, fidelity=0.99, positions="last")
    assert prediction.top_tokens[0].text == "Y"
    found = strongest(reading.traces([LAST]), LAST, prediction.found.trace.edges)
    assert {ranked.edge for ranked in found} == PATH
    assert prediction.below.total_variation > 0.8


def test_the_planted_model_predicts_its_answer(planted):
    logits = planted.model(TEXT[None]).logits[0, -1]
    assert probabilities(logits)[YES] > 0.99


@pytest.mark.parametrize("cut", range(len(PATH)))
def test_the_path_short_of_any_one_edge_predicts_nothing(planted, cut):
    importances = run_whole(planted, TEXT).importances
    kept = sorted(PATH, key=str)
    del kept[cut]
    logits = replay(planted, TEXT, KeepEdges(importances, LAST, kept))
    assert torch.allclose(probabilities(logits), torch.full((1, 6), 1 / 6, dtype=torch.float64), atol=1e-3)


def test_a_random_model_needs_nearly_everything():
    ids = random_ids(11)
    _, trace = smallest_meeting(tiny(), ids, 10, 0.99)
    assert trace.size > 0.7
