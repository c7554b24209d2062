"""The prediction that was clicked: its numbers, its trace at a size, and everything that is drawn from that trace."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.charts import (
    FULL_AND_TRACE,
    compare_chart,
    curve_chart,
    depths_chart,
    heads_chart,
    kinds_chart,
    sources_chart,
)
from density.search import EMPTY, LATTICE
from density.serving.jobs import Snapshot
from density.serving.question import Question
from density.view import likeliest, percent, visible
from pages.parts import circuit, generate, takehome, viewing, whatif
from pages.parts.asking import ask, draw_nothing
from pages.parts.page import KEPT, dark, literal, show_metrics
from pages.parts.results import HELP
from pages.parts.viewing import AXES, HEADS_BY, VIEWS

if TYPE_CHECKING:
    from density.serving.service import Service

TOKENS_SHOWN = 10
MOST_REMEMBERED = 16
SIZE_HELP = (
    "Share of the full graph's edges in the trace that is shown below; it begins at the density found. "
    "Traces are nested: a larger one holds every edge of a smaller one."
)
CONTROLS_HELP = (
    "Random control: as many edges, grown at random from the prediction. Complement: everything but the trace; both "
    "keep all residual edges besides."
)
CURVE_HELP = "Replays traces of 27 sizes, densest first; with the controls, two more replays each."
TRACE_HELP = {
    "fidelity": "1 minus the total variation between the next-token probabilities of the whole model and of this trace "
    "replayed alone.",
    "jensen_shannon": "Jensen-Shannon divergence of the same two distributions, in nats: 0 is identical, 0.69 (ln 2) "
    "has nothing in common.",
    "top_token_agrees": "Whether the trace alone finds the same token likeliest as the whole model.",
    "nucleus_recovered": "The largest of 1, 5, 10, 20, 40, 60, 80 and 90% for which the fewest tokens that reach this "
    "probability are the same, in the same order, in both.",
}
MAKEUP_HELP = {
    "Kinds": "Share of each trace's edges that are residual (a state carried on), heads' or MLPs', by its size.",
    "Depth: layers": "Share of each trace's edges in each quarter of the layers, by the trace's size.",
    "Heads": "Every head with edges in the trace: how many, or the sum of their importances. An edge's importance is "
    "its share of all that is written into the state it goes to.",
    "Sources": "Tokens that heads of the trace read from, at later positions: how many edges, or the sum of their "
    "importances.",
}


def show(service: "Service") -> None:
    """The prediction that was clicked, as it stands in the answer at hand; and the text written on."""
    answer = st.session_state.get("answer")
    if answer is None:
        return
    document = answer.subject.document(answer.results)
    position = st.session_state.get("chosen")
    chosen = [prediction for prediction in document["predictions"] if prediction["position"] == position]
    # What a file names is not opened for having been opened: only Run does that.
    if answer.subject.from_file:
        for prediction in chosen:
            show_heading(prediction)
            show_numbers(prediction)
        st.caption("Opened from a file. Press Run to read the text here and look into its predictions.")
        takehome.show(service, document, None)
        return
    if chosen:
        show_prediction(service, answer.subject.question, document, chosen[0])
    else:
        lacking = "" if position is None or not answer.finished else f"There is no prediction at position {position}. "
        how = "Click a token, or walk there with the arrow keys and press Enter, to see its prediction."
        st.caption(lacking + how)
        takehome.show(service, document, None)
    generate.show(service, answer.subject.question)


def show_heading(prediction: Mapping[str, Any]) -> None:
    """Which prediction this is."""
    came = "the next token" if prediction["next_token"] is None else f"“{visible(prediction['next_token'])}”"
    seen = visible(prediction["context_token"])
    st.subheader(literal(f"Predicting {came} after “{seen}”"), divider="gray")


@st.fragment
def show_prediction(
    service: "Service", question: Question, document: Mapping[str, Any], prediction: Mapping[str, Any]
) -> None:
    """Its numbers, and its trace at the size chosen."""
    from density.serving import answers

    show_heading(prediction)
    show_numbers(prediction)
    edges = ask_edges(prediction)

    given = {"position": prediction["position"], "edges": edges, "most": max(viewing.MOST_DRAWN)}
    ask(service, question, "exploring", answers.exploration, draw_nothing, **given)
    seen = st.session_state.exploring[1].poll()
    if seen.finished and seen.results:
        st.session_state.explored = (question.text, question.model, question.rule, seen.results[0])
    # Until the trace of a new size is there, the one before it stays.
    *of, found = st.session_state.get("explored", (None, None))
    if of == [question.text, question.model, question.rule] and found["position"] == prediction["position"]:
        show_found(service, question, document, prediction, found)
    viewing.publish()


def show_numbers(prediction: Mapping[str, Any]) -> None:
    """A prediction's numbers, each with its definition."""
    below = prediction["below"]
    numbers = {
        "Density": (percent(prediction["density"]), HELP["density"]),
        "Not enough": (percent(below["size"]) if below else "none smaller", HELP["below"]),
        "Total variation": (f"{prediction['total_variation']:.3f}", HELP["total_variation"]),
        "Entropy": (f"{prediction['entropy']:.2f} nats", HELP["entropy"]),
    }
    if prediction["surprisal"] is not None:
        numbers["Surprisal"] = (f"{prediction['surprisal']:.2f} nats", HELP["surprisal"])
    edges = f"{prediction['edges_trace']:,} of {prediction['edges_full']:,}"
    numbers["Edges"] = (edges, f"{HELP['edges_trace']} Of: {HELP['edges_full']}")
    show_metrics(numbers)


def ask_edges(prediction: Mapping[str, Any]) -> int:
    """How many edges the trace may have: those of the trace found, or of a size chosen on the search's own lattice."""
    full, edges = prediction["edges_full"], prediction["edges_trace"]
    steps = [EMPTY, *(step for step in reversed(range(EMPTY)) if LATTICE[step] * full >= 1)]
    found = next(step for step in steps if size_of(step) * full >= edges)

    def name(step: int) -> str:
        return f"{percent(prediction['density'])}, the density" if step == found else percent(size_of(step))

    key = f"size-{prediction['position']}-{edges}"
    # A link's size is that of the prediction shown first.
    linked = st.session_state.pop("size-linked", None)
    if linked is not None:
        st.session_state[key] = min(steps, key=lambda step: abs(step - linked))
    st.session_state.setdefault(key, found)
    step = st.select_slider("Size of the trace", steps, format_func=name, key=key, help=SIZE_HELP, **KEPT)
    st.session_state["size-shown"] = None if step == found else step
    return edges if step == found else int(size_of(step) * full)


def size_of(step: int) -> float:
    """The size at a step of the lattice; 0 for the empty trace."""
    return 0.0 if step == EMPTY else LATTICE[step]


def show_found(
    service: "Service",
    question: Question,
    document: Mapping[str, Any],
    prediction: Mapping[str, Any],
    found: Mapping[str, Any],
) -> None:
    """Everything that is drawn from one exploration."""
    trace = found["trace"]
    reached = "reaches" if trace["fidelity"] >= question.fidelity else "does not reach"
    st.caption(
        f"Below: the trace of {trace['edges']:,} of {found['edges_full']:,} edges ({percent(trace['size'])}). Replayed "
        f"alone it makes the prediction to a fidelity of {trace['fidelity']:.1%}, and so {reached} the "
        f"{percent(question.fidelity)} asked."
    )
    # A curve is the same at every fidelity and whatever else was asked of its text.
    subject = replace(question, fidelity=1.0, positions="all")
    shown = {name: trace[name] for name in ("size", "edges", "threshold", "total_variation")}
    remembered((subject, found["position"]), [*prediction.get("curve", ()), shown])
    st.session_state.setdefault("view", VIEWS[0])
    view = st.segmented_control(*("View", VIEWS), key="view", required=True, label_visibility="collapsed", **KEPT)
    if view == VIEWS[0]:
        show_curve(service, subject, question.fidelity, found)
    elif view == VIEWS[1]:
        show_tokens(prediction, found)
    else:
        show_makeup(found)
    found = circuit.ask_most(found)
    circuit.show(service, question, found)
    whatif.show(service, question, found)
    takehome.show(service, document, {**found, "curve": remembered((subject, found["position"]))})


def show_curve(service: "Service", subject: Question, fidelity: float, found: Mapping[str, Any]) -> None:
    """Fidelity against size: what has been measured, or the whole curve once it is asked for."""
    from density.serving import answers

    position = found["position"]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.session_state.setdefault("axis", AXES[0])
        axis = st.segmented_control("Size axis", AXES, key="axis", required=True, label_visibility="collapsed", **KEPT)
        controls = st.toggle("With controls", key="controls", help=CONTROLS_HELP)
        if st.button("Measure the curve", key="measure", help=CURVE_HELP):
            st.session_state.measuring = (subject, position)

    def draw(seen: Snapshot) -> None:
        points = remembered((subject, position), seen.results)
        chart = curve_chart(points, fidelity, found["trace"]["size"], axis == "log", dark())
        st.altair_chart(chart, alt="Fidelity against size", key="curve-chart")

    if st.session_state.get("measuring") == (subject, position):
        ask(service, subject, "curve", answers.curve, draw, position=position, controls=controls)
    else:
        ask(service, subject, "known", answers.known, draw, position=position)
        st.caption("These points have been measured so far, by the search among others.")


def remembered(of: tuple[Question, int], points: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Every point of one prediction that this session has seen, ``points`` among them; the smallest first.

    Of the predictions looked at last: `MOST_REMEMBERED`.
    """
    every = st.session_state.setdefault("points", {})
    known = every[of] = every.pop(of, {})
    for point in points:
        known[point["edges"]] = {**known.get(point["edges"], {}), **point}
    for oldest in list(every)[:-MOST_REMEMBERED]:
        del every[oldest]
    return [known[edges] for edges in sorted(known)]


def show_tokens(prediction: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """The full model's distribution against the trace's."""
    trace = found["trace"]
    nucleus = trace["nucleus_recovered"]
    show_metrics(
        {
            "Fidelity": (f"{trace['fidelity']:.1%}", TRACE_HELP["fidelity"]),
            "Total variation": (f"{trace['total_variation']:.3f}", HELP["total_variation"]),
            "Jensen-Shannon": (f"{trace['jensen_shannon']:.3f} nats", TRACE_HELP["jensen_shannon"]),
            "Same top token": ("yes" if trace["top_token_agrees"] else "no", TRACE_HELP["top_token_agrees"]),
            "Nucleus recovered": (f"{nucleus}%" if nucleus else "none", TRACE_HELP["nucleus_recovered"]),
        }
    )
    chart = compare_chart(likeliest(trace["tokens"], TOKENS_SHOWN), FULL_AND_TRACE, prediction["next_id"], dark())
    st.altair_chart(chart, alt="Likeliest next tokens in the full model and in the trace", key="tokens-chart")
    st.caption("The likeliest tokens of both, by the full model; the token that came stands out, if it is among them.")


def show_makeup(found: Mapping[str, Any]) -> None:
    """What the trace is made of: kinds, depths, heads and the tokens they read."""
    made, size = found["makeup"], found["trace"]["size"]
    left, right = st.columns(2, gap="large")
    with left:
        heading("Kinds")
        st.altair_chart(kinds_chart(made, size, dark()), alt="Shares by kind against size", key="kinds-chart")
    with right:
        heading("Depth: layers")
        st.altair_chart(depths_chart(made, size, dark()), alt="Shares by depth against size", key="depths-chart")
    st.session_state.setdefault("heads-by", HEADS_BY[0])
    by = st.segmented_control("Heads and sources by", HEADS_BY, key="heads-by", required=True, **KEPT)
    left, right = st.columns(2, gap="large")
    with left:
        heading("Heads")
        st.altair_chart(heads_chart(found["heads"], by, dark()), alt="Heads in the trace", key="heads-chart")
    with right:
        heading("Sources")
        if any(found["sources"]["edges"]):
            chart = sources_chart(found["tokens"], found["sources"], by, dark())
            st.altair_chart(chart, alt="Tokens that heads read from", key="sources-chart")
        else:
            st.caption("No head of this trace reads from another token.")


def heading(name: str) -> None:
    """A chart's name, with its definition."""
    st.markdown(f"**{name}**", help=MAKEUP_HELP[name])
