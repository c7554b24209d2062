"""One word of a text swapped for others: the text with each in its place, by density and by difference."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.errors import DensityError
from density.serving.question import to_link
from density.serving.series import Answered
from density.swaps import (
    Swapped,
    Word,
    aligned,
    difference,
    measure_swap,
    parse_replacements,
    put,
    suggest,
    words_of,
    zipf_of_word,
)
from density.tiles import difference_legend, differences, points
from density.view import percent
from pages.parts import frequency, shared_inputs
from pages.parts.heatmap import heatmap, mount
from pages.parts.page import KEPT, literal, sentence
from pages.parts.rare_relation import readable
from pages.parts.rare_text import ask_question
from pages.parts.series import answers

if TYPE_CHECKING:
    from density.serving.service import Service

PAGE = "rare-"
FIRST_WORD, FIRST_REPLACEMENTS = "coracle", "boat\ndinghy\numiak"
MOST = 8
OFFERED = 12
WORD_HELP = "The word to be replaced. Words are letters and digits, joined by apostrophes and hyphens."
REPLACEMENTS_HELP = f"What is put in its place: one word, or several, a line; {MOST} lines at most."
ZIPF_HELP = (
    "Words of the list are offered whose frequency is this, within 0.1: log10 of occurrences in 10^9 words; 7.7 is "
    "“the”, 3 is once in a million. They are drawn from the list as it is: whether one fits is yours to see."
)
COLUMNS_HELP = {
    "Zipf": "log10 of the word's occurrences in 10^9 words; none if the list does not have it.",
    "tokens": "Into which the word is cut.",
    "surprisal": "Of the word: the sum over its tokens, in nats.",
    "density": "Mean density of predicting the word's own tokens.",
    "next": "Density of predicting the first token after the word.",
    "after": "Mean density of predicting all the tokens after the word.",
    "whole": "Mean density of predicting the text's own tokens.",
}
DIFFERENCE_HELP = (
    "The density of predicting the token in the text with the other word less that in the original, in percentage "
    "points, for the tokens that both have. Orange: dearer than in the original; blue: cheaper. Before the word "
    "nothing can differ: a prediction sees only what came."
)


def restore(word: str | None, replacements: Sequence[str]) -> None:
    """Sets the widgets from a link, or to the first text's."""
    text = st.session_state[f"{PAGE}text"]
    there = words_of(text)
    number = next((index for index, one in enumerate(there) if one.text == FIRST_WORD), 0)
    if word is not None and word.isdecimal() and len(word) < 6 and int(word) < len(there):
        number = int(word)
    st.session_state[f"{PAGE}word"] = number
    given = "\n".join(line for line in replacements[:MOST] if len(line) < 200)
    first = FIRST_REPLACEMENTS if there and there[number].text == FIRST_WORD else ""
    st.session_state[f"{PAGE}replacements"] = given or first


def show(service: "Service") -> None:
    """The page's third view."""
    question = ask_question(service)
    text, there = question.text, words_of(question.text)
    if not there:
        st.warning("The text has no word to replace: type at least one, or choose an example.")
        return
    word, lines, language = ask_swap(there)
    link = {**to_link(question), "view": "swap", "word": str(there.index(word)), "to": lines.splitlines()}
    shared_inputs.publish(link)
    try:
        wanted = parse_replacements(lines, word.text, MOST)
    except DensityError as error:
        st.warning(literal(sentence(error)))
        return
    if not wanted:
        st.warning("No other word is given: type one a line, or take some of those offered.")
        return
    texts = [text, *(put(text, word, one) for one in wanted)]
    questions = [replace(question, text=one) for one in texts]
    found = answers(service, service.catalogue(), questions, PAGE, "swap", show_progress_maps)
    key = f"{PAGE}swapped"
    if tuple(questions) == series_questions():
        st.session_state[key] = (word, [word.text, *wanted])
    documents = [one.whole for one in found]
    if len(documents) > 1 and all(documents) and key in st.session_state:
        word, names = st.session_state[key]
        show_swaps([document for document in documents if document], word, names, language)


def series_questions() -> tuple[Any, ...]:
    """What was run last."""
    series = st.session_state.get(f"{PAGE}swap-series")
    return () if series is None else series.questions


def ask_swap(there: Sequence[Word]) -> tuple[Word, str, str]:
    """The word, the lines to put in its place, and the language whose list is looked into."""
    if st.session_state.get(f"{PAGE}word", 0) not in range(len(there)):
        st.session_state[f"{PAGE}word"] = 0
    left, right = st.columns(2, gap="large")
    with left:
        number = st.selectbox(
            "Word",
            range(len(there)),
            format_func=lambda index: named(there, index),
            key=f"{PAGE}word",
            help=WORD_HELP,
            **KEPT,
        )
        lines = st.text_area(
            "In its place", key=f"{PAGE}replacements", height=120, max_chars=2000, help=REPLACEMENTS_HELP, **KEPT
        )
    with right:
        language = frequency.ask_language()
        offer(there[number].text, language)
    return there[number], lines or "", language


def named(there: Sequence[Word], index: int) -> str:
    """A word in the list, told from others like it."""
    word = there[index].text
    before = sum(one.text == word for one in there[:index])
    return f"{word} ({before + 1})" if before else word


def offer(word: str, language: str) -> None:
    """Words of the list near a frequency, to be taken."""

    def take() -> None:
        chosen = st.session_state[f"{PAGE}offered"]
        if chosen:
            lines = [line for line in st.session_state[f"{PAGE}replacements"].splitlines() if line.strip()]
            st.session_state[f"{PAGE}replacements"] = "\n".join([*lines, chosen])
            st.session_state[f"{PAGE}offered"] = None

    def again() -> None:
        st.session_state[f"{PAGE}drawn"] = st.session_state.get(f"{PAGE}drawn", 0) + 1

    own = zipf_of_word(word, language)
    st.caption(literal(f"{word}: {'not in the list' if own is None else f'Zipf {own:.2f}'}"))
    st.session_state.setdefault(f"{PAGE}zipf", 3.0)
    zipf = st.slider("Words near Zipf", 1.0, 7.0, step=0.5, key=f"{PAGE}zipf", help=ZIPF_HELP, **KEPT)
    some = suggest(language, zipf, OFFERED, st.session_state.get(f"{PAGE}drawn", 0))
    if some:
        st.pills("Take one", some, format_func=literal, key=f"{PAGE}offered", on_change=take)
        st.button("Others", key=f"{PAGE}others", on_click=again)
    else:
        st.caption("The list has no word there.")


def show_progress_maps(found: Sequence[Answered]) -> None:
    """The texts while they are measured, above each other; afterwards they are shown with their differences."""
    if all(one.whole for one in found):
        return
    for number, one in enumerate(found):
        if one.document is not None:
            heatmap(one.document, one.pending, f"{PAGE}swap-coming-{number}")


def show_swaps(documents: Sequence[dict[str, Any]], word: Word, names: Sequence[str], language: str) -> None:
    """The table, then each text by density and by difference."""
    try:
        swaps = [
            measure_swap(document, word.start, name, zipf_of_word(name, language))
            for document, name in zip(documents, names, strict=True)
        ]
        same = [
            aligned(documents[0], document, word.start, (names[0], name))
            for document, name in zip(documents[1:], names[1:], strict=True)
        ]
    except DensityError as error:
        st.error(literal(sentence(error)))
        return
    rows = [row(swap, swaps[0], document) for swap, document in zip(swaps, documents, strict=True)]
    columns = {name: st.column_config.TextColumn(help=definition) for name, definition in COLUMNS_HELP.items()}
    st.dataframe(rows, hide_index=True, column_config=columns, alt="The word and its replacements")
    st.caption("In brackets: less the original, in percentage points.")
    st.markdown(f"**Original: {literal(names[0])}**")
    heatmap(documents[0], (), f"{PAGE}swap-chosen-0", marked=swaps[0].tokens)
    legend = difference_legend("density less that in the original, points")
    for number, (document, swap) in enumerate(zip(documents[1:], swaps[1:], strict=True), 1):
        st.markdown(f"**{literal(swap.word)}**")
        heatmap(document, (), f"{PAGE}swap-chosen-{number}", marked=swap.tokens)
        st.markdown("Less the original", help=DIFFERENCE_HELP)
        cells = differences(documents[0], document, same[number - 1], second=True)
        data = {
            "name": f"Differences, {swap.word}",
            "cells": [{**cell, "marked": index in swap.tokens} for index, cell in enumerate(cells)],
            "legend": legend,
            "chosen": None,
        }
        mount(
            key=f"{PAGE}swap-difference-{number}",
            data=[data],
            on_chosen_change=lambda: None,
            on_span_change=lambda: None,
        )


def row(swap: Swapped, original: Swapped, document: dict[str, Any]) -> dict[str, str]:
    """One line of the table."""
    return {
        "word": readable(swap.word),
        "Zipf": "not listed" if swap.zipf is None else f"{swap.zipf:.2f}",
        "tokens": " | ".join(readable(document["tokens"][index]["text"]).strip() for index in swap.tokens),
        "surprisal": "none" if swap.surprisal is None else f"{swap.surprisal:.2f} nats",
        **{
            name: beside(getattr(swap, name), getattr(original, name), swap is original)
            for name in ("density", "next", "after", "whole")
        },
    }


def beside(value: float | None, original: float | None, itself: bool) -> str:
    """A share, and how it differs from the original's."""
    if value is None:
        return "none"
    change = difference(original, value)
    return percent(value) if itself or change is None else f"{percent(value)} ({points(change)})"
