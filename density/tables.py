"""Results as the command line's tables."""

from typing import Any

from rich.table import Table
from rich.text import Text

WORDS = {"predicts", "model", "what", "family", "licence", "state", "source"}


def table_of(title: str, columns: list[str], rows: list[list[Any]], note: str | None = None) -> Table:
    """A plain table, words to the left and figures to the right; nothing in a cell is markup."""
    caption = None if note is None else Text(note)
    table = Table(
        title=Text(title), caption=caption, title_justify="left", caption_justify="left", box=None, pad_edge=False
    )
    for name in columns:
        table.add_column(name, justify="left" if name in WORDS else "right")
    for row in rows:
        table.add_row(*(Text(cell if isinstance(cell, str) else format(cell, ".4g")) for cell in row))
    return table


def exactness(document: dict[str, Any]) -> str:
    """How exactly the engine is the model on this text, in a line."""
    health = document["health"]
    return (
        f"{document['precision']}; full replay {health['full_replay_tv']:.1e} TV from the model, "
        f"states within {health['max_state_error']:.1e}"
    )


def profile_table(document: dict[str, Any]) -> Table:
    """One row a prediction."""
    rows = []
    for item in document["predictions"]:
        came = item["next_token"]
        likely = item["top_tokens"][0]
        rows.append(
            [
                item["position"],
                repr(came) if came is not None else f"next: {likely['text']!r} {likely['probability']:.2f}",
                f"{item['density']:.2%}",
                item["total_variation"],
                item["entropy"],
                "" if item["surprisal"] is None else item["surprisal"],
                item["replays"],
            ]
        )
    title = f"{document['model']}, density at fidelity {document['fidelity']} of predicting each token"
    return table_of(
        title, ["sees up to", "predicts", "density", "TV", "entropy", "surprisal", "replays"], rows, exactness(document)
    )


def trace_table(document: dict[str, Any]) -> Table:
    """One row a trace."""
    rows = []
    for item in document["traces"]:
        likely = item["top_tokens"][0]
        controls = [item[name]["total_variation"] if name in item else "" for name in ("random", "complement")]
        row = [f"{item['size']:.3%}", item["edges"], item["threshold"], item["total_variation"], *controls]
        rows.append([*row, f"{likely['text']!r} {likely['probability']:.2f}"])
    columns = ["size", "edges", "threshold", "TV", "TV of random", "TV of complement", "predicts"]
    title = f"{document['model']}, prediction at {document['position']}"
    return table_of(title, columns, rows, exactness(document))


def models_table(document: dict[str, Any]) -> Table:
    """One row a model."""
    rows = [
        [
            *(m["name"], m["family"], f"{m['parameters'] / 1e6:.0f} M", m["licence"]),
            *(f"{m['download_bytes'] / 1e6:.0f} MB", m["state"], m["source"]),
        ]
        for m in document["models"]
    ]
    return table_of("catalogue", ["model", "family", "weights", "licence", "download", "state", "source"], rows)


def check_table(document: dict[str, Any]) -> Table:
    """One row a figure."""
    rows = [[name, value] for name, value in document["health"].items()]
    title = f"{document['model']} ({document['family']}): {'passed' if document['passed'] else 'FAILED'}"
    return table_of(title, ["what", "measured"], rows)
