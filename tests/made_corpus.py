"""Datasets whose truth is known: written by the corpus command's own code, of predictions that are made up."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from density.corpus.dataset import Opened, open_dataset, settings_of
from density.corpus.rows import Measure
from density.corpus.sources import Text
from density.search import SWEEP_GRID

GRID = np.array(SWEEP_GRID)
EDGES = 1_000_000
# A model's name that means nothing anywhere: no tokenizer is found for it.
ONE, OTHER = "no-such-model", "nor-this-one"


def made_corpus(
    folder: Path,
    row: Callable[[str, int, int], Mapping[str, Any]],
    *,
    texts: int = 40,
    models: Sequence[str] = (ONE,),
    positions: int = 1,
    finished: int | None = None,
    first: int = 0,
    **measure: Any,
) -> Path:
    """A dataset in ``folder``.

    Args:
        row: What a prediction's row has beside the usual, given its model, the number of its text and its position.
        finished: So many of its texts are there; all by default.
        first: Number of the first text.
        measure: See `density.corpus.rows.Measure`.
    """
    given = [Text(f"t{first + n}", f"text number {first + n}") for n in range(texts)]
    settings = settings_of(given, models, Measure(**measure), source="texts.txt", precision="float32")
    with open_dataset(folder, given, settings) as dataset:
        for number, name in enumerate(models):
            dataset.open_model(name, Opened("revision-of-" + name, "llama", "cpu", "float32"))
            for text in range(texts if finished is None else finished):
                common = {"text_id": given[text].id, "text": given[text].text, "model": name, "tokens": positions}
                rows = [{**common, **usual(place), **row(name, first + text, place)} for place in range(positions)]
                dataset.add(number, text, rows)
    return folder


def usual(position: int) -> dict[str, Any]:
    """The columns that every prediction has."""
    return {
        "position": position,
        "added": 0,
        "top_ids": [1, 2],
        "entropy": 1.0,
        "edges_full": EDGES,
        "density": 0.3,
        "below_size": 0.28,
        "search": "lattice",
        "empty_total_variation": 1.0,
        "next_id": 3,
    }


def swept(variation: Sequence[float] | np.ndarray, **columns: Any) -> dict[str, Any]:
    """The columns of a sweep whose total variations are given, one for each of its sizes.

    Args:
        columns: ``random``, ``complement``: the controls' total variations; ``agrees``: whether the top token does,
            and ``top_id``: which it else is; ``heads``, ``early``: shares of the edges that are heads', and in the
            first quarter of the layers, at each size.
    """
    variation = np.asarray(variation, float)
    size = np.r_[0, GRID]
    edges = np.round(GRID * EDGES).astype(int)
    heads = np.round(edges * np.broadcast_to(columns.get("heads", 0.5), GRID.shape)).astype(int)
    early = np.round(edges * np.broadcast_to(columns.get("early", 0.25), GRID.shape)).astype(int)
    agrees = np.broadcast_to(columns.get("agrees", variation < 0.5), GRID.shape)
    found = {
        "search": "sweep",
        "auc_linear": float(np.trapezoid(np.r_[1.0, variation], size)),
        "auc_log10": float((np.trapezoid(variation, np.log10(GRID))) / 5),
        "curve_size": GRID.tolist(),
        "curve_edges": edges.tolist(),
        "curve_threshold": GRID.tolist(),
        "curve_total_variation": variation.tolist(),
        "curve_nucleus_recovered": [90 if one < 0.1 else 0 for one in variation],
        "curve_top_id": np.where(agrees, 1, columns.get("top_id", 2)).tolist(),
        "curve_top_token_agrees": agrees.tolist(),
        "curve_edges_head": heads.tolist(),
        "curve_edges_mlp": ((edges - heads) // 2).tolist(),
        "curve_edges_residual": (edges - heads - (edges - heads) // 2).tolist(),
        "curve_edges_quarter_1": early.tolist(),
        **{f"curve_edges_quarter_{n}": ((edges - early) // 3).tolist() for n in (2, 3)},
        "curve_edges_quarter_4": (edges - early - 2 * ((edges - early) // 3)).tolist(),
    }
    for name in ("random", "complement"):
        if name in columns:
            found[f"curve_{name}_total_variation"] = np.asarray(columns[name], float).tolist()
    return found


def falling(middle: float) -> np.ndarray:
    """Total variations that fall from 1 to 0 around a size, on the log axis; exactly 0 at size 1."""
    made = 1 / (1 + (GRID / middle) ** 0.8)
    made[-1] = 0.0
    return made
