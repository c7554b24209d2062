"""One text and one model into rows, a prediction each; what cannot be measured is a row that says why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import torch

from density.context import added
from density.corpus.curve import CurvePoint, measure_curve
from density.corpus.sources import Text
from density.errors import Cancelled
from density.graph import GROUPS
from density.models import Model
from density.profile import Prediction, parse_positions, profile
from density.reading import MAX_TOKENS, Reading, read

Row = dict[str, Any]

CURVE = {
    "curve_size": pa.float64(),
    "curve_edges": pa.int64(),
    "curve_threshold": pa.float64(),
    "curve_total_variation": pa.float64(),
    "curve_nucleus_recovered": pa.int32(),
    "curve_top_id": pa.int32(),
    "curve_top_token_agrees": pa.bool_(),
    "curve_edges_residual": pa.int64(),
    "curve_edges_head": pa.int64(),
    "curve_edges_mlp": pa.int64(),
    "curve_edges_quarter_1": pa.int64(),
    "curve_edges_quarter_2": pa.int64(),
    "curve_edges_quarter_3": pa.int64(),
    "curve_edges_quarter_4": pa.int64(),
    "curve_random_total_variation": pa.float64(),
    "curve_complement_total_variation": pa.float64(),
}
SCHEMA = pa.schema(
    {
        "text_id": pa.string(),
        "theme": pa.string(),
        "language": pa.string(),
        "pair": pa.string(),
        "text": pa.string(),
        "model": pa.string(),
        "position": pa.int32(),
        "tokens": pa.int32(),
        "added": pa.int32(),
        "context_token": pa.string(),
        "next_token": pa.string(),
        "next_id": pa.int32(),
        "top_tokens": pa.list_(pa.string()),
        "top_ids": pa.list_(pa.int32()),
        "top_probabilities": pa.list_(pa.float64()),
        "entropy": pa.float64(),
        "surprisal": pa.float64(),
        "edges_full": pa.int64(),
        "edges_trace": pa.int64(),
        "density": pa.float64(),
        "threshold": pa.float64(),
        "total_variation": pa.float64(),
        "below_size": pa.float64(),
        "below_total_variation": pa.float64(),
        "replays": pa.int32(),
        "search": pa.string(),
        "empty_total_variation": pa.float64(),
        "auc_linear": pa.float64(),
        "auc_log10": pa.float64(),
        **{name: pa.list_(kind) for name, kind in CURVE.items()},
        "error": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured of every text.

    Attributes:
        positions: ``last``, ``last:N`` or ``all``.
        fidelity: In (0, 1].
        sweep: Measure the grid of sizes, and the curve.
        controls: Measure the two controls at each point of the curve.
        seed: Of the random control.
        rule: Importance rule.
        max_tokens: Longest text taken.
    """

    positions: str = "last"
    fidelity: float = 0.8
    sweep: bool = False
    controls: bool = False
    seed: int = 0
    rule: str = "l1"
    max_tokens: int = MAX_TOKENS


def measure_text(
    model: Model,
    text: Text,
    measure: Measure,
    check: Callable[[], None] = lambda: None,
    admit: Callable[[str], None] = lambda text: None,
) -> list[Row]:
    """The rows of one text, in the order of their positions; one row with ``error`` if it cannot be measured.

    They depend on nothing but the model, the text and the measure: no batch of replays has another text's in it.

    Args:
        check: Called between batches of replays; raise `Cancelled` in it to stop.
        admit: Called with the text before its tokens are counted; raise in it to refuse this text.

    Raises:
        Cancelled: From ``check``.
        OSError: The machine's fault rather than the text's; so is `MemoryError` and a device that failed.
    """
    beside = {"theme": text.theme, "language": text.language, "pair": text.pair}
    common = {"text_id": text.id, **beside, "text": text.text, "model": model.name}
    common = {key: value and encodable(value) for key, value in common.items()}
    try:
        admit(text.text)
        reading = read(model, text.text, rule=measure.rule, max_tokens=measure.max_tokens)
        return [{**common, **row} for row in prediction_rows(reading, measure, check)]
    except (Cancelled, OSError, MemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        return [{**common, "error": f"{type(error).__name__}: {encodable(str(error))}"}]


def encodable(text: str) -> str:
    """``text`` with every half of a surrogate pair, which no file can hold, written as an escape."""
    return text.encode(errors="backslashreplace").decode()


def prediction_rows(reading: Reading, measure: Measure, check: Callable[[], None] = lambda: None) -> list[Row]:
    """What is measured of a text at hand."""
    positions = parse_positions(measure.positions, len(reading.tokens))
    reading.traces(positions)
    curves, replays = {}, {}
    if measure.sweep:
        for position in positions:
            curves[position] = measure_curve(
                reading, position, controls=measure.controls, seed=measure.seed, check=check
            )
            replays[position] = sum(point.trace.edges < point.trace.edges_full for point in curves[position])
    found = profile(reading, fidelity=measure.fidelity, positions=positions, sweep=measure.sweep, check=check)
    about = {"tokens": len(reading.tokens), "added": added(reading.model, reading.ids.tolist())}
    rows = []
    for prediction in sorted(found, key=lambda one: one.position):
        row = {**about, **prediction_row(prediction), **replays_of(prediction, replays)}
        rows.append({**row, **curve_columns(curves.get(prediction.position))})
    return rows


def replays_of(prediction: Prediction, before: dict[int, int]) -> Row:
    """Replays run for an answer, with those of its curve."""
    return {"replays": prediction.replays + before.get(prediction.position, 0)}


def prediction_row(prediction: Prediction) -> Row:
    """A prediction's own columns."""
    found, below = prediction.found, prediction.below
    return {
        "position": prediction.position,
        "context_token": prediction.context_token,
        "next_token": prediction.next_token,
        "next_id": prediction.next_id,
        "top_tokens": [token.text for token in prediction.top_tokens],
        "top_ids": [token.id for token in prediction.top_tokens],
        "top_probabilities": [token.probability for token in prediction.top_tokens],
        "entropy": prediction.entropy,
        "surprisal": prediction.surprisal,
        "edges_full": found.trace.edges_full,
        "edges_trace": found.trace.edges,
        "density": prediction.density,
        "threshold": found.trace.threshold,
        "total_variation": found.total_variation,
        "below_size": below and below.trace.size,
        "below_total_variation": below and below.total_variation,
        "search": prediction.search,
        "empty_total_variation": prediction.empty_distance,
        "auc_linear": prediction.auc_linear,
        "auc_log10": prediction.auc_log10,
    }


def curve_columns(points: Sequence[CurvePoint] | None) -> Row:
    """A curve as one list a column, smallest trace first; the controls' are null where they were not asked for."""
    if points is None:
        return {}
    columns: Row = {
        "curve_size": [point.trace.size for point in points],
        "curve_edges": [point.trace.edges for point in points],
        "curve_threshold": [point.trace.threshold for point in points],
        "curve_total_variation": [point.total_variation for point in points],
        "curve_nucleus_recovered": [point.nucleus_recovered for point in points],
        "curve_top_id": [point.top_id for point in points],
        "curve_top_token_agrees": [point.top_token_agrees for point in points],
    }
    for kind in GROUPS:
        columns[f"curve_edges_{kind}"] = [point.by_kind[kind] for point in points]
    for quarter in range(4):
        columns[f"curve_edges_quarter_{quarter + 1}"] = [point.by_quarter[quarter] for point in points]
    if points[0].random is not None:
        columns["curve_random_total_variation"] = [point.random for point in points]
        columns["curve_complement_total_variation"] = [point.complement for point in points]
    return columns
