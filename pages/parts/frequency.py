"""Frequencies of tokens on a page: the language they are counted in, and asking the service for them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.limits import limits
from density.serving.jobs import Snapshot
from density.serving.question import Question
from pages.parts import engine
from pages.parts.asking import ask
from pages.parts.page import KEPT, literal, sentence

if TYPE_CHECKING:
    from density.serving.service import Service

LANGUAGE_HELP = (
    "Whose words are counted, by its code: en English, de German, zh Chinese. Several are mixed with weights: type "
    "en:3,de:1. Frequencies are those of the wordfreq library, from books, subtitles, news, the web and encyclopaedias."
)
ZIPF_HELP = (
    "log10 of how often the token occurs in 10^9 tokens: 7.7 is “the”, 3 is once in a million. Words of corpora "
    "are cut by the model's own tokenizer, each after a space, and summed by token. A word's first "
    "token with a capital has the frequency of its lower-case form. Punctuation, white space, digits, special tokens, "
    "and what no listed word is cut into, have none."
)


def ask_language(key: str = "language") -> str:
    """The language to count in, which the session has under ``key``; ends the page's run if there is none such."""
    from density.errors import BadInput
    from density.frequency import languages, parse_languages

    st.session_state.setdefault(key, "en")
    options = list(dict.fromkeys([*languages(), st.session_state[key] or "en"]))
    given = st.selectbox(
        *("Language", options), key=key, accept_new_options=True, help=LANGUAGE_HELP, width=150, **KEPT
    )
    try:
        parse_languages(given or "en")
    except BadInput as error:
        st.error(literal(sentence(error)))
        st.stop()
    return given or "en"


def frequencies_of(
    service: "Service", question: Question, ids: Collection[int], language: str, revision: str, key: str
) -> Mapping[str, Any] | None:
    """The service's answer about the tokens ``ids``; ``None`` while it is being counted, which the page says.

    Args:
        service: To be asked.
        question: Of the model whose tokens they are.
        ids: Each once, ascending.
        language: As `density.frequency.parse_languages` takes it.
        revision: Of the model.
        key: Of the job in the session.
    """
    from density.serving.rarity import token_frequencies

    found: list[Mapping[str, Any]] = []

    def take(seen: Snapshot) -> None:
        found.extend(seen.results)

    given: dict[str, Any] = {"ids": list(ids), "language": language, "revision": revision}
    ask(service, question, key, token_frequencies, take, **given)
    return found[0] if found else None


def zipf_of(document: Mapping[str, Any]) -> dict[int, float | None]:
    """The frequencies of a profile's tokens, and of the likeliest one after them; none until they are counted."""
    service = engine.service()
    if service is None:
        st.caption("Frequencies are counted once the engine is there.")
        return {}
    names = ("model", "text", "rule", "precision")
    question = Question(**{name: document[name] for name in names}, max_tokens=limits().tokens)
    offer = service.catalogue().get(question.model)
    if service.loaded(question) is None and (offer is None or offer[1] != "ready"):
        st.caption("Frequencies are counted with the model's own tokenizer: press Run to bring the model in.")
        return {}
    language = ask_language()
    ids = sorted(
        {token["id"] for token in document["tokens"]}
        | {found["top_tokens"][0]["id"] for found in document["predictions"]}
    )
    found = frequencies_of(service, question, ids, language, document["revision"], "frequencies")
    return {} if found is None else dict(zip(ids, found["zipf"], strict=True))
