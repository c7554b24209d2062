"""How density goes with frequency, surprisal and entropy: coverage, correlations, the scatter, tokens in context."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.measures import MEASURES
from density.serving.question import Question, to_link
from density.view import marked, percent
from pages.parts import frequency
from pages.parts.dataset_rows import with_interval
from pages.parts.page import KEPT, dark, go_to, literal

if TYPE_CHECKING:
    import pandas as pd

    from density.rare import Coverage, Relation
    from density.serving.service import Service

# The token of a prediction, in words.
SENSES = {"came": "that came", "predicted": "predicted"}
LISTED = 8
WITHOUT = 12
MEASURE_HELP = (
    "Density at the fidelity asked for; with a full sweep also the area under total variation against size, which "
    "needs no fidelity."
)
PREDICTOR_HELP = (
    "What stands on the axis across. Two frequencies are kept apart: of the token that came, and of the token "
    "predicted, the likeliest one."
)
COLUMNS_HELP = {
    "rho": "Spearman's rank correlation: 1 if the denser is always the greater, -1 if it is always the smaller.",
    "interval": "95% interval: a bootstrap, 1,000 draws of whole texts, a minimal pair as one, or of predictions where "
    "there is one text.",
    "partial": "Spearman's rank correlation, controlled for the position in the text: predictions often become cheaper "
    "along a text, whatever the tokens.",
    "n": "Predictions that have both numbers.",
    "texts": "Texts they are of.",
    "slope": "Of the line drawn: the median of the slopes of all pairs of predictions (Theil and Sen), in percentage "
    "points of the graph a unit.",
}
RAREST_HELP = "Tokens with the lowest frequency; press one to see its prediction in the explorer."
COSTLIEST_HELP = "Predictions with the largest values; press one to see it in the explorer."
POINT_HELP = "A point is a prediction; the line is the median slope of all pairs of points (Theil and Sen)."


def show(
    service: "Service",
    frame: "pd.DataFrame",
    question: Question,
    revision: str,
    page: str,
    question_of: Callable[[str], Question],
) -> None:
    """All of it.

    Args:
        service: To be asked for frequencies.
        frame: Of predictions by one model, see `density.rare`.
        question: Of that model and a text it can read, whose tokenizer counts.
        revision: Of the model that measured the frame.
        page: What keys in the session begin with.
        question_of: The explorer's question about a text of the frame.
    """
    from density import rare

    measures = rare.measures_of(frame)
    with st.container(horizontal=True, gap="medium", vertical_alignment="bottom"):
        language = frequency.ask_language()
        measure = choose("Measure", measures, f"{page}measure", MEASURE_HELP)
        labels = {name: predictor.label for name, predictor in rare.PREDICTORS.items()}
        predictor = choose("Against", labels, f"{page}against", PREDICTOR_HELP)
    ids = rare.token_ids(frame)
    found = frequency.frequencies_of(service, question, ids, language, revision, f"{page}frequencies")
    if found is None:
        return
    whole = len(frame)
    frame = rare.spoken(frame, found["languages"])
    if len(frame) < whole:
        others = "of texts that say they are in another language, or in none, and left out"
        st.caption(f"{whole - len(frame):,} predictions are {others}.")
    if frame.empty:
        return
    frame = rare.with_frequencies(frame, dict(zip(ids, found["zipf"], strict=True)))
    from density.frequency import LOWERED

    lowered = [token for token, kind in zip(ids, found["kind"], strict=True) if kind == LOWERED]
    show_coverage(found, {sense: rare.coverage(frame, sense, lowered) for sense in (rare.CAME, rare.PREDICTED)})
    show_relations(frame, measure, predictor)
    sense = rare.PREDICTED if predictor == rare.PREDICTED else rare.CAME
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown(f"**Rarest tokens {SENSES[sense]}**", help=RAREST_HELP)
        show_list(frame, sense, sense, measure, False, f"{page}rarest", question_of)
    with right:
        st.markdown(f"**Costliest predictions, by {MEASURES[measure].label}**", help=COSTLIEST_HELP)
        show_list(frame, sense, measure, measure, True, f"{page}costliest", question_of)


def choose(title: str, labels: Mapping[str, str], key: str, definition: str) -> str:
    """One of ``labels``, by name."""
    if st.session_state.get(key) not in labels:
        st.session_state[key] = next(iter(labels))
    return st.segmented_control(
        *(title, list(labels)), format_func=labels.__getitem__, key=key, required=True, help=definition, **KEPT
    ) or next(iter(labels))


def show_coverage(found: Mapping[str, Any], senses: "Mapping[str, Coverage]") -> None:
    """What has a frequency and what has none."""
    spoken = ", ".join(
        code if len(found["languages"]) == 1 else f"{code} {share:.0%}" for code, share in found["languages"].items()
    )
    counts = [
        f"Frequencies in {spoken}: {percent(found['covered'])} of the model's vocabulary has one; "
        f"{percent(found['left_out'])} of the word list's mass, numbers and emoji, is left out."
    ]
    for sense, one in senses.items():
        share = one.covered / one.tokens if one.tokens else 0.0
        counts.append(
            f"Of {one.tokens:,} tokens {SENSES[sense]}, {one.covered:,} "
            f"({share:.0%}) have a frequency, {one.lowered:,} of them that of their lower-case form."
        )
    st.caption(literal(" ".join(counts)), help=literal(frequency.ZIPF_HELP))
    for sense, one in senses.items():
        if one.without:
            shown = [f"{readable(token).strip() or '␣'} ({number})" for token, number in one.without[:WITHOUT]]
            more = f" and {len(one.without) - WITHOUT} others" if len(one.without) > WITHOUT else ""
            said = (
                f"Not covered of those {SENSES[sense]}, and in no figure of their frequency: {'  '.join(shown)}{more}."
            )
            st.caption(literal(said))


@st.cache_data(max_entries=64, show_spinner=False)
def related(frame: "pd.DataFrame", predictor: str, measure: str) -> "Relation":
    """`density.rare.relate`, once for the same numbers."""
    from density import rare

    return rare.relate(frame, predictor, measure)


def show_relations(frame: "pd.DataFrame", measure: str, chosen: str) -> None:
    """The scatter of the predictor chosen, what its interval supports, and the correlations of all predictors."""
    from density import rare
    from density.rare_charts import scatter_chart

    place = st.container()
    table = st.empty()
    rows: list[dict[str, Any]] = []
    # The one that is drawn first, so that it is there first.
    order = [chosen, *(name for name in rare.PREDICTORS if name != chosen)]
    found: dict[str, Relation] = {}
    texts: dict[str, int] = {}
    for name in order:
        slim = frame[["text_id", "pair", "position", name, measure]]
        found[name] = related(slim, name, measure)
        if name == chosen:
            with place:
                st.markdown(f"**{MEASURES[measure].label} against {rare.PREDICTORS[name].label}**", help=POINT_HELP)
                if why := rare.lacking(frame, name, measure):
                    st.info(literal(why))
                else:
                    chart = scatter_chart(frame, name, measure, found[name], dark())
                    st.altair_chart(chart, alt=f"{MEASURES[measure].label} against {rare.PREDICTORS[name].label}")
                    st.write(rare.in_words(found[name], name, measure))
        texts[name] = slim.dropna(subset=[name, measure])["text_id"].nunique()
        rows = [row(one.label, found[name], texts[name]) for name, one in rare.PREDICTORS.items() if name in found]
        table.dataframe(rows, hide_index=True, column_config=columns(), alt="Correlations")


def row(label: str, relation: "Relation", texts: int) -> dict[str, Any]:
    """One predictor's line of the table; ``texts`` are those its predictions come from."""
    return {
        "against": label,
        "rho": with_interval(relation.rho),
        "partial": with_interval(relation.partial),
        "slope": None if relation.trend is None else f"{100 * relation.trend.slope:+.1f} points",
        "n": relation.rho.n,
        "texts": texts,
        "left out": relation.left_out,
    }


def columns() -> dict[str, Any]:
    """How the table's columns are shown."""
    interval = f" In brackets the {COLUMNS_HELP['interval']}"
    return {
        "against": st.column_config.TextColumn("against"),
        "rho": st.column_config.TextColumn("Spearman's rho", help=COLUMNS_HELP["rho"] + interval),
        "partial": st.column_config.TextColumn("given position", help=COLUMNS_HELP["partial"] + interval),
        "slope": st.column_config.TextColumn("trend, a unit", help=COLUMNS_HELP["slope"]),
        "n": st.column_config.NumberColumn("predictions", help=COLUMNS_HELP["n"]),
        "texts": st.column_config.NumberColumn("texts", help=COLUMNS_HELP["texts"]),
        "left out": st.column_config.NumberColumn("left out", help="Predictions that lack one of the two numbers."),
    }


def show_list(
    frame: "pd.DataFrame",
    sense: str,
    by: str,
    measure: str,
    largest: bool,
    key: str,
    question_of: Callable[[str], Question],
) -> None:
    """The predictions with the extreme values of ``by``, each in its context; pressing one opens it."""
    from density import rare

    places = rare.tokens_by_place(frame)
    some = rare.extremes(frame, by, LISTED, largest)
    if some.empty:
        st.caption("None has this number.")
    for number, one in enumerate(some.to_dict("records")):
        before, after = rare.in_context(places, one["text_id"], one["position"])
        came = one["next_token"] if isinstance(one["next_token"], str) else None
        token = one["top_token"] if sense == rare.PREDICTED or came is None else came
        if token != came:
            after = ""
        label = f"{literal(readable(before))}{emphasised(token)}{literal(readable(after))}"
        with st.container(gap=None):
            if st.button(label, key=f"{key}-{number}", type="tertiary"):
                open_in_explorer(question_of(one["text"]), int(one["position"]))
            st.caption(literal(numbers(one, sense, measure)))


def numbers(one: Mapping[str, Any], sense: str, measure: str) -> str:
    """A prediction's numbers in a line."""
    from density import rare

    found = [f"{MEASURES[measure].label} {percent(one[measure])}"]
    for name in (sense, "surprisal"):
        value = one[name]
        if value == value:
            found.append(f"{rare.PREDICTORS[name].scale.shown(value)}{' surprisal' if name == 'surprisal' else ''}")
        elif name == sense:
            found.append("frequency not covered")
    return " · ".join(found)


def emphasised(token: str) -> str:
    """A token in bold, the space it begins with before it."""
    body = token.lstrip(" ")
    return " " * (len(token) > len(body)) + f"**{literal(readable(body))}**"


def readable(text: str) -> str:
    """``text`` on one line, with marks for what cannot be seen."""
    return "".join(piece if mark is None or piece == " " else mark for piece, mark in marked(text))


def open_in_explorer(question: Question, position: int) -> None:
    """Shows a prediction on the explorer; its text is run there, if its model is at hand."""
    state = st.session_state
    if "job" in state:
        state.job.cancel()
    for name in ("asked", "job", "answer"):
        state.pop(name, None)
    state.link = {**to_link(question), "text": question.text}
    state.chosen = position
    go_to("explorer", "the Explorer")
