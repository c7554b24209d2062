"""Answers kept on this machine: what there is, how much room it takes, and how to be rid of it."""

import time

import streamlit as st

from density.names import RULES
from density.serving.question import POSITIONS, SEARCHES
from density.store import PROFILE, Entry, Store
from density.view import marked, percent
from pages.parts import engine
from pages.parts.page import go_to, init, literal
from pages.parts.reopening import reopen

ABOUT = (
    "Every whole answer is kept in a file on this machine, with its text, so that the same question is answered at "
    "once. When there are too many, those not used for longest go first. Nothing here is sent anywhere."
)
SIZE_HELP = "Bytes of what is kept, compressed, with what was measured for it."
READ_ONLY = "This is a read-only demonstration: what you run is not kept, and nothing here can be deleted."
PAGE = 25
SHOWN = 160


def main() -> None:
    """The page."""
    init()
    st.title("History")
    st.caption(ABOUT)
    store = engine.store()
    entries = store.entries(PROFILE)
    if store.trouble:
        st.warning(literal(f"Something could not be kept or read here: {store.trouble}. It was answered all the same."))
    if not entries:
        st.info("Nothing is kept yet. Run something on the explorer and it will be here.")
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    number = "1 answer" if len(entries) == 1 else f"{len(entries)} answers"
    left.metric("Kept", f"{number}, {size(store.total())}", help=SIZE_HELP)
    with right:
        if store.read_only:
            st.caption(READ_ONLY)
        else:
            show_delete_all(store)
    pages = -(-len(entries) // PAGE)
    page = st.pagination(pages, key="history-page") if pages > 1 else 1
    for entry in entries[(page - 1) * PAGE : page * PAGE]:
        show_entry(store, entry)


def show_delete_all(store: Store) -> None:
    """Deletes everything, once that is confirmed."""
    with st.popover("Delete all"):
        st.write("All answers kept on this machine, for everyone who uses it here. They can be measured again.")
        st.button("Delete them", type="primary", on_click=store.clear)


def show_entry(store: Store, entry: Entry) -> None:
    """One answer: what was asked, and what can be done with it."""
    about = entry.about
    text = "".join(mark or piece for piece, mark in marked(about["text"]))
    with st.container(border=True):
        words, opening, deleting = st.columns([8, 1, 1], vertical_alignment="center")
        # As text, never Markdown: it comes from outside.
        words.text(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
        facts = [
            f"{about['model']} {about['revision'][:8]}",
            f"fidelity {percent(about['fidelity'])}",
            RULES[about["rule"]],
            f"predictions: {POSITIONS.get(about['positions'], about['positions'])}",
            SEARCHES[about["search"]],
            size(entry.bytes),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.made)),
        ]
        words.caption(literal(" · ".join(facts)))
        if opening.button("Open", key=f"open-{entry.id}", width="stretch"):
            open_entry(store, entry)
        if not store.read_only:
            deleting.button(
                "Delete", key=f"delete-{entry.id}", on_click=store.delete, args=(entry.id,), width="stretch"
            )


def open_entry(store: Store, entry: Entry) -> None:
    """Shows an answer on the explorer."""
    document = store.opened(PROFILE, entry.id)
    if document is None:
        st.error("This answer was damaged and could not be opened; it has been let go.")
        return
    # No replay is run for it now.
    found = [{**prediction, "replays": 0} for prediction in document["predictions"]]
    reopen({**document, "predictions": found}, from_file=False)
    go_to("explorer", "the Explorer")


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


main()
