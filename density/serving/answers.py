"""What can be asked about a text beside its profile: each answer yields documents of plain data.

An answer takes a text as studied, the question it belongs to and its job, which it lets rest between replays.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from density import export
from density.controls import complement_control, random_control, random_edges
from density.explore import explore
from density.generate import generate
from density.graph import Edge, Kind, State
from density.lens import look, look_at_head, look_at_mlp
from density.limits import NotAllowed
from density.profile import resolve_position
from density.reading import Reading
from density.search import SWEEP_GRID
from density.serving.jobs import Job
from density.serving.question import Question
from density.switches import DRAWS, Switch, what_if
from density.traces import Trace

Documents = Iterator[dict[str, Any]]


def trace_of(reading: Reading, position: int, edges: int) -> Trace:
    """The largest trace of at most so many ``edges``: a whole number names a trace, where a share can be rounded."""
    (trace,) = reading.of_edges([(resolve_position(position, len(reading.tokens)), edges)])
    return trace


def exploration(studied: Any, question: Question, job: Job, position: int, edges: int, most: int) -> Documents:
    """One prediction at one size, in the schema ``density.explore/1``; at most ``most`` edges to draw."""
    trace = trace_of(studied.reading, position, edges)
    yield export.explore_json(studied.reading, explore(studied.reading, trace, most), health=studied.health)


def curve(studied: Any, question: Question, job: Job, position: int, controls: bool) -> Documents:
    """Points of total variation against size, a document each: the sweep's grid, densest first; with both controls."""
    reading = studied.reading
    position = resolve_position(position, len(reading.tokens))
    traces = {trace.edges: trace for trace in reading.of_sizes([(position, size) for size in SWEEP_GRID])}
    ordered = [traces[edges] for edges in sorted(traces, reverse=True) if edges]
    fresh = [trace for trace in ordered if (position, trace.edges) not in reading.controls] if controls else []
    grown = random_edges(reading, fresh[0], 0, job.rest) if fresh else None
    for done, trace in enumerate(ordered):
        job.say("measuring the curve", done, len(ordered))
        list(reading.measure([trace], job.rest))
        point = export.point_json(reading.measured(trace))
        key = position, trace.edges
        if grown and key not in reading.controls:
            job.rest()
            drawn = asdict(random_control(reading, trace, grown))
            job.rest()
            reading.controls[key] = {"random": drawn, "complement": asdict(complement_control(reading, trace))}
        yield {**point, **reading.controls[key]} if controls else point


def known(studied: Any, question: Question, job: Job, position: int) -> Documents:
    """The same points as far as they and their controls have been measured, by searches or curves; without replays."""
    reading = studied.reading
    position = resolve_position(position, len(reading.tokens))
    (whole,) = reading.of_sizes([(position, 1.0)])
    found = {edges: point for (at, edges), point in list(reading.points.items()) if at == position}
    found[whole.edges] = reading.measured(whole)
    for edges in sorted(found, reverse=True):
        yield {**export.point_json(found[edges]), **reading.controls.get((position, edges), {})}


def state_seen(studied: Any, question: Question, job: Job, position: int, edges: int, depth: int, at: int) -> Documents:
    """What a state would predict: a `density.lens.View` as plain data, with the state's ``depth`` and ``position``."""
    trace = trace_of(studied.reading, position, edges)
    yield {"depth": depth, "position": at, **asdict(look(studied.reading, trace, State(depth, at)))}


def edge_seen(studied: Any, question: Question, job: Job, edge: Mapping[str, Any]) -> Documents:
    """A head edge's attention row and what it says, or an MLP edge's strongest neurons; ``{}`` for a residual edge."""
    given = Edge(edge["layer"], Kind(edge["write"]), edge["query"], edge["key"], edge["head"], edge.get("expert"))
    if given.kind is Kind.HEAD:
        yield {"head": asdict(look_at_head(studied.reading, given))}
    elif given.kind is Kind.MLP:
        yield {"neurons": [asdict(neuron) for neuron in look_at_mlp(studied.reading, given)]}
    else:
        yield {}


def switched(
    studied: Any,
    question: Question,
    job: Job,
    position: int,
    edges: int,
    switches: Sequence[Mapping[str, Any]],
    draws: int = DRAWS,
) -> Documents:
    """What changes with ``switches`` (keyword arguments of `density.switches.Switch`); all edges are the full model."""
    trace = trace_of(studied.reading, position, edges)
    chosen = [Switch(**{**switch, "kind": switch.get("kind") and Kind(switch["kind"])}) for switch in switches]
    found = what_if(studied.reading, trace, chosen, draws=draws, check=job.rest)
    yield {**asdict(found), "worse_than_random": found.worse_than_random, "switches": [str(one) for one in chosen]}


def generated(studied: Any, question: Question, job: Job, count: int, temperature: float, seed: int) -> Documents:
    """The text written on by the model, a document a token: its prediction, the token, and all that is written by it.

    A character made of several tokens is written once it is whole; the end-of-text token writes nothing.
    """
    reading, ids = studied.reading, studied.reading.ids.tolist()
    begun, count = written(reading, ids), min(count, studied.most_tokens - len(ids))
    if count < 1:
        raise NotAllowed(f"the text has {len(ids)} tokens, as many as this server reads: it cannot be written on.")
    steps = generate(reading, count, question.fidelity, temperature=temperature, seed=seed, check=job.rest)
    job.say("writing", 0, count)
    for prediction, chosen in steps:
        ids.append(chosen.id)
        text = written(reading, ids)[len(begun) :].rstrip("\N{REPLACEMENT CHARACTER}")
        yield {"prediction": export.prediction_json(prediction), "chosen": asdict(chosen), "text": text}


def written(reading: Reading, ids: Sequence[int]) -> str:
    """What a person reads of ``ids``."""
    return reading.model.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
