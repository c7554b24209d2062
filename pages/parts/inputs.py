"""What the explorer asks for: its widgets, the link they come from and are kept in, and what running will take."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.document import MOST_BYTES
from density.errors import DensityError
from density.limits import limits
from density.names import RULES
from density.serving.question import (
    DEFAULT_MODEL,
    FIDELITY_RANGE,
    MOST_LINK_CHARACTERS,
    NOT_KEPT,
    POSITIONS,
    SEARCHES,
    Question,
    from_link,
    link_key,
    span,
    to_link,
)
from pages.parts import engine, viewing
from pages.parts.examples import EXAMPLES
from pages.parts.page import KEPT, literal, sentence
from pages.parts.textbox import live_text_area

if TYPE_CHECKING:
    from density.models import CatalogueEntry
    from density.serving.service import Service

    # The models of the catalogue by name, with their states; empty while the engine is still being imported.
    Offers = dict[str, tuple[CatalogueEntry, str]]

FIRST = Question(text=EXAMPLES[0]["text"])

FIDELITY_HELP = (
    "The share of the prediction that a trace has to keep: 1 - total variation, which is half the summed difference "
    "between the next-token probabilities of the whole model and of the trace replayed alone."
)
RULE_HELP = (
    "How the edges into a state are weighed against each other, as shares of their sum. "
    "L1 norm: the size of what each edge writes, the papers' default."
)
LIMIT_HELP = "A longer text is refused. Time and memory grow with the square of a text's length."
POSITIONS_HELP = (
    "Which predictions to measure: a long text is quicker when only some of its tokens are asked for. A span is marked "
    "in the heatmap, with a click and a shift-click, or by its first and last position."
)
ENDS_HELP = "Position of the last token that the prediction sees, from 0; the token after it is the one predicted."
SEARCH_HELP = (
    "Search: about 4 replays a prediction find its density. Full sweep: about 25, over sizes from 0.001% to 100%, also "
    "give the curve and the area under it (AUC-TV), which needs no fidelity. Its densities are of those sizes alone: "
    "20, 40, 60, 80 and 100% at the top."
)
TEXT_HELP = (
    "At every pause in the typing its tokens are counted and the time is estimated; nothing runs before Run, or Ctrl "
    "and Enter in the box."
)
MODEL_HELP = (
    "A model of the catalogue, or one in memory; or type a hub id (org/name, org/name@revision), a folder, or the path "
    "of a .gguf file. "
    "A hub is contacted for a hub id alone, and not before you press Run."
)


def restore() -> None:
    """Sets the widgets from the link, once a session, and from a span marked in the heatmap."""
    if "chosen-span" in st.session_state:
        st.session_state.positions = "span"
        st.session_state.first, st.session_state.last = st.session_state.pop("chosen-span")
    link = st.session_state.pop("link", None)
    if link is None and "restored" in st.session_state:
        return
    # What was opened here has been checked: its text may be as long as it is.
    asked, most = (st.query_params.to_dict(), MOST_LINK_CHARACTERS) if link is None else (link, MOST_BYTES)
    found, complaints = from_link(asked, engine.store().text, most)
    for name in ("text", "model", "fidelity", "rule", "positions", "max_tokens"):
        st.session_state[name] = found.get(name, getattr(FIRST, name))
    st.session_state.model = found.get("model", limits().default_model(FIRST.model))
    st.session_state.max_tokens = min(st.session_state.max_tokens, limits().tokens)
    st.session_state.search = "sweep" if found.get("sweep") else "lattice"
    ends = span(st.session_state.positions)
    if ends is not None:
        st.session_state.positions = "span"
        st.session_state.first, st.session_state.last = ends
    complaints += viewing.restore(asked, st.session_state.model, st.session_state.text)
    # What of an opened answer no widget can be set to is said beside it.
    st.session_state.restored = complaints if link is None else []
    st.session_state.run_link = "text" in found
    st.session_state.missing = None if "text" in found else asked.get("kept")


def publish(question: Question) -> None:
    """Keeps the address bar a link to what is asked, and to how it is looked at."""
    wanted = {**to_link(question), **viewing.parameters()}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def ask(offers: "Offers", in_memory: Collection[str] = ()) -> Question:
    """Draws the widgets and returns what they ask."""
    for complaint in st.session_state.restored:
        st.warning(literal(complaint))
    with st.sidebar:
        model, accepted = ask_model(offers, in_memory)
        fidelity = ask_fidelity()
        positions = ask_positions()
        method = ask_method()
        for note in limits().notes:
            st.caption(note)
    text = ask_text()
    return Question(model, text, fidelity, positions=positions, accept_terms=accepted, **method)


def ask_fidelity(page: str = "") -> float:
    """The fidelity; the session has what a widget of another page holds under a name that begins with ``page``."""
    key = f"{page}fidelity"
    return st.slider("Fidelity", *FIDELITY_RANGE, step=0.01, format="percent", key=key, help=FIDELITY_HELP, **KEPT)


def ask_method(page: str = "") -> dict[str, Any]:
    """How densities are measured, by the names of `Question`'s attributes."""
    search = st.segmented_control(
        "Measure by",
        list(SEARCHES),
        format_func=SEARCHES.__getitem__,
        key=f"{page}search",
        required=True,
        **KEPT,
        help=SEARCH_HELP,
    )
    rule = st.selectbox(
        "Importance of an edge", list(RULES), format_func=RULES.__getitem__, key=f"{page}rule", help=RULE_HELP, **KEPT
    )
    limit = st.number_input("Token limit", 1, limits().tokens, step=1, key=f"{page}max_tokens", help=LIMIT_HELP, **KEPT)
    return {"sweep": search == "sweep", "rule": rule, "max_tokens": limit}


def ask_positions() -> str:
    """Which predictions, as `Question.positions` has them."""
    named = {**POSITIONS, "span": "span"}
    positions = st.segmented_control(
        "Predictions",
        list(named),
        format_func=named.__getitem__,
        key="positions",
        required=True,
        **KEPT,
        help=POSITIONS_HELP,
    )
    if positions != "span":
        return positions or FIRST.positions
    ends = []
    for place, name in zip(st.columns(2), ("first", "last"), strict=True):
        st.session_state.setdefault(name, 0)
        ends.append(place.number_input(name, 0, limits().tokens - 1, step=1, key=name, help=ENDS_HELP, **KEPT))
    return f"{min(ends)}..{max(ends)}"


def ask_text() -> str:
    """The text, typed or taken from the examples."""
    texts = {example["theme"]: example["text"] for example in EXAMPLES}

    def take() -> None:
        if st.session_state.example:
            st.session_state.text = texts[st.session_state.example]
            st.session_state.example = None
            st.session_state.chosen = None

    st.pills("Examples", list(texts), key="example", on_change=take)
    return live_text_area("Text", "text", st.session_state.missing, put_back, want, height=120, help=TEXT_HELP, **KEPT)


def want() -> None:
    """A run was asked for."""
    st.session_state.wanted = True


def put_back(found: object) -> None:
    """Takes the long text that a reload of the page would have lost, if it is the one that the link stands for."""
    state = st.session_state
    if isinstance(found, str) and link_key(found) == state.missing:
        state.text, state.missing = found, None
        state.restored = [complaint for complaint in state.restored if complaint != NOT_KEPT]


def ask_model(offers: "Offers", in_memory: Collection[str], key: str = "model") -> tuple[str, bool]:
    """The model's name, which the session has under ``key``, and whether its terms are accepted."""
    asked = st.session_state.get(key) or DEFAULT_MODEL
    names = dict.fromkeys([*(offers or [DEFAULT_MODEL]), *limits().named, *in_memory, asked])

    def choose() -> None:
        chosen = (st.session_state[key] or "").strip()
        st.session_state["models-chosen"] = {*st.session_state.get("models-chosen", ()), chosen}

    model = st.selectbox(
        "Model",
        list(names),
        format_func=lambda name: marked(name, in_memory),
        key=key,
        on_change=choose,
        accept_new_options=limits().free_names,
        help=MODEL_HELP,
        **KEPT,
    )
    model = (model or DEFAULT_MODEL).strip()
    return model, describe_model(model, offers, in_memory)


def known_of(model: str) -> str:
    """What can be said, before anything is opened, of a model that is not in the catalogue."""
    try:
        family = family_chosen(model)
    except DensityError as error:
        return str(error)
    if family is None:
        return "looked for as a folder, a .gguf file or a hub id once you press Run."
    return f"a folder with a model of the family {family}, which is read here."


def family_chosen(model: str) -> str | None:
    """`density.models.loading.family_of` a model that was chosen here; what a link alone names is not looked into."""
    if model not in st.session_state.get("models-chosen", ()):
        return None
    # The engine's own code, which is there once it offers anything.
    from density.models.loading import family_of

    return family_of(model)


def at_hand(offers: "Offers", model: str) -> bool:
    """Whether a model can be opened without being asked for: it is on this machine, and no link alone names it."""
    if model in offers:
        return offers[model][1] == "ready"
    try:
        return limits().allows_model(model) and family_chosen(model) is not None
    except DensityError:
        return False


def marked(name: str, in_memory: Collection[str]) -> str:
    """A model's name in a list, with whether it is in memory."""
    return f"{name} (in memory)" if name in in_memory else name


def describe_model(model: str, offers: "Offers", in_memory: Collection[str]) -> bool:
    """Says what a model is and where it comes from; returns whether its terms are accepted."""
    if model not in offers:
        if offers and model not in in_memory and limits().allows_model(model):
            st.caption(literal(f"Not in the catalogue: {known_of(model)}"))
        return False
    entry, state = offers[model]
    size = f"{entry.parameters / 1e6:.0f}M weights"
    where = f", {entry.download_bytes / 1e6:.0f} MB to fetch" if state == "to fetch" else f", {state}"
    st.caption(literal(f"{size}, {entry.licence}{'' if model in in_memory else where}"), help=literal(entry.source))
    if entry.terms is None or state != "to fetch":
        return False
    with st.expander("Terms of use"):
        st.text(entry.terms)
    return st.checkbox("I accept these terms", key=f"terms-{model}")


def refusal(offers: "Offers", question: Question) -> str | None:
    """Why a question cannot be run, and what to do; ``None`` if nothing is known to be in its way."""
    complaint = model_refusal(offers, question)
    if complaint is None and not question.text.strip():
        return "The text is empty: type at least one word, or choose an example."
    return complaint


def model_refusal(offers: "Offers", question: Question) -> str | None:
    """The same of the question's model alone."""
    entry, state = offers.get(question.model, (None, ""))
    if state == "unsupported":
        return "No family here reads this model yet; choose another."
    if entry and entry.terms and state == "to fetch" and not question.accept_terms:
        return "Accept the model's terms, in the side bar, before it is fetched."
    return None


def foresee(service: "Service", offers: "Offers", question: Question) -> bool:
    """Says what running will take, or why it cannot be run; returns whether it can."""
    complaint = refusal(offers, question)
    if complaint:
        st.warning(complaint)
        return False
    not_here = service.refusal(question)
    if not_here:
        st.warning(literal(sentence(not_here)))
        return False
    entry, state = offers.get(question.model, (None, ""))
    if entry and state == "to fetch":
        st.caption(f"Run fetches the model first: {entry.download_bytes / 1e6:.0f} MB, once.")
        return True
    return foresee_time(service, question)


def foresee_time(service: "Service", question: Question) -> bool:
    """Counts the tokens and estimates the time, as far as they are known; returns whether the text can be read."""
    try:
        estimate = service.estimate(question)
    except DensityError as error:
        st.warning(literal(sentence(error)))
        return False
    if estimate is None:
        st.caption("Tokens are counted, and the time is estimated, once the model is in memory.")
        return True
    what = f"{counted(estimate.tokens, 'token')}, {counted(estimate.predictions, 'prediction')}"
    if estimate.seconds == 0:
        st.caption(f"{what}: about 0 s, all of it has been measured")
    else:
        st.caption(
            f"{what}: about {duration(estimate.seconds)}, and {estimate.memory / 2**20:.0f} MiB besides the model",
            help="From this machine's own timing of this model, corrected by what earlier runs took; longer while the "
            "machine is busy with something else.",
        )
    return True


def counted(number: int, noun: str) -> str:
    """``1 token``, ``2 tokens``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def duration(seconds: float) -> str:
    """Seconds in words, as exact as an estimate deserves."""
    if seconds < 1.5:
        return "a second"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
