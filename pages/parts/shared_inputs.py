"""What pages that ask several questions share: models, texts, and the links they come from and are kept in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.errors import DensityError
from density.limits import limits
from density.serving.question import DEFAULT_MODEL, Question, from_link
from pages.parts import engine, inputs
from pages.parts.page import KEPT, literal, sentence

if TYPE_CHECKING:
    from density.corpus.sources import Text
    from density.serving.estimate import Estimate
    from density.serving.service import Service
    from pages.parts.inputs import Offers

FETCH = "to fetch"
# Estimates look into what is kept, a file each.
MOST_ESTIMATED = 24
MOST_MODELS = 6
MODELS_HELP = (
    "Models of the catalogue, or in memory; or type a hub id, a folder, or the path of a .gguf file. They are opened "
    "one after another, when you press Run."
)
SAMPLE_HELP = "Texts that come with the explorer, written for it or in the public domain."


def restore(page: str, first: Mapping[str, Any]) -> dict[str, str | float | bool]:
    """Sets a page's widgets from its link, once a session; returns what the link sets, and ``{}`` afterwards.

    Args:
        page: What its widgets' names begin with.
        first: What else they begin at, by the names of `Question`'s attributes.
    """
    if f"{page}restored" in st.session_state:
        return {}
    found, complaints = from_link(st.query_params.to_dict(), engine.store().text)
    for name in ("text", "model", "fidelity", "rule", "max_tokens"):
        begun = st.session_state.get(name, getattr(inputs.FIRST, name))
        st.session_state[page + name] = found.get(name, first.get(name, begun))
    st.session_state[f"{page}model"] = found.get("model", limits().default_model(st.session_state[f"{page}model"]))
    st.session_state[f"{page}max_tokens"] = min(st.session_state[f"{page}max_tokens"], limits().tokens)
    st.session_state[f"{page}search"] = "sweep" if found.get("sweep") else "lattice"
    st.session_state[f"{page}restored"] = complaints
    return found


def complain(page: str) -> None:
    """Says what of the link was passed over, and, in the side bar, what this server does not allow."""
    for note in limits().notes:
        st.sidebar.caption(note)
    for complaint in st.session_state[f"{page}restored"]:
        st.warning(literal(complaint))


def chosen_of(key: str, given: str | None, choices: Sequence[str], page: str) -> None:
    """Sets a widget to one of ``choices`` from a link's value, or to the first; says so if it is none of them."""
    if given is not None and given not in choices:
        wanted = ", ".join(choices)
        st.session_state[f"{page}restored"].append(f"The link's {key} {given[:80]!r} is not one of {wanted}.")
    st.session_state[page + key] = given if given in choices else choices[0]


def publish(wanted: Mapping[str, str | Sequence[str]]) -> None:
    """Keeps the address bar a link to what is asked; a list of several values is a parameter of several."""
    there = {name: st.query_params.get_all(name) for name in st.query_params}
    if there != {name: [value] if isinstance(value, str) else list(value) for name, value in wanted.items()}:
        st.query_params.from_dict(wanted)


def ask_models(
    offers: "Offers", in_memory: Collection[str], key: str, most: int | None = MOST_MODELS
) -> dict[str, bool]:
    """Models by name, ``most`` at most, each with whether its terms are accepted."""
    asked = st.session_state.get(key) or []
    names = dict.fromkeys([*(offers or [DEFAULT_MODEL]), *limits().named, *in_memory, *asked])
    chosen = st.multiselect(
        "Models",
        list(names),
        format_func=lambda name: inputs.marked(name, in_memory),
        key=key,
        accept_new_options=limits().free_names,
        max_selections=most,
        help=MODELS_HELP,
        **KEPT,
    )
    accepted = {}
    for name in dict.fromkeys(name.strip() for name in chosen if name.strip()):
        st.markdown(f"**{literal(name)}**")
        accepted[name] = inputs.describe_model(name, offers, in_memory)
    return accepted


@cache
def sample() -> "tuple[Text, ...]":
    """The texts that are shipped."""
    from density.corpus.sources import SAMPLE, load_texts

    return tuple(load_texts(SAMPLE))


def foresee(
    service: "Service", offers: "Offers", questions: Sequence[Question], costing: Callable[[int], str] | None = None
) -> bool:
    """Says what running all of ``questions`` will take, or why one cannot be run; returns whether they can.

    Args:
        service: To be asked.
        offers: The catalogue.
        questions: All there is to run; at least one.
        costing: For a text of so many tokens, positions whose profile costs as much; the question's own without it.
    """
    if complained(service, offers, questions):
        return False
    if said_fetching(offers, questions):
        return True
    if len(questions) > MOST_ESTIMATED:
        st.caption(f"{len(questions)} profiles, one after another.")
        return True
    try:
        found = [estimate(service, question, costing) for question in questions]
    except DensityError as error:
        st.warning(literal(sentence(error)))
        return False
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        st.caption("Tokens are counted, and the time is estimated, once the models asked for are in memory.")
    else:
        tokens, seconds = sum(one.tokens for one in known), sum(one.seconds for one in known)
        st.caption(f"{inputs.counted(tokens, 'token')}: about {inputs.duration(seconds)}.")
    return True


def complained(
    service: "Service",
    offers: "Offers",
    questions: Sequence[Question],
    refusal: "Callable[[Offers, Question], str | None]" = inputs.refusal,
) -> bool:
    """Whether one of ``questions`` cannot be run, by ``refusal`` or the service's own, after saying why."""
    for question in questions:
        complaint = refusal(offers, question) or service.refusal(question)
        if complaint:
            st.warning(literal(f"{question.model}: {sentence(complaint)}"))
            return True
    return False


def said_fetching(offers: "Offers", questions: Sequence[Question]) -> bool:
    """Whether a model of ``questions`` has to be fetched, after saying which, and how large they are."""
    coming = dict.fromkeys(question.model for question in questions if offers.get(question.model, ("", ""))[1] == FETCH)
    sizes = [f"{name} ({offers[name][0].download_bytes / 1e6:.0f} MB)" for name in coming]
    if sizes:
        st.caption(literal(f"Run fetches first, once: {', '.join(sizes)}."))
    return bool(sizes)


def estimate(service: "Service", question: Question, costing: Callable[[int], str] | None) -> "Estimate | None":
    """What one question will take; ``None`` while its model is not in memory."""
    found = service.estimate(question)
    if found is None or costing is None:
        return found
    return service.estimate(replace(question, positions=costing(found.tokens)))
