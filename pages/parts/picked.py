"""What was picked in the circuit: what a state would predict, what an edge carries, and switching it off or on."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import altair as alt
import streamlit as st

from density.charts import FULL_AND_TRACE, compare_chart, layered
from density.colours import KIND_COLOURS, ink_on
from density.layout import around, beside, state_name, switches_for
from density.serving.jobs import Snapshot
from density.serving.question import Question
from density.view import likeliest, percent, visible
from pages.parts import whatif
from pages.parts.asking import ask
from pages.parts.page import dark, literal

if TYPE_CHECKING:
    from density.serving.service import Service

AROUND = 6
TOKENS_SHOWN = 8
MOVED_SHOWN = 5
LENS_HELP = (
    "The next token if the model ended at this state: the final norm and the output matrix applied to it (logit lens). "
    "A view of the state, not a measurement of what later layers do with it."
)
MOVED_HELP = "Tokens whose probability under this lens rose, or fell, most since the state below at the same token."
AROUND_HELP = (
    "Edges of the drawn circuit with the largest importance: the share of an edge among all that is written into the "
    "state it goes to. Press one to look into it."
)
BESIDE_HELP = (
    "Edges of one kind between the same two states, which the circuit can draw as one, summed; the largest importance "
    "first. Press one to look into it."
)
IMPORTANCE_HELP = "The edge's share of everything that is written into the state it goes to."
ENTRY_HELP = (
    "The threshold at which the edge enters the trace: its importance, or that of the weakest edge on the best path "
    "from the state it goes to up to the prediction, whichever is smaller."
)
ATTENTION_HELP = "How much of this head's attention at the token written to goes to each token; the row sums to 1."
SAYS_HELP = (
    "Tokens whose logits what the head moves raises or lowers most, read through the final norm as it is at the state "
    "written to."
)
NEURONS_HELP = (
    "Neurons of this MLP with the largest shares of its write, in the full run: the L1 norm of a neuron's write over "
    "the sum of all neurons'; an expert's are those of its own. Its tokens are those whose logits it raises most."
)
SWITCH_HELP = (
    "Adds it to the list under What if, where the prediction is replayed with it off, or back on after more was "
    "switched off."
)


def show_picked(
    service: "Service",
    question: Question,
    found: Mapping[str, Any],
    circuit: Mapping[str, Any],
    chosen: Mapping[str, Any],
    choose_edge: Callable[[Mapping[str, Any]], None],
) -> None:
    """The state or edge ``chosen``; ``choose_edge`` picks another edge."""
    tokens = [token["text"] for token in found["tokens"]]
    with st.container(border=True):
        if "state" in chosen:
            depth, position = chosen["state"]["depth"], chosen["state"]["position"]
            st.markdown(f"**{literal(state_name(depth, position, circuit['parallel'], tokens))}**")
            show_state(service, question, found, depth, position)
            show_around(circuit, depth, position, choose_edge)
        else:
            st.markdown(f"**{literal(chosen['edge']['name'])}**{literal(' ' + path_words(chosen['edge'], tokens))}")
            show_beside(circuit, chosen["edge"], choose_edge)
            show_edge(service, question, tokens, chosen["edge"])
        show_switches(switches_for(chosen, circuit["parallel"]))


def path_words(edge: Mapping[str, Any], tokens: Sequence[str]) -> str:
    """What an edge carries, in words."""
    written = f"“{visible(tokens[edge['query']])}”"
    if edge["kind"] == "head":
        return f" moves from “{visible(tokens[edge['key']])}” to {written}"
    return f" writes at {written}" if edge["kind"] == "mlp" else f" carries the state of {written} on"


def show_state(service: "Service", question: Question, found: Mapping[str, Any], depth: int, position: int) -> None:
    """What a state would predict, in the full run and in the replay."""
    from density.serving import answers

    def draw(seen: Snapshot) -> None:
        if seen.finished:
            show_lens(seen.results[0])

    given = {"position": found["position"], "edges": found["trace"]["edges"], "depth": depth, "at": position}
    ask(service, question, "circuit-state", answers.state_seen, draw, **given)


def show_lens(seen: Mapping[str, Any]) -> None:
    """The two lenses on a state."""
    left, moved = st.columns([3, 4], gap="large")
    with left:
        st.markdown("Would predict now", help=LENS_HELP)
        chart = compare_chart(likeliest(seen["tokens"], TOKENS_SHOWN), FULL_AND_TRACE, None, dark())
        st.altair_chart(chart, alt="What the state would predict")
        if seen["replay"]["zero"]:
            st.caption("Nothing reaches this state in the replay: it is 0 there.")
    with moved:
        st.markdown("Promoted and suppressed since the state below", help=MOVED_HELP)
        if seen["depth"] == 0:
            st.caption("There is no state below an embedding.")
            return
        full, replay = st.columns(2)
        for place, name, run in ((full, "full model", "full"), (replay, "trace", "replay")):
            with place:
                st.caption(name)
                show_changes(seen[run])


def show_changes(lens: Mapping[str, Any]) -> None:
    """Tokens that gained, then those that lost, as one table."""
    rows = [
        {"": sign, "token": visible(change["text"]), "from": change["before"], "to": change["after"]}
        for sign, changes in (("▲", lens["promoted"]), ("▼", lens["suppressed"]))
        for change in changes[:MOVED_SHOWN]
    ]
    if not rows:
        st.caption("Nothing moved.")
        return
    shares = {name: st.column_config.NumberColumn(name, format="percent") for name in ("from", "to")}
    st.dataframe(rows, column_config=shares, hide_index=True, alt="Tokens promoted, then suppressed")


def show_around(
    circuit: Mapping[str, Any], depth: int, position: int, choose_edge: Callable[[Mapping[str, Any]], None]
) -> None:
    """The strongest edges into a state and out of it, each a button."""
    into, out = around(circuit, depth, position, AROUND)
    for name, edges in (("In", into), ("Out", out)):
        st.markdown(f"Strongest {name.lower()}", help=AROUND_HELP)
        if not edges:
            st.caption("None in the drawn circuit.")
        list_edges(name, edges, choose_edge)


def show_beside(
    circuit: Mapping[str, Any], edge: Mapping[str, Any], choose_edge: Callable[[Mapping[str, Any]], None]
) -> None:
    """The edges that are one with ``edge`` where the circuit is drawn summed, each a button; nothing if it is alone."""
    members = beside(circuit, edge)
    if members[1:]:
        st.markdown(f"{len(members)} edges between these two states", help=BESIDE_HELP)
        list_edges("Beside", members, choose_edge)


def list_edges(name: str, edges: Sequence[Mapping[str, Any]], choose_edge: Callable[[Mapping[str, Any]], None]) -> None:
    """Edges as buttons, each with its importance."""
    with st.container(horizontal=True, gap="small"):
        for edge in edges:
            label = f"{edge['name']} · {percent(edge['importance'])}"
            key = f"circuit-{name}-{edge['name']}"
            st.button(literal(label), key=key, type="tertiary", on_click=choose_edge, args=(edge,))


def show_edge(service: "Service", question: Question, tokens: Sequence[str], edge: Mapping[str, Any]) -> None:
    """An edge's numbers, and what it carries."""
    from density.serving import answers

    with st.container(horizontal=True, gap="large"):
        st.metric("Importance", percent(edge["importance"]), help=IMPORTANCE_HELP, width="content")
        st.metric("Enters at", f"{edge['entry']:.3g}", help=ENTRY_HELP, width="content")
    if edge["kind"] == "residual":
        return

    def draw(seen: Snapshot) -> None:
        if seen.finished and "head" in seen.results[0]:
            show_head(seen.results[0]["head"], tokens, edge)
        elif seen.finished:
            show_neurons(seen.results[0]["neurons"])

    ask(service, question, "circuit-edge", answers.edge_seen, draw, edge=dict(edge))


def show_head(view: Mapping[str, Any], tokens: Sequence[str], edge: Mapping[str, Any]) -> None:
    """A head's attention row, and what the edge moves."""
    row, says = st.columns([3, 2], gap="large")
    with row:
        written = visible(tokens[edge["query"]])
        st.markdown(literal(f"Attention of the head at “{written}”"), help=ATTENTION_HELP)
        chart = attention_chart(tokens, view["attention"], edge["key"], dark())
        st.altair_chart(chart, alt="Attention to each token")
    with says:
        st.markdown("What it moves, in logits", help=SAYS_HELP)
        up, down = st.columns(2)
        for place, name, key in ((up, "promotes", "says"), (down, "suppresses", "against")):
            rows = [{name: visible(text), "logit": gained} for text, gained in view[key]]
            column = {"logit": st.column_config.NumberColumn("logit", format="%+.2f")}
            place.dataframe(rows, column_config=column, hide_index=True, alt=f"Tokens it {name}")


def attention_chart(tokens: Sequence[str], attention: Sequence[float], key: int, dark: bool) -> alt.LayerChart:
    """Bars of a head's attention to each token, in the text's order; the one read by the edge stands out."""
    rows = [
        {
            "token": f"{index} {visible(tokens[index])}",
            "attention": share,
            "opacity": 1.0 if index == key else 0.45,
            "shown": f"{share:.1%}" if index == key else "",
        }
        for index, share in enumerate(attention)
    ]
    # Room for the number above the highest bar.
    scale = alt.Scale(domain=[0, 1.15 * max(attention)], nice=False)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("token:N", sort=None, title=None, axis=alt.Axis(labelAngle=-55, labelLimit=90, labelOverlap=True)),
        y=alt.Y("attention:Q", title=None, scale=scale, axis=alt.Axis(format="%", tickCount=4)),
        tooltip=[alt.Tooltip("token:N"), alt.Tooltip("attention:Q", format=".3%")],
    )
    bars = base.mark_bar(cornerRadiusEnd=2, color=KIND_COLOURS["head"])
    shown = base.mark_text(dy=-8, fontSize=12, color=ink_on(dark)).encode(text="shown:N")
    return layered(bars.encode(opacity=alt.Opacity("opacity:Q", scale=None)), shown, height=240)


def show_neurons(neurons: Sequence[Mapping[str, Any]]) -> None:
    """An MLP's strongest neurons."""
    st.markdown("Strongest neurons", help=NEURONS_HELP)
    most = max((neuron["share"] for neuron in neurons), default=1.0)
    rows = [
        {
            "neuron": neuron["index"],
            "share of the write": neuron["share"],
            "activation": neuron["activation"],
            "promotes": "  ".join(visible(text) for text in neuron["says"]),
        }
        for neuron in neurons
    ]
    columns = {
        "share of the write": st.column_config.ProgressColumn(
            "share of the write", format="percent", min_value=0, max_value=most
        ),
        "activation": st.column_config.NumberColumn("activation", format="%.2f"),
    }
    st.dataframe(rows, column_config=columns, hide_index=True, alt="Strongest neurons")


def show_switches(offered: Mapping[str, dict[str, Any]]) -> None:
    """Buttons that switch parts off or on, under What if."""
    if not offered:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        turn = st.segmented_control(
            *("Switch", whatif.TURNS),
            default=whatif.TURNS[0],
            key="circuit-turn",
            required=True,
            help=SWITCH_HELP,
            width="content",
        )
        for name, part in offered.items():
            switch = {**part, "on": turn == "on"}
            # What is switched already cannot be switched again.
            if st.button(
                literal(name), key=f"circuit-switch-{name}", disabled=switch in st.session_state.get("switches", ())
            ):
                whatif.add(switch)
                st.rerun()
