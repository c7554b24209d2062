"""Answers about a text: plain data that JSON can carry, the same as the engine's own; jobs take turns."""

import json
import math
import time
from dataclasses import replace
from itertools import pairwise

import pytest

from density.errors import BadInput
from density.generate import generate
from density.layout import first
from density.profile import profile
from density.reading import read
from density.search import LATTICE
from density.serving import answers
from density.serving.jobs import Status
from density.serving.question import Question
from tests.tiny import lettered

TEXT = "The capital of France"
PATIENCE = 60.0


@pytest.fixture(scope="module")
def question(tiny_folder):
    return Question(str(tiny_folder), TEXT, fidelity=0.6)


def ended(job):
    """A job that has ended; it is looked at meanwhile, as one that nobody looks at is stopped."""
    deadline = time.monotonic() + PATIENCE
    while not job.wait(1.0):
        assert time.monotonic() < deadline
        job.poll()
    return job.poll()


def documents(service, question, answer, **given):
    seen = ended(service.ask(question, answer, **given))
    assert seen.status is Status.DONE, seen.error
    json.dumps(seen.results, allow_nan=False)
    return list(seen.results)


@pytest.fixture(scope="module")
def last(service, question):
    """The last prediction's position, and how many edges its full graph and the trace found have."""
    (found,) = ended(service.profile(replace(question, positions="last"))).results
    return found["position"], found["edges_full"], found["edges_trace"]


def test_an_exploration_is_of_the_trace_that_reaches_the_fidelity(service, question, last):
    (found,) = documents(service, question, answers.exploration, position=-1, edges=last[2], most=50)
    assert found["trace"]["edges"] == last[2]
    assert found["schema"] == "density.explore/1"
    assert found["trace"]["fidelity"] >= 0.6
    assert found["position"] == len(found["tokens"]) - 1
    circuit = found["circuit"]
    assert 0 < len(circuit["edges"]) <= 50
    assert circuit["edges_left_out"] == found["trace"]["edges"] - len(circuit["edges"])
    assert sum(map(sum, found["heads"]["edges"])) == found["trace"]["by_kind"]["head"]
    assert all(sum(shares) == pytest.approx(1) for shares in found["makeup"]["layers"])
    assert {token["id"] for token in found["trace"]["top_tokens"]} <= {t["id"] for t in found["trace"]["tokens"]}


def test_an_exploration_of_a_size_is_of_that_size(service, question, last):
    position, full, _ = last
    (found,) = documents(service, question, answers.exploration, position=position, edges=full // 2, most=10)
    assert 0.3 < found["trace"]["size"] <= 0.5


def test_a_trace_is_found_again_by_its_edges_whatever_its_size_is_rounded_to():
    reading = read(lettered(), "the cat sat on a mat")
    traces = {trace.edges: trace for at in range(20) for trace in reading.of_sizes([(at, size) for size in LATTICE])}
    # Some shares of the graph, times the graph, are an edge less.
    assert any(math.floor(trace.size * trace.edges_full) < trace.edges for trace in traces.values())
    for trace in traces.values():
        assert answers.trace_of(reading, trace.position, trace.edges) == trace


def test_the_circuit_of_fewer_edges_is_the_beginning_of_the_one_of_more(service, question, last):
    asked = {"position": -1, "edges": last[1]}
    (found,) = documents(service, question, answers.exploration, **asked, most=40)
    (whole,) = documents(service, question, answers.exploration, **asked, most=2000)
    assert found["circuit"] == first(whole["circuit"], 40)
    assert 0 < len(found["circuit"]["edges"]) <= 40


def test_a_curve_ends_at_nothing_to_lose_and_has_its_controls(service, question):
    points = documents(service, question, answers.curve, position=-1, controls=True)
    assert points[0]["size"] == 1
    assert points[0]["total_variation"] == 0
    sizes = [point["size"] for point in points]
    assert sizes == sorted(set(sizes), reverse=True)
    for point in points:
        assert point["random"]["edges"] == point["edges"]
    assert "random" not in documents(service, question, answers.curve, position=-1, controls=False)[0]


def test_controls_are_replayed_once_and_then_known(service, question, monkeypatch):
    other = replace(question, text=f"{TEXT}, Rome")
    points = documents(service, other, answers.curve, position=2, controls=True)
    monkeypatch.delattr(answers, "random_edges")
    monkeypatch.delattr(answers, "complement_control")
    documents(service, other, answers.curve, position=3, controls=False)
    assert documents(service, other, answers.curve, position=2, controls=True) == points
    assert [point for point in documents(service, other, answers.known, position=2) if "random" in point] == points


def test_what_is_known_of_a_curve_is_what_was_measured(service, question):
    other = replace(question, text=f"{TEXT}, Paris")
    assert [point["size"] for point in documents(service, other, answers.known, position=3)] == [1.0]
    assert ended(service.profile(replace(other, positions="3"))).status is Status.DONE
    searched = documents(service, other, answers.known, position=3)
    assert len(searched) > 2 and searched[-1]["edges"] == 0
    curve = documents(service, other, answers.curve, position=3, controls=False)
    known = documents(service, other, answers.known, position=3)
    assert [point for point in known if point in curve] == curve
    assert [point for point in known if point in searched] == searched


def test_a_state_is_seen_in_both_runs(service, question, last):
    (seen,) = documents(service, question, answers.state_seen, position=-1, edges=last[1] // 3, depth=2, at=0)
    assert seen["full"].keys() == seen["replay"].keys() == {"top_tokens", "promoted", "suppressed", "zero"}
    both = {token["id"] for run in ("full", "replay") for token in seen[run]["top_tokens"]}
    assert {token["id"] for token in seen["tokens"]} == both


def test_every_drawn_edge_can_be_looked_at(service, question, last):
    (found,) = documents(service, question, answers.exploration, position=-1, edges=last[1], most=200)
    kinds = set()
    for edge in found["circuit"]["edges"][::5]:
        (seen,) = documents(service, question, answers.edge_seen, edge=edge)
        kinds.add((edge["kind"], *seen))
    assert kinds == {("head", "head"), ("mlp", "neurons"), ("residual",)}


def test_switches_come_as_plain_data(service, question, last):
    given = [{"layer": 1, "kind": "head", "head": 2}, {"layer": 0, "kind": "mlp", "query": 0, "on": True}]
    (found,) = documents(service, question, answers.switched, position=-1, edges=last[1], switches=given, draws=3)
    assert found["edges_off"] > 0
    assert found["switches"] == ["L1.H2 off", "L0.MLP  0 on"]
    assert len(found["random"]) == 3
    assert found["before"] < 1e-5
    highest = [max(token["before"], token["after"]) for token in found["tokens"]]
    assert highest == sorted(highest, reverse=True)
    assert 10 <= len({token["id"] for token in found["tokens"]}) == len(highest)


def test_a_text_is_written_on_token_by_token(service, question):
    steps = documents(service, question, answers.generated, count=3, temperature=0.0, seed=0)
    assert len(steps) == 3
    positions = [step["prediction"]["position"] for step in steps]
    assert positions == list(range(positions[0], positions[0] + 3))
    assert all(step["chosen"] == step["prediction"]["top_tokens"][0] for step in steps)
    texts = [step["text"] for step in steps]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_what_is_written_on_is_whole_characters(service, question):
    # Random weights and 256 tokens of a byte each: most of what is drawn is half of something.
    texts = [s["text"] for s in documents(service, question, answers.generated, count=12, temperature=1.5, seed=3)]
    assert not any(text.endswith("\N{REPLACEMENT CHARACTER}") for text in texts)


def test_a_wrong_question_fails_in_one_sentence(service, question):
    seen = ended(service.ask(question, answers.exploration, position=999, edges=1, most=10))
    assert seen.status is Status.FAILED
    assert "position 999 is outside" in seen.error


def test_what_is_written_on_greedily_is_what_the_model_would_write():
    model, text = lettered(), "the cat sat"
    steps = list(generate(read(model, text), 4))
    ids = read(model, text).ids.tolist()
    for prediction, chosen in steps:
        expected = read(model, model.tokenizer.decode(ids))
        (alone,) = profile(expected, positions="last")
        assert chosen.id == alone.top_tokens[0].id
        assert prediction.density == alone.density
        ids.append(chosen.id)


def test_drawn_tokens_follow_the_seed_and_a_cold_draw_is_the_likeliest():
    reading = read(lettered(), "the cat sat")
    drawn = [[chosen.id for _, chosen in generate(reading, 5, temperature=1.0, seed=seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    cold = [chosen.id for _, chosen in generate(reading, 3, temperature=1e-3)]
    assert cold == [chosen.id for _, chosen in generate(reading, 3)]


@pytest.mark.parametrize("wrong", [{"count": -1}, {"count": 1, "temperature": -0.5}])
def test_writing_on_by_less_than_nothing_is_refused(wrong):
    with pytest.raises(BadInput, match="both have to be 0 or more"):
        list(generate(read(lettered(), "a"), **wrong))


def test_a_text_that_outgrows_the_model_says_so():
    reading = read(lettered(max_position_embeddings=6), "a cat")
    with pytest.raises(BadInput, match="the text has grown to 7 tokens and the model reads 6 at most"):
        list(generate(reading, 5))
