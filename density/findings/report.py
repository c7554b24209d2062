"""What a corpus says as one HTML page that opens offline, and its figures as files."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from density.files import write_whole
from density.findings.document import CAVEAT, Findings
from density.findings.figures import HEIGHT, WIDTH, Figure
from density.report import escaped, inline, page, rows, section
from density.takehome import png, svg

TITLE = "Computation density of a corpus: the papers' claims"
LEAD = (
    "Each claim of the papers is one or several numbers that should lie above or below a bound. This data supports it "
    "where the whole 95% interval of the number lies on that side, contradicts it where the whole interval lies on the "
    "other, and else cannot tell. Intervals are percentile bootstraps that draw whole texts, a minimal pair as one; of "
    f"shares, Wilson's where every text has one prediction, or all agree. {CAVEAT}"
)
SOURCES = (
    "v1 is Sparse or Dense? (arXiv 2601.22795, withdrawn by its authors in favour of the other), s-Trace is Tracing "
    "Computation Density in LLMs (arXiv 2605.27033)."
)
UNFINISHED = "<p>It is not finished: all of this is of the texts that are there, the first of the file.</p>"
STYLE = """
h3 { font-size: 1rem; margin: 1.6rem 0 0.2rem } .rule, .source, figcaption { color: #565c61; font-size: 0.85rem }
ul { margin: 0.3rem 0 0; padding-left: 1.2rem } .figures { display: flex; flex-wrap: wrap; gap: 1.5rem }
figure { margin: 0; flex: 1 1 26rem; min-width: 0; max-width: 31rem } figure h3 { margin-top: 0.5rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
.overview th { text-align: left } .overview td.word { font-family: inherit; font-size: 0.95rem }
"""


def report(findings: Findings) -> str:
    """The page."""
    document = findings.document()
    parts = [
        section("At a glance", overview(document)),
        section("Claims", "".join(claim(one) for one in document["claims"]) + f"<p>{escaped(SOURCES)}</p>"),
        *(section(title, drawings(some)) for title, some in by_model(findings)),
        section("Data", made_from(document)),
    ]
    return page(TITLE, LEAD, parts, STYLE)


def overview(document: Mapping[str, Any]) -> str:
    """A claim a row."""
    listed = [{"claim": one["words"], "this data": one["headline"], "of": one["source"]} for one in document["claims"]]
    return f'<div class="overview">{rows(listed)}</div>'


def claim(one: Mapping[str, Any]) -> str:
    """A claim: what is reported, how it is decided, and what came out for each model."""
    found = "".join(
        f"<li><b>{escaped(check['model'])}</b>: {escaped(check['sentence'])}</li>" for check in one["checks"]
    )
    listed = f"<ul>{found}</ul>" if found else f"<p>{escaped(one['headline'].capitalize())}.</p>"
    return (
        f'<h3>{escaped(one["words"])}</h3><div class="source">{escaped(one["source"])}</div>'
        f'<div class="rule">{escaped(one["rule"])}</div>{listed}'
    )


def by_model(findings: Findings) -> Iterable[tuple[str, list[Figure]]]:
    """The figures of each model, and those of all, with a title."""
    labels = findings.tables.labels()
    for model, some in groupby(findings.figures, key=lambda figure: figure.model):
        yield labels[model] if model else "Between models", list(some)


def drawings(some: Iterable[Figure]) -> str:
    """Figures beside each other."""
    drawn = []
    for figure in some:
        drawing = inline(svg(sized(figure)), figure.file)
        drawn.append(
            f"<figure><h3>{escaped(figure.title)}</h3>{drawing}<figcaption>{escaped(figure.caption)}</figcaption></figure>"
        )
    return f'<div class="figures">{"".join(drawn)}</div>'


def sized(figure: Figure) -> Any:
    """A figure's drawing as large as it is saved."""
    return figure.chart().properties(width=WIDTH if figure.model else HEIGHT * 2)


def made_from(document: Mapping[str, Any]) -> str:
    """The datasets: the commands that make them, and what there is of each."""
    parts = []
    for part in document["datasets"]:
        settings, opened = part["settings"], part["settings"]["opened"]
        listed = [
            {
                "model": model,
                "texts": f"{count} of {settings['texts']}",
                "predictions": part["predictions"][model],
                "failed": part["failed"][model],
                "revision": opened.get(model, {}).get("revision", "")[:12],
                "device": opened.get(model, {}).get("device", ""),
            }
            for model, count in part["finished"].items()
        ]
        unfinished = "" if part["whole"] else UNFINISHED
        made_by = ", ".join(f"{name} {number}" for name, number in settings["versions"].items())
        parts.append(f"<pre>{escaped(part['command'])}</pre>{unfinished}{rows(listed)}<p>{escaped(made_by)}</p>")
    names = [part["name"] for part in document["datasets"]]
    spoken = [] if document["languages"] in ("", "en") else ["--language", document["languages"]]
    command = shlex.join(["python", "-m", "density", "findings", *names, "--out", "findings.html", *spoken])
    again = f"<p>And this page:</p><pre>{escaped(command)}</pre>{blind(document)}"
    used = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return "".join(parts) + again + f"<p>{escaped(used)}</p>" + agreement(document)


def blind(document: Mapping[str, Any]) -> str:
    """What was left out because it is of no text."""
    count = document["only_added_tokens"]
    said = f"{count} predictions that see only what the tokenizer puts before every text are in none of the numbers."
    return f"<p>{escaped(said)}</p>" if count else ""


def agreement(document: Mapping[str, Any]) -> str:
    """How often the two ways of finding a density agree."""
    found = document["search_and_sweep_agree"]
    if not found or found["value"] is None:
        return ""
    bounds = "" if found["low"] is None else f" ({found['low']:.1%} to {found['high']:.1%})"
    return (
        f"<p>Of the {found['predictions']} predictions of {found['texts']} texts that were both searched and swept, "
        f"the brackets of the two densities overlap in {found['value']:.1%}{bounds}.</p>"
    )


def figure_files(findings: Findings) -> Iterator[tuple[str, bytes]]:
    """Every figure as SVG and as PNG, and its numbers as CSV: names and contents."""
    for figure in findings.figures:
        chart = sized(figure).properties(title=figure.title)
        yield f"{figure.file}.svg", svg(chart).encode()
        yield f"{figure.file}.png", png(chart)
        yield f"{figure.file}.csv", figure.frame.to_csv(index=False).encode()


def write_figures(findings: Findings, folder: Path) -> list[str]:
    """Writes them into a folder; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in figure_files(findings):
        write_whole(folder / name, content)
        written.append(name)
    return written
