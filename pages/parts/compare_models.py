"""Several models on the same text, or on several: their heatmaps above each other, and how far they agree."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from density.agreement import Shared, agreements, placed, shared_texts, shared_words, units_of
from density.align import NotAligned, words
from density.compare_charts import against_chart
from density.measures import MEASURES
from density.serving.question import Question, to_link
from density.serving.series import Answered
from density.statistics import FEWEST_GROUPS
from density.view import quoted, rows_csv
from pages.parts import inputs, shared_inputs
from pages.parts.dataset_rows import ask_one, with_interval
from pages.parts.heatmap import heatmap
from pages.parts.page import KEPT, dark, literal, sentence
from pages.parts.series import answers
from pages.parts.textbox import live_text_area

if TYPE_CHECKING:
    from density.serving.service import Service

PAGE = "compare-"
MOST_TEXTS = 200
TEXT_HELP = (
    "A text a line. With one, its words are compared; with several, whole texts too, and intervals draw whole texts."
)
WORD_HELP = (
    "A word's density is the mean over its tokens that are predicted. A word begins at a space: punctuation belongs to "
    "the word it touches, and a text without spaces is one word. Words that one of the tokenizers does not keep apart "
    "are one."
)
TEXT_MEAN_HELP = "A text's density is the mean over those of its tokens that are predicted, by each model's own tokens."
RHO_HELP = (
    "Spearman's rank correlation: 1 if both models find the same ones dear, 0 if their orders have nothing to do with "
    "each other. In brackets its 95% interval, a bootstrap: of whole texts where there are several, a minimal pair as "
    f"one, else of words, as if they did not depend on each other. Of fewer than {FEWEST_GROUPS} there is none."
)


def show(service: "Service") -> None:
    """The view: what is asked, the heatmaps as they come, and the agreement."""
    if not st.session_state[f"{PAGE}models"] and f"{PAGE}begun" not in st.session_state:
        ready = [name for name, (_, state) in service.catalogue().items() if state == "ready"]
        st.session_state[f"{PAGE}models"] = list(dict.fromkeys([*service.in_memory(), *ready]))[:2]
    st.session_state[f"{PAGE}begun"] = True
    offers = service.catalogue()
    with st.sidebar:
        accepted = shared_inputs.ask_models(offers, service.in_memory(), f"{PAGE}models")
        fidelity = inputs.ask_fidelity(PAGE)
        method = inputs.ask_method(PAGE)
    box = live_text_area("Texts", key=f"{PAGE}text", height=120, help=TEXT_HELP, **KEPT)
    texts = list(dict.fromkeys(line for line in box.splitlines() if line.strip()))
    publish(list(accepted), Question(text=box, fidelity=fidelity, **method))
    if len(accepted) < 2:
        st.warning("Name at least two models, in the side bar.")
        return
    if not texts:
        st.warning("There is no text: type at least one word.")
        return
    if len(texts) > MOST_TEXTS:
        st.warning(f"There are {len(texts)} texts, and at most {MOST_TEXTS} are compared here; make a corpus of them.")
        return
    questions = [
        Question(model, text, fidelity, accept_terms=accepted[model], **method) for model in accepted for text in texts
    ]
    unit = st.segmented_control(
        "Tint by", ["word", "token"], default="word", key=f"{PAGE}unit", required=True, help=WORD_HELP, **KEPT
    )

    def draw(found: Sequence[Answered]) -> None:
        show_maps(found, unit or "word")

    found = answers(service, offers, questions, PAGE, "models", draw)
    if found:
        show_agreement(found)


def publish(models: Sequence[str], question: Question) -> None:
    """Keeps the address bar a link to what is asked."""
    link = to_link(question)
    del link["positions"]
    shared_inputs.publish({**link, "model": list(models), "view": "models"})


def by_model(found: Sequence[Answered]) -> dict[str, list[Answered]]:
    """The answers of each model, in the order of the texts."""
    groups: dict[str, list[Answered]] = {}
    for one in found:
        groups.setdefault(one.question.model, []).append(one)
    return groups


def show_maps(found: Sequence[Answered], unit: str) -> None:
    """The text as each model reads it, above each other; of several texts the one chosen."""
    groups = by_model(found)
    texts = [one.question.text for one in next(iter(groups.values()))]
    number = 0
    if len(texts) > 1:
        number = st.selectbox(
            "Text shown", range(len(texts)), format_func=lambda at: f"{at + 1}: {texts[at][:80]}", key=f"{PAGE}shown"
        )
    shown = {model: members[number] for model, members in groups.items() if members[number].document is not None}
    cut = cuts([one.document for one in shown.values() if one.document]) if unit == "word" else [None] * len(shown)
    for place, ((model, one), groups_of) in enumerate(zip(shown.items(), cut, strict=True)):
        st.markdown(f"**{literal(model)}**")
        heatmap(one.document or {}, one.pending, f"{PAGE}chosen-{place}", unit=unit, groups=groups_of)


def cuts(documents: Sequence[Mapping[str, Any]]) -> list[list[list[int]] | None]:
    """The tokens of each reading by word; ``None`` for one that is not aligned, whose own words are shown."""
    aligned = [document for document in documents if complaint_of(document) is None]
    if not aligned:
        return [None] * len(documents)
    units = words(aligned[0]["text"], [placed(document) for document in aligned])
    return [units_of(one, units, aligned.index(one)) if one in aligned else None for one in documents]


def complaint_of(document: Mapping[str, Any]) -> str | None:
    """Why a reading cannot be laid beside others, and what to do; ``None`` if it can."""
    try:
        placed(document)
    except NotAligned as error:
        return str(error)
    return None


def show_agreement(found: Sequence[Answered]) -> None:
    """Rank correlations of words, and of texts if there are several, and the points behind them."""
    groups = by_model(found)
    names = [model for model, members in groups.items() if any(one.whole for one in members)]
    if len(names) < 2:
        st.warning("Fewer than two models have answered: there is nothing to compare yet.")
        return
    rows = [[one.whole for one in row] for row in zip(*(groups[name] for name in names), strict=True)]
    swept = any(document and document["search"] == "sweep" for row in rows for document in row)
    measure = ask_measure(swept)
    title = MEASURES[measure].label
    of_words, left_out = words_of(rows, names, measure)
    for complaint in left_out:
        st.warning(literal(sentence(complaint)))
    st.subheader("Do they agree?", divider="gray")
    views = {"words": ("Words", of_words, WORD_HELP)}
    if len(rows) > 1:
        views["texts"] = ("Whole texts", shared_texts(rows, measure), TEXT_MEAN_HELP)
    view = "words"
    if len(views) > 1:
        view = st.segmented_control(
            "Of", list(views), format_func=lambda name: views[name][0], default="words", key=f"{PAGE}of", required=True
        )
    label, shared, definition = views[view or "words"]
    show_pairs(shared, names, title, MEASURES[measure].nats, f"{label}, mean {title}", definition)


def ask_measure(swept: bool) -> str:
    """The measure that is compared."""
    offered = [name for name, measure in MEASURES.items() if name != "frequency" and (swept or not measure.swept)]
    return ask_one(offered, f"{PAGE}measure")


def words_of(
    rows: Sequence[Sequence[Mapping[str, Any] | None]], names: Sequence[str], measure: str
) -> tuple[list[Shared], list[str]]:
    """The words of all texts that every model has answered, and why texts were left out.

    A model that reads some text differently from how it was typed has no words of that text.
    """
    found: list[Shared] = []
    complaints: dict[str, None] = {}
    for number, row in enumerate(rows):
        whole = {place: document for place, document in enumerate(row) if document is not None}
        why = {place: complaint_of(document) for place, document in whole.items()}
        complaints.update(dict.fromkeys(complaint for complaint in why.values() if complaint))
        kept = [place for place in whole if why[place] is None]
        if len(kept) < 2:
            continue
        for unit in shared_words([whole[place] for place in kept], measure, number):
            values = dict(zip(kept, unit.values, strict=True))
            found.append(Shared(unit.name, number, tuple(values.get(place) for place in range(len(names)))))
    return found, list(complaints)


def show_pairs(
    shared: Sequence[Shared], names: Sequence[str], title: str, nats: bool, heading: str, definition: str
) -> None:
    """The rank correlation of each two models, and the points of one pair."""
    found = agreements(shared)
    if not found:
        st.warning("There is nothing that two models have in common.")
        return
    st.markdown(f"**{heading}**", help=definition)
    table = [
        {
            "models": f"{names[pair.one]} and {names[pair.other]}",
            "Spearman's rho": with_interval(pair.rho),
            "n": pair.rho.n,
            "texts": len({unit.text for unit in shared}),
        }
        for pair in found
    ]
    st.dataframe(
        table,
        hide_index=True,
        alt="Rank correlations of each two models",
        column_config={"Spearman's rho": st.column_config.TextColumn(help=RHO_HELP)},
    )
    number = 0
    if len(found) > 1:
        number = st.selectbox(
            "Points of", range(len(found)), format_func=lambda at: table[at]["models"], key=f"{PAGE}pair-shown"
        )
    chosen = found[number]
    chart = against_chart(shared, chosen.one, chosen.other, names, title, nats, dark())
    st.altair_chart(chart, alt="One model's numbers against another's", key=f"{PAGE}points")
    st.caption("A point for each that both models predict; on the dashed line both would be the same.")
    st.download_button(
        "CSV",
        lambda: shared_csv(shared, names, title),
        "density-compare.csv",
        "text/csv",
        on_click="ignore",
        help="Every word or text with the number of each model; words are written as JSON strings.",
    )


def shared_csv(shared: Sequence[Shared], names: Sequence[str], title: str) -> str:
    """Words or texts as CSV, a column of numbers for each model."""
    return rows_csv(
        [
            {
                "text": unit.text + 1,
                "of": quoted(unit.name),
                **{f"{title} by {name}": value for name, value in zip(names, unit.values, strict=True)},
            }
            for unit in shared
        ]
    )
