"""What if: parts of the trace, or of the full model, switched off or on, and the prediction replayed at once."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.charts import compare_chart
from density.colours import RUN_COLOURS
from density.serving.jobs import Snapshot
from density.serving.question import Question
from density.view import visible
from pages.parts import viewing
from pages.parts.asking import ask
from pages.parts.page import KEPT, dark, literal
from pages.parts.viewing import BASES, PARTS

if TYPE_CHECKING:
    from density.serving.service import Service

EVERYWHERE, EVERY_SOURCE = "everywhere", "every source"
TURNS = ("off", "on")
TOKENS_SHOWN = 8
HELP = {
    "base": "What edges are taken from, or added to. Total variation is always measured from the whole model.",
    "part": "A whole layer is its heads and its MLP; what the skips carry past them stays.",
    "layer": "Layers are counted from 0.",
    "head": "Heads are counted from 0.",
    "token": "The position that is written to: everywhere, or at one token alone.",
    "source": "The position that the head reads from: every source, or one token alone.",
    "turn": "Off takes edges away. On puts back what was taken, and adds edges that the trace does not have.",
    "before": "Total variation from the whole model without the switches.",
    "after": "Total variation from the whole model with the switches; the arrow is the change.",
    "off": "Edges that the switches take away.",
    "on": "Edges that the switches add.",
    "random": "The same number of edges, drawn at random from all that could be switched off, switched off instead: "
    "the lowest to the highest total variation of {draws} draws.",
}


@st.fragment
def show(service: "Service", question: Question, found: Mapping[str, Any]) -> None:
    """The switches, and what they change about the prediction of the explore document ``found``.

    A fragment, so that what is not about switches is not drawn again for them.
    """
    switches = switched(question)
    # It opens when the first part is switched, wherever on the page that was, and is then left as it is.
    opened = st.session_state["whatif-opened"] = bool(switches) or st.session_state.get("whatif-opened", False)
    title = f"What if: {len(switches)} switched" if switches else "What if"
    with st.expander(title, key=f"whatif-{opened}", expanded=opened):
        st.session_state.setdefault("switch-base", next(iter(BASES)))
        chosen = st.segmented_control(
            *("Switch parts of", list(BASES)),
            format_func=BASES.__getitem__,
            key="switch-base",
            required=True,
            help=HELP["base"],
            **KEPT,
        )
        base = chosen or next(iter(BASES))
        ask_switch(found)
        st.button("Switch", key="switch-add", on_click=lambda: add(chosen_switch()))
        show_list(switches)
        earlier = [switch for switch in switches if (switch["query"] or 0) <= found["position"]]
        if earlier:
            compare(service, question, found, base, earlier)
        elif switches:
            st.caption("All of it is at later tokens, which this prediction does not see.")
        else:
            st.caption("Choose a part and switch it off: the prediction is replayed without it at once.")
    viewing.publish()


def switched(question: Question) -> list[dict[str, Any]]:
    """What is switched; nothing in another text or model."""
    if st.session_state.get("switches-of") != (question.model, question.text):
        st.session_state["switches-of"] = (question.model, question.text)
        st.session_state.switches = []
    switches: list[dict[str, Any]] = st.session_state.setdefault("switches", [])
    return switches


def ask_switch(found: Mapping[str, Any]) -> None:
    """The widgets for a part to switch; `chosen_switch` is what they are set to."""
    parts = [part for part in PARTS if part != "residual_mlp" or not found["circuit"]["parallel"]]
    tokens = found["tokens"][: found["position"] + 1]

    def named(at: int | str) -> str:
        return at if isinstance(at, str) else f"{at}: {visible(tokens[at]['text'])}"

    columns = st.columns([2, 1, 1, 2, 2, 1])
    part = columns[0].selectbox("Part", parts, 1, format_func=PARTS.__getitem__, key="switch-part", help=HELP["part"])
    layers, heads = len(found["heads"]["edges"]), len(found["heads"]["edges"][0])
    columns[1].selectbox("Layer", range(layers), key="switch-layer", help=HELP["layer"])
    columns[2].selectbox("Head", range(heads), key="switch-head", help=HELP["head"], disabled=part != "head")
    for column, label, key, every, definition, disabled in (
        (columns[3], "At", "switch-at", EVERYWHERE, HELP["token"], False),
        (columns[4], "From", "switch-from", EVERY_SOURCE, HELP["source"], part != "head"),
    ):
        places = [every, *range(len(tokens))]
        column.selectbox(label, places, format_func=named, key=key, help=definition, disabled=disabled)
    columns[5].selectbox("Turn", TURNS, key="switch-turn", help=HELP["turn"])


def chosen_switch() -> dict[str, Any]:
    """The switch that the widgets are set to, as the keyword arguments of `density.switches.Switch`."""
    state = st.session_state
    part, at, source = state["switch-part"], state["switch-at"], state["switch-from"]
    return {
        "layer": state["switch-layer"],
        "kind": part,
        "head": state["switch-head"] if part == "head" else None,
        "query": None if at == EVERYWHERE else at,
        "key": source if part == "head" and source != EVERY_SOURCE else None,
        "expert": None,
        "on": state["switch-turn"] == "on",
    }


def add(switch: dict[str, Any]) -> None:
    """Switches after everything before it; how the same part was switched before is over."""
    others = [one for one in st.session_state.get("switches", ()) if {**one, "on": switch["on"]} != switch]
    st.session_state.switches = [*others, switch]


def take_back(switches: list[dict[str, Any]]) -> None:
    """Takes ``switches`` back."""
    st.session_state.switches = [one for one in st.session_state.switches if one not in switches]


def show_list(switches: list[dict[str, Any]]) -> None:
    """What is switched, with ways back."""
    if not switches:
        return
    from density.graph import Kind
    from density.switches import Switch

    with st.container(horizontal=True, vertical_alignment="center"):
        for number, switch in enumerate(switches):
            name = str(Switch(**{**switch, "kind": switch["kind"] and Kind(switch["kind"])}))
            button(literal(name), f"switch-{number}", [switch], "Takes this one back.", icon=":material/close:")
        button("Undo", "switch-undo", switches[-1:], "Takes the last one back.", type="tertiary")
        button("Clear", "switch-clear", switches, "Takes all of them back.", type="tertiary")


def button(label: str, key: str, switches: list[dict[str, Any]], definition: str, **looks: Any) -> None:
    """A button that takes ``switches`` back."""
    st.button(label, key=key, on_click=take_back, args=(switches,), help=definition, **looks)


def compare(
    service: "Service", question: Question, found: Mapping[str, Any], base: str, switches: list[dict[str, Any]]
) -> None:
    """The replay with the switches beside the one without, and then beside random ones."""
    from density.serving import answers

    edges = found["edges_full"] if base == "full model" else found["trace"]["edges"]
    given = {"position": found["position"], "edges": edges, "switches": switches}

    def draw(seen: Snapshot) -> None:
        changed = seen.results[0]
        show_change(changed, base)
        if changed["edges_off"] == 0:
            st.caption("No edge is taken away: there is nothing to compare with random edges.")
        elif changed["edges_off"] == changed["edges_before"]:
            st.caption("Every edge is taken away: as many random edges would be the same, so nothing is compared.")
        else:
            ask(service, question, "switching-random", answers.switched, draw_random, **given)

    def draw_random(seen: Snapshot) -> None:
        changed = seen.results[0]
        st.caption(in_words(changed), help=HELP["random"].format(draws=len(changed["random"])))

    ask(service, question, "switching", answers.switched, draw, **given, draws=0)


def show_change(changed: Mapping[str, Any], base: str) -> None:
    """Total variation and the likeliest tokens, before and after."""
    before, after = changed["before"], changed["after"]
    with st.container(horizontal=True, gap="large"):
        st.metric("Before", f"{before:.3f}", help=HELP["before"], width="content")
        st.metric(
            *("After", f"{after:.3f}", f"{after - before:+.3f}"),
            delta_color="inverse",
            help=HELP["after"],
            width="content",
        )
        st.metric("Edges off", f"{changed['edges_off']:,}", help=HELP["off"], width="content")
        if changed["edges_on"]:
            st.metric("Edges on", f"{changed['edges_on']:,}", help=HELP["on"], width="content")
    series = {"before": (base, RUN_COLOURS[base]), "after": ("switched", RUN_COLOURS["switched"])}
    chart = compare_chart(changed["tokens"][:TOKENS_SHOWN], series, None, dark())
    st.altair_chart(chart, alt="Likeliest next tokens before and after", key="switch-chart")


def in_words(changed: Mapping[str, Any]) -> str:
    """Whether the switches did more harm than random edges, as far as the draws can tell."""
    draws, after = changed["random"], changed["after"]
    less = sum(one < after for one in draws)
    return (
        f"{changed['edges_off']:,} random edges switched off instead: total variation {min(draws):.3f} to "
        f"{max(draws):.3f} in {len(draws)} draws. The switches did more harm than {less} of the {len(draws)}; so few "
        "draws tell a clear difference, not a small one."
    )
