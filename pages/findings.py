"""What the papers report, held against datasets: claims with their verdicts, figures, and one report to take home."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from density.errors import DensityError
from pages.parts import datasets, engine
from pages.parts.page import KEPT, dark, init, literal, sentence
from pages.parts.takehome import offer

if TYPE_CHECKING:
    from density.findings.document import Findings
    from density.findings.figures import Figure
    from density.serving.service import Service

PAGE = "findings-"
# Pixels, legend and axes within.
TALL = 340
ABOUT = (
    "Each claim is one or several numbers that should lie above or below a bound. A dataset supports it where the "
    "whole 95% interval lies on that side, contradicts it where the whole interval lies on the other, and else cannot "
    "tell."
)
LANGUAGE_HELP = (
    "Whose frequencies of tokens rarity is told by: en, de, fr, ...; or several with weights, such as en:3,de:1."
)
VERDICT_HELP = {
    "supported": "Numbers whose whole interval lies where the claim puts them.",
    "contradicted": "Numbers whose whole interval lies on the other side.",
    "cannot tell": "Numbers whose interval holds the bound, or that this data does not have.",
}
REPORT_HELP = "Claims, figures, the commands that made the data and the versions, in one page that opens offline."
FIGURES_HELP = "Every figure as SVG, PNG and the numbers as CSV, in one archive."
JSON_HELP = "Claims, numbers, intervals and settings: schema density.findings/1."
CHART_HELP = "For a light background."


def main() -> None:
    """The page."""
    init()
    st.title("Findings")
    st.caption(ABOUT)
    service = engine.required()
    folders = datasets.ask_folders(PAGE)
    languages = st.text_input("Frequencies of", "en", key=f"{PAGE}language", help=LANGUAGE_HELP, **KEPT).strip() or "en"
    try:
        files = tuple(datasets.fingerprint(folder) for folder in folders)
        found = find(tuple(map(str, folders)), files, languages)
    except (DensityError, OSError) as error:
        st.error(literal(sentence(error)))
        return
    show_overview(found)
    show_claims(found)
    show_figures(found)
    show_files(service, found, folders)


@st.cache_resource(max_entries=4, show_spinner="Reading the datasets, and drawing samples for the intervals")
def find(folders: tuple[str, ...], files: tuple[tuple[tuple[str, int], ...], ...], languages: str) -> "Findings":
    """What the datasets say while they have these files; nobody changes it."""
    from density.findings import document

    return document.find([Path(folder) for folder in folders], languages)


def show_overview(found: "Findings") -> None:
    """What there is, and how many numbers came out how."""
    from density.findings.document import CAVEAT
    from density.findings.verdicts import counted_verdicts

    for part in found.tables.parts:
        counts = ", ".join(
            f"{model}: {part.predictions[model]:,} predictions of {part.finished[model]:,} texts"
            + (f" ({part.failed[model]:,} failed)" if part.failed[model] else "")
            for model in part.finished
        )
        unfinished = "" if part.whole else f"; unfinished, of {part.settings['texts']:,} texts"
        st.caption(literal(f"{part.name}: {counts}{unfinished}."))
    verdicts = counted_verdicts(check for claim in found.claims for check in claim.checks)
    for place, (verdict, definition) in zip(st.columns(len(VERDICT_HELP)), VERDICT_HELP.items(), strict=True):
        place.metric(sentence(verdict), verdicts[verdict], help=definition)
    st.caption(
        f"Of {sum(verdicts.values()):,} checks: every number of the {len(found.claims)} claims, for each model or pair "
        "of models."
    )
    st.caption(CAVEAT)


def show_claims(found: "Findings") -> None:
    """Every claim with what came out for each model."""
    labels = found.tables.labels()
    for claim in found.claims:
        with st.expander(f"{literal(claim.words)}: **{literal(claim.headline)}**"):
            st.caption(literal(f"{claim.source}. {claim.rule}"))
            for check in claim.checks:
                names = " and ".join(labels[name] for name in check.models)
                st.markdown(f"- **{literal(names)}**: {literal(check.sentence)}")


def show_figures(found: "Findings") -> None:
    """The figures of one model, or of all."""
    labels = found.tables.labels()
    named = list(dict.fromkeys(figure.model for figure in found.figures))
    if st.session_state.get(f"{PAGE}of") not in named:
        st.session_state[f"{PAGE}of"] = named[0]
    of = st.segmented_control(
        *("Figures of", named),
        format_func=lambda model: literal(labels[model]) if model else "all models",
        key=f"{PAGE}of",
        required=True,
        **KEPT,
    )
    columns = st.columns(2)
    for number, figure in enumerate(one for one in found.figures if one.model == of):
        with columns[number % 2]:
            st.markdown(f"**{literal(figure.title)}**")
            st.altair_chart(figure.chart(dark()).properties(height=TALL), alt=figure.title, key=f"{PAGE}{figure.file}")
            st.caption(literal(figure.caption))


def show_files(service: "Service", found: "Findings", folders: list[Path]) -> None:
    """What can be taken home."""
    from density.findings.report import report, sized
    from density.takehome import png, svg

    with st.expander("Take it home"):
        with st.container(horizontal=True):
            offer("HTML report", lambda: report(found), "findings.html", "text/html", REPORT_HELP)
            offer("All figures", lambda: datasets.archive(found), "figures.zip", "application/zip", FIGURES_HELP)
            offer("JSON", lambda: service.dumps(found.document()), "findings.json", "application/json", JSON_HELP)
        figures = {figure.file: figure for figure in found.figures}
        chosen = st.selectbox("Figure", list(figures), key=f"{PAGE}figure", help=CHART_HELP)
        one: Figure = figures.get(chosen or "", found.figures[0])
        with st.container(horizontal=True):
            offer("SVG", lambda: svg(sized(one)), f"{one.file}.svg", "image/svg+xml", CHART_HELP)
            offer("PNG", lambda: png(sized(one)), f"{one.file}.png", "image/png", CHART_HELP)
            numbers = "What is drawn, as numbers."
            offer("Numbers", lambda: one.frame.to_csv(index=False), f"{one.file}.csv", "text/csv", numbers)
        for folder in folders:
            st.markdown(f"**{literal(folder.name)}**")
            with st.container(horizontal=True):
                datasets.offer_table(folder)


main()
