"""A whole analysis as one HTML page that opens offline, and the lines of Python that repeat it.

Made from documents in the schemas ``density.profile/1`` and ``density.explore/1``. Texts come from outside: on the page
they are text, never markup, with marks for what cannot be seen, and each is kept from turning the direction of what is
around it. The page has no script and makes no request.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

import altair as alt

from density import heatmap
from density.charts import (
    FULL_AND_TRACE,
    compare_chart,
    curve_chart,
    depths_chart,
    heads_chart,
    kinds_chart,
    sources_chart,
)
from density.takehome import circuit_chart, describe, svg
from density.view import bracket, marked, percent, table, visible

SETTINGS = ("model", "revision", "rule", "fidelity", "search", "precision", "device", "seed")
FOLLOWING = "The last piece is what the model finds likeliest next, if that was measured."
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #23272b; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse; font-size: 0.85rem } td, th { padding: 0.2rem 0.6rem; text-align: right }
th { border-bottom: 1px solid #999; vertical-align: bottom } td.word { text-align: left; font-family: monospace }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto }
dt { font-weight: 600; margin-top: 0.5rem } dd { margin: 0 }
pre { overflow-x: auto; background: #f2f2ef; padding: 1rem }
"""
# What a drawing's parts are called; two drawings on one page call theirs the same.
IDS = re.compile(r'(\bid="|url\(#|href="#)([\w-]+)')


def report(
    document: Mapping[str, Any], found: Mapping[str, Any] | None = None, definitions: Mapping[str, str] | None = None
) -> str:
    """The page.

    Args:
        document: A profile.
        found: The exploration of one of its predictions, if one was looked at; with a ``curve`` of more points than
            the profile has, if more were measured.
        definitions: Of the numbers, by their names in the documents.
    """
    parts = [
        section("Text", f"{heatmap.text(document)}<p>{FOLLOWING}</p>"),
        section("Predictions", rows(table(document))),
        section("Likeliest next tokens", likeliest(document["predictions"])),
        *(explored(document, found) if found else ()),
        section("Settings", rows([{name: document[name] for name in SETTINGS}]) + rows([document["versions"]])),
        section("How exactly this is the model", rows([document["health"]])),
        section("To repeat it", f"<pre>{escaped(python_lines(document, found))}</pre>"),
        section("What the numbers mean", meanings(definitions or {})),
    ]
    title = f"Density of a text, {visible(document['model'])}"
    lead = (
        f"Fidelity {percent(document['fidelity'])}. Each token is tinted by the density of "
        "predicting it: the share of the model's computation graph that, replayed alone, still makes the same "
        "prediction to this fidelity."
    )
    return page(title, lead, parts)


def page(title: str, lead: str, parts: Iterable[str], style: str = "") -> str:
    """A page in one piece that asks nobody for anything: its title, a paragraph, and its parts, which are HTML.

    Args:
        title: Text.
        lead: Text.
        parts: See `section`.
        style: Rules beside the usual.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
        f"<style>{STYLE}{heatmap.STYLE}{style}</style></head>"
        f"<body><h1>{escaped(title)}</h1><p>{escape(lead)}</p>{''.join(parts)}</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part of the page under its heading."""
    return f"<h2>{escape(title)}</h2>{body}" if body else ""


def escaped(text: object) -> str:
    """Anything as HTML that shows it as it is; a number with six figures."""
    return f"<bdi>{escape(f'{text:.6g}' if isinstance(text, float) else str(text))}</bdi>"


def rows(records: Sequence[Mapping[str, Any]]) -> str:
    """Records of the same keys as a table."""
    if not records:
        return ""
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in records[0])
    body = "".join(f"<tr>{''.join(field(value) for value in record.values())}</tr>" for record in records)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def field(value: object) -> str:
    """One field of a table; nothing where there is nothing."""
    if value is None:
        return "<td></td>"
    if isinstance(value, str):
        shown = "".join(mark or piece for piece, mark in marked(value))
        return f'<td class="word">{escaped(shown)}</td>'
    return f"<td>{escaped(value)}</td>"


def likeliest(predictions: Iterable[Mapping[str, Any]]) -> str:
    """The ten likeliest tokens of every prediction, a row each."""
    records = []
    for prediction in predictions:
        found = [f"{visible(token['text'])} {percent(token['probability'])}" for token in prediction["top_tokens"]]
        records.append(
            {"after": visible(prediction["context_token"]), **{str(n): one for n, one in enumerate(found, 1)}}
        )
    return rows(records)


def explored(document: Mapping[str, Any], found: Mapping[str, Any]) -> Iterable[str]:
    """The prediction looked at: what it takes, in words and drawings."""
    (prediction,) = (one for one in document["predictions"] if one["position"] == found["position"])
    numbers = {
        "density": prediction["density"],
        "bracket": bracket(prediction),
        "size shown": found["trace"]["size"],
        "edges": found["trace"]["edges"],
        "of": found["edges_full"],
        "fidelity of it": found["trace"]["fidelity"],
        "Jensen-Shannon": found["trace"]["jensen_shannon"],
        "same top token": "yes" if found["trace"]["top_token_agrees"] else "no",
    }
    yield section(f"The prediction after “{visible(prediction['context_token'])}”", rows([numbers]))
    for title, chart in charts(document, found).items():
        yield section(title, inline(svg(chart()), title))
    yield section("Circuit", f"<p>{escaped(describe(found))}</p>{inline(svg(circuit_chart(found)), 'circuit')}")


def charts(document: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Callable[[], alt.TopLevelMixin]]:
    """What draws the charts of one prediction, by their names; for a light background."""
    (prediction,) = (one for one in document["predictions"] if one["position"] == found["position"])
    trace, made = found["trace"], found["makeup"]
    drawn: dict[str, Callable[[], alt.TopLevelMixin]] = {
        "Likeliest tokens, full model and trace": drawing(
            compare_chart, trace["tokens"][:10], FULL_AND_TRACE, prediction["next_id"]
        ),
        "Edges by kind": drawing(kinds_chart, made, trace["size"]),
        "Edges by depth": drawing(depths_chart, made, trace["size"]),
    }
    points = found.get("curve") or prediction.get("curve")
    if points:
        axes = {"Fidelity against size": True, "Fidelity against size, linear axis": False}
        given = points, document["fidelity"], trace["size"]
        drawn = {**{name: drawing(curve_chart, *given, log) for name, log in axes.items()}, **drawn}
    for by in ("edges", "importance"):
        if any(any(layer) for layer in found["heads"]["edges"]):
            drawn[f"Heads in the trace, by {by}"] = drawing(heads_chart, found["heads"], by)
        if any(found["sources"]["edges"]):
            drawn[f"Tokens that heads read from, by {by}"] = drawing(
                sources_chart, found["tokens"], found["sources"], by
            )
    return drawn


def drawing(draw: Callable[..., Any], *given: Any) -> Callable[[], alt.TopLevelMixin]:
    """Draws a chart as wide as a page's column and what is beside it, once it is called."""
    return lambda: draw(*given).properties(width=640, autosize="pad")


def inline(drawing: str, title: str) -> str:
    """A drawing to be put into a page that has others."""
    own = re.sub(r"\W+", "-", title).lower()
    renamed = IDS.sub(rf"\g<1>{own}-\g<2>", drawing)
    return f'<div class="wide">{renamed}</div>'


def meanings(definitions: Mapping[str, str]) -> str:
    """A list of definitions."""
    listed = (
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escaped(text)}</dd>" for name, text in definitions.items()
    )
    return f"<dl>{''.join(listed)}</dl>" if definitions else ""


def python_lines(document: Mapping[str, Any], found: Mapping[str, Any] | None = None) -> str:
    """Python that repeats the profile in ``document``, and the exploration ``found``."""
    positions = [prediction["position"] for prediction in document["predictions"]]
    wanted = "all" if len(positions) == len(document["tokens"]) else positions
    sweep = ", sweep=True" if document["search"] == "sweep" else ""
    exploring = "from density.explore import explore\n" if found else ""
    lines = f"""\
{exploring}from density.export import {"dumps, explore_json, profile_json" if found else "dumps, profile_json"}
from density.health import check_reading, load
from density.profile import profile
from density.reading import read

text = {document["text"]!r}
model, _ = load({document["model"]!r}, device={document["device"]!r}, precision={document["precision"]!r})
assert model.revision == {document["revision"]!r}, "not the same weights"

reading = read(model, text, rule={document["rule"]!r}, max_tokens={len(document["tokens"])})
health = check_reading(reading)
predictions = list(profile(reading, fidelity={document["fidelity"]!r}, positions={wanted!r}{sweep}))
document = profile_json(reading, predictions, fidelity={document["fidelity"]!r}, health=health)
print(dumps(document))
"""
    if found:
        most, trace = len(found["circuit"]["edges"]), found["trace"]
        lines += f"""
(trace,) = reading.traces([{found["position"]}]).largest([{found["position"]}], [{trace["edges"]}])
found = explore_json(reading, explore(reading, trace, most={most}), health=health)
print(dumps(found))
"""
    return lines
