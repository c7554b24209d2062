"""Results as JSON, with a schema version: the one serialiser of the command line, the pages and the store."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from density.circuit import Circuit
from density.controls import ControlResult
from density.edges import RankedEdge
from density.examine import TraceResult
from density.explore import Exploration
from density.graph import GROUPS
from density.health import Health
from density.models import CatalogueEntry, Model, state
from density.names import CHECK_SCHEMA, EXPLORE_SCHEMA, MODELS_SCHEMA, PROFILE_SCHEMA, TRACE_SCHEMA
from density.profile import Prediction, TopToken
from density.reading import Point, Reading
from density.version import __version__

# Looked up once: two threads that look at the same moment may be told that a library is not installed.
LIBRARIES = {name: version(name) for name in ("torch", "transformers")}


def dumps(document: dict[str, Any]) -> str:
    """Strict JSON: a NaN or infinity is an error, never written; text stays readable."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False)


def versions() -> dict[str, str]:
    """Of what makes the numbers."""
    return {"density": __version__, **LIBRARIES}


def provenance(reading: Reading, health: Health, seed: int) -> dict[str, Any]:
    """What it takes to repeat a result, and how far to trust it."""
    model = reading.model
    return {
        "model": model.name,
        "revision": model.revision,
        "rule": reading.rule,
        "device": model.device,
        "precision": model.precision,
        "seed": seed,
        "versions": versions(),
        "health": asdict(health),
        "text": reading.text,
        "tokens": [asdict(token) for token in reading.tokens],
    }


def profile_json(
    reading: Reading, predictions: Iterable[Prediction], *, fidelity: float, health: Health, seed: int = 0
) -> dict[str, Any]:
    """A profile in the schema ``density.profile/1``, predictions in the order of their positions."""
    ordered = sorted(predictions, key=lambda prediction: prediction.position)
    return {
        "schema": PROFILE_SCHEMA,
        **provenance(reading, health, seed),
        "fidelity": fidelity,
        "search": ordered[0].search if ordered else "lattice",
        "predictions": [prediction_json(prediction) for prediction in ordered],
    }


def prediction_json(prediction: Prediction) -> dict[str, Any]:
    """One prediction of a profile; ``curve`` and the areas only after a sweep."""
    trace, below = prediction.found.trace, prediction.below
    document = {
        "position": prediction.position,
        "context_token": prediction.context_token,
        "next_token": prediction.next_token,
        "next_id": prediction.next_id,
        "surprisal": prediction.surprisal,
        "entropy": prediction.entropy,
        "top_tokens": top_json(prediction.top_tokens),
        "edges_full": trace.edges_full,
        "edges_trace": trace.edges,
        "density": trace.size,
        "threshold": trace.threshold,
        "total_variation": prediction.found.total_variation,
        "below": below and {"size": below.trace.size, "total_variation": below.total_variation},
        "replays": prediction.replays,
    }
    if prediction.curve is not None:
        document["curve"] = [point_json(point) for point in prediction.curve]
        document["auc_linear"] = prediction.auc_linear
        document["auc_log10"] = prediction.auc_log10
    return document


def point_json(point: Point) -> dict[str, Any]:
    """One point of a curve."""
    trace = point.trace
    return {
        "size": trace.size,
        "edges": trace.edges,
        "threshold": trace.threshold,
        "total_variation": point.total_variation,
    }


def top_json(tokens: Sequence[TopToken]) -> list[dict[str, Any]]:
    """Candidate tokens, most probable first."""
    return [asdict(token) for token in tokens]


def trace_json(
    reading: Reading, position: int, results: Iterable[TraceResult], *, health: Health, seed: int = 0
) -> dict[str, Any]:
    """Traces of one prediction in the schema ``density.trace/1``."""
    results = list(results)
    first = results[0]
    return {
        "schema": TRACE_SCHEMA,
        **provenance(reading, health, seed),
        "position": position,
        "edges_full": first.trace.edges_full,
        "full": {"entropy": first.full_entropy, "top_tokens": top_json(first.full_top_tokens)},
        "traces": [trace_result_json(result) for result in results],
    }


def trace_result_json(result: TraceResult) -> dict[str, Any]:
    """One trace; controls and strongest edges where they were asked for."""
    trace, comparison = result.trace, result.comparison
    document = {
        "size_requested": result.size_requested,
        "size": trace.size,
        "edges": trace.edges,
        "threshold": trace.threshold,
        "total_variation": comparison.total_variation,
        "fidelity": comparison.fidelity,
        "jensen_shannon": comparison.jensen_shannon,
        "kl_divergence": comparison.kl_divergence if math.isfinite(comparison.kl_divergence) else None,
        "top_token_agrees": comparison.top_token_agrees,
        "nucleus_recovered": comparison.nucleus_recovered,
        "top_tokens": top_json(result.top_tokens),
        "tokens": [asdict(token) for token in result.tokens],
        "by_kind": result.composition.by_kind,
        "by_layer": result.composition.by_layer,
        "connected_to_input": result.connected_to_input,
    }
    if result.random is not None:
        document["random"] = {"seed": result.seed, **control_json(result.random)}
    if result.complement is not None:
        document["complement"] = control_json(result.complement)
    if result.strongest is not None:
        parallel = result.parallel
        document["strongest"] = [edge_json(ranked, parallel) for ranked in result.strongest]
    return document


def explore_json(reading: Reading, found: Exploration, *, health: Health) -> dict[str, Any]:
    """One prediction at one size in the schema ``density.explore/1``."""
    trace, made, circuit = found.result.trace, found.makeup, found.circuit
    counts, importance = found.heads
    read_from, weight = found.sources
    kinds = {group: made.kinds[:, column].tolist() for column, group in enumerate(GROUPS)}
    return {
        "schema": EXPLORE_SCHEMA,
        **provenance(reading, health, found.result.seed),
        "position": trace.position,
        "edges_full": trace.edges_full,
        "full": {"entropy": found.result.full_entropy, "top_tokens": top_json(found.result.full_top_tokens)},
        "trace": trace_result_json(found.result),
        "makeup": {"sizes": list(made.sizes), "kinds": kinds, "layers": made.layers.tolist()},
        "heads": {"edges": counts.tolist(), "importance": importance.tolist()},
        "sources": {"edges": read_from.tolist(), "importance": weight.tolist()},
        "circuit": circuit_json(circuit),
    }


def circuit_json(circuit: Circuit) -> dict[str, Any]:
    """A circuit: its edges in the order they enter, and what is left out."""
    return {
        "depths": circuit.depths,
        "parallel": circuit.parallel,
        "output": asdict(circuit.output),
        "edges_left_out": circuit.left_out,
        "edges": [edge_json(ranked, circuit.parallel) for ranked in circuit.edges],
    }


def control_json(control: ControlResult) -> dict[str, Any]:
    """A control: edges chosen, edges kept with all residual ones, and its distance."""
    return asdict(control)


def edge_json(ranked: RankedEdge, parallel: bool) -> dict[str, Any]:
    """An edge; ``kind`` as edges are counted, ``write`` tells the two skips of a layer apart."""
    edge = ranked.edge
    return {
        "kind": edge.kind.group,
        "write": edge.kind.value,
        "name": str(edge),
        "layer": edge.layer,
        "head": edge.head,
        "expert": edge.expert,
        "query": edge.query,
        "key": edge.key,
        "source": asdict(edge.source(parallel)),
        "target": asdict(edge.target(parallel)),
        "importance": ranked.importance,
        "entry": ranked.entry,
    }


def models_json(entries: Iterable[CatalogueEntry]) -> dict[str, Any]:
    """The catalogue in the schema ``density.models/1``."""
    keys = ("name", "family", "parameters", "licence", "source", "download_bytes")
    listed = [{**{key: getattr(entry, key) for key in keys}, "state": state(entry)} for entry in entries]
    return {"schema": MODELS_SCHEMA, "models": listed}


def check_json(model: Model, health: Health) -> dict[str, Any]:
    """A model's self-check in the schema ``density.check/1``."""
    return {
        "schema": CHECK_SCHEMA,
        "model": model.name,
        "family": model.family,
        "precision": model.precision,
        "health": asdict(health),
        "passed": health.passes(model.precision),
    }
